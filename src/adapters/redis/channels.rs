//! The channels of a site.

use crate::domain::event::Event;
use crate::domain::site::SiteId;

/// The channels that the contract names.
#[derive(Debug, Clone)]
pub struct Channels {
    /// Where anybody says that the token does not work.
    pub invalid: String,
    /// Where a new token is announced.
    pub updated: String,
    /// Where a failure is announced.
    pub failed: String,
    /// For the sidecars alone.
    pub canary: String,
}

impl Channels {
    /// `token:updated` of every site.
    pub const ALL_UPDATED: &'static str = "token:updated";
    /// `token:failed` of every site.
    pub const ALL_FAILED: &'static str = "token:failed";

    /// The channels of one site.
    #[must_use]
    pub fn of(site: &SiteId) -> Self {
        Self {
            invalid: format!("{site}:token:invalid"),
            updated: format!("{site}:token:updated"),
            failed: format!("{site}:token:failed"),
            canary: format!("{site}:token:canary"),
        }
    }

    /// The two on which an event is published.
    pub(super) fn for_event(&self, event: &Event) -> (&'static str, &str) {
        match event {
            Event::Updated(_) => (Self::ALL_UPDATED, &self.updated),
            Event::Failed(_) => (Self::ALL_FAILED, &self.failed),
        }
    }
}
