//! The client of one site.

use std::sync::Arc;
use std::time::Duration;

use crate::error::ClientError;
use crate::redis::{Connector, Link, RedisConfig, TlsConfig, Topology};
use crate::site::Site;
use crate::updates::Updates;
use crate::wait::{self, PendingReport, Waits};
use crate::wire::{Cookies, Fingerprint, KeyNames, Report, SiteId, Token};

/// A parser's side of one site. Its clones share their connection and their waits.
#[derive(Debug, Clone)]
pub struct Client {
    site: Site,
    waits: Arc<Waits>,
}

impl Client {
    /// A client of a site whose keys have their default names: `S_token` and `S_cookies`.
    ///
    /// # Errors
    /// [`ClientError::Config`] where the URL or the site's id cannot be used.
    pub fn new(redis_url: &str, site: &str) -> Result<Self, ClientError> {
        let Some(site) = SiteId::parse(site) else {
            return Err(ClientError::Config(format!("`{site}` cannot be the id of a site")));
        };
        let redis = RedisConfig {
            url: redis_url.parse().map_err(|error| ClientError::Config(format!("the URL of Redis: {error}")))?,
            password: None,
            tls: TlsConfig::default(),
            topology: Topology::Single,
        };
        let keys = KeyNames { token: format!("{site}_token"), cookies: format!("{site}_cookies") };
        Self::configured(&redis, site, keys)
    }

    /// The same for a site whose product is the cookies. [`Token::expose`] is then the JSON text of `S_cookies`, which
    /// [`Cookies::from_json`](crate::wire::Cookies::from_json) reads.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn of_cookies(redis_url: &str, site: &str) -> Result<Self, ClientError> {
        let Self { site, waits } = Self::new(redis_url, site)?;
        let keys = KeyNames::of_cookies(site.keys.cookies);
        Ok(Self { site: Site { keys, ..site }, waits })
    }

    /// A client with all settings: TLS, Sentinel or Cluster, and the names of the site's keys.
    ///
    /// # Errors
    /// [`ClientError::Config`] where a setting of Redis cannot be used.
    pub fn configured(redis: &RedisConfig, site: SiteId, keys: KeyNames) -> Result<Self, ClientError> {
        let link = Arc::new(Link::new(Connector::new(redis)?));
        let source = "token-sidecar-client for Rust".to_owned();
        Ok(Self { site: Site { link, id: site, keys, source }, waits: Arc::default() })
    }

    /// The same client under another name: sidecars log who reports. It shares the connection, but no waits.
    #[must_use]
    pub fn named(self, source: &str) -> Self {
        Self { site: Site { source: source.to_owned(), ..self.site }, waits: Arc::default() }
    }

    /// The site's id.
    #[must_use]
    pub const fn site(&self) -> &SiteId {
        &self.site.id
    }

    /// The current token. Where there is none, requests one and waits.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::NoSidecar`] at once.
    pub async fn get(&self, timeout: Duration) -> Result<Token, ClientError> {
        let getting = async {
            match wait::token_once_redis_is_there(&self.site).await? {
                Some(token) => Ok(token),
                None => self.waits.share(&self.site, None).await,
            }
        };
        wait::within(&self.site, timeout, None, getting).await
    }

    /// The token that replaces one that the API has refused: at once where it is stored already, else reports the
    /// refused one and waits.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::NoSidecar`] at once.
    pub async fn wait_newer(&self, refused: &Token, timeout: Duration) -> Result<Token, ClientError> {
        self.wait_newer_than(refused.fingerprint(), timeout).await
    }

    /// The same where only the fingerprint of the refused token is known.
    ///
    /// # Errors
    /// As [`Client::wait_newer`].
    pub async fn wait_newer_than(&self, refused: Fingerprint, timeout: Duration) -> Result<Token, ClientError> {
        let refused = Some(refused);
        wait::within(&self.site, timeout, refused, self.waits.share(&self.site, refused)).await
    }

    /// Reports a token that the API has refused without waiting for the next; returns how many sidecars received it.
    ///
    /// # Errors
    /// [`ClientError::NoSidecar`], [`ClientError::Redis`].
    pub async fn invalidate(&self, refused: &Token, reason: &str) -> Result<usize, ClientError> {
        let (fingerprint, reason) = (Some(refused.fingerprint()), Some(reason.to_owned()));
        self.report(&Report { fingerprint, reason, ..Report::default() }).await
    }

    /// Publishes a report under this client's name; returns how many sidecars received it, on a Cluster those of all
    /// nodes.
    ///
    /// # Errors
    /// [`ClientError::NoSidecar`], [`ClientError::Redis`].
    pub async fn report(&self, report: &Report) -> Result<usize, ClientError> {
        self.site.report(report).await
    }

    /// Subscribes and then reports, so that the outcome cannot be missed: see [`PendingReport::outcome`].
    ///
    /// # Errors
    /// [`ClientError::NoSidecar`], [`ClientError::Redis`].
    pub async fn ask(&self, report: Report) -> Result<PendingReport, ClientError> {
        PendingReport::send(self.site.clone(), report).await
    }

    /// The site's announcements, from the first [`Update::Subscribed`](crate::Update::Subscribed) on.
    #[must_use]
    pub fn updates(&self) -> Updates {
        self.site.updates()
    }

    /// The token that is stored now, if there is one.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn token(&self) -> Result<Option<Token>, ClientError> {
        Ok(self.site.token().await?)
    }

    /// The cookies that belong to the current token; empty where none are stored.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn cookies(&self) -> Result<Cookies, ClientError> {
        let json = self.site.text(&self.site.keys.cookies).await?;
        Ok(json.as_deref().map(Cookies::from_json).unwrap_or_default())
    }

    /// The user agent that the current token was fetched with, where it is known.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn user_agent(&self) -> Result<Option<String>, ClientError> {
        let reading = redis::cmd("HGET").arg(self.site.keys.companion("meta")).arg("user_agent").clone();
        Ok(self.site.command::<Option<String>>(&reading).await?.filter(|agent| !agent.is_empty()))
    }
}
