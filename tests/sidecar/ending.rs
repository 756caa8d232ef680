//! SIGTERM at every stage: 0, within the grace, the lock freed or handed over, no report left unanswered.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use simulator::Faults;

use crate::process::patience::now;
use crate::process::{Events, Running, World, eventually, http, keys};
use crate::support::measured::{measured, seconds};
use crate::support::proxy::{Network, Proxy};

/// An end at once on a busy machine; shorter than all waits of these tests.
const AT_ONCE: Duration = Duration::from_secs(8);
/// A grace of 1 s, four last steps of 2 s, and a busy machine.
const WITHIN_THE_GRACE: Duration = Duration::from_secs(13);
const GRACE: (&str, &str) = ("SIDECAR_SHUTDOWN_GRACE", "1s");
/// Not waited for where nothing is under way.
const LONG_GRACE: (&str, &str) = ("SIDECAR_SHUTDOWN_GRACE", "60s");
const NO_DEBOUNCE: (&str, &str) = ("SIDECAR_DEBOUNCE", "0s");
const NO_PORT: (&str, &str) = ("SIDECAR_LISTEN", "off");

/// Stops it and returns how long that took.
fn stops(stage: &str, sidecar: Running, within: Duration) {
    let began = now();
    sidecar.stop().expect(0);
    measured(&format!("SIGTERM {stage}: ended after"), seconds(began.elapsed()));
    assert!(began.elapsed() < within, "{stage}: {:?}", began.elapsed());
}

fn report(world: &World) -> i64 {
    world.publish(json!({"fingerprint": world.meta("fingerprint")}).to_string())
}

/// SIGTERM before the sidecar has read what was published; the network is fine again while it ends.
fn ends_with_failed(world: &World, proxy: &Proxy, sidecar: Running, events: &Events) {
    sidecar.signal("TERM");
    sidecar.logs("shutting down");
    proxy.is(Network::Fine);
    is_the_end(&events.failed("solve"));
    sidecar.end().expect(0);
    assert_eq!(world.solves(), 0);
}

fn is_free(world: &World) -> bool {
    world.ask::<i64>(&["EXISTS", keys::LOCK]) == 0
}

fn is_the_end(event: &Value) {
    assert!(event["error"].as_str().is_some_and(|error| error.contains("stopped")), "{event}");
}

#[test]
fn sigterm_while_idle_ends_it_at_once_and_announces_nothing() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[LONG_GRACE]);
    // Once this is answered, nothing is under way.
    world.publish("now");
    events.repeated();
    eventually("it is ready", || (sidecar.get("/readyz").status == 200).then_some(()));
    stops("while idle", sidecar, AT_ONCE);
    assert_eq!(events.drain(), Vec::<Value>::new());
}

#[test]
fn sigterm_while_following_ends_it_at_once_and_the_holder_answers() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let events = world.events();
    let holder = world.sidecar(&[NO_PORT]);
    world.solve_started(1);
    let follower = world.sidecar(&[LONG_GRACE]);
    assert_eq!(world.publish("now"), 2);
    eventually("it follows", || (!follower.get("/metrics").body.contains("decision=\"follow\"} 0")).then_some(()));
    stops("while following", follower, AT_ONCE);
    assert!(!is_free(&world), "the holder goes on");
    world.heal();
    events.refreshed();
    holder.stop().expect(0);
    assert_eq!(world.solves(), 1);
}

/// The claim arrives after the process has ended: the lock that it takes ends by itself.
#[test]
fn sigterm_while_claiming_ends_it_within_the_grace_and_the_next_one_answers() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let env = [GRACE, NO_DEBOUNCE, ("SIDECAR_LOCK_TTL", "2s"), ("REDIS_URL", &proxy.url())];
    let (sidecar, events) = world.ready_sidecar(&env);
    world.simulator.revoke_all();
    proxy.is(Network::NoCommands);
    report(&world);
    stops("while claiming, and Redis is silent", sidecar, WITHIN_THE_GRACE);
    proxy.is(Network::Fine);
    let began = now();
    let sidecar = world.sidecar(&env);
    events.refreshed();
    measured("SIGTERM while claiming: the next one has answered after", seconds(began.elapsed()));
    sidecar.stop().expect(0);
}

#[test]
fn sigterm_in_mid_solve_announces_failed_where_no_other_replica_runs() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[GRACE, NO_DEBOUNCE]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    report(&world);
    world.solve_started(2);
    stops("in mid-solve, alone", sidecar, WITHIN_THE_GRACE);
    is_the_end(&events.failed("solve"));
    assert!(is_free(&world));
}

#[test]
fn sigquit_ends_it_as_sigterm_does() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[GRACE, NO_DEBOUNCE]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    report(&world);
    world.solve_started(2);
    sidecar.signal("QUIT");
    sidecar.end().expect(0).stderr_has("shutting down; a second signal ends at once signal=\"SIGQUIT\"");
    is_the_end(&events.failed("solve"));
    assert!(is_free(&world));
}

/// `script` gives it a terminal, which is gone when `script` is killed. Under `nohup` the signal would be ignored.
#[test]
fn the_end_of_its_terminal_ends_it_as_sigterm_does() {
    let world = World::start();
    let events = world.events();
    let starter = ["sh", "-c", "exec env --default-signal=HUP script -qec \"$0 $1\" /dev/null"];
    let terminal = Running::start(&mut world.command_under(&starter, &["run"], &[GRACE, NO_DEBOUNCE]));
    terminal.prints("channels");
    events.refreshed();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    assert_eq!(report(&world), 1);
    world.solve_started(2);
    terminal.kill();
    is_the_end(&events.failed("solve"));
    assert!(is_free(&world));
}

#[test]
fn sigterm_while_following_a_dead_holder_announces_failed() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let events = world.events();
    let long_lock = ("SIDECAR_LOCK_TTL", "60s");
    let holder = world.sidecar(&[NO_PORT, long_lock]);
    world.solve_started(1);
    let follower = world.sidecar(&[LONG_GRACE, long_lock]);
    assert_eq!(world.publish("now"), 2);
    eventually("it follows", || (!follower.get("/metrics").body.contains("decision=\"follow\"} 0")).then_some(()));
    holder.kill();
    stops("while following a dead holder", follower, AT_ONCE);
    is_the_end(&events.failed("solve"));
}

#[test]
fn sigterm_while_verifying_lets_it_finish_or_announces_failed() {
    for heals in [true, false] {
        let world = World::start();
        let grace = if heals { "60s" } else { "1s" };
        let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_SHUTDOWN_GRACE", grace), NO_DEBOUNCE]);
        let asked = world.simulator.statistics().api.started;
        world.faults(Faults { api_hang: true, ..Faults::default() });
        report(&world);
        world.when("the API is called", |all| all.api.started > asked);
        if heals {
            sidecar.signal("TERM");
            sidecar.logs("shutting down");
            world.heal();
            events.refreshed();
            sidecar.end().expect(0);
        } else {
            stops("while verifying", sidecar, WITHIN_THE_GRACE);
            is_the_end(&events.failed("solve"));
        }
        assert!(is_free(&world));
        assert_eq!(events.drain(), Vec::<Value>::new());
    }
}

#[test]
fn sigterm_while_committing_lets_the_commit_arrive() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    report(&world);
    world.solve_started(2);
    world.redis.freeze();
    world.heal();
    sidecar.logs("failed to write the outcome: trying again");
    sidecar.signal("TERM");
    sidecar.logs("shutting down");
    world.redis.thaw();
    events.refreshed();
    let began = now();
    sidecar.end().expect(0);
    measured("SIGTERM while committing: ended after the commit within", seconds(began.elapsed()));
    assert!(is_free(&world));
    assert_eq!(world.solves(), 2);
}

#[test]
fn sigterm_while_backing_off_ends_it_at_once_and_keeps_the_pace() {
    let world = World::start();
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&[LONG_GRACE, ("SIDECAR_BACKOFF_INITIAL", "1h"), ("SIDECAR_BACKOFF_MAX", "1h")]);
    let failed = events.failed("solve");
    world.publish("now");
    assert_eq!(events.failed("solve")["cause"], "repeated");
    stops("while backing off", sidecar, AT_ONCE);
    assert_eq!(events.drain(), Vec::<Value>::new(), "all were answered");
    assert_eq!(world.meta("retry_at").as_deref(), failed["retry_at"].as_str());
}

#[test]
fn sigterm_while_verifying_at_the_start_ends_it_at_once() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[]);
    sidecar.stop().expect(0);
    let asked = world.simulator.statistics().api.started;
    world.faults(Faults { api_hang: true, ..Faults::default() });
    let sidecar = world.sidecar(&[LONG_GRACE]);
    world.when("the API is called", |all| all.api.started > asked);
    stops("while the start asks the API", sidecar, AT_ONCE);
    assert_eq!(world.solves(), 1);
}

#[test]
fn sigterm_while_redis_is_away_or_silent_ends_it_soon() {
    for (stage, network) in [("while Redis is away", Network::Cut), ("while Redis is silent", Network::Silent)] {
        let world = World::start();
        let proxy = Proxy::before(world.redis.port());
        let env = [GRACE, ("REDIS_URL", &proxy.url())];
        let (sidecar, _events) = world.ready_sidecar(&env);
        proxy.is(network);
        if network == Network::Cut {
            sidecar.logs("not subscribed to Redis");
        }
        stops(stage, sidecar, WITHIN_THE_GRACE);
        let starting = world.begin(&["run"], &env);
        starting.logs("token-sidecar starts");
        stops(&format!("{stage}, before the first connection"), starting, AT_ONCE);
    }
}

/// Redis counts it from the subscription on, and it takes a while until it has read the state of its sites.
#[test]
fn sigterm_right_after_the_subscription_announces_failed() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    proxy.is(Network::Slow(Duration::from_millis(500)));
    let events = world.events();
    let sidecar = world.sidecar(&[NO_PORT, ("REDIS_URL", &proxy.url())]);
    assert_eq!(world.publish("now"), 1);
    ends_with_failed(&world, &proxy, sidecar, &events);
}

/// The report is on its way to the sidecar, which does not know yet that it is subscribed.
#[test]
fn sigterm_while_subscribing_announces_failed() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    proxy.is(Network::NoMessages);
    let events = world.events();
    let sidecar = world.begin(&["run"], &[NO_PORT, ("REDIS_URL", &proxy.url())]);
    world.until_subscribed(1);
    assert_eq!(world.publish("now"), 1);
    ends_with_failed(&world, &proxy, sidecar, &events);
}

/// A reader of the log that stops reading blocks nothing else.
#[test]
fn sigterm_while_nothing_reads_the_log_ends_it_within_the_grace() {
    let world = World::start();
    let mut toml = String::from("[sites]\nchitai_gorod.enabled = false\n");
    for n in 0..2_000 {
        writeln!(toml, "s{n} = {{ page_url = \"http://x\", api_url = \"http://x\", cookie = \"access-token\" }}")
            .unwrap();
    }
    let file = world.write("sites.toml", &toml);
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    let events = Events::on(&world.redis, &["s0:token:failed"]);
    let env = [("SIDECAR_CONFIG", file.to_str().unwrap()), LONG_GRACE, ("SIDECAR_BACKOFF_MAX", "5s")];
    let mut child = world.command(&["run"], &env).stderr(Stdio::piped()).spawn().unwrap();
    let (mut log, mut line) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    while !line.contains(" listen=") {
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "{line}");
    }
    let address = line.split_once(" listen=").unwrap().1.trim().parse().unwrap();
    eventually("the pipe and the queue are full", || {
        let metrics = http::get(address, "/metrics").body;
        let dropped = metrics.lines().find_map(|line| line.strip_prefix("token_sidecar_log_lines_dropped_total "));
        (dropped.unwrap() != "0").then_some(())
    });
    assert_eq!(http::get(address, "/healthz").status, 200);
    events.drain();
    world.ask::<i64>(&["PUBLISH", "s0:token:invalid", "{\"force\":true}"]);
    events.until("an answer", |event| event["site"] == "s0");
    let began = now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let status = eventually("the end of the process", || child.try_wait().unwrap());
    // Two thousand sites that fail take a busy machine its time, and the grace is as long as the wait.
    measured("SIGTERM while nothing reads the log: ended after", seconds(began.elapsed()));
    assert_eq!(status.code(), Some(0));
}

/// As `docker compose down` does it: each of them sees the other one as subscribed.
#[test]
fn sigterm_for_all_replicas_at_once_leaves_no_report_unanswered() {
    let world = World::start();
    let env = [("SIDECAR_DEBOUNCE", "1h"), NO_PORT];
    let (one, events) = world.ready_sidecar(&env);
    let others: Vec<Running> = (0..2).map(|_| world.sidecar(&env)).collect();
    for _ in &others {
        events.repeated();
    }
    // Deferred, and so pending in each of them.
    assert_eq!(report(&world), 3);
    let all: Vec<Running> = others.into_iter().chain([one]).collect();
    // Their last commands reach Redis at once.
    world.redis.freeze();
    for sidecar in &all {
        sidecar.signal("TERM");
        sidecar.logs("shutting down");
    }
    world.redis.thaw();
    for sidecar in all {
        sidecar.end().expect(0);
    }
    is_the_end(&events.failed("solve"));
}
