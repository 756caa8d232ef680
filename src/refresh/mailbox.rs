//! Where a site's triggers arrive: merged on receipt, taken by the driver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::inbox::Arrived;
use crate::domain::pending::{Arrival, Outcome};
use token_sidecar_client::wire::Fingerprint;

/// Passes what has arrived for a site to its driver.
#[derive(Debug, Default)]
pub struct Mailbox {
    arrived: Mutex<Arrived>,
    /// How many outcomes have been received; wraps.
    outcomes: AtomicU64,
    changed: Notify,
}

impl Mailbox {
    /// Merges one trigger in and wakes the driver.
    pub fn post(&self, arrival: Arrival) {
        self.arrived().post(arrival);
        self.changed.notify_one();
    }

    /// Notes that the state in Redis may have changed.
    pub fn hint(&self) {
        self.arrived().hint();
        self.changed.notify_one();
    }

    /// An attempt has ended; `version` is that of the token it stored. Must be called in the order in which messages
    /// and outcomes were published.
    pub fn settle(&self, outcome: Outcome, version: Option<u64>) {
        self.arrived().settle(outcome, version);
        self.outcomes.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// A sidecar has stored a token of this version. A report on the newest one is never lost in a flood of others.
    pub fn stored(&self, version: u64, fingerprint: Fingerprint) {
        self.arrived().stored(version, fingerprint);
    }

    /// Takes all that has arrived since the last call.
    pub fn take(&self) -> Arrived {
        self.arrived().take()
    }

    pub fn outcomes(&self) -> u64 {
        self.outcomes.load(Ordering::Relaxed)
    }

    /// Waits until something has arrived since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        // A panic cannot leave the value half-changed.
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
