//! HTTP requests to the sidecar on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Method, Request};
use serde::Deserialize;

use crate::config::{Config, SiteConfig, SourceConfig};
use crate::domain::breaker::SolverStatus;
use crate::http::{self, Answer, Client, Route};

const TIMEOUT: Duration = Duration::from_secs(3);
const MAX_BYTES: usize = 4 << 20;

/// `GET path` from the sidecar that listens on `listen`.
pub(super) async fn get(listen: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let url = http::address(&format!("http://{}{path}", reachable(listen)), "the sidecar")?;
    let client = Client::new(&url, Route::Direct)?;
    Ok(client.exchange(Request::new(Method::GET, url), MAX_BYTES, TIMEOUT).await?)
}

/// What the sidecar on this machine says of its solvers, where a site has several: none if it does not answer.
pub(super) async fn solvers(config: &Config, sites: &[&SiteConfig]) -> Vec<SolverStatus> {
    #[derive(Default, Deserialize)]
    struct Status {
        solvers: Vec<SolverStatus>,
    }
    let has_several =
        |source: &SourceConfig| matches!(source, SourceConfig::Flaresolverr(solver) if solver.urls.len() > 1);
    match config.server.listen {
        Some(listen) if sites.iter().any(|site| site.sources.iter().any(has_several)) => {
            let answer = get(listen, "/api/status").await.map(|answer| answer.body).unwrap_or_default();
            serde_json::from_slice::<Status>(&answer).unwrap_or_default().solvers
        }
        _ => Vec::new(),
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
