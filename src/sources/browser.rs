//! A browser of the sidecar's own, or one elsewhere, over the Chrome DevTools Protocol.
//!
//! A page is opened in a context of its own and looked at until it has the token. It stays open while the token is
//! verified: where that is no token yet, or the API blocks its jar, the page is looked at again.
//!
//! ```text
//! slot ─► browser (kept, started or reached) ─► context ─► page ─► token? ─► verified ─► closed
//!                                                            ▲ no    │
//!                                                            └───────┘  at each Set-Cookie and every 100 ms
//! ```

mod connection;
mod error;
mod page;
mod pool;
mod process;
mod remote;
mod visit;

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use tokio::time::timeout;
use url::Url;

pub use self::error::BrowserError;
pub use self::pool::Browsers;

use self::connection::Message;
use self::page::{Page, Rules};
use self::pool::Pool;
use self::visit::Visit;
use crate::config::{BrowserConfig, ProxyConfig};
use crate::domain::inspection::PageContent;
use crate::refresh::ports::{Solved, SourceError};

/// How long a solve may wait for its turn beyond the longest page.
const GRACE: Duration = Duration::from_secs(15);

/// One page, opened by browsers of one kind.
pub struct BrowserSource {
    pool: Arc<Pool>,
    config: BrowserConfig,
}

impl BrowserSource {
    /// Builds the source. `browsers` is shared by the whole process.
    #[must_use]
    pub fn new(config: &BrowserConfig, browsers: &Browsers) -> Self {
        Self { pool: browsers.get(&config.program, config.concurrency, config.keep), config: config.clone() }
    }

    pub(super) fn proxy(&self) -> Option<&ProxyConfig> {
        self.config.proxy.as_ref()
    }

    /// Opens the page and waits for the token.
    ///
    /// # Errors
    /// [`SourceError`] if the page does not have it in time. Dropping the future closes the page.
    pub async fn solve(&self) -> Result<Solved, SourceError> {
        let lease = self.pool.lease(self.config.max_timeout + GRACE).await?;
        let mut visit = Box::new(Visit::new(lease, self.config.clone()));
        let solution = match timeout(self.config.max_timeout, visit.find()).await {
            Ok(found) => found?,
            Err(_) => return Err(visit.timed_out().into()),
        };
        Ok(visit.solved(solution))
    }

    /// Opens the page for all that it has, the token or not.
    ///
    /// # Errors
    /// [`SourceError`] if the site does not answer in time. Dropping the future closes the page.
    pub async fn survey(&self) -> Result<PageContent, SourceError> {
        let lease = self.pool.lease(self.config.max_timeout + GRACE).await?;
        let mut visit = Box::new(Visit::new(lease, self.config.clone()).watching());
        match timeout(self.config.max_timeout, visit.settle()).await {
            Ok(settled) => settled?,
            // Some pages never end to load, and have all that they need.
            Err(_) if visit.is_answered() => {}
            Err(_) => return Err(visit.timed_out().into()),
        }
        Ok(visit.content().await?)
    }

    /// Starts or reaches the browser, and opens an empty page. Returns what it is.
    ///
    /// # Errors
    /// [`BrowserError`] if it cannot be used.
    pub async fn check(&self) -> Result<String, BrowserError> {
        let lease = self.pool.lease(self.config.max_timeout + GRACE).await?;
        Visit::new(lease, self.config.clone()).check().await
    }
}

/// Reads messages of a browser, one a line, as those of an open page of this site. Returns why they end the page.
pub fn read_messages(site: &Url, messages: &[u8]) -> Option<SourceError> {
    let header = Some((AUTHORIZATION, site.clone()));
    let rules = Rules { site: vec![site.clone()], login: None, header, watches: true, commands: vec![] };
    let mut page = Page::new("context".to_owned(), "page".to_owned(), "session".to_owned(), String::new());
    for line in messages.split(|byte| *byte == b'\n') {
        match Message::read(line) {
            Ok(Some(Message::Event { session, method, params })) => {
                let params = serde_json::from_str(params.get()).unwrap_or_default();
                page.take(session.as_deref(), &method, &params, &rules);
            }
            Ok(_) => {}
            Err(error) => page.fail(error),
        }
    }
    page.error.map(SourceError::from)
}
