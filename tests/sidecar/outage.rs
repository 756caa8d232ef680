//! Redis goes away and comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use simulator::Faults;

use crate::process::patience::now;
use crate::process::{World, eventually, keys};
use crate::support::measured::{measured, seconds};

#[test]
fn a_redis_that_comes_back_empty_gets_a_token_of_a_greater_version() {
    let mut world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    // Ahead of every clock: only the version in this process' memory can be greater.
    let _: i64 = world.ask(&["HSET", keys::META, "version", "9000000000000"]);
    world.publish("now");
    assert_eq!(events.refreshed()["version"], 9_000_000_000_001_u64);
    world.redis.restart_empty();
    let began = now();
    let events = world.events();
    let event = events.until("a new token", |event| event["cause"] == "refreshed");
    measured("Redis back and empty: a new token within", seconds(began.elapsed()));
    assert_eq!(event["version"], 9_000_000_000_002_u64);
    assert!(["reconnect", "vanished"].contains(&event["trigger"].as_str().unwrap()), "{event}");
    // The token may be there before the subscription is: each has a connection of its own.
    world.until_subscribed(1);
    world.publish("{\"force\": true}");
    events.until("messages are received again", |event| event["version"] == 9_000_000_000_003_u64);
    sidecar.stop().expect(0);
}

#[test]
fn a_redis_that_comes_back_with_its_data_is_read_and_nothing_is_solved() {
    let mut world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[]);
    let token = world.token();
    world.redis.restart_with_data();
    let began = now();
    world.until_subscribed(1);
    measured("Redis back with its data: reports are received within", seconds(began.elapsed()));
    let events = world.events();
    world.publish("now");
    events.repeated();
    assert_eq!((world.token(), world.solves()), (token, 1));
    sidecar.stop().expect(0);
}

#[test]
fn a_redis_that_is_away_in_mid_solve_gets_the_token_when_it_is_back() {
    let mut world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let sidecar = world.sidecar(&[]);
    world.solve_started(1);
    world.redis.kill();
    world.heal();
    sidecar.logs("failed to write the outcome: trying again");
    world.redis.revive();
    let began = now();
    eventually("a token", || world.token());
    measured("Redis killed in mid-solve, back and empty: the token within", seconds(began.elapsed()));
    assert_eq!(world.solves(), 1, "what was fetched is not fetched again");
    sidecar.stop().expect(0);
}

#[test]
fn health_shows_that_redis_is_away_and_that_it_is_back() {
    let mut world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[]);
    assert_eq!(sidecar.get("/readyz").status, 200);
    world.redis.kill();
    let ready = eventually("it is not ready", || {
        let answer = sidecar.get("/readyz");
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(ready.json()["status"], "not ready");
    world.redis.revive();
    eventually("it is ready", || (sidecar.get("/readyz").status == 200).then_some(()));
    eventually("a token", || world.token());
    sidecar.stop().expect(0);
}

#[test]
fn a_redis_that_freezes_is_noticed_and_used_again() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    world.redis.freeze();
    let began = now();
    sidecar.logs("not subscribed to Redis");
    measured("Redis frozen: noticed after", seconds(began.elapsed()));
    world.redis.thaw();
    let began = now();
    events.until("it has asked what it missed", |event| event["cause"] == "repeated");
    measured("Redis goes on: it has asked what it missed within", seconds(began.elapsed()));
    world.publish("now");
    events.refreshed();
    sidecar.stop().expect(0);
}

#[test]
fn a_connection_that_is_cut_is_opened_again_and_nothing_is_lost() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    for _ in 0..3 {
        let _: i64 = world.redis.ask("CLIENT KILL TYPE pubsub SKIPME yes");
        let _: i64 = world.redis.ask("CLIENT KILL TYPE normal SKIPME yes");
        world.until_subscribed(1);
    }
    drop(events);
    let events = world.events();
    world.publish("{\"force\": true}");
    events.until("a refresh", |event| event["cause"] == "refreshed");
    sidecar.stop().expect(0);
}

#[test]
fn sigterm_while_redis_is_away_ends_it_within_the_grace() {
    let mut world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let sidecar = world.sidecar(&[("SIDECAR_SHUTDOWN_GRACE", "1s")]);
    world.solve_started(1);
    world.redis.kill();
    world.heal();
    sidecar.logs("failed to write the outcome: trying again");
    let began = now();
    sidecar.stop().expect(0);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}
