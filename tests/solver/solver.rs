//! One solver and its callers: how it is reached, how many solves it runs at once, what it receives.

use std::time::Duration;

use serde_json::json;
use token_sidecar::config::SolverKind;
use token_sidecar::domain::round::Turn;
use token_sidecar::domain::verdict::Pace;
use token_sidecar::sources::{Flaresolverr, Health, Solvers};
use tokio::time::timeout;

use crate::stub::{AGENT, Act, PAGE, Stub, answer, config, failure, page};

const SHORT: Duration = Duration::from_millis(100);

fn is_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn a_plain_solve_is_one_request_for_the_cookies_alone() {
    let stub = Stub::new(|_, _| page("3.5.0", &[("access-token", "Bearer%20abc")]));
    let source = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap();
    let solution = is_send(source.solve(Turn::default())).await.unwrap();
    assert_eq!((solution.url.as_str(), solution.user_agent.as_deref()), (PAGE, Some(AGENT)));
    assert_eq!(solution.cookies[0].value, "Bearer%20abc");
    let request = &stub.seen()[0];
    assert_eq!(
        (request.line.as_str(), request.header("content-type")),
        ("POST /v1 HTTP/1.1", Some("application/json"))
    );
    let sent = json!({"cmd": "request.get", "url": PAGE, "maxTimeout": 60_000, "returnOnlyCookies": true});
    assert_eq!(request.body, sent);
}

#[tokio::test]
async fn media_are_left_out_where_that_is_wanted() {
    let stub = Stub::new(|_, _| page("3.5.0", &[]));
    let mut config = config(&stub.url);
    config.disable_media = true;
    Flaresolverr::new(&config, &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
    assert_eq!(stub.seen()[0].body["disableMedia"], true);
}

#[tokio::test]
async fn a_ban_is_distinguished_from_other_failures() {
    let stub = Stub::new(|_, count| match count {
        0 => failure("3.5.0", "Error solving the challenge. Cloudflare has blocked this request. Probably your IP …"),
        _ => failure("3.5.0", "Error solving the challenge. Timeout after 60.0 seconds."),
    });
    let source = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap();
    assert_eq!(source.solve(Turn::default()).await.unwrap_err().pace, Pace::LongestBackoff);
    let timeout = source.solve(Turn::default()).await.unwrap_err();
    assert_eq!((timeout.message.as_str(), timeout.pace), ("FlareSolverr: timeout after 60 s", Pace::Ordinary));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let long = "x".repeat(64);
    for (url, reason) in [
        (
            format!("http://user:hunter2@{closed}/v1?key=hidden"),
            format!("{closed}: connection refused; is it running?"),
        ),
        // A label longer than 63 characters is sent to no name server.
        (format!("http://user:hunter2@{long}:8191/v1"), format!("{long}:8191: the name does not resolve")),
    ] {
        let source = Flaresolverr::new(&config(&url), &Solvers::default()).unwrap();
        // The slot is free again at once: a second one need not wait.
        for _ in 0..2 {
            let message = source.solve(Turn::default()).await.unwrap_err().message;
            assert!(message.starts_with(&format!("FlareSolverr: not reachable at {reason}")), "{message}");
            assert!(!message.contains("hunter2") && !message.contains("hidden"), "{message}");
        }
        let health = source.health(0).await.unwrap_err().to_string();
        assert!(health.contains("not reachable") && !health.contains("hunter2"), "{health}");
    }
}

/// `localhost` is `::1` first where there is IPv6, and the solver listens on 127.0.0.1 alone.
#[tokio::test]
async fn all_addresses_of_a_name_are_tried() {
    let stub = Stub::new(|_, _| page("3.5.0", &[]));
    let url = stub.url.replace("127.0.0.1", "localhost");
    Flaresolverr::new(&config(&url), &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
}

#[tokio::test]
async fn echoed_passwords_are_not_shown_and_nothing_is_cut_before_they_are_gone() {
    // The second half of a password is beyond the bound of what is shown.
    let stub = Stub::new(|request, _| {
        let (proxy, filling) = (&request.body["proxy"], "x ".repeat(120));
        failure("3.5.0", &format!("bad proxy {proxy} for hunter3, {filling}{}", "hunter3 ".repeat(20)))
    });
    let mut config = config(&stub.url.replace("://", "://user:hunter3@"));
    config.proxy = Some(token_sidecar::config::source::ProxyConfig {
        url: "http://me:hunter1@proxy:1".into(),
        username: Some("u".into()),
        password: Some("hunter2".into()),
    });
    let message =
        Flaresolverr::new(&config, &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap_err().message;
    assert!(message.contains("bad proxy") && !message.contains("hunter"), "{message}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_errors_and_no_panics() {
    for url in ["", "flaresolverr:8191", "ftp://host/v1"] {
        let error = Flaresolverr::new(&config(url), &Solvers::default()).err().unwrap();
        assert_eq!(error.to_string(), "the URL of FlareSolverr is no http:// or https:// address");
    }
}

#[tokio::test]
async fn a_solve_whose_client_left_keeps_its_slot_until_it_is_over() {
    let mut stub = Stub::new(|_, count| if count == 0 { Act::Silence(vec![]) } else { page("3.5.0", &[]) });
    let solvers = Solvers::default();
    let mut config = config(&stub.url);
    config.max_timeout = 4 * SHORT;
    // Two sites that share a server share its slots.
    let [one, other] = [(); 2].map(|()| Flaresolverr::new(&config, &solvers).unwrap());
    tokio::select! {
        _ = one.solve(Turn::default()) => panic!("no server answers"),
        () = stub.arrival() => {}
    }
    assert!(timeout(SHORT, other.solve(Turn::default())).await.is_err());
    assert_eq!(stub.seen().len(), 1, "the second one waits");
    other.solve(Turn::default()).await.unwrap();
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn a_server_that_dies_frees_its_slot_at_once() {
    let stub = Stub::new(|_, count| if count == 0 { Act::Close } else { page("3.5.0", &[]) });
    let source = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap();
    assert!(source.solve(Turn::default()).await.is_err());
    source.solve(Turn::default()).await.unwrap();
    let source = Flaresolverr::new(&config(&Stub::resetting()), &Solvers::default()).unwrap();
    for _ in 0..2 {
        let message = source.solve(Turn::default()).await.unwrap_err().message;
        assert!(message.ends_with(": connection reset; has it crashed or restarted?"), "{message}");
    }
}

#[tokio::test]
async fn as_many_solves_run_at_once_as_are_allowed() {
    for (concurrency, session, at_once) in [(1, None, 1), (3, None, 3), (3, Some("ours"), 1)] {
        let mut stub = Stub::new(|_, _| Act::Silence(vec![]));
        let solvers = Solvers::default();
        let mut config = config(&stub.url);
        config.concurrency = concurrency;
        config.kind = Some(SolverKind::Flaresolverr);
        config.session = session.map(str::to_owned);
        let sources = [(); 4].map(|()| Flaresolverr::new(&config, &solvers).unwrap());
        let all = async {
            let [a, b, c, d] = &sources;
            let _ = tokio::join!(
                a.solve(Turn::default()),
                b.solve(Turn::default()),
                c.solve(Turn::default()),
                d.solve(Turn::default())
            );
        };
        let arrivals = async {
            for _ in 0..at_once {
                stub.arrival().await;
            }
            assert!(timeout(SHORT, stub.arrival()).await.is_err(), "{concurrency} {session:?}");
        };
        tokio::select! {
            () = all => panic!("no server answers"),
            () = arrivals => {}
        }
    }
}

#[tokio::test]
async fn a_solve_that_gets_no_turn_fails_with_the_reason() {
    let mut stub = Stub::new(|_, _| Act::Silence(vec![]));
    let solvers = Solvers::default();
    let mut long = config(&stub.url);
    long.max_timeout = Duration::from_secs(600);
    let one = Flaresolverr::new(&long, &solvers).unwrap();
    let other = Flaresolverr::new(&config(&stub.url), &solvers).unwrap();
    tokio::select! {
        _ = one.solve(Turn::default()) => panic!("no server answers"),
        () = stub.arrival() => tokio::time::pause(),
    }
    let message = other.solve(Turn::default()).await.unwrap_err().message;
    assert!(message.contains("no turn within 2m15s"), "{message}");
}

/// The old design sent `{"cmd":"ping"}`, which is no command: a healthy server answered 500.
#[tokio::test]
async fn defect_11_health_is_read_where_flaresolverr_serves_it() {
    let stub = Stub::new(|request, _| match request.line.as_str() {
        "GET /health HTTP/1.1" => Act::Json(200, json!({"status": "ok"})),
        "GET / HTTP/1.1" => {
            Act::Json(200, json!({"msg": "FlareSolverr is ready!", "version": "3.5.0", "userAgent": AGENT}))
        }
        _ => failure("3.5.0", "Request parameter 'cmd' = 'ping' is invalid."),
    });
    let source = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap();
    let health = is_send(source.health(0)).await.unwrap();
    assert_eq!(
        health,
        Health { kind: Some(SolverKind::Flaresolverr), version: Some("3.5.0".into()), user_agent: Some(AGENT.into()) }
    );
    assert_eq!(stub.commands(), ["GET / HTTP/1.1", "GET /health HTTP/1.1"]);
}

#[tokio::test]
async fn another_server_of_the_same_kind_is_as_healthy_and_one_of_another_kind_is_not() {
    for (health, index, is_healthy) in [
        (Act::Json(200, json!({"msg": "healthy"})), Act::Json(404, json!({})), true),
        (Act::Json(500, json!({"error": "no browser"})), Act::Json(200, json!({})), false),
        (Act::Bytes(answer(200, "text/html", "<html>")), Act::Json(200, json!({})), false),
    ] {
        let acts = std::sync::Mutex::new(vec![health, index]);
        let stub = Stub::new(move |_, _| acts.lock().unwrap().pop().unwrap_or(Act::Close));
        let found = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap().health(0).await;
        assert_eq!(found.is_ok(), is_healthy, "{found:?}");
    }
}
