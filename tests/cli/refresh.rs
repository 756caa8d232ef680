//! `refresh`: one refresh here and now.

use std::time::Duration;

use simulator::Faults;

use crate::process::patience::now;
use crate::process::{World, keys};
use crate::support::redis_server::Port;

#[test]
fn it_stores_a_token_and_prints_it() {
    let world = World::start();
    let events = world.events();
    let ran = world.call(&["refresh"]).expect(0);
    let updated = events.refreshed();
    assert_eq!(updated["trigger"], "manual");
    for part in ["fingerprint", "version"] {
        let part = updated[part].to_string();
        assert!(ran.stdout.contains(part.trim_matches('"')), "{}", ran.stdout);
    }
    assert_eq!(
        world.token().map(|token| simulator::fingerprint(&token)),
        updated["fingerprint"].as_str().map(str::to_owned)
    );
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::LOCK]), 0);
    // As if forced: neither the debounce window nor a fresh token stops it.
    world.call(&["refresh"]).expect(0);
    assert_eq!(world.solves(), 2);
    events.refreshed();
}

#[test]
fn it_writes_the_dotenv_before_it_ends() {
    let world = World::start();
    world.call_with(&["refresh"], &[("SIDECAR_ENV_FILE", "one.env")]).expect(0);
    let token = world.token().unwrap_or_default();
    assert_eq!(world.read("one.env"), format!("CHITAI_GOROD_BEARER_TOKEN={token}\n"));
}

#[test]
fn a_failure_is_75_with_its_reason_and_is_announced() {
    let world = World::start();
    world.faults(Faults { api_status: Some(401), ..Faults::default() });
    let events = world.events();
    let ran = world.call(&["refresh"]).expect(75).stderr_has("verify failed");
    assert!(ran.stderr.contains("tries again at"), "{}", ran.stderr);
    let failed = events.failed("verify");
    assert_eq!(failed["trigger"], "manual");
    assert_eq!(world.token(), None);
    // The back-off does not stop a forced one either.
    world.heal();
    world.call(&["refresh"]).expect(0);
}

#[test]
fn without_redis_it_gives_up_after_5_s_with_69() {
    let world = World::start();
    let nowhere = Port::hold();
    let url = format!("redis://127.0.0.1:{}", nowhere.number());
    let began = now();
    let commands = [
        &["refresh"][..],
        &["trigger"],
        &["trigger", "--wait"],
        &["token"],
        &["token", "--wait"],
        &["status"],
        &["watch"],
    ];
    for running in commands.map(|args| world.begin(args, &[("REDIS_URL", &url)])) {
        let ran = running.end().expect(69).stderr_has(&format!("Redis at 127.0.0.1:{}", nowhere.number()));
        assert!(!ran.stderr.contains("os error"), "{}", ran.stderr);
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(9), "{took:?}");
    }
    assert_eq!(world.solves(), 0);
}

#[test]
fn it_follows_the_refresh_that_another_holds() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let sidecar = world.sidecar(&[]);
    world.solve_started(1);
    let refresh = world.begin(&["refresh"], &[("RUST_LOG", "debug")]);
    refresh.logs("its outcome is the answer");
    world.heal();
    let ran = refresh.end().expect(0);
    let version = world.meta("version").unwrap_or_default();
    assert!(ran.stdout.contains(&version), "{} {version}", ran.stdout);
    assert_eq!(world.solves(), 1, "one solve serves both");
    sidecar.stop().expect(0);
}

#[test]
fn sigterm_gives_it_up_and_frees_the_lock() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let refresh = world.begin(&["refresh"], &[]);
    world.solve_started(1);
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::LOCK]), 1);
    let ran = refresh.stop().expect(75);
    ran.stderr_has("its lock is free");
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::LOCK]), 0);
    assert_eq!(world.token(), None);
}

#[test]
fn a_report_that_it_was_counted_as_receiving_gets_failed_when_it_is_stopped() {
    for is_reported in [true, false] {
        let world = World::start();
        let events = world.events();
        world.faults(Faults { solve_hang: true, ..Faults::default() });
        let refresh = world.begin(&["refresh"], &[]);
        world.solve_started(1);
        if is_reported {
            assert_eq!(world.publish("now"), 1);
        }
        refresh.stop().expect(75);
        if is_reported {
            events.failed("solve");
        }
        assert!(events.drain().is_empty(), "nothing else is announced");
    }
}

#[test]
fn a_redis_that_refuses_it_is_69() {
    let world = World::start();
    for (user, rules) in [("channelless", "~* resetchannels +@all"), ("keyless", "~other:* &* +@all")] {
        let _: String = world.redis.ask(&format!("ACL SETUSER {user} on >right {rules}"));
        let url = world.redis.url_with(&format!("{user}:right@"));
        world.call_with(&["refresh"], &[("REDIS_URL", &url)]).expect(69).stderr_has("NOPERM");
    }
}

#[test]
fn a_redis_that_goes_away_in_mid_solve_is_waited_for_as_long() {
    let mut world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let refresh = world.begin(&["refresh"], &[]);
    world.solve_started(1);
    world.redis.kill();
    let began = now();
    refresh.end().expect(69).stderr_has(": out of reach for 5 s");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    // A short absence does not count.
    world.redis.revive();
    let refresh = world.begin(&["refresh"], &[]);
    world.solve_started(2);
    world.redis.restart_empty();
    world.heal();
    refresh.end().expect(0);
    assert!(world.token().is_some());
}
