//! One refresh on demand: the command `refresh`.

use super::pulse::{Seen, first_look};
use super::{Driver, Stop};
use crate::domain::inbox::Arrival;
use crate::domain::snapshot::{Failing, Snapshot};
use crate::refresh::site::{Site, World};

/// How one refresh on demand ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// There is a new token.
    Refreshed(Box<Snapshot>),
    /// The attempt failed.
    Failed(Failing),
    /// Stopped before it ended.
    Stopped,
}

impl<W: World> Driver<W> {
    /// One refresh, forced, here or wherever the lock is held.
    pub async fn once(site: impl Into<Box<Site<W>>>, seen: Option<Box<Seen>>, stop: Stop) -> Once {
        let site = site.into();
        let Some(seen) = first_look(&site, seen, &stop).await else { return Once::Stopped };
        let before = seen.snapshot.version;
        let mut driver = Self::new(site, *seen);
        driver.site.mailbox.post(Arrival::Manual);
        while !stop.graceful.is_cancelled() {
            driver.step(&stop).await;
            let snapshot = &driver.seen.snapshot;
            if driver.site.mailbox.is_empty() && snapshot.version > before {
                return Once::Refreshed(Box::new(snapshot.clone()));
            }
            if driver.site.mailbox.is_empty()
                && let Some(failing) = &snapshot.failing
            {
                return Once::Failed(Failing::clone(failing));
            }
        }
        Once::Stopped
    }
}
