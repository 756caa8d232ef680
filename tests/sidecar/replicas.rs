//! Several sidecars on one Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::json;
use simulator::Faults;

use crate::process::patience::now;
use crate::process::{World, eventually, keys};
use crate::support::measured::{measured, seconds};

/// Defect 1 of the system before, over several processes.
#[test]
fn replicas_share_one_solve() {
    let world = World::start();
    let (one, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let two = world.sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    events.repeated();
    world.faults(Faults { solve_delay: Duration::from_millis(300), ..Faults::default() });
    assert_eq!(world.publish("now"), 2);
    events.refreshed();
    assert_eq!(world.solves(), 2);
    let current = world.meta("fingerprint").unwrap();
    for _ in 0..50 {
        world.publish(json!({"fingerprint": current}).to_string());
    }
    events.until("the second refresh", |event| event["cause"] == "refreshed");
    events.silent_for(Duration::from_millis(400));
    assert_eq!(world.solves(), 3);
    assert_eq!(world.simulator.statistics().solves.max_running, 1);
    one.stop().expect(0);
    two.stop().expect(0);
}

#[test]
fn replicas_that_start_together_on_an_empty_redis_share_one_solve() {
    let world = World::start();
    world.faults(Faults { solve_delay: Duration::from_millis(500), ..Faults::default() });
    let events = world.events();
    let replicas: Vec<_> = (0..4).map(|_| world.begin(&["run"], &[])).collect();
    let replicas: Vec<_> = replicas.into_iter().map(crate::process::Running::listening).collect();
    events.refreshed();
    for replica in replicas {
        replica.stop().expect(0);
    }
    assert_eq!(world.solves(), 1);
}

#[test]
fn the_back_off_of_one_is_the_back_off_of_all() {
    let world = World::start();
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    let env = [("SIDECAR_BACKOFF_INITIAL", "1s"), ("SIDECAR_BACKOFF_MAX", "1s")];
    let events = world.events();
    let one = world.sidecar(&env);
    events.failed("solve");
    let two = world.sidecar(&env);
    let third = events.until("the third attempt", |event| event["attempt"] == 3);
    assert_eq!(third["event"], "token:failed");
    assert_eq!(world.solves(), 3, "two replicas try as often as one");
    world.heal();
    events.until("a token", |event| event["cause"] == "refreshed");
    assert_eq!(world.solves(), 4);
    one.stop().expect(0);
    two.stop().expect(0);
}

/// Defect 12 of the system before: a worker that was killed lost the refresh until the next tick.
#[test]
fn a_holder_that_is_killed_is_replaced_within_the_locks_time() {
    let world = World::start();
    let env = [("SIDECAR_DEBOUNCE", "0s"), ("SIDECAR_LOCK_TTL", "2s"), ("SIDECAR_LISTEN", "off")];
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let holder = world.sidecar(&env);
    world.solve_started(1);
    let other = world.sidecar(&env);
    let events = world.events();
    world.publish("now");
    let began = now();
    holder.kill();
    world.solve_started(2);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    world.heal();
    let event = events.refreshed();
    measured("killed in mid-solve: another one solves after", seconds(took));
    assert_eq!(event["fingerprint"], world.meta("fingerprint").unwrap());
    other.stop().expect(0);
}

#[test]
fn a_killed_sidecar_that_was_alone_is_taken_up_by_the_next_one() {
    let world = World::start();
    let env = [("SIDECAR_LOCK_TTL", "1s")];
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let sidecar = world.sidecar(&env);
    world.solve_started(1);
    sidecar.kill();
    world.heal();
    let (sidecar, _events) = world.ready_sidecar(&env);
    sidecar.stop().expect(0);
}

#[test]
fn the_lock_is_renewed_while_the_solve_goes_on() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let sidecar = world.sidecar(&[("SIDECAR_LOCK_TTL", "1s")]);
    world.solve_started(1);
    let holder: String = world.ask(&["GET", keys::LOCK]);
    let began = now();
    while began.elapsed() < Duration::from_millis(2500) {
        assert_eq!(world.ask::<Option<String>>(&["GET", keys::LOCK]).as_deref(), Some(holder.as_str()));
        std::thread::sleep(Duration::from_millis(50));
    }
    world.heal();
    eventually("a token", || world.token());
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::LOCK]), 0);
    sidecar.stop().expect(0);
}

#[test]
fn a_lock_that_was_set_by_hand_is_given_an_end() {
    let world = World::start();
    let _: String = world.ask(&["SET", keys::LOCK, "by-hand"]);
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_LOCK_TTL", "1s")]);
    sidecar.stop().expect(0);
}

#[test]
fn sigterm_in_mid_solve_lets_it_finish_within_the_grace() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&[]);
    world.solve_started(1);
    sidecar.signal("TERM");
    sidecar.logs("shutting down");
    world.heal();
    events.refreshed();
    sidecar.end().expect(0);
    assert!(world.token().is_some());
}

#[test]
fn sigterm_in_mid_solve_frees_the_lock_when_the_grace_is_over_and_another_goes_on() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let env = [("SIDECAR_SHUTDOWN_GRACE", "1s"), ("SIDECAR_LOCK_TTL", "1h"), ("SIDECAR_LISTEN", "off")];
    let sidecar = world.sidecar(&env);
    world.solve_started(1);
    let other = world.sidecar(&env);
    let began = now();
    sidecar.stop().expect(0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // The lock would have lasted an hour.
    world.solve_started(2);
    world.heal();
    eventually("a token", || world.token());
    other.stop().expect(0);
}

/// A report that is deferred is unanswered when the process ends: the last replica answers it with `failed`.
#[test]
fn a_report_that_the_last_replica_leaves_is_answered_with_failed() {
    let world = World::start();
    let env = [("SIDECAR_DEBOUNCE", "1h"), ("SIDECAR_LISTEN", "off")];
    let (sidecar, events) = world.ready_sidecar(&env);
    let other = world.sidecar(&env);
    // Its check of the start is answered: from then on it only waits for messages.
    events.repeated();
    world.publish("{\"force\": true}");
    events.refreshed();
    world.publish(json!({"fingerprint": world.meta("fingerprint")}).to_string());
    sidecar.stop().expect(0);
    assert!(events.drain().iter().all(|event| event["event"] != "token:failed"), "the other one will answer");
    other.stop().expect(0);
    let failed = events.failed("solve");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("stopped")), "{failed}");
    assert_eq!(failed["attempt"], 1, "the contract has no failure without an attempt");
}

#[test]
fn a_second_signal_a_second_later_ends_it_at_once() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let sidecar = world.sidecar(&[("SIDECAR_SHUTDOWN_GRACE", "10m")]);
    world.solve_started(1);
    sidecar.signal("TERM");
    sidecar.logs("shutting down");
    sidecar.signal_until_its_end("INT").expect(130);
}

#[test]
fn a_late_result_is_dropped_where_a_newer_version_stands() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let (events, sidecar) = (world.events(), world.sidecar(&[("SIDECAR_LOCK_TTL", "1h")]));
    world.solve_started(1);
    // Another program took the lock away and stored a newer token meanwhile.
    let _: i64 = world.ask(&["DEL", keys::LOCK]);
    let newer = world.simulator.mint();
    let _: String = world.ask(&["SET", keys::TOKEN, &newer.token]);
    let _: i64 = world.ask(&["HSET", keys::META, "version", "9000000000000", "fingerprint", &newer.fingerprint]);
    world.heal();
    // The token written by hand is adopted then; its own result is neither stored nor announced.
    let event = events.until("an answer", |event| event["event"] == "token:updated");
    assert_eq!(event["fingerprint"], newer.fingerprint);
    assert_eq!(world.history()[0]["outcome"], "superseded");
    assert_eq!(world.token().as_deref(), Some(newer.token.as_str()));
    world.publish("{\"force\": true}");
    let event = events.until("a refresh", |event| event["trigger"] == "invalid" && event["cause"] == "refreshed");
    assert!(event["version"].as_u64() > Some(9_000_000_000_000), "the version only grows: {event}");
    assert_eq!(world.history()[0]["outcome"], "superseded");
    sidecar.stop().expect(0);
}
