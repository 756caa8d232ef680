//! What the gateway knows of a site.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::future::BoxFuture;
use token_sidecar_client::wire::{Fingerprint, SiteId};
use tokio::sync::{Mutex, watch};
use url::Url;

use super::waiting::Tokens;
use crate::config::ProxyConfig;
use crate::domain::stored::StoredToken;
use crate::domain::verdict::Verdict;
use crate::http::{Client, ClientError, Route};
use crate::refresh::mailbox::Mailbox;
use crate::status::GatewayObserver;

/// How long what the probe said of a token counts.
const JUDGED: Duration = Duration::from_secs(10);

/// Asks the probe about a token.
pub type Judge = Arc<dyn Fn(StoredToken) -> BoxFuture<'static, Verdict> + Send + Sync>;

/// A site that the gateway serves.
pub struct Site {
    pub(super) id: SiteId,
    pub(super) api: Url,
    pub(super) headers: HeaderMap,
    pub(super) client: Client,
    pub(super) tokens: Tokens,
    pub(super) observer: GatewayObserver,
    judge: Judge,
    /// The last verdict: on which token, when by the monotonic clock, and whether it was a refusal.
    verdict: Mutex<Option<(Fingerprint, Duration, bool)>>,
}

/// What a site is made of.
pub struct SiteParts {
    pub id: SiteId,
    pub api: Url,
    /// Added to each request.
    pub headers: HeaderMap,
    pub proxy: Option<ProxyConfig>,
    pub stored: watch::Receiver<Option<StoredToken>>,
    pub mailbox: Arc<Mailbox>,
    pub observer: GatewayObserver,
    pub judge: Judge,
}

impl Site {
    /// # Errors
    /// [`ClientError`] if no CA certificates are installed.
    pub fn new(parts: SiteParts) -> Result<Self, ClientError> {
        let SiteParts { id, api, headers, proxy, stored, mailbox, observer, judge } = parts;
        let client = Client::pooled(&api, Route::of_site(proxy.as_ref()))?;
        let tokens = Tokens::new(stored, mailbox);
        Ok(Self { id, api, headers, client, tokens, observer, judge, verdict: Mutex::default() })
    }

    /// Whether the API refuses the token on the route of the probe too. Asked once for all requests of some seconds.
    pub(super) async fn is_refused_everywhere(&self, stored: StoredToken) -> bool {
        let fingerprint = stored.token.fingerprint();
        let mut last = self.verdict.lock().await;
        let is_recent = |at: Duration| self.observer.now().saturating_sub(at) < JUDGED;
        if let Some((of, at, is_refused)) = *last
            && of == fingerprint
            && is_recent(at)
        {
            return is_refused;
        }
        let is_refused = matches!((self.judge)(stored).await, Verdict::Refused(_));
        *last = Some((fingerprint, self.observer.now(), is_refused));
        is_refused
    }
}
