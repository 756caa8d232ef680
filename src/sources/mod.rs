//! Where tokens come from. A source is a folder or file here, a variant of [`AnySource`], a section of the settings and
//! a check of `doctor`.

pub mod browser;
pub mod flaresolverr;
pub mod http;
mod lenient;
pub mod set_cookie;
mod slots;

pub use browser::{BrowserError, BrowserSource, Browsers};
pub use flaresolverr::{Flaresolverr, FlaresolverrError, Health, Solvers};
pub use http::{HttpSource, HttpSourceError};

use crate::config::SourceConfig;
use crate::domain::extract::CookieRule;
use crate::http::ClientError;
use crate::refresh::ports::{Solved, Source, SourceError};

pub enum AnySource {
    Flaresolverr(Flaresolverr),
    Http(HttpSource),
    Browser(BrowserSource),
}

/// What the sources of a process share: solvers and browsers, each with its slots.
#[derive(Default)]
pub struct SharedSources {
    pub solvers: Solvers,
    pub browsers: Browsers,
}

impl SharedSources {
    /// Closes what cancelled solves have left behind; otherwise their browsers outlive the process.
    pub async fn close(&self) {
        tokio::join!(self.solvers.destroy_abandoned_sessions(), self.browsers.close());
    }
}

impl AnySource {
    /// Builds a source. `rule` names the site's cookies; `shared` is that of the whole process.
    pub fn new(config: &SourceConfig, rule: &CookieRule, shared: &SharedSources) -> Result<Self, ClientError> {
        Ok(match config {
            SourceConfig::Flaresolverr(config) => Self::Flaresolverr(Flaresolverr::new(config, &shared.solvers)?),
            SourceConfig::Http(config) => Self::Http(HttpSource::new(config, rule)?),
            SourceConfig::Browser(config) => Self::Browser(BrowserSource::new(config, &shared.browsers)),
        })
    }
}

impl Source for AnySource {
    fn name(&self) -> &str {
        match self {
            Self::Flaresolverr(_) => "flaresolverr",
            Self::Http(_) => "http",
            Self::Browser(_) => "browser",
        }
    }

    async fn solve(&self) -> Result<Solved, SourceError> {
        match self {
            Self::Flaresolverr(source) => Ok(source.solve().await?.into()),
            Self::Http(source) => Ok(Box::pin(source.fetch()).await?.into()),
            Self::Browser(source) => Box::pin(source.solve()).await,
        }
    }
}
