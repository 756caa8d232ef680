//! Redis is there and refuses, or does not get round to an answer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use simulator::Faults;

use crate::process::patience::now;
use crate::process::{Events, Running, World, eventually, keys};
use crate::support::measured::{measured, seconds};
use crate::support::redis_server::RedisServer;

const NO_DEBOUNCE: (&str, &str) = ("SIDECAR_DEBOUNCE", "0s");
/// A retry every second.
const PACE: [(&str, &str); 3] = [NO_DEBOUNCE, ("SIDECAR_BACKOFF_INITIAL", "1s"), ("SIDECAR_BACKOFF_MAX", "1s")];

fn report(world: &World) -> i64 {
    world.publish(json!({"fingerprint": world.meta("fingerprint")}).to_string())
}

/// Redis refuses what would store a token: `failed` names the reason, and a retry repairs it.
fn fails_and_is_repaired(name: &str, word: &str, world: &World, events: &Events, mend: impl FnOnce()) {
    let before = world.token();
    let began = now();
    report(world);
    let event = events.failed("store");
    measured(&format!("{name}: failed is announced after"), seconds(began.elapsed()));
    assert!(event["error"].as_str().unwrap().contains(word), "{event}");
    assert_eq!(world.token(), before, "what works stays");
    mend();
    let began = now();
    events.until("a retry", |event| event["cause"] == "refreshed");
    measured(&format!("{name}: a new token by itself after mending within"), seconds(began.elapsed()));
    assert_ne!(world.token(), before);
}

#[test]
fn a_history_that_takes_no_more_entries_costs_no_token_and_is_named_with_the_cure() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    let greatest = format!("{0}-{0}", u64::MAX);
    let _: String = world.ask(&["XADD", keys::HISTORY, &greatest, "outcome", "old"]);
    report(&world);
    events.refreshed();
    sidecar.logs("its stream has the last possible id; delete the key (DEL) key={chitai_gorod_token}:history");
    let _: i64 = world.ask(&["DEL", keys::HISTORY]);
    report(&world);
    events.refreshed();
    assert_eq!(world.history().len(), 1);
    sidecar.stop().expect(0);
}

#[test]
fn a_forced_trigger_names_what_redis_refuses_now() {
    let world = World::start();
    let backoff = [("SIDECAR_BACKOFF_INITIAL", "1h"), ("SIDECAR_BACKOFF_MAX", "1h")];
    let (sidecar, _events) = world.ready_sidecar(&backoff);
    let (token, meta) = (keys::TOKEN, keys::META);
    let _: i64 = world.ask(&["DEL", token]);
    let _: i64 = world.ask(&["LPUSH", token, "a"]);
    world.call(&["trigger", "--wait", "--force"]).expect(75).stderr_has("chitai_gorod_token holds a list");
    let _: i64 = world.ask(&["DEL", token, meta]);
    let _: String = world.ask(&["SET", meta, "x"]);
    world.call(&["trigger", "--wait", "--force"]).expect(75).stderr_has("{chitai_gorod_token}:meta holds a string");
    let _: i64 = world.ask(&["DEL", meta]);
    world.call(&["trigger", "--wait", "--force"]).expect(0).prints("new token");
    sidecar.stop().expect(0);
}

/// The lock, which cannot be freed either, ends by itself.
#[test]
fn a_redis_that_becomes_a_replica_is_reported_and_used_again_once_it_is_the_master() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[&PACE[..], &[("SIDECAR_LOCK_TTL", "3s")]].concat());
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    report(&world);
    world.solve_started(2);
    let _: String = world.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    world.heal();
    fails_and_is_repaired("read-only replica", "READONLY", &world, &events, || {
        sidecar.logs("failed to free the lock: it ends by itself");
        let _: String = world.ask(&["REPLICAOF", "NO", "ONE"]);
    });
    assert_eq!(sidecar.get("/healthz").status, 200);
    sidecar.stop().expect(0);
}

/// Redis refuses writes while it cannot save: its own disk is full.
#[test]
fn a_redis_whose_disk_is_full_is_reported_and_used_again_once_it_can_save() {
    let world = World::with(RedisServer::start_with(&["rdbcompression no"]), simulator::Settings::default());
    let (sidecar, events) = world.ready_sidecar(&PACE);
    let config = |name: &str, value: &str| world.ask::<String>(&["CONFIG", "SET", name, value]);
    // A folder stands where the snapshot would be written.
    std::fs::create_dir(world.redis.folder().join("taken.rdb")).unwrap();
    config("dbfilename", "taken.rdb");
    config("save", "3600 1");
    let _: String = world.ask(&["BGSAVE"]);
    eventually("it refuses writes", || world.redis.try_words::<String>(&["SET", "probe", "x"]).is_err().then_some(()));
    fails_and_is_repaired("a Redis that cannot save", "MISCONF", &world, &events, || {
        config("save", "");
    });
    sidecar.stop().expect(0);
}

/// A world whose sidecar has a Redis user of its own, and what is published.
fn with_user(world: &World, more: &[(&str, &str)]) -> (Running, Events) {
    let _: String = world.redis.ask("ACL SETUSER app on >right ~* &* +@all");
    let url = world.redis.url_with("app:right@");
    world.ready_sidecar(&[&PACE[..], &[("REDIS_URL", &url)], more].concat())
}

#[test]
fn permissions_that_are_withdrawn_are_reported_and_waited_for() {
    let world = World::start();
    let (sidecar, events) = with_user(&world, &[]);
    for (withdrawn, given, word) in [
        ("resetkeys", "~*", "NOPERM"),
        ("-@scripting", "+@all", "NOPERM"),
        ("-@write", "+@all", "The user executing the script can't run this command"),
    ] {
        let _: String = world.redis.ask(&format!("ACL SETUSER app {withdrawn}"));
        fails_and_is_repaired(&format!("ACL {withdrawn}"), word, &world, &events, || {
            let _: String = world.redis.ask(&format!("ACL SETUSER app {given}"));
        });
        eventually("all failures are over", || (world.meta("failures").as_deref() == Some("0")).then_some(()));
        events.drain();
    }
    let ran = sidecar.stop().expect(0);
    assert!(ran.stderr.matches("WARN Redis refuses us").count() >= 3, "each is in the log: {}", ran.stderr);
}

/// It can neither receive nor publish: it waits, logs that, and makes up for it.
#[test]
fn credentials_or_channels_that_are_withdrawn_are_waited_for_and_the_gap_is_made_up_for() {
    for (name, away, back) in [
        (
            "password changed",
            &["ACL SETUSER app resetpass >other", "CLIENT KILL USER app"][..],
            "ACL SETUSER app >right",
        ),
        ("user deleted", &["ACL DELUSER app"], "ACL SETUSER app on >right ~* &* +@all"),
        ("channels withdrawn", &["ACL SETUSER app resetchannels"], "ACL SETUSER app &*"),
    ] {
        let world = World::start();
        let (sidecar, events) = with_user(&world, &[]);
        for command in away {
            let _: redis::Value = world.redis.ask(command);
        }
        world.simulator.revoke_all();
        let began = now();
        eventually("health shows the loss", || (sidecar.get("/healthz").status == 503).then_some(()));
        measured(&format!("{name}: /healthz is 503 after"), seconds(began.elapsed()));
        assert_eq!(report(&world), 0, "{name}: the parser sees that no sidecar is subscribed");
        assert_eq!(events.drain(), Vec::<Value>::new());
        let _: redis::Value = world.redis.ask(back);
        let began = now();
        events.until("a working token", |event| event["cause"] == "refreshed");
        measured(&format!("{name}: a working token after it is given back within"), seconds(began.elapsed()));
        world.until_subscribed(1);
        report(&world);
        events.until("the next report is answered", |event| event["trigger"] == "invalid");
        let ran = sidecar.stop().expect(0);
        assert!(!ran.stderr.contains("right@") && !ran.stderr.contains(">right"), "{}", ran.stderr);
    }
}

#[test]
fn scripts_that_are_flushed_are_loaded_again() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    for round in 2..5 {
        world.faults(Faults { solve_hang: true, ..Faults::default() });
        report(&world);
        world.solve_started(round);
        // Only the solve is under way: the commit that follows and the next claim are refused.
        let _: String = world.ask(&["SCRIPT", "FLUSH"]);
        world.heal();
        let began = now();
        events.refreshed();
        measured("scripts flushed in mid-solve: stored after it within", seconds(began.elapsed()));
    }
    assert_eq!(world.solves(), 4);
    assert!(!sidecar.stop().expect(0).stderr.contains("WARN"));
}

#[test]
fn a_redis_that_pauses_its_clients_delays_answers_and_loses_none() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    for (solves, mode, pause) in [(2, "WRITE", 2000), (3, "ALL", 2000), (4, "ALL", 5000)] {
        world.faults(Faults { solve_hang: true, ..Faults::default() });
        report(&world);
        world.solve_started(solves);
        let _: String = world.ask(&["CLIENT", "PAUSE", &pause.to_string(), mode]);
        let began = now();
        world.heal();
        events.refreshed();
        measured(&format!("CLIENT PAUSE {pause} {mode} in mid-solve: answered after"), seconds(began.elapsed()));
    }
    assert_eq!(world.solves(), 4, "no pause costs a solve");
    assert_eq!(world.history().len(), 4);
    sidecar.stop().expect(0);
}

/// A foreign script that does not end: Redis answers BUSY to all clients.
#[test]
fn a_redis_that_is_busy_with_a_script_is_waited_for() {
    let world = World::start();
    let _: String = world.ask(&["CONFIG", "SET", "busy-reply-threshold", "50"]);
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    report(&world);
    world.solve_started(2);
    let mut connection = world.redis.connection();
    let script = std::thread::spawn(move || {
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<redis::Value>(&mut connection).is_err()
    });
    eventually("it is busy", || world.redis.try_words::<i64>(&["EXISTS", keys::LOCK]).is_err().then_some(()));
    world.heal();
    sidecar.logs("failed to write the outcome: trying again");
    let _: String = world.ask(&["SCRIPT", "KILL"]);
    let began = now();
    assert!(script.join().unwrap(), "the script was killed");
    events.refreshed();
    measured("Redis busy with a script: stored after it within", seconds(began.elapsed()));
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn clients_that_are_killed_in_mid_solve_cost_nothing() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    report(&world);
    world.solve_started(2);
    drop(events);
    for kind in ["normal", "pubsub"] {
        let _: i64 = world.ask(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
    }
    let began = now();
    world.until_subscribed(1);
    measured("CLIENT KILL: subscribed again after", seconds(began.elapsed()));
    let events = world.events();
    world.heal();
    events.refreshed();
    assert_eq!(world.solves(), 2);
    assert_eq!(sidecar.get("/healthz").status, 200);
    sidecar.stop().expect(0);
}
