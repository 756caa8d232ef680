//! What a parser does, in Rust: read the token, report that it does not work, wait for the outcome.
//!
//! The commands `trigger`, `token`, `status` and `watch` are made of this.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use token_sidecar::app::{Answer, Client};
//! # async fn example(client: Client, refused: &str) -> Result<(), Box<dyn std::error::Error>> {
//! // The API answered 401 to `refused`: say so, and wait for the one that follows.
//! let mut events = client.listen().await?;
//! client.report(Some(refused), "401 on /search", false).await?;
//! match tokio::time::timeout(Duration::from_secs(60), events.answer()).await?? {
//!     Answer::Updated(_) => { let token = client.token().await?; }
//!     Answer::Failed(failed) => eprintln!("no new token: {}", failed.error),
//! }
//! # Ok(()) }
//! ```

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::mpsc;

use super::channels::Channels;
use super::connect::Connector;
use super::error::{LinkError, classify};
use super::history;
use super::link::Link;
use super::store::RedisStore;
use crate::config::KeyNames;
use crate::domain::event::{Event, Failed, Updated};
use crate::domain::extract::Cookies;
use crate::domain::site::SiteId;
use crate::domain::snapshot::Snapshot;
use crate::domain::token::{Fingerprint, Token};
use crate::flow::ports::{Clock, Store as _, StoreError};
use crate::flow::report::HistoryEntry;

/// How many events may wait to be read; what comes beyond that is left out.
const EVENTS_WAITING: usize = 1024;

/// A parser's side of one site.
#[derive(Debug)]
pub struct Client<C> {
    link: Arc<Link<C>>,
    site: SiteId,
    keys: KeyNames,
    store: RedisStore<C>,
}

/// What ends a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A token is ready to be read.
    Updated(Updated),
    /// An attempt ended without a new token.
    Failed(Failed),
}

/// The events of one site, from the moment of listening on.
pub struct Events {
    received: mpsc::Receiver<Vec<u8>>,
    /// Ends the subscription when it is dropped.
    _connection: MultiplexedConnection,
}

impl<C: Clock> Client<C> {
    /// A client that connects when it is first used.
    #[must_use]
    pub fn new(link: Arc<Link<C>>, site: SiteId, keys: KeyNames) -> Self {
        // A client takes no lock: the TTL is what a lock that somebody set by hand without one is given.
        const LOCK_TTL: std::time::Duration = std::time::Duration::from_secs(15);
        let store = RedisStore::new(Arc::clone(&link), site.clone(), keys.clone(), LOCK_TTL, String::new());
        Self { link, site, keys, store }
    }

    /// The site's id.
    #[must_use]
    pub const fn site(&self) -> &SiteId {
        &self.site
    }

    /// The current token, if there is one.
    ///
    /// # Errors
    /// [`LinkError`] where Redis is away or refuses.
    pub async fn token(&self) -> Result<Option<Token>, LinkError> {
        let value: Option<Vec<u8>> = self.link.command(redis::cmd("GET").arg(&self.keys.token)).await?;
        Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| Token::parse(&text).ok()))
    }

    /// Says that the token does not work; answers how many sidecars heard it. On a Cluster the sidecars
    /// of all nodes are counted.
    ///
    /// # Errors
    /// [`LinkError`] where Redis is away or refuses.
    pub async fn report(&self, refused: Option<&str>, reason: &str, force: bool) -> Result<usize, LinkError> {
        let mut message = serde_json::Map::new();
        if let Some(refused) = refused {
            message.insert("fingerprint".to_owned(), Fingerprint::of(refused).to_string().into());
        }
        if !reason.is_empty() {
            message.insert("reason".to_owned(), reason.into());
        }
        if force {
            message.insert("force".to_owned(), true.into());
        }
        message.insert("source".to_owned(), "token-sidecar".into());
        let channel = Channels::of(&self.site).invalid;
        let payload = serde_json::Value::Object(message).to_string();
        let publish = redis::cmd("PUBLISH").arg(&channel).arg(payload).clone();
        let received: usize = self.link.command(&publish).await?;
        if received > 0 || !self.link.connector().is_cluster() {
            return Ok(received);
        }
        self.link.connector().subscribers(&channel).await
    }

    /// Hears the site's events from now on.
    ///
    /// # Errors
    /// [`LinkError`] where Redis is away or refuses.
    pub async fn listen(&self) -> Result<Events, LinkError> {
        let channels = Channels::of(&self.site);
        Events::on(self.link.connector(), &[channels.updated, channels.failed]).await
    }

    /// The site's state as one atomic step reads it.
    ///
    /// # Errors
    /// [`StoreError`] where Redis is away or refuses.
    pub async fn look(&self) -> Result<Snapshot, StoreError> {
        self.store.look().await
    }

    /// The cookies that belong to the current token; none where there are none.
    ///
    /// # Errors
    /// [`StoreError`] where Redis is away or refuses.
    pub async fn cookies(&self) -> Result<Cookies, StoreError> {
        self.store.cookies().await
    }

    /// The latest attempts, newest first.
    ///
    /// # Errors
    /// [`LinkError`] where Redis is away or refuses.
    pub async fn history(&self, limit: usize) -> Result<Vec<HistoryEntry>, LinkError> {
        history::latest(&self.link, &self.keys, limit).await
    }
}

impl Events {
    /// Hears these channels from now on.
    ///
    /// # Errors
    /// [`LinkError`] where Redis is away or refuses.
    pub async fn on(connector: &Connector, channels: &[String]) -> Result<Self, LinkError> {
        let (sender, received) = mpsc::channel(EVENTS_WAITING);
        let sender = std::sync::Mutex::new(Some(sender));
        let receive = move |push: PushInfo| {
            let Ok(mut sender) = sender.lock() else { return };
            match (push.kind, &push.data[..]) {
                (PushKind::Message, [_, Value::BulkString(payload)]) => {
                    let _left_out_where_nobody_reads = sender.as_ref().map(|s| s.try_send(payload.clone()));
                }
                (PushKind::Disconnection, _) => *sender = None,
                _ => {}
            }
        };
        let mut connection = connector.subscription(receive).await?;
        connection.subscribe(channels).await.map_err(|e| classify(&e))?;
        Ok(Self { received, _connection: connection })
    }

    /// The next message, whatever it says.
    ///
    /// # Errors
    /// [`LinkError::Away`] where the connection broke: messages may have been missed, so listen and read again.
    pub async fn raw(&mut self) -> Result<Vec<u8>, LinkError> {
        let payload = self.received.recv().await;
        payload.ok_or_else(|| LinkError::Away("the connection to Redis broke".to_owned()))
    }

    /// The next event.
    ///
    /// # Errors
    /// See [`Self::raw`].
    pub async fn next(&mut self) -> Result<Event, LinkError> {
        loop {
            if let Some(event) = Event::parse(&self.raw().await?) {
                return Ok(event);
            }
        }
    }

    /// The next event, as the end of a wait.
    ///
    /// # Errors
    /// See [`Self::raw`].
    pub async fn answer(&mut self) -> Result<Answer, LinkError> {
        Ok(match self.next().await? {
            Event::Updated(updated) => Answer::Updated(updated),
            Event::Failed(failed) => Answer::Failed(failed),
        })
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
