//! Where tokens come from. A source is a folder or file here, a variant of [`AnySource`], a section of the settings and
//! a check of `doctor`.

pub mod browser;
pub mod flaresolverr;
pub mod http;
mod lenient;
pub mod set_cookie;
mod slots;

pub use browser::{BrowserError, BrowserSource, Browsers};
pub use flaresolverr::{Flaresolverr, FlaresolverrError, Health, SolverState, Solvers};
pub use http::{HttpSource, HttpSourceError};

use std::sync::Arc;

use token_sidecar_client::wire::Fingerprint;

use crate::config::{ProxyConfig, SourceConfig};
use crate::domain::extract::CookieRule;
use crate::domain::stored::StoredToken;
use crate::http::ClientError;
use crate::refresh::ports::{Solved, Source, SourceError};

/// Boxed where they are large: a process may have thousands of sites, most of them with a solver.
pub enum AnySource {
    /// The solver at this place in the order of an attempt.
    Flaresolverr(Arc<Flaresolverr>, usize),
    Http(Box<HttpSource>),
    Browser(Box<BrowserSource>),
}

/// What the sources of a process share: solvers and browsers, each with its slots.
#[derive(Default)]
pub struct SharedSources {
    pub solvers: Arc<Solvers>,
    pub browsers: Browsers,
}

impl SharedSources {
    /// Closes what cancelled solves have left behind; otherwise their browsers outlive the process.
    pub async fn close(&self) {
        tokio::join!(self.solvers.destroy_abandoned_sessions(), self.browsers.close());
    }
}

impl AnySource {
    /// Builds a source, or one for each of its solvers. `rule` names the site's cookies; `shared` is that of the whole
    /// process.
    pub fn all(config: &SourceConfig, rule: &CookieRule, shared: &SharedSources) -> Result<Vec<Self>, ClientError> {
        Ok(match config {
            SourceConfig::Flaresolverr(config) => {
                let source = Arc::new(Flaresolverr::new(config, &shared.solvers)?);
                (0..source.solvers()).map(|place| Self::Flaresolverr(Arc::clone(&source), place)).collect()
            }
            SourceConfig::Http(config) => vec![Self::Http(Box::new(HttpSource::new(config, rule)?))],
            SourceConfig::Browser(config) => {
                vec![Self::Browser(Box::new(BrowserSource::new(config, &shared.browsers)))]
            }
        })
    }
}

impl Source for AnySource {
    fn name(&self) -> &str {
        match self {
            Self::Flaresolverr(..) => "flaresolverr",
            Self::Http(_) => "http",
            Self::Browser(_) => "browser",
        }
    }

    async fn solve(&self, stored: Option<&StoredToken>) -> Result<Solved, SourceError> {
        match self {
            Self::Flaresolverr(source, place) => Ok(source.solve(*place).await?.into()),
            Self::Http(source) => Ok(Box::pin(source.fetch(stored)).await?.into()),
            Self::Browser(source) => Box::pin(source.solve()).await,
        }
    }

    fn proxy(&self) -> Option<Fingerprint> {
        let proxy = match self {
            Self::Flaresolverr(source, _) => source.proxy(),
            Self::Http(source) => source.proxy(),
            Self::Browser(source) => source.proxy(),
        };
        proxy.and_then(ProxyConfig::fingerprint)
    }

    fn proved(&self) {
        if let Self::Flaresolverr(source, place) = self {
            source.proved(*place);
        }
    }
}
