//! What is announced, as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use token_sidecar_client::redis::Connector;
use token_sidecar_client::wire::{Channels, Event};
use tokio_stream::Stream;

use super::listener::Listener;
use super::{ClientError, LinkError};
use crate::config::{Config, SiteConfig};

/// What whoever follows the announcements hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Nothing is missed from here on. What was announced before is not known: read the token.
    Listening,
    /// An announcement.
    Event(Event),
    /// The connection broke, or could not be had; it is tried again until [`Update::Listening`].
    Lost(LinkError),
}

/// What is announced, without end. Drop it to stop.
pub struct Updates {
    step: Pin<Box<dyn Future<Output = (Listener, Update)> + Send>>,
}

impl Updates {
    /// What is announced of some configured sites.
    ///
    /// # Errors
    /// [`ClientError::Config`] where a setting of Redis cannot be used.
    pub fn of(config: &Config, sites: &[&SiteConfig]) -> Result<Self, ClientError> {
        let channels = sites.iter().flat_map(|site| {
            let channels = Channels::of(&site.id);
            [channels.updated, channels.failed]
        });
        Ok(Self::on(Connector::new(&config.redis)?, channels.collect()))
    }

    pub(super) fn on(connector: Connector, channels: Vec<String>) -> Self {
        Self { step: Box::pin(step(Listener::new(connector, channels))) }
    }
}

async fn step(mut listener: Listener) -> (Listener, Update) {
    let update = listener.next().await;
    (listener, update)
}

impl Stream for Updates {
    type Item = Update;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Update>> {
        let (listener, update) = ready!(self.step.as_mut().poll(cx));
        self.step = Box::pin(step(listener));
        Poll::Ready(Some(update))
    }
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates").finish_non_exhaustive()
    }
}
