//! Answers of servers that break the protocol.

use std::time::Duration;

use token_sidecar::domain::round::Turn;
use token_sidecar::sources::{Flaresolverr, Solvers};

use crate::stub::{Act, Stub, answer, config, redirect};

fn json(body: &str) -> Act {
    Act::Bytes(answer(200, "application/json", body))
}

fn raw(bytes: &[u8]) -> Act {
    Act::Bytes(bytes.to_vec())
}

async fn reason(act: impl Fn() -> Act + Send + 'static) -> String {
    let stub = Stub::new(move |_, _| act());
    let source = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap();
    let message = source.solve(Turn::default()).await.map(|solution| format!("{solution:?}")).unwrap_err().message;
    assert!(message.starts_with("FlareSolverr: ") && message.chars().count() <= 400, "{message}");
    assert!(!message.contains(char::is_control), "{message}");
    assert_eq!(stub.seen().len().max(1), 1, "a request is never sent twice");
    message
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_of_one_line() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let with = |rest: &[u8]| [HEAD, rest].concat();
    let cases: Vec<(Act, &str)> = vec![
        (json(""), "no JSON"),
        (json("null"), "no JSON"),
        (json("[]"), "no JSON"),
        (json("<html><body>hello"), "should end in /v1"),
        (json("{}"), "without a reason"),
        (json(r#"{"status":"ok"}"#), "no solution"),
        (json(r#"{"status":"ok","solution":{}}"#), "no list of cookies"),
        (json(r#"{"status":"ok","solution":{"cookies":{"a":"b"}}}"#), "no list of cookies"),
        (json(r#"{"status":"ok","solution":[1,2]}"#), "no solution"),
        (json(r#"{"status":["ok"],"solution":{"cookies":[]}}"#), "without a reason"),
        (json(r#"{"status":"error","message":{"a":1}}"#), "without a reason"),
        (json(r#"{"status":"ok","solution":{"cookies":[{"name":"a","val"#), "no JSON"),
        (json(&"[".repeat(1 << 20)), "no JSON"),
        (json(&format!("{{\"solution\":{}", "{\"cookies\":".repeat(100_000))), "no JSON"),
        (raw(&answer(500, "application/json", r#"{"error":"a\u0000b\u001b[31m\nsecond line"}"#)), "a b [31m"),
        (raw(&answer(500, "text/html", "<html>Internal Server Error")), "HTTP 500 and no JSON"),
        (raw(&answer(401, "text/html", "<html>")), "user and password"),
        (raw(&answer(404, "text/html", "<html>")), "it should end in /v1"),
        (raw(&answer(408, "application/json", r#"{"detail":"Timed out"}"#)), "timeout: Timed out"),
        (raw(&answer(422, "application/json", r#"{"detail":[{"msg":"x"}]}"#)), "HTTP 422"),
        (raw(&answer(204, "application/json", "")), "HTTP 204"),
        (raw(&with(b"Content-Length: 1000\r\n\r\n{\"status\"")), "broke off"),
        (raw(&with(b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"sta")), "broke off"),
        (raw(&with(b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")), "broke off"),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), ""),
        (raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), "no answer"),
        (raw(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"), "HTTP 999"),
        (raw(b"\x00\xff\x16\x03\x01binary"), "no answer"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "no answer"),
        (raw(b""), "no answer"),
        (Act::Close, "no answer"),
    ];
    for (act, part) in cases {
        let act = std::sync::Mutex::new(Some(act));
        let message = reason(move || act.lock().unwrap().take().unwrap_or(Act::Close)).await;
        assert!(message.contains(part), "{message} has no {part:?}");
    }
}

#[tokio::test]
async fn hints_before_the_answer_do_no_harm() {
    let stub = Stub::new(|_, _| {
        let hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec();
        let body = r#"{"status":"ok","solution":{"cookies":[]}}"#;
        Act::Bytes([hints, answer(200, "text/plain", body)].concat())
    });
    let source = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap();
    assert_eq!(source.solve(Turn::default()).await.unwrap().cookies, []);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_password_travels() {
    let elsewhere = Stub::new(|_, _| Act::Close);
    let target = elsewhere.url.clone();
    for status in [301, 302, 307, 308] {
        let target = target.clone();
        let stub = Stub::new(move |_, _| redirect(status, &target));
        let url = stub.url.replace("://", "://user:hunter2@");
        let source = Flaresolverr::new(&config(&url), &Solvers::default()).unwrap();
        let message = source.solve(Turn::default()).await.unwrap_err().message;
        assert!(message.contains("redirect") && !message.contains("hunter2"), "{message}");
        assert_eq!(stub.seen()[0].header("authorization"), Some("Basic dXNlcjpodW50ZXIy"));
    }
    assert_eq!(elsewhere.commands(), [""; 0]);
}

#[tokio::test]
async fn an_endless_answer_is_left_at_its_bound() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"solution\":{\"response\":\"".to_vec();
    let message = reason(move || Act::Flood(head.clone(), vec![b'x'; 1 << 16])).await;
    assert!(message.contains("larger than 16 MiB"), "{message}");
}

#[tokio::test]
async fn an_endless_head_is_left_too() {
    let message = reason(|| Act::Flood(b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-More: and more\r\n".repeat(100))).await;
    assert!(message.contains("no answer"), "{message}");
}

/// With the clock paused as soon as the request is in, the deadline comes at once.
#[tokio::test]
async fn silence_ends_at_the_deadline() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    for begun in [&b""[..], b"HTTP/1.1 200", HEAD, &[HEAD, b"{\"status\":"].concat()] {
        let begun = begun.to_vec();
        let mut stub = Stub::new(move |_, _| Act::Silence(begun.clone()));
        let mut config = config(&stub.url);
        config.max_timeout = Duration::from_secs(5);
        let source = Flaresolverr::new(&config, &Solvers::default()).unwrap();
        let arrived = async {
            stub.arrival().await;
            tokio::time::pause();
        };
        let (outcome, ()) = tokio::join!(source.solve(Turn::default()), arrived);
        tokio::time::resume();
        assert!(outcome.unwrap_err().message.ends_with("within 1m20s; is it overloaded?"));
    }
}
