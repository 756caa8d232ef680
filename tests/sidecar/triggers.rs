//! What a message leads to: the contract's table, row by row.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::Faults;

use crate::process::patience::now;
use crate::process::{Events, World, keys};
use crate::support::contract;

const NO_DEBOUNCE: (&str, &str) = ("SIDECAR_DEBOUNCE", "0s");

/// `SET` fields of an object.
fn fields(event: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn instant(value: &Value) -> jiff::Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("no instant: {value}"));
    assert!(text.ends_with('Z') && !text.contains('.'), "whole seconds in UTC: {text}");
    text.parse().unwrap()
}

/// Defect 8 of the system before: token and cookies change in one step.
#[test]
fn a_message_leads_to_updated_on_both_channels_and_the_keys_hold_the_same() {
    let world = World::start();
    let events = Events::on(&world.redis, &[keys::UPDATED, keys::ALL_UPDATED]);
    let sidecar = world.sidecar(&[NO_DEBOUNCE, ("SIDECAR_TOKEN_TTL", "24h")]);
    let startup = events.received();
    assert_eq!(events.received().message, startup.message);
    assert_eq!(startup.message["trigger"], "startup");

    assert_eq!(world.publish("now"), 1);
    let (first, second) = (events.received(), events.received());
    let mut channels = [first.channel.as_str(), second.channel.as_str()];
    channels.sort_unstable();
    assert_eq!(channels, [keys::UPDATED, keys::ALL_UPDATED]);
    assert_eq!(first.message, second.message);

    let event = first.message;
    let contract = [
        "cause",
        "event",
        "expires_at",
        "fingerprint",
        "key",
        "refresh_at",
        "refreshed_at",
        "site",
        "source",
        "trigger",
        "ttl",
        "version",
    ];
    assert_eq!(fields(&event), contract);
    let token = world.token().unwrap();
    assert_eq!(event["event"], "token:updated");
    assert_eq!(event["site"], "chitai_gorod");
    assert_eq!(event["cause"], "refreshed");
    assert_eq!(event["fingerprint"], simulator::fingerprint(&token));
    assert_eq!(event["key"], keys::TOKEN);
    assert_eq!(event["ttl"], 86400);
    assert_eq!(event["trigger"], "invalid");
    assert_eq!(event["source"], "flaresolverr");
    assert!(event["version"].as_u64() > startup.message["version"].as_u64());
    let refreshed_at = instant(&event["refreshed_at"]);
    let life = instant(&event["expires_at"]).duration_since(refreshed_at).as_secs();
    assert!((167_998..=168_000).contains(&life), "{life}");
    assert!(instant(&event["refresh_at"]) > refreshed_at);
    assert!(!event.to_string().contains(&token));

    // The keys.
    assert!(!token.contains("Bearer") && !token.contains('%'), "the bare token");
    for key in [keys::TOKEN, keys::COOKIES] {
        let ttl: i64 = world.ask(&["TTL", key]);
        assert!((86_395..=86_400).contains(&ttl), "{key}: {ttl}");
    }
    let cookies = serde_json::from_str(&world.ask::<String>(&["GET", keys::COOKIES])).unwrap();
    assert_eq!(contract::conforms("cookies.schema.json", &cookies), Ok(()));
    let cookies: BTreeMap<String, String> = serde_json::from_value(cookies).unwrap();
    assert_eq!(cookies["access-token"], format!("Bearer%20{token}"), "as the browser had it");
    assert!(cookies.contains_key("__ddg1_"), "{cookies:?}");
    let meta: BTreeMap<String, String> = world.ask(&["HGETALL", keys::META]);
    assert_eq!(meta["version"], event["version"].to_string());
    assert_eq!(meta["fingerprint"], event["fingerprint"].as_str().unwrap());
    assert_eq!((meta["trigger"].as_str(), meta["source"].as_str()), ("invalid", "flaresolverr"));
    assert_eq!(meta["failures"], "0");
    assert!(meta["user_agent"].contains("Chrome/"), "{meta:?}");
    for field in ["refreshed_at", "expires_at"] {
        assert_eq!(meta[field], event[field].as_str().unwrap());
    }
    assert_eq!(world.ask::<i64>(&["TTL", keys::META]), -1, "meta does not end");
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::LOCK]), 0);
    let entry = world.history().pop().unwrap();
    assert_eq!((entry["outcome"].as_str(), entry["trigger"].as_str()), ("refreshed", "invalid"));
    assert_eq!(entry["version"], event["version"].to_string());
    for field in ["solve_ms", "extract_ms", "verify_ms"] {
        assert!(entry[field].parse::<u64>().is_ok(), "{entry:?}");
    }
    assert!(entry["source"] == "flaresolverr" && !entry["instance"].is_empty());
    sidecar.stop().expect(0);
}

#[test]
fn a_short_lived_token_sets_the_ttl_of_its_keys() {
    let world = World::start();
    world.faults(Faults { token_life: Duration::from_secs(600), ..Faults::default() });
    let (sidecar, _events) = world.ready_sidecar(&[]);
    for key in [keys::TOKEN, keys::COOKIES] {
        let ttl: i64 = world.ask(&["TTL", key]);
        assert!((535..=540).contains(&ttl), "600 s less a margin of 60 s: {ttl}");
    }
    sidecar.stop().expect(0);
}

/// Defects 1 and 2 of the system before: every client that met a 401 started a browser solve of its own, and each
/// reported only its first expiry.
#[test]
fn a_hundred_messages_are_one_solve_and_the_next_expiry_is_reported_again() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    for round in 2..=3 {
        world.faults(Faults { solve_hang: true, ..Faults::default() });
        let current = world.meta("fingerprint").unwrap();
        let report = json!({"fingerprint": current, "source": "parser"}).to_string();
        for _ in 0..100 {
            world.publish(&report);
        }
        world.solve_started(round);
        for _ in 0..100 {
            world.publish(&report);
        }
        world.heal();
        events.refreshed();
        events.silent_for(Duration::from_millis(400));
        assert_eq!(world.solves(), round);
    }
    sidecar.stop().expect(0);
}

#[test]
fn a_report_of_another_token_is_stale_and_answered_at_once() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    let current = world.meta("version").unwrap();
    for fingerprint in ["0000000000000000", "FFFFFFFFFFFFFFFF"] {
        world.publish(json!({"fingerprint": fingerprint}).to_string());
        let event = events.repeated();
        assert_eq!(event["version"].to_string(), current);
        assert_eq!((&event["trigger"], &event["source"]), (&"startup".into(), &"flaresolverr".into()));
        assert_eq!(event["fingerprint"], world.meta("fingerprint").unwrap());
        assert!(event["ttl"].as_u64().unwrap() <= 86400);
    }
    assert_eq!(world.solves(), 1);
    sidecar.stop().expect(0);
}

#[test]
fn a_report_of_the_current_token_is_solved_in_either_case_of_letters() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    let upper = world.meta("fingerprint").unwrap().to_uppercase();
    world.publish(json!({"fingerprint": upper, "unknown": [1, {"a": null}]}).to_string());
    events.refreshed();
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn a_fingerprint_that_is_none_counts_as_absent() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    let garbage = [
        json!({"fingerprint": "xyz"}),
        json!({"fingerprint": ""}),
        json!({"fingerprint": "0123456789abcdef0"}),
        json!({"fingerprint": 7}),
        json!({"fingerprint": null}),
        json!({"fingerprint": "0123456789abcdeg"}),
        json!("0123456789abcdef"),
        json!([1, 2]),
    ];
    for (n, payload) in garbage.iter().enumerate() {
        world.publish(payload.to_string());
        events.refreshed();
        assert_eq!(world.solves(), n as u64 + 2, "{payload}");
    }
    sidecar.stop().expect(0);
}

#[test]
fn inside_the_debounce_window_a_bare_message_is_answered_and_force_solves() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "1h")]);
    for payload in ["now", "", "{}", "{\"force\": false}", "{\"force\": \"yes\"}"] {
        world.publish(payload);
        events.repeated();
    }
    assert_eq!(world.solves(), 1);
    world.publish("{\"force\": true}");
    assert_eq!(events.refreshed()["trigger"], "invalid");
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn a_report_of_a_token_stored_just_now_is_deferred_to_the_end_of_the_window_and_not_lost() {
    let world = World::start();
    let events = world.events();
    let sidecar = world.sidecar(&[("SIDECAR_DEBOUNCE", "2s")]);
    let stored = events.refreshed();
    let began = now();
    let report = json!({"fingerprint": stored["fingerprint"]}).to_string();
    world.publish(&report);
    world.publish(&report);
    // A deferred refresh is due already: later messages wait for its outcome.
    world.publish("now");
    let event = events.refreshed();
    assert!(began.elapsed() >= Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(event["trigger"], "invalid");
    events.silent_for(Duration::from_millis(400));
    assert_eq!(world.solves(), 2);
    // A forced one is not deferred.
    let report = json!({"fingerprint": event["fingerprint"]}).to_string();
    let began = now();
    world.publish(&report);
    world.publish("{\"force\": true}");
    events.refreshed();
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    sidecar.stop().expect(0);
}

#[test]
fn a_trigger_while_a_solve_is_under_way_joins_it() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    world.publish("now");
    world.solve_started(2);
    for payload in ["now", "{\"force\": true}", "{\"fingerprint\": \"0000000000000000\"}"] {
        world.publish(payload);
    }
    world.heal();
    events.refreshed();
    events.silent_for(Duration::from_millis(400));
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn the_same_token_again_is_no_candidate_after_a_report_of_it_and_one_after_a_bare_message() {
    let world = World::start();
    let (sidecar, events) =
        world.ready_sidecar(&[NO_DEBOUNCE, ("SIDECAR_BACKOFF_INITIAL", "1ms"), ("SIDECAR_BACKOFF_MAX", "1ms")]);
    world.faults(Faults { cookie: simulator::CookieKind::Repeated, remaining: Some(1), ..Faults::default() });
    world.publish("now");
    let again = events.refreshed();
    world.faults(Faults { cookie: simulator::CookieKind::Repeated, remaining: Some(1), ..Faults::default() });
    world.publish(json!({"fingerprint": again["fingerprint"]}).to_string());
    events.failed("extract");
    let event = events.refreshed();
    assert_ne!(event["fingerprint"], again["fingerprint"]);
    assert_eq!(event["trigger"], "invalid", "a retry keeps the trigger it retries");
    sidecar.stop().expect(0);
}

#[test]
fn reason_and_source_of_a_message_are_kept_short_and_plain() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE]);
    let message = json!({"reason": format!("401\u{1b}[31m\n{}", "r".repeat(500)), "source": "par\u{202e}ser\u{0}-7"});
    world.publish(message.to_string());
    events.refreshed();
    let entry = world.history().pop().unwrap();
    assert_eq!(entry["reason"].chars().count(), 200);
    assert!(entry["reason"].starts_with("401[31mr"), "{}", entry["reason"]);
    let written = sidecar.written();
    assert!(!written.contains('\u{1b}') && written.contains("parser-7"), "{written}");
    sidecar.stop().expect(0);
}
