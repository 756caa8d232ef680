//! Sidecars that are killed or stopped at any stage.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::json;
use simulator::Faults;

use crate::process::patience::now;
use crate::process::{World, eventually};
use crate::support::measured::{measured, seconds};
use crate::support::proxy::{Network, Proxy};

const LOCK_TTL: Duration = Duration::from_secs(2);
const ENV: [(&str, &str); 3] = [("SIDECAR_DEBOUNCE", "0s"), ("SIDECAR_LOCK_TTL", "2s"), ("SIDECAR_LISTEN", "off")];
/// A lock's time and what a busy machine adds.
const TAKEOVER: Duration = Duration::from_secs(6);

/// A report of the current token.
fn report(world: &World) -> i64 {
    world.publish(json!({"fingerprint": world.meta("fingerprint")}).to_string())
}

#[test]
fn a_holder_that_is_killed_while_it_verifies_is_replaced() {
    let world = World::start();
    let (holder, events) = world.ready_sidecar(&ENV);
    let asked = world.simulator.statistics().api.started;
    world.faults(Faults { api_hang: true, ..Faults::default() });
    report(&world);
    world.when("the API is called", |all| all.api.started > asked);
    let other = world.sidecar(&ENV);
    assert_eq!(report(&world), 2);
    let began = now();
    holder.kill();
    world.solve_started(3);
    world.heal();
    events.refreshed();
    measured("killed while it verifies: both reports are answered after", seconds(began.elapsed()));
    assert!(began.elapsed() < TAKEOVER, "{:?}", began.elapsed());
    other.stop().expect(0);
}

/// The token is fetched and verified, but its commit does not reach Redis.
#[test]
fn a_holder_that_is_killed_before_its_commit_arrives_is_replaced() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let (holder, events) = world.ready_sidecar(&[&ENV[..], &[("REDIS_URL", &proxy.url())]].concat());
    let asked = world.simulator.statistics().api.started;
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    report(&world);
    world.solve_started(2);
    let other = world.sidecar(&ENV);
    assert_eq!(report(&world), 2);
    let began = now();
    proxy.is(Network::NoCommands);
    world.heal();
    world.when("its token is verified", |all| all.api.started > asked);
    holder.kill();
    events.refreshed();
    measured("killed before its commit arrives: both reports are answered after", seconds(began.elapsed()));
    assert!(began.elapsed() < TAKEOVER, "{:?}", began.elapsed());
    assert_eq!(world.solves(), 3);
    other.stop().expect(0);
}

#[test]
fn a_sidecar_that_is_killed_while_backing_off_leaves_its_pace_to_the_next_one() {
    let world = World::start();
    let env = [("SIDECAR_BACKOFF_INITIAL", "3s"), ("SIDECAR_BACKOFF_MAX", "3s"), ("SIDECAR_LISTEN", "off")];
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&env);
    let failed = events.failed("solve");
    sidecar.kill();
    world.heal();
    let sidecar = world.sidecar(&env);
    let repeated = events.failed("solve");
    assert_eq!((&repeated["cause"], &repeated["retry_at"]), (&"repeated".into(), &failed["retry_at"]));
    let event = events.refreshed();
    let retry_at: jiff::Timestamp = failed["retry_at"].as_str().unwrap().parse().unwrap();
    let refreshed_at: jiff::Timestamp = event["refreshed_at"].as_str().unwrap().parse().unwrap();
    let late = refreshed_at.as_second() - retry_at.as_second();
    measured("killed while backing off: the next one retries, after `retry_at`, within", format!("{} s", late + 1));
    assert!((0..5).contains(&late), "{late}");
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn what_is_reported_while_no_sidecar_runs_is_found_out_by_the_next_one() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&ENV);
    sidecar.kill();
    eventually("Redis knows", || (report(&world) == 0).then_some(()));
    world.simulator.revoke_all();
    assert_eq!(report(&world), 0, "the parser sees that no sidecar is subscribed");
    let began = now();
    let sidecar = world.sidecar(&ENV);
    assert_eq!(events.refreshed()["trigger"], "startup");
    measured("no sidecar runs: a new token after the start within", seconds(began.elapsed()));
    sidecar.stop().expect(0);
}

#[test]
fn a_holder_that_is_stopped_past_its_lease_is_replaced_and_its_late_result_dropped() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let events = world.events();
    let holder = world.sidecar(&ENV);
    world.solve_started(1);
    let other = world.sidecar(&ENV);
    world.publish("now");
    let began = now();
    holder.signal("STOP");
    world.solve_started(2);
    let took = began.elapsed();
    measured("stopped in mid-solve: another one solves after", seconds(took));
    assert!(took < TAKEOVER, "{took:?}");
    world.heal();
    let event = events.refreshed();
    let token = world.token();
    let began = now();
    holder.signal("CONT");
    holder.logs("another replica was faster");
    measured("continued after its lease: its late result is dropped within", seconds(began.elapsed()));
    assert_eq!((world.token(), world.meta("version")), (token, Some(event["version"].to_string())));
    let outcomes: Vec<String> = world.history().into_iter().map(|entry| entry["outcome"].clone()).collect();
    assert_eq!(outcomes, ["refreshed", "superseded"]);
    assert!(events.drain().iter().all(|event| event["cause"] == "repeated"), "it announces nothing of its own");
    // It serves again.
    other.stop().expect(0);
    world.publish("{\"force\": true}");
    events.until("a refresh by the one that was stopped", |event| event["cause"] == "refreshed");
    holder.stop().expect(0);
}

#[test]
fn what_redis_accepted_for_a_sidecar_that_is_stopped_is_answered_when_it_goes_on() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&ENV);
    sidecar.signal("STOP");
    for _ in 0..100 {
        assert_eq!(report(&world), 1);
    }
    // Longer than the lock's time: a lock of the stopped process would expire.
    events.silent_for(LOCK_TTL + Duration::from_secs(1));
    let began = now();
    sidecar.signal("CONT");
    events.refreshed();
    measured("stopped while idle: 100 reports are answered after SIGCONT within", seconds(began.elapsed()));
    events.silent_for(Duration::from_millis(400));
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}
