//! What the gateway knows of a site.

use std::sync::Arc;

use axum::http::HeaderMap;
use token_sidecar_client::wire::SiteId;
use tokio::sync::watch;
use url::Url;

use super::refused::{Judge, Refusals};
use super::waiting::Tokens;
use crate::config::ProxyConfig;
use crate::domain::stored::StoredToken;
use crate::http::{Client, ClientError, Route};
use crate::refresh::mailbox::Mailbox;
use crate::status::GatewayObserver;

/// A site that the gateway serves.
pub struct Site {
    pub(super) id: SiteId,
    pub(super) api: Url,
    pub(super) headers: HeaderMap,
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
        Ok(Self { id, api, headers, client, tokens, refusals: Refusals::new(judge), observer })
    }
}
