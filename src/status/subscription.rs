//! The state of the subscription in Redis.

use std::time::Duration;
use token_sidecar_client::wire::{Event, Payload, SiteId};

/// The state of the subscription. Instants are readings of the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionStatus {
    /// Whether it is there.
    pub state: SubscriptionState,
    /// The last canary that came back.
    pub canary: Option<Canary>,
    /// How often it was made, the first time included.
    pub connects: u64,
}

/// Whether the subscription is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubscriptionState {
    /// Not made yet since the process started.
    #[default]
    Connecting,
    /// There.
    Up {
        /// Since when.
        since: Duration,
    },
    /// Lost, or refused from the start.
    Down {
        /// Since when.
        since: Duration,
        /// Why, without any secret.
        reason: String,
    },
}

/// A canary that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// When.
    pub at: Duration,
    /// How long it took.
    pub round_trip: Duration,
}

/// Takes note of what happens on the subscription. It decides nothing.
pub trait SubscriptionObserver: Send + Sync {
    /// The subscription was made.
    fn connected(&self);

    /// The subscription was lost or could not be made. The reason must hold no secret.
    fn disconnected(&self, reason: &str);

    /// A canary came back.
    fn canary(&self, round_trip: Duration);

    /// A message on a site's `token:invalid` was received.
    fn message(&self, site: &SiteId, payload: Payload);

    /// An event of a site was received.
    fn event(&self, event: &Event);
}

impl SubscriptionStatus {
    /// How often the subscription came back after it was lost.
    #[must_use]
    pub const fn reconnects(&self) -> u64 {
        self.connects.saturating_sub(1)
    }
}
