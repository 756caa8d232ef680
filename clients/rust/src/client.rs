//! The client of one site.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue};
use secrecy::SecretString;

use crate::error::ClientError;
use crate::redis::{Connector, Link, LinkError, RedisConfig, TlsConfig, Topology};
use crate::updates::Updates;
use crate::wait::{PendingReport, Waits};
use crate::wire::{Channels, Cookies, KeyNames, Report, SiteId, Token};

/// A parser's side of one site. Its clones share their connection and their waits.
#[derive(Debug, Clone)]
pub struct Client {
    link: Arc<Link>,
    site: SiteId,
    keys: KeyNames,
    source: String,
    pub(crate) waits: Arc<Waits>,
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
            url: SecretString::from(redis_url),
            password: None,
            tls: TlsConfig::default(),
            topology: Topology::Single,
        };
        let keys = KeyNames { token: format!("{site}_token"), cookies: format!("{site}_cookies") };
        Self::configured(&redis, site, keys)
    }

    /// A client with all settings: TLS, Sentinel or Cluster, and the names of the site's keys.
    ///
    /// # Errors
    /// [`ClientError::Config`] where a setting of Redis cannot be used.
    pub fn configured(redis: &RedisConfig, site: SiteId, keys: KeyNames) -> Result<Self, ClientError> {
        let link = Arc::new(Link::new(Connector::new(redis)?));
        Ok(Self { link, site, keys, source: "token-sidecar-client for Rust".to_owned(), waits: Arc::default() })
    }

    /// The same client under another name: sidecars log who reports. It shares the connection, but no waits.
    #[must_use]
    pub fn named(self, source: &str) -> Self {
        Self { source: source.to_owned(), waits: Arc::default(), ..self }
    }

    /// The site's id.
    #[must_use]
    pub const fn site(&self) -> &SiteId {
        &self.site
    }

    /// The current token. Where there is none, asks for one and waits.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::NoSidecar`] at once.
    pub async fn get(&self, timeout: Duration) -> Result<Token, ClientError> {
        let getting = async {
            match self.token_once_redis_is_there().await? {
                Some(token) => Ok(token),
                None => self.wait_with_others(None).await,
            }
        };
        self.within(timeout, None, getting).await
    }

    /// The token that replaces one that the API has refused: at once where it is stored already, else reports the
    /// refused one and waits.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::NoSidecar`] at once.
    pub async fn wait_newer(&self, refused: &Token, timeout: Duration) -> Result<Token, ClientError> {
        let refused = Some(refused.fingerprint());
        self.within(timeout, refused, self.wait_with_others(refused)).await
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
        let channel = self.channels().invalid;
        let report = Report { source: Some(self.source.clone()), ..report.clone() };
        let mut receivers: usize = self.command(redis::cmd("PUBLISH").arg(&channel).arg(report.to_json())).await?;
        let connector = self.link.connector();
        if receivers == 0 && connector.is_cluster() {
            receivers = connector.subscribers(&channel).await?;
        }
        if receivers == 0 { Err(ClientError::NoSidecar(channel)) } else { Ok(receivers) }
    }

    /// Subscribes and then reports, so that the outcome cannot be missed: see [`PendingReport::outcome`].
    ///
    /// # Errors
    /// [`ClientError::NoSidecar`], [`ClientError::Redis`].
    pub async fn ask(&self, report: Report) -> Result<PendingReport, ClientError> {
        PendingReport::send(self, report).await
    }

    /// The site's announcements, from the first [`Update::Subscribed`](crate::Update::Subscribed) on.
    #[must_use]
    pub fn updates(&self) -> Updates {
        Updates::of(self.link.connector().clone(), [&self.site])
    }

    /// The token that is stored now, if there is one.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn token(&self) -> Result<Option<Token>, ClientError> {
        let text = self.text(&self.keys.token).await?;
        Ok(text.and_then(|text| Token::parse(&text).ok()))
    }

    /// The cookies that belong to the current token; empty where none are stored.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn cookies(&self) -> Result<Cookies, ClientError> {
        let json = self.text(&self.keys.cookies).await?;
        Ok(json.as_deref().map(Cookies::from_json).unwrap_or_default())
    }

    /// The user agent that the current token was fetched with, where it is known.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn user_agent(&self) -> Result<Option<String>, ClientError> {
        let reading = redis::cmd("HGET").arg(self.keys.companion("meta")).arg("user_agent").clone();
        Ok(self.command::<Option<String>>(&reading).await?.filter(|agent| !agent.is_empty()))
    }

    /// What a key holds, where that is text.
    async fn text(&self, key: &str) -> Result<Option<String>, LinkError> {
        let value: Option<Vec<u8>> = self.command(redis::cmd("GET").arg(key)).await?;
        Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Runs a command, and once more where the connection turns out to be broken: none of ours does harm twice.
    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkError> {
        match self.link.command(command).await {
            Err(LinkError::Away(_)) => self.link.command(command).await,
            answer => answer,
        }
    }

    fn channels(&self) -> Channels {
        Channels::of(&self.site)
    }
}
