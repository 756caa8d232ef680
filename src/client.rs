//! A parser's side of a site: read the token, say that it does not work, wait for the one that follows.
//!
//! The commands `token`, `trigger`, `watch` and `status` are made of this.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use token_sidecar::client::{Client, ClientError};
//! # async fn example(refused_by_the_api: bool) -> Result<(), ClientError> {
//! const PATIENCE: Duration = Duration::from_secs(60);
//! let client = Client::new("redis://127.0.0.1:6379/0", "chitai_gorod")?;
//! let mut token = client.get(PATIENCE).await?;
//! // Call the API with it; on a 401:
//! if refused_by_the_api {
//!     token = client.wait_newer(&token, PATIENCE).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! A client connects when it is first used, and again whenever its connection has broken: what may have been said
//! meanwhile is read and asked again, within the same patience. Clones share their waits: a hundred tasks whose token
//! was refused send one report.

mod error;
mod listener;
mod updates;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue};
use secrecy::SecretString;
use serde_json::{Map, Value};
use token_sidecar_client::redis::{Connector, RedisConfig, TlsConfig, Topology};
use token_sidecar_client::wire::{Channels, Cookies, Fingerprint, KeyNames, SiteId, Token};

use self::wait::Waits;
use crate::clock::SystemClock;
use crate::config::{Config, SiteConfig};
use crate::domain::snapshot::Snapshot;
use crate::redis::history;
use crate::redis::{Link, RedisStore};
use crate::refresh::ports::Store as _;
use crate::status::HistoryEntry;

pub use self::error::ClientError;
pub use self::updates::{Update, Updates};
pub use self::wait::Asked;
pub use token_sidecar_client::redis::LinkError;

/// The rest between two tries while Redis is away, or while the sidecar that comes back is not heard yet.
const PACE: Duration = Duration::from_millis(250);
/// How long the last look at the key may take once a wait is over.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// What is said to the sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The token that was refused; a report without one asks for any.
    pub fingerprint: Option<Fingerprint>,
    /// For logs and history.
    pub reason: String,
    /// Solve even inside the debounce window and while backing off.
    pub force: bool,
}

/// A parser's side of one site; its clones share their connection and their waits.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link<SystemClock>>,
    site: SiteId,
    keys: KeyNames,
    source: String,
    waits: Waits,
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
        Self::of(&redis, site, keys)
    }

    /// A client of a configured site: with its names, and with TLS, Sentinel or Cluster where they are set.
    ///
    /// # Errors
    /// [`ClientError::Config`] where a setting of Redis cannot be used.
    pub fn configured(config: &Config, site: &SiteConfig) -> Result<Self, ClientError> {
        Self::of(&config.redis, site.id.clone(), site.keys.clone())
    }

    fn of(redis: &RedisConfig, site: SiteId, keys: KeyNames) -> Result<Self, ClientError> {
        let link = Arc::new(Link::new(Connector::new(redis)?, SystemClock::start()));
        let source = "token-sidecar".to_owned();
        Ok(Self { inner: Arc::new(Inner { link, site, keys, source, waits: Waits::default() }) })
    }

    /// The same client under a name of its own: sidecars note who reports. It shares no waits with the first.
    #[must_use]
    pub fn named(&self, source: &str) -> Self {
        let Inner { link, site, keys, .. } = &*self.inner;
        let (link, site, keys) = (Arc::clone(link), site.clone(), keys.clone());
        Self { inner: Arc::new(Inner { link, site, keys, source: source.to_owned(), waits: Waits::default() }) }
    }

    /// The site's id.
    #[must_use]
    pub fn site(&self) -> &SiteId {
        &self.inner.site
    }

    /// The current token. Where there is none, asks for one and waits.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::NobodyListens`] comes at once.
    pub async fn get(&self, patience: Duration) -> Result<Token, ClientError> {
        let getting = async {
            match self.read().await? {
                Some(token) => Ok(token),
                None => self.share(None).await,
            }
        };
        self.within(patience, None, getting).await
    }

    /// The token that takes the place of one that the API has refused: reports it, and waits. A token that is there
    /// already is given at once.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::NobodyListens`] comes at once.
    pub async fn wait_newer(&self, refused: &Token, patience: Duration) -> Result<Token, ClientError> {
        let refused = Some(refused.fingerprint());
        self.within(patience, refused, self.share(refused)).await
    }

    /// Says that a token does not work, and waits for nothing; answers how many sidecars heard it.
    ///
    /// # Errors
    /// [`ClientError::NobodyListens`], [`ClientError::Redis`].
    pub async fn invalidate(&self, refused: &Token, reason: &str) -> Result<usize, ClientError> {
        let fingerprint = Some(refused.fingerprint());
        self.report(&Report { fingerprint, reason: reason.to_owned(), force: false }).await
    }

    /// Sends a report in such a way that its answer will be heard: see [`Asked::answer`].
    ///
    /// # Errors
    /// [`ClientError::NobodyListens`], [`ClientError::Redis`].
    pub async fn ask(&self, report: Report) -> Result<Asked, ClientError> {
        Asked::begin(self, report).await
    }

    /// Sends a report; answers how many sidecars heard it. On a Cluster the sidecars of all nodes are counted.
    ///
    /// # Errors
    /// [`ClientError::NobodyListens`], [`ClientError::Redis`].
    pub async fn report(&self, report: &Report) -> Result<usize, ClientError> {
        let mut message = Map::new();
        if let Some(fingerprint) = report.fingerprint {
            message.insert("fingerprint".to_owned(), fingerprint.to_string().into());
        }
        if !report.reason.is_empty() {
            message.insert("reason".to_owned(), report.reason.as_str().into());
        }
        if report.force {
            message.insert("force".to_owned(), true.into());
        }
        message.insert("source".to_owned(), self.inner.source.as_str().into());
        let channel = self.channels().invalid;
        let publish = redis::cmd("PUBLISH").arg(&channel).arg(Value::Object(message).to_string()).clone();
        let mut heard: usize = self.command(&publish).await?;
        if heard == 0 && self.inner.link.connector().is_cluster() {
            heard = self.inner.link.connector().subscribers(&channel).await?;
        }
        if heard == 0 { Err(ClientError::NobodyListens(channel)) } else { Ok(heard) }
    }

    /// What is announced of the site, from the first [`Update::Listening`] on.
    #[must_use]
    pub fn updates(&self) -> Updates {
        let channels = self.channels();
        Updates::on(self.inner.link.connector().clone(), vec![channels.updated, channels.failed])
    }

    /// The token that is stored now, if there is one.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn token(&self) -> Result<Option<Token>, ClientError> {
        let text = self.text(&self.inner.keys.token).await?;
        Ok(text.and_then(|text| Token::parse(&text).ok()))
    }

    /// The cookies that belong to the current token; none where there are none.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn cookies(&self) -> Result<Cookies, ClientError> {
        let json = self.text(&self.inner.keys.cookies).await?;
        Ok(json.as_deref().map(Cookies::from_json).unwrap_or_default())
    }

    /// The user agent that the current token was fetched with, where it is known.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn user_agent(&self) -> Result<Option<String>, ClientError> {
        let asking = redis::cmd("HGET").arg(self.inner.keys.companion("meta")).arg("user_agent").clone();
        Ok(self.command::<Option<String>>(&asking).await?.filter(|agent| !agent.is_empty()))
    }

    /// The site's state as one atomic step reads it.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn look(&self) -> Result<Snapshot, ClientError> {
        // A client takes no lock, and must not shorten anybody's: no setting allows a longer one.
        const LONGEST_LOCK: Duration = Duration::from_secs(3600);
        let Inner { link, site, keys, .. } = &*self.inner;
        let store = RedisStore::new(Arc::clone(link), site.clone(), keys.clone(), LONGEST_LOCK, String::new());
        Ok(store.look().await?)
    }

    /// The latest attempts, newest first.
    ///
    /// # Errors
    /// [`ClientError::Redis`] where Redis is away or refuses.
    pub async fn history(&self, limit: usize) -> Result<Vec<HistoryEntry>, ClientError> {
        Ok(history::latest(&self.inner.link, &self.inner.keys, limit).await?)
    }

    /// What a key holds, where that is text.
    async fn text(&self, key: &str) -> Result<Option<String>, LinkError> {
        let value: Option<Vec<u8>> = self.command(redis::cmd("GET").arg(key)).await?;
        Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Runs a command, and once more where the connection turns out to be broken: none of ours does harm twice.
    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkError> {
        match self.inner.link.command(command).await {
            Err(LinkError::Away(_)) => self.inner.link.command(command).await,
            answer => answer,
        }
    }

    fn channels(&self) -> Channels {
        Channels::of(&self.inner.site)
    }
}
