//! What goes wrong outside, stage by stage: waiting parsers are answered, and nothing wrong is stored.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use simulator::{CookieKind, Faults, Garbage, PageMode, RecordedError, SolveError};

use crate::process::patience::now;
use crate::process::{Events, Running, World, eventually, keys};
use crate::support::measured::{measured, seconds};
use crate::support::redis_server::Port;

/// A first token is there; failures are retried only when a test heals the world and waits for long.
fn begin(world: &World) -> (Running, Events) {
    world.write("shared.env", "CHITAI_GOROD_BEARER_TOKEN=old\n");
    let (sidecar, events) = world.ready_sidecar(&[
        ("SIDECAR_DEBOUNCE", "0s"),
        ("SIDECAR_BACKOFF_INITIAL", "1h"),
        ("SIDECAR_BACKOFF_MAX", "1h"),
        ("SIDECAR_ENV_FILE", "shared.env"),
    ]);
    eventually("the first token is in the .env", || (!world.read("shared.env").contains("=old")).then_some(()));
    (sidecar, events)
}

/// What must not change on a refusal.
fn stored(world: &World) -> (Option<String>, Option<String>, Option<String>, String) {
    let cookies = world.ask(&["GET", keys::COOKIES]);
    (world.token(), cookies, world.meta("version"), world.read("shared.env"))
}

fn check_failed(event: &Value) {
    let object = event.as_object().unwrap();
    for field in ["event", "site", "stage", "error", "attempt", "retry_at", "valid_until", "trigger"] {
        assert!(object.contains_key(field), "{field}: {event}");
    }
    assert_eq!(event["site"], "chitai_gorod");
    assert!(!event["error"].as_str().unwrap().is_empty());
    let at = event["retry_at"].as_str().unwrap();
    assert!(at.ends_with('Z') && !at.contains('.'), "whole seconds: {at}");
}

/// Each fault is triggered by a forced message, so that the back-off of the one before does not delay it.
fn each_fails(stage: &str, faults: Vec<(&str, Faults)>) {
    let world = World::start();
    let (sidecar, events) = begin(&world);
    let before = stored(&world);
    for (n, (name, fault)) in faults.into_iter().enumerate() {
        world.faults(fault);
        world.publish("{\"force\": true}");
        let event = events.failed(stage);
        check_failed(&event);
        assert_eq!(event["attempt"], n as u64 + 1, "{name}: {event}");
        assert_eq!(event["trigger"], "invalid");
        assert!(event["valid_until"].is_string(), "{name}: the stored token goes on: {event}");
        assert_eq!(stored(&world), before, "{name}: nothing reaches Redis or the .env");
        let entry = world.history().pop().unwrap();
        assert_eq!((entry["outcome"].as_str(), entry["stage"].as_str()), ("failed", stage), "{name}");
        assert_eq!(world.meta("failures"), Some((n + 1).to_string()));
        assert_eq!(world.ask::<i64>(&["EXISTS", keys::LOCK]), 0, "{name}: the lock is free");
    }
    // The process is still the same.
    world.heal();
    world.publish("{\"force\": true}");
    events.refreshed();
    assert_eq!(world.meta("failures").as_deref(), Some("0"));
    assert_eq!(world.meta("last_error"), None);
    sidecar.stop().expect(0);
}

/// Defect 4 of the system before: failures were values that the code ignored.
#[test]
fn whatever_the_solver_answers_is_a_failure_to_solve() {
    let recorded = |error: RecordedError| Faults { solve_error: Some(error.into()), ..Faults::default() };
    let garbage = |garbage: Garbage| Faults { solve_garbage: Some(garbage), ..Faults::default() };
    let raw = |status: u16, body: &str| Faults {
        solve_error: Some(SolveError::Raw { status, body: body.to_owned() }),
        ..Faults::default()
    };
    each_fails(
        "solve",
        vec![
            ("timeout", recorded(RecordedError::Timeout)),
            ("blocked", recorded(RecordedError::Blocked)),
            ("browser", recorded(RecordedError::Browser)),
            ("crash", recorded(RecordedError::Crash)),
            ("dns", recorded(RecordedError::Dns)),
            ("refused", recorded(RecordedError::Refused)),
            ("proxy", recorded(RecordedError::Proxy)),
            ("session", recorded(RecordedError::Session)),
            ("not JSON", garbage(Garbage::NotJson)),
            ("empty", garbage(Garbage::Empty)),
            ("truncated", garbage(Garbage::Truncated)),
            ("wrong types", garbage(Garbage::WrongTypes)),
            ("deep", garbage(Garbage::Deep)),
            ("502", raw(502, "<html>Bad Gateway</html>")),
            ("408", raw(408, "{\"detail\": \"Timeout\"}")),
            ("reset", Faults { solve_reset: true, ..Faults::default() }),
            ("denied", Faults { page: Some(PageMode::Denied), ..Faults::default() }),
        ],
    );
}

#[test]
fn a_solver_that_is_not_there_is_a_failure_to_solve() {
    let world = World::start();
    let nowhere = Port::hold();
    let url = format!("http://127.0.0.1:{}/v1", nowhere.number());
    let events = world.events();
    let sidecar = world.sidecar(&[("FLARESOLVERR_URL", &url)]);
    let event = events.failed("solve");
    check_failed(&event);
    assert_eq!((&event["trigger"], &event["valid_until"]), (&"startup".into(), &Value::Null));
    // However soon it fails, the log has it in its order.
    let log = sidecar.stop().expect(0).stderr;
    let places = ["refresh begins", "a source brought no token", "refresh failed"].map(|line| log.find(line));
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{log}");
}

#[test]
fn a_page_without_a_usable_token_is_a_failure_to_extract() {
    let cookie = |cookie: CookieKind| Faults { cookie, ..Faults::default() };
    each_fails(
        "extract",
        vec![
            ("absent", cookie(CookieKind::Absent)),
            ("empty", cookie(CookieKind::Empty)),
            ("malformed", cookie(CookieKind::Malformed)),
            ("expired", cookie(CookieKind::Expired)),
            ("oversized", cookie(CookieKind::Oversized)),
            ("plain page", Faults { page: Some(PageMode::Plain), ..Faults::default() }),
        ],
    );
}

/// Defect 6 of the system before: 401 and 403 were the same.
#[test]
fn what_the_api_does_not_confirm_is_a_failure_to_verify() {
    let api = |status: u16| Faults { api_status: Some(status), ..Faults::default() };
    each_fails(
        "verify",
        vec![
            ("401", api(401)),
            ("403", api(403)),
            ("429", api(429)),
            ("500", api(500)),
            ("503", api(503)),
            ("a dead token", Faults { cookie: CookieKind::Dead, ..Faults::default() }),
            (
                "a captcha",
                Faults { api_status: Some(200), api_body: Some("<html>captcha</html>".into()), ..Faults::default() },
            ),
            ("reset", Faults { api_reset: true, ..Faults::default() }),
        ],
    );
}

#[test]
fn an_unclear_api_is_called_a_few_times_and_a_clear_one_once() {
    let world = World::start();
    let (sidecar, events) = begin(&world);
    let calls = || world.simulator.statistics().api.started;
    let before = calls();
    world.faults(Faults { api_status: Some(503), remaining: Some(2), ..Faults::default() });
    world.publish("{\"force\": true}");
    events.refreshed();
    assert_eq!(calls() - before, 3, "twice 503, then yes");
    let before = calls();
    world.faults(Faults { api_status: Some(401), ..Faults::default() });
    world.publish("{\"force\": true}");
    events.failed("verify");
    assert_eq!(calls() - before, 1);
    sidecar.stop().expect(0);
}

#[test]
fn tolerant_stores_an_unclear_token_where_no_working_one_is_and_off_calls_no_api() {
    for (verify, api_status) in [("tolerant", 503), ("off", 401)] {
        let world = World::start();
        world.faults(Faults { api_status: Some(api_status), ..Faults::default() });
        let (sidecar, events) = world.ready_sidecar(&[
            ("SIDECAR_VERIFY", verify),
            ("SIDECAR_DEBOUNCE", "0s"),
            ("SIDECAR_BACKOFF_INITIAL", "1h"),
            ("SIDECAR_BACKOFF_MAX", "1h"),
        ]);
        if verify == "tolerant" {
            world.publish("now");
            events.failed("verify");
            world.faults(Faults { api_status: Some(401), ..Faults::default() });
            world.publish("{\"force\": true}");
            events.failed("verify");
        } else {
            assert_eq!(world.simulator.statistics().api.started, 0);
        }
        sidecar.stop().expect(0);
    }
}

/// Defect 7 of the system before: a failed write was reported as success.
#[test]
fn a_redis_without_memory_is_a_failure_to_store_and_is_retried() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[
        ("SIDECAR_DEBOUNCE", "0s"),
        ("SIDECAR_BACKOFF_INITIAL", "1s"),
        ("SIDECAR_BACKOFF_MAX", "1s"),
    ]);
    let before = world.token();
    let _: String = world.redis.ask("CONFIG SET maxmemory 1");
    let began = now();
    world.publish("now");
    let event = events.failed("store");
    measured("Redis out of memory: failed is announced after", seconds(began.elapsed()));
    check_failed(&event);
    assert!(event["error"].as_str().unwrap().contains("OOM"), "{event}");
    assert_eq!(world.token(), before);
    let _: String = world.redis.ask("CONFIG SET maxmemory 0");
    let began = now();
    events.until("the retry", |event| event["cause"] == "refreshed");
    measured("memory again: a new token by itself within", seconds(began.elapsed()));
    assert_ne!(world.token(), before);
    sidecar.stop().expect(0);
}

#[test]
fn a_key_that_holds_something_else_at_the_start_is_waited_for() {
    let world = World::start();
    let _: i64 = world.ask(&["LPUSH", keys::TOKEN, "x"]);
    let events = world.events();
    let sidecar = world.begin(&["run"], &[]);
    sidecar.logs("WRONGTYPE");
    let _: i64 = world.ask(&["DEL", keys::TOKEN]);
    events.until("the answer of the start", |event| event["cause"] == "refreshed" && event["trigger"] == "startup");
    sidecar.stop().expect(0);
}

#[test]
fn a_key_that_holds_something_else_is_a_failure_to_store_and_answers_go_on() {
    for key in [keys::TOKEN, keys::META, keys::HISTORY] {
        let world = World::start();
        let (sidecar, events) = world.ready_sidecar(&[
            ("SIDECAR_DEBOUNCE", "0s"),
            ("SIDECAR_BACKOFF_INITIAL", "1s"),
            ("SIDECAR_BACKOFF_MAX", "1s"),
        ]);
        let _: i64 = world.ask(&["DEL", key]);
        let _: i64 = world.ask(&["LPUSH", key, "x"]);
        for _ in 0..2 {
            world.publish("now");
            let event = events.failed("store");
            check_failed(&event);
            assert!(event["error"].as_str().unwrap().contains("WRONGTYPE"), "{event}");
        }
        let _: i64 = world.ask(&["DEL", key]);
        events.until("the retry", |event| event["cause"] == "refreshed");
        assert_eq!(sidecar.get("/healthz").status, 200);
        sidecar.stop().expect(0);
    }
}

#[test]
fn while_backing_off_the_answer_is_the_same_and_there_is_no_solve() {
    let world = World::start();
    let (sidecar, events) = begin(&world);
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    world.publish("now");
    let failed = events.failed("solve");
    world.heal();
    let current = world.meta("fingerprint").unwrap();
    for payload in ["now".to_owned(), String::new(), format!("{{\"fingerprint\": \"{current}\"}}")] {
        world.publish(&payload);
        let event = events.failed("solve");
        for field in ["retry_at", "error", "attempt", "stage", "trigger"] {
            assert_eq!(event[field], failed[field], "{field}");
        }
    }
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn failures_in_a_row_are_retried_by_themselves_at_a_growing_pace() {
    let world = World::start();
    world.faults(Faults { solve_reset: true, remaining: Some(3), ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&[("SIDECAR_BACKOFF_INITIAL", "200ms"), ("SIDECAR_BACKOFF_MAX", "10s")]);
    for attempt in 1..=3 {
        let event = events.failed("solve");
        assert_eq!((&event["attempt"], &event["trigger"]), (&attempt.into(), &"startup".into()));
    }
    let event = events.refreshed();
    assert_eq!(event["trigger"], "startup", "a retry keeps the trigger it retries");
    let arrivals = world.simulator.statistics().solves.arrivals_ns;
    let gaps: Vec<i64> = arrivals.iter().zip(arrivals.iter().skip(1)).map(|(a, b)| (b - a) / 1_000_000).collect();
    assert!(gaps[0] >= 160 && gaps[1] >= 320 && gaps[2] >= 640, "{gaps:?}");
    assert_eq!(world.meta("failures").as_deref(), Some("0"));
    sidecar.stop().expect(0);
}

#[test]
fn a_block_is_retried_at_the_longest_pace() {
    let world = World::start();
    world.faults(Faults { solve_error: Some(RecordedError::Blocked.into()), ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&[("SIDECAR_BACKOFF_INITIAL", "1s"), ("SIDECAR_BACKOFF_MAX", "10m")]);
    let event = events.failed("solve");
    let retry_at: jiff::Timestamp = event["retry_at"].as_str().unwrap().parse().unwrap();
    let now: (i64, i64) = world.ask(&["TIME"]);
    let wait = retry_at.as_second() - now.0;
    assert!((470..=601).contains(&wait), "{wait}");
    events.silent_for(Duration::from_millis(100));
    sidecar.stop().expect(0);
}
