//! Which requests go through `HTTP_PROXY`.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::json;
use token_sidecar::config::ProbeConfig;
use token_sidecar::domain::verdict::Verdict;
use token_sidecar::refresh::ports::Probe as _;
use token_sidecar::sources::{Flaresolverr, Solvers};
use token_sidecar::verify::HttpProbe;
use token_sidecar_client::wire::{Cookies, Token};

use crate::child::is_child;
use crate::stub::{Act, Stub, config, page};

async fn verified(url: &str) -> Verdict {
    let config = ProbeConfig { url: url.parse().ok(), headers: HeaderMap::new(), timeout: Duration::from_secs(5) };
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
    // A label longer than 63 characters is asked of no name server.
    let solver = format!("http://{}:8191/v1", "x".repeat(64));
    let error = Flaresolverr::new(&config(&solver), &Solvers::default()).unwrap().solve().await.unwrap_err();
    assert!(error.message.contains("the name does not resolve"), "{}", error.message);
    let solver = Stub::new(|_, _| page("3.5.0", &[]));
    Flaresolverr::new(&config(&solver.url), &Solvers::default()).unwrap().solve().await.unwrap();
}
