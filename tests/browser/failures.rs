//! Pages without a token: each failure has words of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use token_sidecar::config::BrowserConfig;
use token_sidecar::domain::product::Wanted;
use token_sidecar::domain::verdict::Pace;

use crate::process::patience::now;
use crate::shop::Shop;
use crate::support::measured::{measured, seconds};

/// Enough for a cold start on a busy machine.
const SHORT: Duration = Duration::from_secs(8);

#[tokio::test]
async fn every_failure_of_a_page_is_told_apart() {
    // With little memory, so that `/shop/memory` takes less time.
    let shop = Shop::start(&["--js-flags=--max-old-space-size=64".to_owned()]);
    let config = |page| BrowserConfig { wait: Duration::ZERO, concurrency: 3, ..shop.config(page) };
    let fails = async |config: BrowserConfig, words: &str, pace| {
        let began = now();
        let error = shop.fail(&config).await;
        measured(&format!("{}: {error}", config.page), seconds(began.elapsed()));
        assert!(error.message.starts_with(&format!("browser: {words}")), "{}: {error}", config.page);
        assert_eq!(error.pace, pace, "{}", config.page);
    };
    let endless = |page| BrowserConfig { max_timeout: SHORT, ..config(page) };
    let loading = "timeout after 8s: the page was still loading (HTTP 200)";
    tokio::join!(
        fails(endless("/shop/hang"), "timeout after 8s: the site has not answered", Pace::Ordinary),
        fails(endless("/shop/half"), loading, Pace::Ordinary),
        fails(endless("/shop/spin"), loading, Pace::Ordinary),
    );
    for (page, words, pace) in [
        ("/shop/loop", "it cannot open the page (net::ERR_TOO_MANY_REDIRECTS)", Pace::Ordinary),
        ("http://127.0.0.1:1/", "it cannot open the page (net::ERR_UNSAFE_PORT)", Pace::Ordinary),
        ("/shop/download", "the page is a download", Pace::Ordinary),
        ("/shop/status?code=403", "HTTP 403: the site has blocked this address", Pace::LongestBackoff),
        ("/shop/status?code=429", "HTTP 429: the site has blocked this address", Pace::LongestBackoff),
        ("/shop/status?code=503", "the page (HTTP 503) has no cookie `access-token`, 0s after it", Pace::Ordinary),
        ("/shop/plain", "the page has no cookie `access-token`, 0s after it had loaded", Pace::Ordinary),
        ("/shop/huge", "the page has loaded more than 64 MiB", Pace::Ordinary),
        ("/shop/memory", "the page has crashed its renderer", Pace::Ordinary),
    ] {
        fails(config(page), words, pace).await;
    }
    shop.end().await;
}

#[tokio::test]
async fn what_frames_of_other_sites_and_workers_load_counts_as_the_pages() {
    let shop = Shop::start(&[]);
    for kind in ["frame", "worker", "shared", "service"] {
        // The frame is there.
        let api = format!("http://localhost:{}/", shop.simulator.address().port());
        let page = format!("/shop/part?kind={kind}&to=/shop/huge");
        let error = shop.fail(&BrowserConfig { api: Some(api.parse().unwrap()), ..shop.config(&page) }).await;
        assert_eq!(error.message, "browser: the page has loaded more than 64 MiB", "{kind}");
    }
    shop.end().await;
}

#[tokio::test]
async fn a_page_that_opens_workers_without_end_is_given_up() {
    let shop = Shop::start(&[]);
    let long = Duration::from_secs(60);
    let began = now();
    let error = shop.fail(&BrowserConfig { wait: long, max_timeout: long, ..shop.config("/shop/workers") }).await;
    measured("200 workers after", seconds(began.elapsed()));
    assert_eq!(error.message, "browser: the page has opened more than 200 frames of other sites and workers");
    shop.end().await;
}

#[tokio::test]
async fn a_page_opens_no_windows() {
    let shop = Shop::start(&[]);
    let wait = Duration::from_secs(1);
    let config =
        BrowserConfig { wanted: Wanted::OneOf(vec!["another".to_owned()]), wait, ..shop.config("/shop/popup") };
    let error = shop.fail(&config).await;
    assert!(error.message.ends_with("has no cookie `another`, 1s after it had loaded"), "{error}");
    assert_eq!(shop.simulator.statistics().pages, 1, "none of its 50 windows");
    shop.end().await;
}
