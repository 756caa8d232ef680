//! Where tokens come from. A new source is one file, one arm of [`AnySource`] and one variant of `SourceConfig`.

pub mod flaresolverr;
pub mod http;
pub mod set_cookie;

pub use flaresolverr::{Flaresolverr, Health, Solvers};
pub use http::HttpSource;

use crate::config::SourceConfig;
use crate::domain::extract::{CookieRule, Solution};
use crate::http::ClientError;
use crate::refresh::ports::{Source, SourceError};

/// A source of any kind.
#[derive(Debug)]
pub enum AnySource {
    /// A browser behind FlareSolverr's v1 API.
    Flaresolverr(Flaresolverr),
    /// A plain request, in a box: it is far larger than the other.
    Http(Box<HttpSource>),
}

impl AnySource {
    /// Builds what is configured. `rule` names the site's cookies; `solvers` is one for the whole process.
    ///
    /// # Errors
    /// [`ClientError`] where an address or a header is none, or TLS has no certificates to trust.
    pub fn new(config: &SourceConfig, rule: &CookieRule, solvers: &Solvers) -> Result<Self, ClientError> {
        Ok(match config {
            SourceConfig::Flaresolverr(config) => Self::Flaresolverr(Flaresolverr::new(config, solvers)?),
            SourceConfig::Http(config) => Self::Http(Box::new(HttpSource::new(config, rule)?)),
        })
    }
}

impl Source for AnySource {
    fn name(&self) -> &str {
        match self {
            Self::Flaresolverr(source) => source.name(),
            Self::Http(source) => source.name(),
        }
    }

    async fn solve(&self) -> Result<Solution, SourceError> {
        match self {
            Self::Flaresolverr(source) => source.solve().await,
            Self::Http(source) => Box::pin(source.solve()).await,
        }
    }
}
