//! What a page cannot reach: this machine and its network, unless the site itself is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use simulator::{Settings, Simulator};
use token_sidecar::config::BrowserConfig;
use url::Url;

use crate::shop::{Shop, cookie};

/// Every name under `.test` is this machine.
const NAMES: &str = "--host-resolver-rules=MAP *.test 127.0.0.1";

/// A page of the shop under a name, which is given the address of the secret.
fn page(shop: &Shop, port: u16, path: &str, secret: &str) -> BrowserConfig {
    let mut page = Url::parse(&format!("http://www.shop.test:{port}{path}")).unwrap();
    page.query_pairs_mut().append_pair("to", secret);
    shop.config(page.as_str())
}

#[tokio::test]
async fn literal_addresses_inside_are_refused() {
    let shop = Shop::start(&[NAMES.to_owned()]);
    let port = shop.simulator.address().port();
    let internal = Simulator::start(Settings::default()).unwrap();
    for address in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let secret = format!("http://{address}:{}/shop/secret", internal.address().port());
        let error = shop.fail(&page(&shop, port, "/shop/redirect", &secret)).await;
        assert!(error.message.contains("an address of this machine or its network, which is refused"), "{error}");
    }
    assert_eq!(internal.statistics().secrets, 0);
    let secret = internal.url("/shop/secret");
    let solution = shop.open(&page(&shop, port, "/shop/fetch?late=1", &secret)).await.unwrap();
    assert_eq!(cookie(&solution, "fetched"), "failed");
    // No interception sees a WebSocket, and a page of this very machine is not on the Internet, as the next one is.
    assert_eq!(internal.statistics().secrets, 1, "fetch, image and frame are refused");
    shop.end().await;
}

/// It would be loaded past interception and Local Network Access.
#[tokio::test]
async fn nothing_is_loaded_in_advance() {
    let shop = Shop::start(&[]);
    let internal = Simulator::start(Settings::default()).unwrap();
    let page = format!("/shop/advance?to={}", internal.url("/shop/secret"));
    let config = BrowserConfig { wait: Duration::from_secs(2), ..shop.config(&page) };
    let error = shop.fail(&config).await;
    assert!(error.message.ends_with("has no cookie `access-token`, 2s after it had loaded"), "{error}");
    assert_eq!(internal.statistics().secrets, 0);
    shop.end().await;
}

/// Chromium's Local Network Access does this, where the page itself is on the Internet.
#[tokio::test]
async fn names_and_web_sockets_inside_are_refused_to_what_a_page_loads() {
    let outside = Simulator::start(Settings::default()).unwrap();
    let port = outside.address().port();
    let shop = Shop::start(&[NAMES.to_owned(), format!("--ip-address-space-overrides=127.0.0.1:{port}=public")]);
    // The shop's own simulator is the internal service.
    let internal = &shop.simulator;
    for secret in
        [format!("http://inside.test:{}/shop/secret", internal.address().port()), internal.url("/shop/secret")]
    {
        let solution = shop.open(&page(&shop, port, "/shop/fetch?late=1", &secret)).await.unwrap();
        assert_eq!(cookie(&solution, "fetched"), "failed", "{secret}");
        assert_eq!(internal.statistics().secrets, 0, "{secret}");
    }
    shop.end().await;
}
