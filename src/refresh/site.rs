//! A site's context: its rules and its ports.

use std::sync::Arc;

use tokio::sync::watch;

use super::mailbox::Mailbox;
use super::observation::Observer;
use super::ports::{Clock, Jitter, Probe, Source, Store};
use crate::domain::extract::CookieRule;
use crate::domain::site::Policy;
use crate::domain::stored::StoredToken;
use token_sidecar_client::wire::{SiteId, Token};

/// The implementations of all ports: the production set is in `app/`, tests have their own.
pub trait Ports: Send + Sync + 'static {
    /// The keys that all replicas share.
    type Store: Store;
    /// Where tokens come from.
    type Source: Source;
    /// The API's word.
    type Probe: Probe;
    /// Time.
    type Clock: Clock;
    /// Jitter and ids.
    type Jitter: Jitter;
    /// Who watches.
    type Observer: Observer;
}

/// One site: its rules, its ports and its mailbox.
pub struct SiteContext<P: Ports> {
    /// Its id.
    pub id: SiteId,
    /// Its rules.
    pub policy: Policy,
    /// Which cookie holds the token.
    pub cookie: CookieRule,
    /// The page whose cookies are taken, for choosing between cookies of one name.
    pub page: String,
    /// A configured token, adopted where the store has none.
    pub bootstrap: Option<Box<Token>>,
    /// Where its triggers arrive.
    pub mailbox: Arc<Mailbox>,
    /// The keys.
    pub store: P::Store,
    /// Where tokens come from, in order.
    pub sources: Vec<P::Source>,
    /// The API's word.
    pub probe: P::Probe,
    /// Where the stored token is published within the process; outputs receive it.
    pub stored: watch::Sender<Option<StoredToken>>,
    /// Time.
    pub clock: P::Clock,
    /// Jitter and ids.
    pub jitter: P::Jitter,
    /// Who watches.
    pub observer: P::Observer,
}
