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

use std::sync::Arc;

use token_sidecar_client::wire::Fingerprint;

use crate::clock::SystemClock;
use crate::config::{ProxyConfig, SourceConfig};
use crate::domain::inspection::PageContent;
use crate::domain::product::ProductRule;
use crate::domain::round::{Round, Turn};
use crate::domain::stored::StoredToken;
use crate::http::ClientError;
use crate::refresh::ports::{Clock as _, Solved, Source, SourceError};

/// Boxed where they are large: a process may have thousands of sites, most of them with a solver.
pub enum AnySource {
    Flaresolverr(Box<Flaresolverr>),
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
    /// Builds a source. `product` names the site's cookies; `shared` is that of the whole process.
    pub fn new(config: &SourceConfig, product: &ProductRule, shared: &SharedSources) -> Result<Self, ClientError> {
        Ok(match config {
            SourceConfig::Flaresolverr(config) => {
                Self::Flaresolverr(Box::new(Flaresolverr::new(config, &shared.solvers)?))
            }
            SourceConfig::Http(config) => Self::Http(Box::new(HttpSource::new(config, product)?)),
            SourceConfig::Browser(config) => Self::Browser(Box::new(BrowserSource::new(config, &shared.browsers))),
        })
    }

    /// Opens the page for all that can be seen of it, whatever the product is: beside the cookies that is what a browser
    /// of the sidecar's own has stored and sends.
    pub async fn survey(&self) -> Result<PageContent, SourceError> {
        if let Self::Browser(source) = self {
            return Box::pin(source.survey()).await;
        }
        let (clock, mut round) = (SystemClock::start(), self.begin());
        let mut turn = round.next(clock.now()).unwrap_or_default();
        loop {
            match (self.solve(turn, None).await, round.next(clock.now())) {
                (Ok(solved), _) => return Ok(PageContent { solution: solved.solution, seen: vec![] }),
                (Err(_), Some(next)) => turn = next,
                (Err(error), None) => return Err(error),
            }
        }
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

    fn begin(&self) -> Round {
        match self {
            Self::Flaresolverr(source) => source.begin(),
            Self::Http(_) | Self::Browser(_) => Round::of_one(),
        }
    }

    async fn solve(&self, turn: Turn, stored: Option<&StoredToken>) -> Result<Solved, SourceError> {
        match self {
            Self::Flaresolverr(source) => Ok(source.solve(turn).await?.into()),
            Self::Http(source) => Ok(Box::pin(source.fetch(stored)).await?.into()),
            Self::Browser(source) => Box::pin(source.solve()).await,
        }
    }

    fn proxy(&self) -> Option<Fingerprint> {
        let proxy = match self {
            Self::Flaresolverr(source) => source.proxy(),
            Self::Http(source) => source.proxy(),
            Self::Browser(source) => source.proxy(),
        };
        proxy.and_then(ProxyConfig::fingerprint)
    }

    fn proved(&self, turn: Turn) {
        if let Self::Flaresolverr(source) = self {
            source.proved(turn);
        }
    }
}
