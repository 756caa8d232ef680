//! What the gateway knows of a site.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use token_sidecar_client::wire::SiteId;
use tokio::sync::watch;
use url::Url;

use super::headers;
use super::refused::{Judge, Refusals};
use super::waiting::Tokens;
use crate::config::{GatewayConfig, ProxyConfig};
use crate::domain::stored::StoredToken;
use crate::http::{Client, ClientError, Route};
use crate::refresh::mailbox::Mailbox;
use crate::status::GatewayObserver;

/// A site that the gateway serves.
pub struct Site {
    pub(super) id: SiteId,
    pub(super) api: Url,
    /// Added to each request.
    headers: HeaderMap,
    /// What the last token brings to each request.
    of_token: Mutex<Option<(Arc<StoredToken>, Arc<HeaderMap>)>>,
    pub(super) client: Client,
    pub(super) tokens: Tokens,
    pub(super) refusals: Refusals,
    pub(super) observer: GatewayObserver,
}

/// What a site is made of.
pub struct SiteParts {
    pub id: SiteId,
    pub api: Url,
    /// Added to each request.
    pub headers: HeaderMap,
    pub proxy: Option<ProxyConfig>,
    pub stored: watch::Receiver<Option<Arc<StoredToken>>>,
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
        Ok(Self {
            id,
            api,
            headers,
            of_token: Mutex::default(),
            client,
            tokens,
            refusals: Refusals::new(judge),
            observer,
        })
    }

    /// What a token brings to each request. Made once for all requests that are sent with the same token.
    pub(super) fn headers_of(&self, stored: &Arc<StoredToken>, config: &GatewayConfig) -> Arc<HeaderMap> {
        // A panic cannot leave the value half-changed.
        let mut last = self.of_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, headers)) = last.as_ref().filter(|(token, _)| Arc::ptr_eq(token, stored)) {
            return Arc::clone(headers);
        }
        let headers = Arc::new(headers::of_token(&self.headers, stored, config));
        *last = Some((Arc::clone(stored), Arc::clone(&headers)));
        headers
    }
}
