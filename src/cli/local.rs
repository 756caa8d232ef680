//! HTTP requests to the sidecar on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Method, Request};
use serde::Deserialize;
use token_sidecar_client::wire::SiteId;

use crate::config::{Config, SiteConfig, SourceConfig};
use crate::domain::breaker::SolverStatus;
use crate::http::{self, Answer, Client, Route};
use crate::status::OutputStatus;

const TIMEOUT: Duration = Duration::from_secs(3);
const MAX_BYTES: usize = 4 << 20;

/// `GET path` from the sidecar that listens on `listen`.
pub(super) async fn get(listen: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let url = http::address(&format!("http://{}{path}", reachable(listen)), "the sidecar")?;
    let client = Client::new(&url, Route::Direct)?;
    Ok(client.exchange(Request::new(Method::GET, url), MAX_BYTES, TIMEOUT).await?)
}

/// What the sidecar on this machine alone knows.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) solvers: Vec<SolverStatus>,
    sites: Vec<Site>,
}

#[derive(Deserialize)]
struct Site {
    site: String,
    #[serde(default)]
    outputs: Vec<OutputStatus>,
}

impl Status {
    /// The files of a site.
    pub(super) fn outputs(&mut self, id: &SiteId) -> Vec<OutputStatus> {
        let site = self.sites.iter_mut().find(|site| site.site == id.as_str());
        site.map(|site| std::mem::take(&mut site.outputs)).unwrap_or_default()
    }
}

/// What the sidecar on this machine says, where a site has several solvers or a file; nothing if it does not answer.
pub(super) async fn status(config: &Config, sites: &[&SiteConfig]) -> Status {
    let has_several =
        |source: &SourceConfig| matches!(source, SourceConfig::Flaresolverr(solver) if solver.urls.len() > 1);
    let is_asked = |site: &&SiteConfig| !site.files.is_empty() || site.sources.iter().any(has_several);
    match config.server.listen {
        Some(listen) if sites.iter().any(is_asked) => {
            let answer = get(listen, "/api/status").await.map(|answer| answer.body).unwrap_or_default();
            serde_json::from_slice(&answer).unwrap_or_default()
        }
        _ => Status::default(),
    }
}

/// A sidecar that listens on all addresses (`0.0.0.0`) is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
