//! A solver, a page and an API behind TLS.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;
use token_sidecar::config::{HttpConfig, ProbeConfig, TokenPlace};
use token_sidecar::domain::extract::CookieRule;
use token_sidecar::domain::round::Turn;
use token_sidecar::domain::verdict::Verdict;
use token_sidecar::refresh::ports::Probe as _;
use token_sidecar::sources::{Flaresolverr, HttpSource, Solvers};
use token_sidecar::verify::HttpProbe;
use token_sidecar_client::wire::{Cookies, Token};

use crate::child::is_child;
use crate::stub::{Act, Stub, answer, config, page};
use crate::support::papers::Papers;
use crate::support::tls_front::TlsFront;

fn http_source(url: &str, token: TokenPlace) -> HttpSource {
    let config = HttpConfig {
        url: url.into(),
        page: url.parse().unwrap(),
        method: Method::GET,
        headers: HeaderMap::default(),
        body: None,
        token,
        timeout: Duration::from_secs(5),
        proxy: None,
    };
    let rule = CookieRule {
        name: "access-token".into(),
        fallbacks: vec![],
        prefix: "Bearer ".into(),
        ..CookieRule::default()
    };
    HttpSource::new(&config, &rule.into()).unwrap()
}

async fn verified(url: &str) -> Verdict {
    verified_within(url, Duration::from_secs(5)).await
}

async fn verified_within(url: &str, timeout: Duration) -> Verdict {
    let probe =
        HttpProbe::new(ProbeConfig { url: url.parse().ok(), headers: HeaderMap::new(), timeout, proxy: None }).unwrap();
    probe.verify(&Token::parse("abc").unwrap(), &Cookies::default(), None).await
}

/// Answers as a solver, a page and an API.
fn servers() -> Stub {
    Stub::new(|request, _| match request.line.as_str() {
        "POST /v1 HTTP/1.1" => page("3.5.0", &[("access-token", "Bearer%20abc")]),
        "GET /page HTTP/1.1" => {
            Act::Bytes(b"HTTP/1.1 200 OK\r\nSet-Cookie: access-token=abc\r\nContent-Length: 0\r\n\r\n".to_vec())
        }
        "GET /token HTTP/1.1" => Act::Json(200, json!({"token": "abc"})),
        _ => Act::Json(200, json!({})),
    })
}

/// Issues an authority, and makes it the only one that this process trusts.
fn trusted() -> Papers {
    let papers = Papers::issue();
    std::fs::copy(papers.file("ca.crt"), std::env::var_os("SSL_CERT_FILE").unwrap()).unwrap();
    papers
}

fn is_trusting_child(test: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    is_child(&format!("tls::{test}"), &[("SSL_CERT_FILE", folder.path().join("authority").to_str().unwrap())])
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_by_way_of_ssl_cert_file() {
    if !is_trusting_child("an_authority_of_ones_own_is_trusted_by_way_of_ssl_cert_file") {
        return;
    }
    let papers = trusted();
    let servers = servers();
    let front = TlsFront::before(servers.port(), &papers, "it");
    let url = |path: &str| format!("https://127.0.0.1:{}{path}", front.port());
    let solver = Flaresolverr::new(&config(&url("/v1")), &Solvers::default()).unwrap();
    assert_eq!(solver.solve(Turn::default()).await.unwrap().cookies[0].value, "Bearer%20abc");
    solver.health(0).await.unwrap();
    let by_page = http_source(&url("/page"), TokenPlace::Cookie).fetch(None).await.unwrap();
    assert_eq!(by_page.cookies[0].value, "abc");
    let by_api = http_source(&url("/token"), TokenPlace::Json("/token".into())).fetch(None).await.unwrap();
    assert_eq!(by_api.bare.unwrap().0, "abc");
    assert_eq!(verified(&url("/search")).await, Verdict::Accepted);
}

#[tokio::test]
async fn tls_that_fails_is_explained_with_host_cause_and_cure() {
    if !is_trusting_child("tls_that_fails_is_explained_with_host_cause_and_cure") {
        return;
    }
    let (papers, others, servers) = (trusted(), Papers::issue(), servers());
    papers.sign("other", "DNS:other.test,IP:127.0.0.2", 2);
    papers.sign("past", "IP:127.0.0.1", -1);
    papers.sign_without_names();
    let fronts = [
        (&others, "it", "its certificate is signed by an authority that is not trusted here; "),
        (&papers, "other", "its certificate is not for this name but for other.test, 127.0.0.2; "),
        (&papers, "past", "its certificate has expired; renew it"),
        (&papers, "ca", "its certificate is that of an authority (CA:TRUE), which a server must not use as its own; "),
        (&papers, "nameless", "its certificate has no subjectAltName, and a name in CN does not count; "),
        (&papers, "old", "its certificate is of X.509 version 1; make one of version 3"),
    ]
    .map(|(papers, name, problem)| (TlsFront::before(servers.port(), papers, name), problem));
    let ports = fronts.iter().map(|(front, problem)| (front.port(), *problem));
    // A server that answers anything but TLS, and one that ends the handshake.
    let plain = Stub::greeting(&answer(400, "text/html", "Bad Request"));
    let ports = ports.chain([(
        plain,
        "the server does not speak TLS on this port; is an address without TLS meant (http://, redis://)?",
    )]);
    for (port, problem) in ports {
        let url = format!("https://user:hunter2@127.0.0.1:{port}/v1");
        let message = format!("no TLS with 127.0.0.1:{port}: {problem}");
        let solver = Flaresolverr::new(&config(&url), &Solvers::default()).unwrap();
        let by_solver = solver.solve(Turn::default()).await.unwrap_err().message;
        let by_http = http_source(&url, TokenPlace::Cookie).fetch(None).await.unwrap_err().to_string();
        let Verdict::Unclear(by_probe) = verified(&url).await else { panic!("an answer by way of {problem}") };
        for (text, source) in [(by_solver, "FlareSolverr: "), (by_http, ""), (by_probe, "")] {
            assert!(text.starts_with(&format!("{source}{message}")), "{text} is not {message}");
            assert!(!text.contains("is it running") && !text.contains("hunter2"), "{text}");
        }
    }
    assert_eq!(servers.commands(), [""; 0], "nothing is sent to a server that is not trusted");
}

#[tokio::test]
async fn a_handshake_that_is_cut_or_never_answered_ends() {
    let cut = Stub::resetting().replace("http://", "https://");
    let verdict = verified(&cut).await;
    assert!(matches!(&verdict, Verdict::Unclear(why) if why.contains("connection reset")), "{verdict:?}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = silent.local_addr().unwrap();
    let verdict = verified_within(&format!("https://{peer}/"), Duration::from_millis(200)).await;
    assert_eq!(verdict, Verdict::Unclear(format!("no answer from {peer} within 200ms")));
}

#[test]
fn without_ca_certificates_tls_is_a_clear_error_and_no_panic() {
    let name = "tls::without_ca_certificates_tls_is_a_clear_error_and_no_panic";
    if !is_child(name, &[("SSL_CERT_FILE", "/none"), ("SSL_CERT_DIR", "/none")]) {
        return;
    }
    let built = |url: &str| {
        HttpProbe::new(ProbeConfig {
            url: url.parse().ok(),
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(1),
            proxy: None,
        })
    };
    let error = built("https://api.test/").err().unwrap().to_string();
    assert!(error.starts_with("no TLS for api.test:443: ") && error.contains("ca-certificates"), "{error}");
    assert!(built("http://api.test/").is_ok());
}
