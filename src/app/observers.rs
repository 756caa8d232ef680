//! Who learns what happens on the subscription.

use std::sync::Arc;
use std::time::Duration;

use token_sidecar_client::wire::{Event, Payload, SiteId};
use tokio::sync::broadcast;

use crate::domain::notice::News;
use crate::gateway::Gateway;
use crate::status::{StatusRegistry, SubscriptionObserver};

/// The status, the notices, and the gateway where there is one.
pub(super) struct Observers {
    pub(super) status: Arc<StatusRegistry>,
    pub(super) gateway: Option<Arc<Gateway>>,
    pub(super) news: broadcast::Sender<Arc<News>>,
}

impl SubscriptionObserver for Observers {
    fn connected(&self) {
        self.status.connected();
    }

    fn disconnected(&self, reason: &str) {
        self.status.disconnected(reason);
    }

    fn canary(&self, round_trip: Duration) {
        self.status.canary(round_trip);
    }

    fn message(&self, site: &SiteId, payload: Payload) {
        self.status.message(site, payload);
    }

    fn event(&self, event: &Event) {
        self.status.event(event);
        if let Some(gateway) = &self.gateway {
            gateway.event(event);
        }
        if let Some(news) = News::of(event) {
            // Fails only where no notice is set.
            let _ = self.news.send(Arc::new(news));
        }
    }
}
