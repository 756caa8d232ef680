//! What happens by the clock: the schedule, the end of a token, the heartbeat, and what is verified at start-up.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use simulator::{Faults, Settings};

use crate::process::patience::now;
use crate::process::{World, keys};
use crate::support::redis_server::RedisServer;

#[test]
fn the_schedule_refreshes_at_multiples_of_its_period() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_SCHEDULE", "every 2s"), ("SIDECAR_DEBOUNCE", "1h")]);
    for _ in 0..2 {
        let event = events.refreshed();
        assert_eq!(event["trigger"], "schedule");
        let at: jiff::Timestamp = event["refreshed_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(at.as_second() % 2, 0, "a tick, not two seconds after the last: {at}");
    }
    sidecar.stop().expect(0);
}

#[test]
fn one_tick_is_served_once_by_whichever_replica() {
    let world = World::start();
    let env = [("SIDECAR_SCHEDULE", "every 2s"), ("SIDECAR_LISTEN", "off")];
    let (one, events) = world.ready_sidecar(&env);
    let two = world.sidecar(&env);
    let first = events.until("a tick", |event| event["trigger"] == "schedule" && event["cause"] == "refreshed");
    let solves = world.solves();
    let second = events.until("a tick", |event| event["version"] != first["version"] && event["cause"] == "refreshed");
    assert_eq!(second["trigger"], "schedule");
    assert_eq!(world.solves(), solves + 1);
    one.stop().expect(0);
    two.stop().expect(0);
}

#[test]
fn a_token_is_renewed_ahead_of_its_end() {
    let life = Duration::from_secs(6);
    let world = World::with(RedisServer::start(), Settings { token_life: life, ..Settings::default() });
    let (sidecar, events) = world.ready_sidecar(&[]);
    for _ in 0..2 {
        let ttl: i64 = world.ask(&["PTTL", keys::TOKEN]);
        assert!(ttl > 0 && ttl < 5500, "a tenth of its life is the margin: {ttl}");
        let event = events.refreshed();
        assert_eq!(event["trigger"], "expiry");
    }
    sidecar.stop().expect(0);
}

#[test]
fn a_key_that_ends_before_its_token_is_renewed_ahead_too() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_TOKEN_TTL", "3s")]);
    assert_eq!(events.refreshed()["trigger"], "expiry");
    sidecar.stop().expect(0);
}

#[test]
fn a_key_that_vanishes_is_found_out_right_after_a_refresh_or_by_the_heartbeat() {
    let vanishes = |settled: bool| {
        let world = World::start();
        let (sidecar, events) = world.ready_sidecar(&[]);
        if settled {
            // After this answer only the heartbeat makes it read the store.
            world.publish("now");
            events.repeated();
        }
        let _: i64 = world.ask(&["DEL", keys::TOKEN]);
        let began = now();
        assert_eq!(events.refreshed()["trigger"], "vanished");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        sidecar.stop().expect(0);
    };
    // Both wait for a heartbeat.
    std::thread::scope(|scope| {
        scope.spawn(|| vanishes(false));
        vanishes(true);
    });
}

#[test]
fn a_stored_token_that_works_stays_at_start_up_and_one_that_is_refused_goes() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[]);
    let token = world.token();
    sidecar.stop().expect(0);
    let sidecar = world.sidecar(&[]);
    assert_eq!(events.repeated()["trigger"], "startup");
    assert_eq!((world.token(), world.solves()), (token.clone(), 1));
    sidecar.stop().expect(0);
    world.simulator.revoke_all();
    let sidecar = world.sidecar(&[]);
    let event = events.refreshed();
    assert_eq!(event["trigger"], "startup");
    assert_ne!(world.token(), token);
    sidecar.stop().expect(0);
}

#[test]
fn one_that_cannot_be_verified_stays() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[]);
    sidecar.stop().expect(0);
    for status in [403, 503] {
        world.faults(Faults { api_status: Some(status), ..Faults::default() });
        let sidecar = world.sidecar(&[]);
        events.repeated();
        sidecar.stop().expect(0);
    }
    assert_eq!(world.solves(), 1);
}

#[test]
fn a_token_that_another_program_wrote_is_verified_and_adopted_with_the_time_it_has() {
    let world = World::start();
    let minted = world.simulator.mint();
    let _: String = world.ask(&["SET", keys::TOKEN, &minted.token, "EX", "1000"]);
    let old = serde_json::json!({"__ddg1_": "kept", "access-token": format!("Bearer%20{}", minted.token)});
    let _: String = world.ask(&["SET", keys::COOKIES, &old.to_string(), "EX", "1000"]);
    let events = world.events();
    let sidecar = world.sidecar(&[]);
    let event = events.refreshed();
    assert_eq!((&event["trigger"], &event["source"]), (&"bootstrap".into(), &"redis".into()));
    assert_eq!(event["fingerprint"], minted.fingerprint);
    let ttl = event["ttl"].as_i64().unwrap();
    assert!((990..=1000).contains(&ttl), "{event}");
    assert!((990..=1000).contains(&world.ask::<i64>(&["TTL", keys::TOKEN])));
    let cookies: serde_json::Value = serde_json::from_str(&world.ask::<String>(&["GET", keys::COOKIES])).unwrap();
    assert_eq!(cookies["access-token"], format!("Bearer%20{}", minted.token));
    assert_eq!(world.solves(), 0);
    sidecar.stop().expect(0);
}

#[test]
fn a_foreign_token_that_is_refused_is_replaced() {
    let world = World::start();
    let _: String = world.ask(&["SET", keys::TOKEN, "some.dead.token"]);
    let events = world.events();
    let sidecar = world.sidecar(&[]);
    let event = events.refreshed();
    assert_eq!(event["trigger"], "startup");
    assert_eq!(world.solves(), 1);
    sidecar.stop().expect(0);
}

/// The old workers go on writing the key until they are removed.
#[test]
fn a_token_that_is_written_later_is_the_current_one() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let version = world.meta("version").unwrap();
    let minted = world.simulator.mint();
    let _: String = world.ask(&["SET", keys::TOKEN, &minted.token, "EX", "1000"]);
    // A report of the token before is stale: the answer names the current one.
    world.publish(format!("{{\"fingerprint\": \"{}\"}}", world.meta("fingerprint").unwrap()));
    let event = events.repeated();
    assert_eq!(event["fingerprint"], minted.fingerprint);
    assert_eq!(event["version"].to_string(), version, "the last version known");
    assert_eq!(event["refreshed_at"], serde_json::Value::Null);
    // It counts as stored long ago: a report of it is solved at once.
    world.publish(format!("{{\"fingerprint\": \"{}\"}}", minted.fingerprint));
    events.refreshed();
    sidecar.stop().expect(0);
}

#[test]
fn a_configured_token_is_adopted_where_redis_has_none_and_it_verifies() {
    let world = World::start();
    let minted = world.simulator.mint();
    let events = world.events();
    let with_scheme = format!("Bearer {}", minted.token);
    let sidecar = world.sidecar(&[("CHITAI_GOROD_BEARER_TOKEN", &with_scheme)]);
    let event = events.refreshed();
    assert_eq!(event["trigger"], "bootstrap");
    assert_eq!(world.token().as_deref(), Some(minted.token.as_str()));
    assert_eq!(world.solves(), 0);
    let cookies: serde_json::Value = serde_json::from_str(&world.ask::<String>(&["GET", keys::COOKIES])).unwrap();
    assert_eq!(cookies["access-token"], format!("Bearer%20{}", minted.token));
    sidecar.stop().expect(0);

    // A configured token that does not verify leads to a solve; one is not used where Redis has a token.
    world.simulator.revoke_all();
    let _: i64 = world.ask(&["DEL", keys::TOKEN]);
    let sidecar = world.sidecar(&[("CHITAI_GOROD_BEARER_TOKEN", &with_scheme)]);
    let event = events.refreshed();
    assert_eq!(event["trigger"], "startup");
    assert_eq!(world.solves(), 1);
    let token = world.token();
    sidecar.stop().expect(0);
    let another = world.simulator.mint().token;
    let sidecar = world.sidecar(&[("CHITAI_GOROD_BEARER_TOKEN", &another)]);
    events.repeated();
    assert_eq!(world.token(), token);
    sidecar.stop().expect(0);
}
