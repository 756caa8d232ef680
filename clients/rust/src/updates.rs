//! A subscription to the announcements that comes back after every gap.

use crate::RETRY_PAUSE;
use crate::redis::{Connector, Events, LinkError};
use crate::wire::{Channels, Event, SiteId};

/// What [`Updates`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// From here on no announcement is missed. Earlier ones may have been: read the token.
    Subscribed,
    /// An announcement.
    Event(Event),
    /// The connection broke or could not be opened. It is tried again until [`Update::Subscribed`].
    Lost(LinkError),
}

/// The announcements of some sites, without end.
#[derive(Debug)]
pub struct Updates {
    connector: Connector,
    channels: Vec<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    Unsubscribed,
    /// Unsubscribed, and the last try failed: the next one comes after a pause.
    Failed,
    Subscribed(Events),
}

impl Updates {
    /// The announcements of these sites; connects with the first [`Self::next`].
    pub fn of<'a>(connector: Connector, sites: impl IntoIterator<Item = &'a SiteId>) -> Self {
        let channels = sites.into_iter().flat_map(|site| {
            let channels = Channels::of(site);
            [channels.updated, channels.failed]
        });
        Self { connector, channels: channels.collect(), state: State::Unsubscribed }
    }

    /// The next one. May be cancelled without losing an announcement.
    pub async fn next(&mut self) -> Update {
        if let State::Subscribed(events) = &mut self.state {
            return match events.next().await {
                Ok(event) => Update::Event(event),
                Err(error) => self.lost(State::Unsubscribed, error),
            };
        }
        if matches!(self.state, State::Failed) {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        match Events::on(&self.connector, &self.channels).await {
            Ok(events) => {
                self.state = State::Subscribed(events);
                Update::Subscribed
            }
            Err(error) => self.lost(State::Failed, error),
        }
    }

    /// Discards the announcements that have arrived and were not read.
    pub(crate) fn discard_unread(&mut self) {
        if let State::Subscribed(events) = &mut self.state {
            events.discard_unread();
        }
    }

    fn lost(&mut self, state: State, error: LinkError) -> Update {
        self.state = state;
        Update::Lost(error)
    }
}
