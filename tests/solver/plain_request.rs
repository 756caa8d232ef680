//! Tokens that a plain request brings.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, USER_AGENT};
use serde_json::json;
use token_sidecar::config::{HttpBody, HttpConfig, SourceConfig, Template, TokenPlace};
use token_sidecar::domain::extract::{CookieRule, RawToken, Solution, candidate};
use token_sidecar::domain::pending::Fingerprints;
use token_sidecar::domain::round::Turn;
use token_sidecar::domain::stored::StoredToken;
use token_sidecar::refresh::ports::{Source as _, SourceError};
use token_sidecar::sources::{AnySource, HttpSource, SharedSources};
use token_sidecar_client::wire::{Cookies, Token};

use crate::stub::{Act, Stub, answer, redirect};

fn rule() -> CookieRule {
    CookieRule {
        name: "access-token".into(),
        fallbacks: vec!["bearer_token".into()],
        prefix: "Bearer ".into(),
        ..CookieRule::default()
    }
}

fn config(url: &str, token: TokenPlace) -> HttpConfig {
    HttpConfig {
        url: url.into(),
        page: url.parse().unwrap(),
        method: Method::POST,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, "application/json".into())]),
        body: json_body("{}"),
        token,
        timeout: Duration::from_secs(5),
        proxy: None,
    }
}

fn json_body(text: &str) -> Option<HttpBody> {
    Some(HttpBody { text: Template::from(text), is_form: false })
}

/// What a browser has stored, with these cookies.
fn stored(cookies: &str) -> StoredToken {
    StoredToken {
        token: Token::parse("old.token").unwrap(),
        cookies: Cookies::from_json(cookies),
        version: 7,
        user_agent: Some("Browser/1".to_owned()),
        ends_at: None,
    }
}

async fn asked(act: Act, place: TokenPlace) -> Result<Solution, SourceError> {
    let act = std::sync::Mutex::new(Some(act));
    let stub = Stub::new(move |_, _| act.lock().unwrap().take().unwrap_or(Act::Close));
    Ok(HttpSource::new(&config(&stub.url, place), &rule().into()).unwrap().fetch(None).await?)
}

fn pointer() -> TokenPlace {
    TokenPlace::Json("/token/accessToken".into())
}

#[tokio::test]
async fn the_token_is_found_where_the_settings_place_it() {
    let stub = Stub::new(|_, _| {
        let body = json!({"token": {"accessToken": "Bearer abc", "expAccessToken": 1}}).to_string();
        let head = "HTTP/1.1 201 Created\r\nSet-Cookie: bearer_token=c; Path=/\r\nX-Token: h\r\nSet-Cookie: b=2\r\n";
        Act::Bytes(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    });
    let shared = SharedSources::default();
    for (place, bare) in [
        (pointer(), Some("Bearer abc")),
        (TokenPlace::Cookie, None),
        (TokenPlace::Header("x-token".parse().unwrap()), Some("h")),
    ] {
        let source = AnySource::new(&SourceConfig::Http(config(&stub.url, place)), &rule().into(), &shared).unwrap();
        let solution = source.solve(Turn::default(), None).await.unwrap().solution;
        assert_eq!((source.name(), solution.bare), ("http", bare.map(|bare| RawToken(bare.into()))));
        let cookies: Vec<_> = solution.cookies.iter().map(|c| format!("{} {}", c.name, c.domain)).collect();
        assert_eq!(cookies, ["bearer_token 127.0.0.1", "b 127.0.0.1"]);
    }
    let request = &stub.seen()[0];
    assert_eq!((request.line.as_str(), &request.body), ("POST /v1 HTTP/1.1", &json!({})));
    assert_eq!(request.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn the_user_agent_is_the_configured_one_or_that_of_the_stored_token_and_is_returned() {
    let stub = Stub::new(|_, _| Act::Json(200, json!("abc")));
    let plain = config(&stub.url, TokenPlace::Json(String::new()));
    let mut named = plain.clone();
    named.headers.insert(USER_AGENT, "Shop/1".into());
    let nameless = StoredToken { user_agent: None, ..stored("{}") };
    for (config, stored, returned) in [
        (&named, Some(&stored("{}")), Some("Shop/1")),
        (&plain, Some(&stored("{}")), Some("Browser/1")),
        (&plain, Some(&nameless), None),
        (&plain, None, None),
    ] {
        let solution = HttpSource::new(config, &rule().into()).unwrap().fetch(stored).await.unwrap();
        assert_eq!(solution.user_agent.as_deref(), returned);
        let sent = stub.seen().pop().unwrap().header("user-agent").unwrap_or_default().to_owned();
        assert_eq!(sent, returned.unwrap_or(concat!("token-sidecar/", env!("CARGO_PKG_VERSION"))));
    }
}

#[tokio::test]
async fn a_key_of_the_url_is_sent_and_not_handed_on() {
    let stub = Stub::new(|_, _| Act::Json(200, json!("abc")));
    let url = format!("{}?key=hidden", stub.url);
    let source = HttpSource::new(&config(&url, TokenPlace::Json(String::new())), &rule().into()).unwrap();
    let solution = source.fetch(None).await.unwrap();
    assert_eq!(solution.url, stub.url);
    assert_eq!(stub.seen()[0].line, "POST /v1?key=hidden HTTP/1.1");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_neither_header_nor_body_travels() {
    let elsewhere = Stub::new(|_, _| Act::Json(200, json!("abc")));
    for status in [301, 302, 303, 307, 308] {
        let target = elsewhere.url.clone();
        let stub = Stub::new(move |_, _| redirect(status, &target));
        let mut config = config(&stub.url, TokenPlace::Json(String::new()));
        config.headers.insert("x-key", "hunter3".into());
        config.body = json_body(r#"{"password":"hunter4"}"#);
        let message = HttpSource::new(&config, &rule().into()).unwrap().fetch(None).await.unwrap_err().to_string();
        assert!(message.contains("a redirect") && !message.contains("hunter"), "{message}");
        assert_eq!(stub.seen()[0].header("x-key"), Some("hunter3"));
    }
    assert_eq!(elsewhere.commands(), [""; 0]);
}

#[tokio::test]
async fn a_cookie_that_comes_with_a_redirect_counts() {
    let act = Act::Bytes(
        b"HTTP/1.1 302 X\r\nLocation: /\r\nSet-Cookie: access-token=abc\r\nContent-Length: 0\r\n\r\n".to_vec(),
    );
    assert_eq!(asked(act, TokenPlace::Cookie).await.unwrap().cookies[0].value, "abc");
}

#[tokio::test]
async fn what_brings_no_token_is_an_error_of_one_line() {
    let page = || Act::Bytes(answer(200, "text/html", "\n<html>one moment"));
    for (act, place, part) in [
        (Act::Json(200, json!({"token": {}})), pointer(), "no text at `/token/accessToken`"),
        (Act::Json(200, json!({"token": {"accessToken": 7}})), pointer(), "no text at `/token/accessToken`"),
        (Act::Bytes(answer(200, "application/json", &"[".repeat(100_000))), pointer(), "no JSON"),
        (page(), pointer(), "no JSON, but a web page"),
        (page(), TokenPlace::Cookie, "sets no cookie `access-token` or `bearer_token`, but a web page"),
        (page(), TokenPlace::Header("x-token".parse().unwrap()), "no header `x-token`"),
        (Act::Json(401, json!({})), pointer(), "HTTP 401"),
        (Act::Bytes(answer(403, "text/html", "<html>")), pointer(), "HTTP 403: blocked, but a web page"),
        (Act::Json(429, json!({})), pointer(), "HTTP 429: too many requests"),
        (Act::Json(502, json!({})), pointer(), "HTTP 502"),
        (Act::Bytes(answer(302, "text/html", "")), pointer(), "a redirect"),
        (Act::Flood(b"HTTP/1.1 200 OK\r\n\r\n\"".to_vec(), vec![b'x'; 1 << 16]), pointer(), "larger than 1 MiB"),
        (Act::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_vec()), pointer(), "broke off"),
        (Act::Close, pointer(), "no answer"),
    ] {
        let message = asked(act, place).await.unwrap_err().message;
        assert!(message.starts_with("http: ") && message.contains("127.0.0.1:"), "{message} names no server");
        assert!(message.contains(part), "{message} has no {part:?}");
    }
}

/// The cookies of the bundle that an answer leads to, as JSON.
fn bundle(solution: &Solution) -> String {
    let (none, day) = (Fingerprints::default(), Duration::from_secs(86_400));
    let found = candidate(solution, &rule(), "", &none, day, Timestamp::from_second(1_795_331_911).unwrap());
    found.unwrap().0.cookies.to_json()
}

#[tokio::test]
async fn the_cookies_of_the_answer_are_merged_into_the_stored_ones_where_those_were_used() {
    let head = "HTTP/1.1 200 OK\r\nX-Token: abc\r\nSet-Cookie: refresh-token=r2; Path=/auth; Max-Age=60\r\n\
                Date: Sun, 22 Nov 2026 07:18:31 GMT\r\nSet-Cookie: gone=; Max-Age=0\r\n\
                Set-Cookie: late=y; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nSet-Cookie: new=n\r\n\
                Set-Cookie: kept=z; Domain=other.test\r\nContent-Length: 0\r\n\r\n";
    let stub = Stub::new(move |_, _| Act::Bytes(head.as_bytes().to_vec()));
    let stored = stored(
        r#"{"access-token":"Bearer%20old.token","bearer_token":"old.token","refresh-token":"r1","gone":"g","late":"x",
            "kept":"k"}"#,
    );
    let mut config = config(&stub.url, TokenPlace::Header("x-token".parse().unwrap()));
    let solution = HttpSource::new(&config, &rule().into()).unwrap().fetch(Some(&stored)).await.unwrap();
    let bundle_of_the_answer = r#"{"access-token":"Bearer%20abc","new":"n","refresh-token":"r2"}"#;
    assert_eq!(bundle(&solution), bundle_of_the_answer, "nothing that is stored was used");
    config.headers.insert(COOKIE, "refresh-token={cookie:refresh-token}".into());
    let source = HttpSource::new(&config, &rule().into()).unwrap();
    let solution = source.fetch(Some(&stored)).await.unwrap();
    assert_eq!(bundle(&solution), r#"{"access-token":"Bearer%20abc","kept":"k","new":"n","refresh-token":"r2"}"#);
    assert_eq!(stub.seen().pop().unwrap().header("cookie"), Some("refresh-token=r1"));
    // Without what its placeholder stands for it sends nothing.
    let sent = stub.seen().len();
    let error = source.fetch(None).await.unwrap_err().to_string();
    assert!(error.contains("{cookie:refresh-token}"), "{error}");
    assert_eq!(stub.seen().len(), sent);
}

/// An old token in the answer is no new one.
#[tokio::test]
async fn a_stored_token_cookie_is_never_taken_for_a_new_one() {
    let stub = Stub::new(|_, _| {
        Act::Bytes(b"HTTP/1.1 200 OK\r\nSet-Cookie: access-token=a%20b\r\nContent-Length: 0\r\n\r\n".to_vec())
    });
    let stored = stored(r#"{"access-token":"Bearer%20old.token","bearer_token":"old.token"}"#);
    let mut config = config(&stub.url, TokenPlace::Cookie);
    config.headers.insert(COOKIE, "{cookies}".into());
    let solution = HttpSource::new(&config, &rule().into()).unwrap().fetch(Some(&stored)).await.unwrap();
    assert_eq!(solution.cookies.len(), 1, "{:?}", solution.cookies);
}

#[tokio::test]
async fn what_was_sent_is_in_no_error_wherever_the_server_echoes_it() {
    let stored = stored(r#"{"refresh-token":"hunter/2"}"#);
    for echoed in ["old.token", "old%2Etoken", "hunter/2", "hunter%2f2"] {
        let cookie = format!("HTTP/1.1 200 OK\r\nSet-Cookie: access-token=a%20b; Path=/{echoed}\r\n");
        let stub = Stub::new(move |request, _| {
            assert!(request.line.contains("hunter%2F2") && request.line.contains("old%2Etoken"));
            match request.header("x-answer") {
                Some("cookie") => Act::Bytes(format!("{cookie}Content-Length: 0\r\n\r\n").into_bytes()),
                _ => Act::Json(400, json!({"message": format!("no {echoed}"), "error": echoed})),
            }
        });
        for act in ["cookie", "error"] {
            let url = format!("{}/{{token}}?refresh={{cookie:refresh-token}}", stub.url);
            let mut config = config(&stub.url, TokenPlace::Cookie);
            config.url = url.as_str().into();
            config.headers.insert("x-answer", act.into());
            let error = match HttpSource::new(&config, &rule().into()).unwrap().fetch(Some(&stored)).await {
                Err(error) => error.to_string(),
                Ok(solution) => {
                    let (none, day) = (Fingerprints::default(), Duration::from_secs(86_400));
                    candidate(&solution, &rule(), "", &none, day, Timestamp::UNIX_EPOCH).unwrap_err().to_string()
                }
            };
            for secret in ["old", "hunter"] {
                assert!(!error.contains(secret), "{error}");
            }
        }
    }
}
