//! What is counted as it happens; what follows from the state alone is in [`super::metrics`].

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::site::SiteId;
use crate::domain::trigger::{Payload, Trigger};

/// From a commit in a millisecond to a solve that waited in FlareSolverr's queue.
const STAGE_SECONDS: [f64; 14] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 150.0];

/// The payloads that messages have.
const PAYLOADS: [Payload; 3] = [Payload::Details, Payload::Bare, Payload::Oversized];

/// The answers to a commit.
const COMMITS: [&str; 3] = ["stored", "superseded", "error"];

/// The counters of all sites.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    refreshes: Family<RefreshLabels, Counter>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    triggers: Family<DecisionLabels, Counter>,
    lease_lost: Family<SiteLabels, Counter>,
    commits: Family<CommitLabels, Counter>,
    messages: Family<MessageLabels, Counter>,
}

/// The counters of one site.
#[derive(Debug, Clone)]
pub(super) struct SiteTally {
    site: Arc<String>,
    all: Tally,
    lease_lost: Counter,
    messages: [Counter; PAYLOADS.len()],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SiteLabels {
    site: Arc<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    site: Arc<String>,
    trigger: &'static str,
    outcome: &'static str,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    site: Arc<String>,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    site: Arc<String>,
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommitLabels {
    site: Arc<String>,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    site: Arc<String>,
    payload: &'static str,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            refreshes: Family::default(),
            stages: Family::new_with_constructor(|| Histogram::new(STAGE_SECONDS)),
            triggers: Family::default(),
            lease_lost: Family::default(),
            commits: Family::default(),
            messages: Family::default(),
        }
    }

    /// The counters of a site; those whose labels are known beforehand begin at zero.
    pub(super) fn site(&self, site: &SiteId) -> SiteTally {
        let site = Arc::new(site.to_string());
        let lease_lost = self.lease_lost.get_or_create_owned(&SiteLabels { site: site.clone() });
        for result in COMMITS {
            let _ = self.commits.get_or_create_owned(&CommitLabels { site: site.clone(), result });
        }
        let messages = PAYLOADS.map(|payload| {
            self.messages.get_or_create_owned(&MessageLabels { site: site.clone(), payload: payload.as_str() })
        });
        SiteTally { site, all: self.clone(), lease_lost, messages }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "refreshes",
            "Refreshes of this process that have ended, by what brought them about, how they ended and the stage that failed",
            self.refreshes.clone(),
        );
        registry.register_with_unit(
            "stage_duration",
            "How long a stage of a refresh took: solve, extract, verify, commit",
            Unit::Seconds,
            self.stages.clone(),
        );
        registry.register("triggers", "Triggers by the decision they led to", self.triggers.clone());
        registry.register(
            "lease_lost",
            "How often the lock was lost while a refresh of this process went on",
            self.lease_lost.clone(),
        );
        registry.register("commits", "Commits of this process by the store's answer", self.commits.clone());
        registry.register(
            "messages",
            "Messages on the site's token:invalid channel, by how much of the payload could be used",
            self.messages.clone(),
        );
    }
}

impl SiteTally {
    pub(super) fn decided(&self, decision: &'static str, folded: u64) {
        let labels = DecisionLabels { site: self.site.clone(), decision };
        self.all.triggers.get_or_create(&labels).inc_by(folded);
    }

    pub(super) fn timed(&self, stage: &'static str, took: Duration) {
        let labels = StageLabels { site: self.site.clone(), stage };
        self.all.stages.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(super) fn finished(&self, trigger: Trigger, outcome: &'static str, stage: &'static str) {
        let labels = RefreshLabels { site: self.site.clone(), trigger: trigger.as_str(), outcome, stage };
        self.all.refreshes.get_or_create(&labels).inc();
    }

    pub(super) fn lease_lost(&self) {
        self.lease_lost.inc();
    }

    pub(super) fn committed(&self, result: &'static str) {
        self.all.commits.get_or_create(&CommitLabels { site: self.site.clone(), result }).inc();
    }

    /// Looks nothing up: a flood of messages comes through here.
    pub(super) fn message(&self, payload: Payload) {
        if let Some(place) = PAYLOADS.iter().position(|known| *known == payload) {
            self.messages[place].inc();
        }
    }
}
