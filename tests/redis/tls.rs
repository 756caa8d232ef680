//! `rediss://` with an authority of one's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use token_sidecar::adapters::redis::LinkError;
use token_sidecar::config::RedisConfig;
use token_sidecar::config::redis::{TlsConfig, Topology};

use crate::ears::{Ears, Hurried};
use crate::fixture::{config, link_of, secrets, store_on};
use crate::sentinel::refreshed;
use crate::support::redis_server::{Port, RedisServer};

/// An authority and one certificate of it, for servers and clients on the loopback.
struct Papers(TempDir);

impl Papers {
    fn issue() -> Self {
        let papers = Self(TempDir::new().unwrap());
        std::fs::write(papers.file("extensions"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
        let key = "ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        papers.openssl(&format!("req -x509 -newkey {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=ca"));
        papers.openssl(&format!("req -newkey {key} -keyout it.key -out it.csr -subj /CN=it"));
        papers.openssl(
            "x509 -req -in it.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out it.crt -days 2 -extfile extensions",
        );
        papers
    }

    fn openssl(&self, arguments: &str) {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(arguments.split(' ')).current_dir(self.0.path()).output();
        let output = output.unwrap_or_else(|error| panic!("openssl cannot be started: install it: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn lines(&self, port: &Port, clients: &str) -> Vec<String> {
        let at = |name| Path::display(&self.file(name)).to_string();
        vec![
            format!("tls-port {}", port.number()),
            format!("tls-ca-cert-file {}", at("ca.crt")),
            format!("tls-cert-file {}", at("it.crt")),
            format!("tls-key-file {}", at("it.key")),
            format!("tls-auth-clients {clients}"),
        ]
    }

    fn trusting(&self, url: &str) -> RedisConfig {
        let tls = TlsConfig { ca_file: Some(self.file("ca.crt")), ..TlsConfig::default() };
        RedisConfig { tls, ..config(url) }
    }

    fn presenting(&self, url: &str) -> RedisConfig {
        let mut config = self.trusting(url);
        config.tls.cert_file = Some(self.file("it.crt"));
        config.tls.key_file = Some(self.file("it.key"));
        config
    }
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
    let config = papers.trusting(&url);
    let ears = Ears::open(&config, Hurried::NOT).await;
    refreshed(&store_on(&link_of(&config)), "a", "one").await;
    ears.mailbox_until("the outcome", |mailbox| mailbox.outcomes() == 1).await;

    let others = Papers::issue();
    for (config, why) in
        [(others.trusting(&url), "another authority"), (crate::fixture::config(&url), "the system's authorities")]
    {
        let answer = ping(&config).await;
        let Err(LinkError::Away(error)) = answer else { panic!("{why}: {answer:?}") };
        assert!(error.contains("certificate"), "{why}: {error}");
    }
    let plain = ping(&crate::fixture::config(&url.replace("rediss", "redis"))).await;
    assert!(matches!(plain, Err(LinkError::Away(_))), "{plain:?}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_ours() {
    install_provider();
    let (papers, port) = (Papers::issue(), Port::hold());
    let _server = start(&papers.lines(&port, "yes"));
    let url = format!("rediss://127.0.0.1:{}/", port.number());
    ping(&papers.presenting(&url)).await.unwrap();
    let answer = ping(&papers.trusting(&url)).await;
    assert!(matches!(answer, Err(LinkError::Away(_))), "{answer:?}");
    let mut half = papers.presenting(&url);
    half.tls.key_file = None;
    let answer = token_sidecar::adapters::redis::Connector::new(&half).map(|_| ());
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
    let nodes = secrets(&[format!("rediss://127.0.0.1:{}", watch.number())]);
    let topology = Topology::Sentinel { nodes, master: "shop".into() };
    let config = RedisConfig { topology, ..papers.presenting("rediss://127.0.0.1:1/") };
    let ears = Ears::open(&config, Hurried::NOT).await;
    refreshed(&store_on(&link_of(&config)), "a", "one").await;
    ears.mailbox_until("the outcome", |mailbox| mailbox.outcomes() == 1).await;
}
