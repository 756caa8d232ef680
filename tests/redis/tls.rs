//! `rediss://` with an authority of one's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use token_sidecar::refresh::ports::{Store as _, StoreError};
use token_sidecar_client::redis::{LinkError, RedisConfig, TlsConfig, Topology};

use crate::fixture::{config, link_of, parsed, store_on};
use crate::running::{Intervals, Running};
use crate::sentinel::refreshed;
use crate::support::papers::Papers;
use crate::support::redis_server::{Port, RedisServer};

fn trusting(papers: &Papers, url: &str) -> RedisConfig {
    let tls = TlsConfig { ca_file: Some(papers.file("ca.crt")), ..TlsConfig::default() };
    RedisConfig { tls, ..config(url) }
}

fn presenting(papers: &Papers, url: &str) -> RedisConfig {
    let mut config = trusting(papers, url);
    config.tls.cert_file = Some(papers.file("it.crt"));
    config.tls.key_file = Some(papers.file("it.key"));
    config
}

fn install_provider() {
    // Another test of this process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn start(lines: &[String]) -> RedisServer {
    RedisServer::start_with(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn ping(config: &RedisConfig) -> Result<String, LinkError> {
    link_of(config).command(&redis::cmd("PING")).await
}

#[tokio::test]
async fn a_refresh_and_its_event_go_over_tls() {
    install_provider();
    let (papers, port) = (Papers::issue(), Port::hold());
    let _server = start(&papers.lines(&port, "no"));
    let url = format!("rediss://127.0.0.1:{}/", port.number());
    let config = trusting(&papers, &url);
    let subscription = Running::open(&config, Intervals::PRODUCTION).await;
    refreshed(&store_on(&link_of(&config)), "a", "one").await;
    subscription.mailbox_until("the outcome", |mailbox| mailbox.outcomes() == 1).await;

    let others = Papers::issue();
    for (config, why) in
        [(trusting(&others, &url), "another authority"), (crate::fixture::config(&url), "the system's authorities")]
    {
        let answer = ping(&config).await;
        let Err(LinkError::Untrusted(error)) = answer else { panic!("{why}: {answer:?}") };
        assert!(error.contains("its certificate is signed by an authority that is not trusted here"), "{why}: {error}");
        // A sidecar that runs already waits for it: no back-off outlives it.
        let look = store_on(&link_of(&config)).look().await;
        assert!(matches!(look, Err(StoreError::Away(_))), "{why}: {look:?}");
    }
    let plain = ping(&crate::fixture::config(&url.replace("rediss", "redis"))).await;
    assert!(matches!(plain, Err(LinkError::Away(_))), "{plain:?}");
}

#[tokio::test]
async fn a_server_that_requests_a_certificate_receives_ours() {
    install_provider();
    let (papers, port) = (Papers::issue(), Port::hold());
    let _server = start(&papers.lines(&port, "yes"));
    let url = format!("rediss://127.0.0.1:{}/", port.number());
    ping(&presenting(&papers, &url)).await.unwrap();
    let answer = ping(&trusting(&papers, &url)).await;
    assert!(
        matches!(&answer, Err(LinkError::CertificateRefused(error)) if error.contains("our certificate")),
        "{answer:?}"
    );
    let mut half = presenting(&papers, &url);
    half.tls.key_file = None;
    let answer = token_sidecar_client::redis::Connector::new(&half).map(|_| ());
    assert!(matches!(&answer, Err(LinkError::Config(error)) if error.contains("belong together")), "{answer:?}");
}

#[tokio::test]
async fn sentinels_and_their_master_are_trusted_by_the_same_authority() {
    install_provider();
    let (papers, port, watch) = (Papers::issue(), Port::hold(), Port::hold());
    let _master = start(&papers.lines(&port, "yes"));
    let mut lines = papers.lines(&watch, "yes");
    lines.push("tls-replication yes".to_owned());
    lines.push(format!("sentinel monitor shop 127.0.0.1 {} 1", port.number()));
    let _sentinel = RedisServer::start_sentinel(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let nodes = parsed(&[format!("rediss://127.0.0.1:{}", watch.number())]);
    let topology = Topology::Sentinel { nodes, master: "shop".into() };
    let config = RedisConfig { topology, ..presenting(&papers, "rediss://127.0.0.1:1/") };
    let subscription = Running::open(&config, Intervals::PRODUCTION).await;
    refreshed(&store_on(&link_of(&config)), "a", "one").await;
    subscription.mailbox_until("the outcome", |mailbox| mailbox.outcomes() == 1).await;
}
