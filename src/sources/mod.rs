//! Where tokens come from. A source is a folder or file here, a variant of [`AnySource`], a section of the settings and
//! a check of `doctor`.

pub mod flaresolverr;
pub mod http;
mod lenient;
pub mod set_cookie;
mod slots;

pub use flaresolverr::{Flaresolverr, FlaresolverrError, Health, Solvers};
pub use http::{HttpSource, HttpSourceError};

use crate::config::SourceConfig;
use crate::domain::extract::CookieRule;
use crate::http::ClientError;
use crate::refresh::ports::{Solved, Source, SourceError};

pub enum AnySource {
    Flaresolverr(Flaresolverr),
    Http(HttpSource),
}

impl AnySource {
    /// Builds a source. `rule` names the site's cookies; `solvers` is shared by the whole process.
    pub fn new(config: &SourceConfig, rule: &CookieRule, solvers: &Solvers) -> Result<Self, ClientError> {
        Ok(match config {
            SourceConfig::Flaresolverr(config) => Self::Flaresolverr(Flaresolverr::new(config, solvers)?),
            SourceConfig::Http(config) => Self::Http(HttpSource::new(config, rule)?),
        })
    }
}

impl Source for AnySource {
    fn name(&self) -> &str {
        match self {
            Self::Flaresolverr(_) => "flaresolverr",
            Self::Http(_) => "http",
        }
    }

    async fn solve(&self) -> Result<Solved, SourceError> {
        match self {
            Self::Flaresolverr(source) => Ok(source.solve().await?.into()),
            Self::Http(source) => Ok(Box::pin(source.fetch()).await?.into()),
        }
    }
}
