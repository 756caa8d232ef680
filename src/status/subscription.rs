//! The state of the subscription in Redis.

use std::time::Duration;
use token_sidecar_client::wire::{Event, Payload, SiteId};

/// The state of the subscription. Instants are readings of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionStatus {
    pub state: SubscriptionState,
    pub canary: Option<Canary>,
    /// Includes the first connection.
    pub connects: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubscriptionState {
    /// Not made yet since the process started.
    #[default]
    Connecting,
    Up {
        since: Duration,
    },
    /// Lost, or refused from the start.
    Down {
        since: Duration,
        /// Contains no secret.
        reason: String,
    },
}

/// A canary that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    pub at: Duration,
    pub round_trip: Duration,
}

/// Records what happens on the subscription.
pub trait SubscriptionObserver: Send + Sync {
    fn connected(&self);

    /// The subscription was lost or could not be made. `reason` must hold no secret.
    fn disconnected(&self, reason: &str);

    fn canary(&self, round_trip: Duration);

    /// A message on a site's `token:invalid`.
    fn message(&self, site: &SiteId, payload: Payload);

    fn event(&self, event: &Event);
}

impl SubscriptionStatus {
    /// How often the subscription came back after it was lost.
    pub const fn reconnects(&self) -> u64 {
        self.connects.saturating_sub(1)
    }
}
