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
    /// Something happened in the store: worth a look.
    hinted: bool,
    /// How many outcomes have been heard; wraps.
    outcomes: u64,
    /// How many triggers were answered by an outcome before anything was decided about them.
    joined: u64,
    /// What was heard since the inbox was last taken: it answers what was taken too.
    heard: Option<Outcome>,
}

impl Mailbox {
    /// Folds one arrival in and wakes the driver.
    pub fn post(&self, arrival: Arrival) {
        self.state().inbox.fold(arrival);
        self.changed.notify_one();
    }

    /// Says that the store may have changed.
    pub fn hint(&self) {
        self.state().hinted = true;
        self.changed.notify_one();
    }

    /// An attempt has just ended: takes out what it answers. Called in the order in which messages and
    /// outcomes were published, so that exactly what came before the outcome is answered by it.
    pub fn hear(&self, outcome: Outcome) {
        let mut state = self.state();
        state.joined += state.inbox.folded;
        state.inbox.settle(outcome);
        state.heard = Some(match state.heard {
            Some(earlier) => earlier.and_then(outcome),
            None => outcome,
        });
        state.outcomes = state.outcomes.wrapping_add(1);
        state.hinted = true;
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

    /// Whether there was a hint since the last call.
    #[must_use]
    pub fn take_hint(&self) -> bool {
        std::mem::take(&mut self.state().hinted)
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
