//! A subscription that comes back: what is heard, and from when on.

use token_sidecar_client::redis::{Connector, Events};

use super::updates::Update;
use super::{LinkError, PACE};

/// Hears some channels, and again after every gap.
#[derive(Debug)]
pub(super) struct Listener {
    connector: Connector,
    channels: Vec<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not yet, or not any more, and to be tried at once.
    Deaf,
    /// To be tried again after a rest.
    Resting,
    Hearing(Events),
}

impl Listener {
    pub(super) const fn new(connector: Connector, channels: Vec<String>) -> Self {
        Self { connector, channels, state: State::Deaf }
    }

    /// What comes next. Whoever gives up waiting for it misses nothing.
    pub(super) async fn next(&mut self) -> Update {
        if let State::Hearing(events) = &mut self.state {
            return match events.next().await {
                Ok(event) => Update::Event(event),
                Err(error) => self.lost(State::Deaf, error),
            };
        }
        if matches!(self.state, State::Resting) {
            tokio::time::sleep(PACE).await;
        }
        match Events::on(&self.connector, &self.channels).await {
            Ok(events) => {
                self.state = State::Hearing(events);
                Update::Listening
            }
            Err(error) => self.lost(State::Resting, error),
        }
    }

    /// Leaves out what was heard and not asked for yet.
    pub(super) fn forget(&mut self) {
        if let State::Hearing(events) = &mut self.state {
            events.forget();
        }
    }

    fn lost(&mut self, state: State, error: LinkError) -> Update {
        self.state = state;
        Update::Lost(error)
    }
}
