//! A refresh on demand: a driver that ends with its outcome.

use super::driver::{Driver, Stop, first_reading, unanswered};
use super::site::{Ports, SiteContext};
use crate::domain::inbox::Inbox;
use crate::domain::pending::{Arrival, Note};
use crate::domain::site_state::{Freshness, Reading};
use crate::domain::snapshot::{Failing, Snapshot};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManualOutcome {
    Refreshed(Box<Snapshot>),
    Failed(Failing),
    /// Stopped before the refresh ended.
    Stopped,
}

impl<P: Ports> Driver<P> {
    /// One forced refresh: in this process, or in the replica that holds the lock. Returns also what is left unanswered.
    pub async fn refresh_once(
        site: impl Into<Box<SiteContext<P>>>,
        reading: Option<Reading>,
        stop: Stop,
    ) -> (ManualOutcome, Inbox) {
        let site = site.into();
        let Some(reading) = first_reading(&site, reading, &stop).await else {
            return (ManualOutcome::Stopped, unanswered(&site));
        };
        let before = reading.snapshot.version;
        // Through the mailbox: what it holds already, such as the outcome of an earlier refresh, came before.
        site.mailbox.post(Arrival::Manual(Note::default()));
        let mut driver = Self::new(site, reading);
        let mut outcome = ManualOutcome::Stopped;
        while outcome == ManualOutcome::Stopped && !stop.graceful.is_cancelled() {
            driver.step(&stop).await;
            let snapshot = driver.state.snapshot();
            if !driver.inbox.is_empty() || driver.state.freshness() == Freshness::Stale {
                continue;
            }
            if snapshot.version > before {
                outcome = ManualOutcome::Refreshed(Box::new(snapshot.clone()));
            } else if let Some(failing) = &snapshot.failing {
                outcome = ManualOutcome::Failed(Failing::clone(failing));
            } else {
                // A failure that could not be stored: another replica announced it.
                driver.site.mailbox.post(Arrival::Manual(Note::default()));
            }
        }
        driver.take_in();
        driver.inbox.drop_manual();
        (outcome, driver.inbox)
    }
}
