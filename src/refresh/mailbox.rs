//! Where a site's triggers arrive: folded where they are received, taken in by the driver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::inbox::Arrived;
use crate::domain::pending::{Arrival, Outcome};

/// Hands what has arrived for a site over to its driver.
#[derive(Debug, Default)]
pub struct Mailbox {
    arrived: Mutex<Arrived>,
    /// How many outcomes have been received; wraps.
    outcomes: AtomicU64,
    changed: Notify,
}

impl Mailbox {
    /// Folds one trigger in and wakes the driver.
    pub fn post(&self, arrival: Arrival) {
        self.arrived().post(arrival);
        self.changed.notify_one();
    }

    /// Tells the driver that the state in Redis may have changed.
    pub fn hint(&self) {
        self.arrived().hint();
        self.changed.notify_one();
    }

    /// An attempt has ended, with a token of this version where it stored one. Called in the order in which messages
    /// and outcomes were published.
    pub fn settle(&self, outcome: Outcome, version: Option<u64>) {
        self.arrived().settle(outcome, version);
        self.outcomes.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// All that has arrived since the last call.
    #[must_use]
    pub fn take(&self) -> Arrived {
        std::mem::take(&mut *self.arrived())
    }

    /// How many outcomes have been received.
    #[must_use]
    pub fn outcomes(&self) -> u64 {
        self.outcomes.load(Ordering::Relaxed)
    }

    /// Ends when something has arrived since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        // A panic cannot leave it half-changed.
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
