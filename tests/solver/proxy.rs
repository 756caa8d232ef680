//! Which requests go through `HTTP_PROXY`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::json;
use token_sidecar::config::{ProbeConfig, ProxyConfig};
use token_sidecar::domain::round::Turn;
use token_sidecar::domain::verdict::Verdict;
use token_sidecar::refresh::ports::Probe as _;
use token_sidecar::sources::{Flaresolverr, Solvers};
use token_sidecar::verify::HttpProbe;
use token_sidecar_client::wire::{Cookies, Token};

use crate::child::is_child;
use crate::stub::{Act, Stub, config, page};

async fn verified(url: &str) -> Verdict {
    verified_through(url, None).await
}

async fn verified_through(url: &str, proxy: Option<ProxyConfig>) -> Verdict {
    let config =
        ProbeConfig { url: url.parse().ok(), headers: HeaderMap::new(), timeout: Duration::from_secs(5), proxy };
    HttpProbe::new(config).unwrap().verify(&Token::parse("abc").unwrap(), &Cookies::default(), None).await
}

#[tokio::test]
async fn requests_to_the_shop_go_through_the_proxy_and_those_to_a_solver_or_to_loopback_do_not() {
    let proxy = Stub::new(|request, _| match request.line.as_str() {
        "GET http://api.shop.test/search HTTP/1.1" => Act::Json(200, json!({})),
        _ => Act::Json(502, json!({})),
    });
    let name = "proxy::requests_to_the_shop_go_through_the_proxy_and_those_to_a_solver_or_to_loopback_do_not";
    let address = proxy.url.trim_end_matches("v1");
    if !is_child(name, &[("HTTP_PROXY", address), ("http_proxy", address), ("NO_PROXY", ""), ("no_proxy", "")]) {
        assert_eq!(proxy.commands(), ["GET http://api.shop.test/search HTTP/1.1"]);
        return;
    }
    assert_eq!(verified("http://api.shop.test/search").await, Verdict::Accepted);
    let api = Stub::new(|_, _| Act::Json(200, json!({})));
    assert_eq!(verified(&api.url).await, Verdict::Accepted);
    // A label longer than 63 characters is sent to no name server.
    let solver = format!("http://{}:8191/v1", "x".repeat(64));
    let error =
        Flaresolverr::new(&config(&solver), &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap_err();
    assert!(error.message.contains("the name does not resolve"), "{}", error.message);
    let solver = Stub::new(|_, _| page("3.5.0", &[]));
    Flaresolverr::new(&config(&solver.url), &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
}

/// Serves SOCKS5 to one client, and answers its request as the API.
fn socks5(listener: &TcpListener) -> std::io::Result<Vec<u8>> {
    let (mut client, _) = listener.accept()?;
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    client.read_exact(&mut vec![0; usize::from(greeting[1])])?;
    client.write_all(&[5, 0])?;
    // A name: the proxy resolves it.
    let mut head = [0; 5];
    client.read_exact(&mut head)?;
    assert_eq!(head[..4], [5, 1, 0, 3]);
    let mut name = vec![0; usize::from(head[4])];
    client.read_exact(&mut name)?;
    client.read_exact(&mut [0; 2])?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    client.read_exact(&mut [0; 4])?;
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")?;
    Ok(name)
}

#[tokio::test]
async fn a_socks_proxy_of_the_environment_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("socks5h://{}", listener.local_addr().unwrap());
    let variables = ["HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"].map(|name| (name, ""));
    let variables = variables.into_iter().chain([("ALL_PROXY", &*address), ("all_proxy", &*address)]);
    let served = std::thread::spawn(move || socks5(&listener));
    if !is_child("proxy::a_socks_proxy_of_the_environment_is_used", &variables.collect::<Vec<_>>()) {
        assert_eq!(served.join().unwrap().unwrap(), b"api.shop.test");
        return;
    }
    assert_eq!(verified("http://api.shop.test/search").await, Verdict::Accepted);
}

#[tokio::test]
async fn a_sites_own_proxy_is_the_way_to_its_api_wherever_that_is() {
    let proxy = Stub::new(|request, _| {
        let is_ours = request.line == "GET http://127.0.0.1:1/search HTTP/1.1"
            && request.header("proxy-authorization") == Some("Basic dXNlcjpodW50ZXIy");
        Act::Json(if is_ours { 200 } else { 502 }, json!({}))
    });
    let own = |password: &str| ProxyConfig {
        url: proxy.url.trim_end_matches("/v1").to_owned(),
        username: Some("user".to_owned()),
        password: Some(password.into()),
    };
    assert_eq!(verified_through("http://127.0.0.1:1/search", Some(own("hunter2"))).await, Verdict::Accepted);
    assert!(matches!(verified_through("http://127.0.0.1:1/search", Some(own("x"))).await, Verdict::Unclear(_)));
}
