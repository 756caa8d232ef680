//! Where a site's triggers arrive: folded on the spot by whoever receives them, taken by the driver.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::inbox::{Arrival, Inbox, Outcome};

/// A site's inbox, shared between the receivers and the driver. Its size does not depend on how much arrives.
#[derive(Debug, Default)]
pub struct Mailbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    inbox: Inbox,
    news: News,
    /// How many outcomes have been heard; wraps.
    outcomes: u64,
    /// How many triggers were answered by an outcome before anything was decided about them.
    joined: u64,
    /// What was heard since the inbox was last taken: it answers what was taken too.
    heard: Option<Outcome>,
}

/// What happened in the store since the driver last asked.
#[derive(Debug, Default, Clone, Copy)]
enum News {
    #[default]
    Nothing,
    /// A token of this version was stored: nothing new to whoever stored it.
    Stored(u64),
    /// Whatever else.
    Unknown,
}

impl Mailbox {
    /// Folds one arrival in and wakes the driver.
    pub fn post(&self, arrival: Arrival) {
        self.state().inbox.fold(arrival);
        self.changed.notify_one();
    }

    /// Says that the store may have changed.
    pub fn hint(&self) {
        self.state().news = News::Unknown;
        self.changed.notify_one();
    }

    /// An attempt has just ended, with a token of this version where it stored one: takes out what it answers. Called in the order in which messages and
    /// outcomes were published, so that exactly what came before the outcome is answered by it.
    pub fn hear(&self, outcome: Outcome, version: Option<u64>) {
        let mut state = self.state();
        state.joined += state.inbox.folded;
        state.inbox.settle(outcome);
        state.heard = Some(match state.heard {
            Some(earlier) => earlier.and_then(outcome),
            None => outcome,
        });
        state.outcomes = state.outcomes.wrapping_add(1);
        state.news = match (state.news, version) {
            (News::Nothing, Some(version)) => News::Stored(version),
            (News::Stored(earlier), Some(version)) => News::Stored(earlier.max(version)),
            _ => News::Unknown,
        };
        drop(state);
        self.changed.notify_one();
    }

    /// Takes all that is pending.
    #[must_use]
    pub fn take(&self) -> Inbox {
        let mut state = self.state();
        state.heard = None;
        std::mem::take(&mut state.inbox)
    }

    /// Puts back what was last taken, as far as no outcome has answered it meanwhile.
    pub fn restore(&self, mut taken: Inbox) {
        let mut state = self.state();
        if let Some(outcome) = state.heard {
            taken.settle(outcome);
        }
        let newer = std::mem::replace(&mut state.inbox, taken);
        state.inbox.absorb(newer);
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.state().inbox.is_empty()
    }

    /// What is pending, to look at.
    #[must_use]
    pub fn peek(&self) -> Inbox {
        self.state().inbox.clone()
    }

    /// Whether something has happened in the store since the last call that whoever knows this version does not know.
    #[must_use]
    pub fn take_hint(&self, known: u64) -> bool {
        match std::mem::take(&mut self.state().news) {
            News::Nothing => false,
            News::Stored(version) => version > known,
            News::Unknown => true,
        }
    }

    /// How many triggers an outcome has answered since the last call, before anything was decided about them.
    #[must_use]
    pub fn take_joined(&self) -> u64 {
        std::mem::take(&mut self.state().joined)
    }

    /// Counts triggers that an outcome of our own has answered.
    pub fn join(&self, answered: &Inbox) {
        self.state().joined += answered.folded;
    }

    /// How many outcomes have been heard.
    #[must_use]
    pub fn outcomes(&self) -> u64 {
        self.state().outcomes
    }

    /// Ends when something arrived, was hinted or heard since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can leave the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use token_sidecar_client::wire::Fingerprint;

    #[test]
    fn what_was_stored_is_a_hint_to_whoever_does_not_know_it() {
        let stored = Outcome::Refreshed(Fingerprint::parse("9f86d081884c7d65").unwrap());
        let mailbox = Mailbox::default();
        assert!(!mailbox.take_hint(0));
        mailbox.hear(stored, Some(7));
        assert!(!mailbox.take_hint(7), "its own");
        mailbox.hear(stored, Some(8));
        mailbox.hear(stored, Some(7));
        assert!(mailbox.take_hint(7), "somebody else's");
        assert!(!mailbox.take_hint(7), "once");
        mailbox.hear(stored, Some(7));
        mailbox.hear(Outcome::Failed, None);
        assert!(mailbox.take_hint(7), "a failure too");
        mailbox.hint();
        mailbox.hear(stored, Some(7));
        assert!(mailbox.take_hint(7), "whatever else is not forgotten");
    }
}
