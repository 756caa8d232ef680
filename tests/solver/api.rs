//! The verdict of the API on a token, over the wire.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use token_sidecar::config::ProbeConfig;
use token_sidecar::domain::verdict::Verdict;
use token_sidecar::refresh::ports::Probe as _;
use token_sidecar::verify::HttpProbe;
use token_sidecar_client::wire::{Cookies, Token};

use crate::stub::{AGENT, Act, Stub, answer, redirect};

fn probe(url: &str) -> HttpProbe {
    let headers = [("platform", "desktop"), ("user-id", "7")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    probe_with(url, headers.into_iter().collect(), Duration::from_secs(5))
}

fn probe_with(url: &str, headers: HeaderMap, timeout: Duration) -> HttpProbe {
    HttpProbe::new(ProbeConfig { url: url.parse().ok(), headers, timeout, proxy: None }).unwrap()
}

async fn asked(url: &str) -> Verdict {
    let cookies = Cookies::from_json(r#"{"access-token":"Bearer%20abc","__ddg1_":"x"}"#);
    probe(url).verify(&Token::parse("abc").unwrap(), &cookies, Some(AGENT)).await
}

/// The edge in front of the API checks address, user agent and cookies together.
#[tokio::test]
async fn defect_5_the_token_is_verified_with_all_that_the_solver_had() {
    let stub = Stub::new(|_, _| Act::Json(200, json!({"data": {"type": "searchProductResult"}})));
    let url = stub.url.replace("/v1", "/search/product?phrase=python&products[page]=1");
    assert_eq!(asked(&url).await, Verdict::Accepted);
    let request = &stub.seen()[0];
    assert_eq!(request.line, "GET /search/product?phrase=python&products[page]=1 HTTP/1.1");
    for (name, value) in [
        ("user-agent", AGENT),
        ("authorization", "Bearer abc"),
        ("cookie", "__ddg1_=x; access-token=Bearer%20abc"),
        ("platform", "desktop"),
        ("user-id", "7"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn defect_6_a_refusal_a_block_and_a_fault_are_three_things() {
    let big = format!("{{\"data\":\"{}\"}}", "x".repeat(1 << 20));
    for (act, word) in [
        (Act::Json(401, json!({"message": "Unauthorized"})), "refused"),
        (Act::Json(403, json!({})), "blocked"),
        (Act::Bytes(answer(403, "text/html", "<html>DDoS-Guard")), "blocked"),
        (Act::Bytes(answer(200, "text/html", "<!doctype html>one moment")), "blocked"),
        (Act::Json(429, json!({})), "unclear"),
        (Act::Json(503, json!({})), "unclear"),
        (
            Act::Bytes(b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec()),
            "unclear",
        ),
        (Act::Bytes(answer(200, "application/json", &big)), "accepted"),
        (Act::Flood(b"HTTP/1.1 200 OK\r\n\r\n{".to_vec(), vec![b' '; 1 << 16]), "accepted"),
        (Act::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec()), "unclear"),
        (Act::Bytes(b"garbage".to_vec()), "unclear"),
        (Act::Close, "unclear"),
    ] {
        let act = std::sync::Mutex::new(Some(act));
        let stub = Stub::new(move |_, _| act.lock().unwrap().take().unwrap_or(Act::Close));
        let verdict = asked(&stub.url).await;
        assert_eq!(verdict.into_str(), word, "{verdict:?}");
    }
}

#[tokio::test]
async fn what_an_api_answers_is_shown_without_what_it_was_sent() {
    let stub = Stub::new(|request, _| {
        let header = |name| request.header(name).unwrap();
        let (bearer, cookie) = (header("authorization"), header("cookie"));
        Act::Json(401, json!({"message": format!("{bearer} for {cookie} of {}: no", header("x-key"))}))
    });
    let mut key = HeaderValue::from_static("key-hunter2");
    key.set_sensitive(true);
    let probe =
        probe_with(&stub.url, HeaderMap::from_iter([(HeaderName::from_static("x-key"), key)]), Duration::from_secs(5));
    let cookies = Cookies::from_json(r#"{"session":"cookie-hunter3"}"#);
    let verdict = probe.verify(&Token::parse("hunter1").unwrap(), &cookies, None).await;
    assert_eq!(verdict, Verdict::Refused("the API answers 401: Bearer … for session=… of …: no".into()));
}

/// A redirect could lead to another host: neither token nor cookie nor header goes there.
#[tokio::test]
async fn a_redirect_is_not_followed_and_no_token_travels() {
    let elsewhere = Stub::new(|_, _| Act::Json(200, json!({})));
    for status in [301, 302, 303, 307, 308] {
        let target = elsewhere.url.clone();
        let stub = Stub::new(move |_, _| redirect(status, &target));
        assert_eq!(asked(&stub.url).await, Verdict::Unclear(format!("the API answers {status}")));
        assert_eq!(stub.seen()[0].header("authorization"), Some("Bearer abc"));
    }
    assert_eq!(elsewhere.commands(), [""; 0]);
}

#[tokio::test]
async fn an_api_that_is_away_or_silent_proves_nothing_about_the_token() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let verdict = asked(&format!("http://{closed}/search?key=hidden")).await;
    assert_eq!(verdict, Verdict::Unclear(format!("not reachable at {closed}: connection refused")));
    let mut stub = Stub::new(|_, _| Act::Silence(b"HTTP/1.1 200 OK\r\n".to_vec()));
    let url = stub.url.clone();
    let arrived = async {
        stub.arrival().await;
        tokio::time::pause();
    };
    let (verdict, ()) = tokio::join!(asked(&url), arrived);
    assert_eq!(verdict, Verdict::Unclear(format!("no answer from {} within 5s", stub.peer())));
}

/// Each piece comes in time, the whole answer never. All answers are read in the same place.
#[tokio::test]
async fn an_answer_that_drips_ends_at_the_deadline_too() {
    for (head, rest) in [
        (&b"HTTP/1.1 200 OK\r\nX:"[..], &b" "[..]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n{", b" "),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    ] {
        let stub = Stub::new(move |_, _| Act::Drip(head.to_vec(), rest));
        let timeout = Duration::from_millis(300);
        let probe = probe_with(&stub.url, HeaderMap::new(), timeout);
        let verdict = probe.verify(&Token::parse("abc").unwrap(), &Cookies::default(), None).await;
        assert_eq!(verdict, Verdict::Unclear(format!("no answer from {} within 300ms", stub.peer())));
    }
}

#[tokio::test]
async fn a_site_without_an_api_has_no_verdict() {
    let probe = HttpProbe::new(ProbeConfig {
        url: None,
        headers: HeaderMap::new(),
        timeout: Duration::from_secs(1),
        proxy: None,
    });
    let verdict = probe.unwrap().verify(&Token::parse("abc").unwrap(), &Cookies::default(), None).await;
    assert_eq!(verdict, Verdict::Unclear("no API is configured".to_owned()));
}
