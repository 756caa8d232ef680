//! The simulator responds as a FlareSolverr 3.5.0 did when it was recorded.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use simulator::{Faults, RecordedError, Simulator};

use crate::http::{ask, solve, start, with};

fn fixture(name: &str) -> Value {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/flaresolverr/3.5.0");
    serde_json::from_str(&fs::read_to_string(folder.join(format!("{name}.json"))).unwrap()).unwrap()
}

/// Sends the recorded request and compares status and response, but for times, tokens and pages.
async fn replay(simulator: &Simulator, name: &str) {
    let case = fixture(name);
    let request = &case["request"];
    let line = format!("{} {}", request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
    let content_type = request["content_type"].as_str().map(|value| ("content-type", value));
    let body = match (&request["raw_body"], &request["body"]) {
        (Value::String(raw), _) => raw.clone(),
        (_, Value::Null) => String::new(),
        (_, body) => body.to_string(),
    };
    let body = ours(&body);
    let reply = ask(simulator.address(), &line, content_type.as_slice(), &body).await.unwrap();
    assert_eq!(reply.status, case["http_status"].as_u64().unwrap() as u16, "{name}: {}", reply.body);
    assert_eq!(comparable(reply.json()), comparable(case["response"].clone()), "{name}");
    assert_eq!(reply.headers("content-type"), ["application/json"], "{name}");
    assert_eq!(reply.headers("server"), ["waitress"], "{name}");
    assert_eq!(reply.headers("content-length"), [reply.body.len().to_string()], "{name}");
}

/// The simulator's page that behaves like the recorded one.
fn ours(body: &str) -> String {
    let pages = [("bare", "shop"), ("none", "shop/plain"), ("plain", "shop"), ("denied", "shop/denied")];
    let mut body = body.replace("/late\"", "/shop/late\"").replace("/challenge\"", "/shop/challenge?ms=1\"");
    for (theirs, page) in pages.into_iter().chain([("post", "shop")]) {
        body = body.replace(&format!(":8099/{theirs}\""), &format!(":8099/{page}\""));
    }
    body
}

/// A response without what differs from run to run.
fn comparable(mut answer: Value) -> Value {
    for time in ["startTimestamp", "endTimestamp"] {
        if let Some(value) = answer.get_mut(time) {
            assert!(value.is_i64(), "{time}: {value}");
            value.take();
        }
    }
    if let Some(solution) = answer.get_mut("solution").and_then(Value::as_object_mut) {
        for varying in ["url", "response"] {
            if let Some(value) = solution.get_mut(varying) {
                assert!(value.take().is_string());
            }
        }
        let cookies: Vec<Value> = serde_json::from_value(solution["cookies"].take()).unwrap();
        let token = cookies.into_iter().find(|cookie| cookie["name"] == "access-token");
        solution["cookies"] = token.map(shape).unwrap_or_default();
    }
    answer
}

/// A cookie without its value and its expiry.
fn shape(mut cookie: Value) -> Value {
    assert!(cookie["value"].take().as_str().unwrap().starts_with("Bearer%20ey"));
    cookie.as_object_mut().unwrap().remove("expiry");
    cookie
}

#[tokio::test]
async fn what_is_no_command_is_answered_as_recorded() {
    let simulator = start();
    for name in [
        "body-array",
        "body-array-nonempty",
        "body-charset",
        "body-empty",
        "body-form-type",
        "body-invalid-json",
        "body-string",
        "body-text-plain",
        "cmd-case",
        "cmd-missing",
        "cmd-null",
        "cmd-number",
        "cmd-ping",
        "cmd-unknown",
        "http-get-health",
        "http-get-index",
        "http-get-v1",
        "http-unknown-path",
        "http-v1-trailing-slash",
        "maxTimeout-float-string",
        "maxTimeout-list",
        "maxTimeout-word-string",
        "param-hidden",
        "param-unknown",
        "post-no-data",
        "session-ttl-string",
        "url-missing",
        "url-null",
        "url-postdata-in-get",
    ] {
        replay(&simulator, name).await;
    }
    assert_eq!(simulator.statistics().solves.started, 0);
}

#[tokio::test]
async fn solves_are_answered_as_recorded() {
    let simulator = start();
    for name in [
        "get-bare",
        "get-bare-returnOnlyCookies",
        "get-bare-returnOnlyCookies-false",
        "get-challenge",
        "get-challenge-returnOnlyCookies",
        "get-denied",
        "get-late-1s",
        "get-late-1s-waitInSeconds-3-onlyCookies",
        "get-late-waitInSeconds-string",
        "get-no-dns",
        "get-none",
        "maxTimeout-0",
        "maxTimeout-1",
        "maxTimeout-500",
        "maxTimeout-60",
        "maxTimeout-bool",
        "maxTimeout-float",
        "maxTimeout-missing",
        "maxTimeout-negative",
        "maxTimeout-null",
        "maxTimeout-numeric-string",
        "post-ok",
        "proxy-string",
        "session-get-implicit",
        "session-get-proxy-ignored",
        "url-about-blank",
    ] {
        replay(&simulator, name).await;
    }
}

#[tokio::test]
async fn sessions_are_managed_as_recorded() {
    let simulator = start();
    for name in [
        "sessions-list-empty",
        "sessions-create",
        "sessions-create-again",
        "sessions-create-maxTimeout",
        "sessions-create-bad-proxy",
        "sessions-create-number",
        "sessions-list",
        "sessions-destroy",
        "sessions-destroy-again",
        "sessions-destroy-unknown",
        "sessions-destroy-unnamed",
    ] {
        replay(&simulator, name).await;
    }
    assert_eq!(simulator.statistics().solves.sessions, 3);
}

#[tokio::test]
async fn named_failures_are_those_of_the_recordings() {
    for (error, name) in [
        (RecordedError::Blocked, "get-denied"),
        (RecordedError::Session, "fault-session-browser-dead"),
        (RecordedError::Browser, "fault-browser-does-not-start"),
        (RecordedError::Crash, "fault-browser-killed-mid-solve"),
        (RecordedError::Dns, "get-no-dns"),
        (RecordedError::Refused, "get-refused"),
        (RecordedError::Proxy, "proxy-refused"),
    ] {
        let simulator = with(Faults { solve_error: Some(error.into()), ..Faults::default() });
        let reply = solve(&simulator, "/shop").await.unwrap();
        assert_eq!(reply.status, 500);
        assert_eq!(comparable(reply.json()), comparable(fixture(name)["response"].clone()), "{name}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_without_being_read() {
    let simulator = start();
    let body = format!(r#"{{"cmd": "{}"}}"#, "x".repeat(200_000));
    let reply = ask(simulator.address(), "POST /v1", &[crate::http::JSON], &body).await.unwrap();
    assert_eq!((reply.status, &*reply.body), (500, r#"{"error":"(413, 'Request entity too large')"}"#));
}
