//! The first line of a request to the gateway, without its version: method and target. The first byte chooses the API.

use http::{Method, Uri};
use token_sidecar::gateway::address::{Target, local};
use url::Url;

#[path = "../../src/gateway/address/law.rs"]
mod law;

const APIS: [&str; 5] = [
    "https://api.shop.test/web/api/v2",
    "https://api.shop.test",
    "http://127.0.0.1:8080/",
    "http://[::1]:8080/a%20b/",
    "https://api.shop.test:8443/v1;a/%D1%81",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::seeds::texts(&[
        "\0GET /shop/search/product?phrase=redis&page[]=1",
        "\u{1}POST /shop",
        "\u{2}GET /shop/x?next=https://evil.test/../..//",
        "\u{3}PUT /shop/redirect/https%3A%2F%2Fother.test%2F?a=%23#top",
        "\u{4}GET /shop/a.b/..c/.../\u{441}/%D1%81/100%25",
        "\0GET /shop/%252e%252e/admin",
        "\u{1}GET /shop/%2F..;x=1/admin",
        "\u{2}GET /shop/..%5cadmin%0d%0aHost:%20evil.test",
        "\u{3}GET /shop/user@evil.test:80",
        "\u{1}GET http://evil.test/shop/a",
        "\u{1}CONNECT evil.test:443",
        "\u{1}OPTIONS *",
    ])
}

pub(crate) fn check(data: &[u8]) {
    let [api, line @ ..] = data else { return };
    let api = Url::parse(APIS[usize::from(*api) % APIS.len()]).unwrap();
    let Some(space) = line.iter().position(|byte| *byte == b' ') else { return };
    let (method, target) = (Method::from_bytes(&line[..space]), Uri::try_from(&line[space + 1..]));
    let (Ok(method), Ok(uri)) = (method, target) else { return };
    let Ok(target) = Target::of(&method, &uri) else { return };
    assert!(method != Method::CONNECT && method != Method::TRACE);
    let Ok(url) = target.below(&api) else { return };
    law::assert_below(&url, &api);
    assert!(Uri::try_from(url.as_str()).is_ok(), "no client sends {url}");
    // Where the API answers with this address, the gateway names it by a path that leads to it again.
    let path = local("shop", &api, &url).unwrap();
    let uri = Uri::try_from(path.as_str()).unwrap();
    assert_eq!(Target::of(&Method::GET, &uri).and_then(|target| target.below(&api)), Ok(url), "{path}");
}
