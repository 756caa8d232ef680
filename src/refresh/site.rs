//! One site as the flow sees it: its rules and the outside that it speaks to.

use std::sync::Arc;

use token_sidecar_client::wire::{SiteId, Token};

use super::beat::Beat;
use super::mailbox::Mailbox;
use super::observation::Observer;
use super::ports::{Chance, Clock, Probe, Sink, Source, Store};
use crate::domain::extract::CookieRule;
use crate::domain::site::Policy;

/// Names the kinds of things outside: the real ones in `app.rs`, models of them in tests.
pub trait World: Send + Sync + 'static {
    /// The keys that all replicas share.
    type Store: Store;
    /// Where tokens come from.
    type Source: Source;
    /// The API's word.
    type Probe: Probe;
    /// Further places for the token.
    type Sink: Sink;
    /// Time.
    type Clock: Clock;
    /// Jitter and ids.
    type Chance: Chance;
    /// Who watches.
    type Observer: Observer;
}

/// One site: its rules, its outside and its inbox.
pub struct Site<W: World> {
    /// Its id.
    pub id: SiteId,
    /// When it looks whether its key is still there.
    pub beat: Beat,
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
    pub store: W::Store,
    /// Where tokens come from, in order.
    pub sources: Vec<W::Source>,
    /// The API's word.
    pub probe: W::Probe,
    /// Further places for the token.
    pub sinks: Vec<W::Sink>,
    /// Time.
    pub clock: W::Clock,
    /// Jitter and ids.
    pub chance: W::Chance,
    /// Who watches.
    pub observer: W::Observer,
}
