//! The context of a site: its policy and its ports.

use std::sync::Arc;

use tokio::sync::watch;

use super::mailbox::Mailbox;
use super::observation::Observer;
use super::ports::{Clock, Jitter, Probe, Source, Store};
use crate::domain::product::ProductRule;
use crate::domain::site::Policy;
use crate::domain::stored::StoredToken;
use token_sidecar_client::wire::{SiteId, Token};

/// The implementations of all ports: the production set is in `app/`, tests have their own.
pub trait Ports: Send + Sync + 'static {
    type Store: Store;
    type Source: Source;
    type Probe: Probe;
    type Clock: Clock;
    type Jitter: Jitter;
    type Observer: Observer;
}

pub struct SiteContext<P: Ports> {
    pub id: SiteId,
    pub policy: Policy,
    /// What is taken from an answer.
    pub product: ProductRule,
    /// The page whose cookies are taken; decides between cookies of the same name.
    pub page: String,
    /// A configured token, adopted where the store has none.
    pub bootstrap: Option<Box<Token>>,
    pub mailbox: Arc<Mailbox>,
    pub store: P::Store,
    /// In the order in which they are tried.
    pub sources: Vec<P::Source>,
    pub probe: P::Probe,
    /// The stored token, published to the outputs.
    pub stored: watch::Sender<Option<Arc<StoredToken>>>,
    pub clock: P::Clock,
    pub jitter: P::Jitter,
    pub observer: P::Observer,
}
