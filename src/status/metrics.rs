//! The metrics: counters of what happens, and gauges that are read from the state at each scrape.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use token_sidecar_client::wire::{Payload, SiteId, Stage};

use super::registry::StatusRegistry;
use super::site::{SiteStatus, TokenState, TokenStatus};
use super::subscription::SubscriptionState;
use crate::refresh::observation::{CommitResult, Observation};

/// The upper bounds of the buckets: from a commit in a millisecond to a solve that waited in FlareSolverr's queue.
const STEP_SECONDS: [f64; 14] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 150.0];

/// All metrics of the process, named `token_sidecar_…`.
pub(crate) fn metrics(status: Arc<StatusRegistry>) -> Registry {
    let mut registry = Registry::with_prefix("token_sidecar");
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The build that runs", build);
    status.counters().register(&mut registry);
    registry.register_collector(Box::new(Gauges(status)));
    registry
}

/// What is counted as it happens.
#[derive(Debug)]
pub(super) struct Counters {
    refreshes: Family<RefreshLabels, Counter>,
    step_seconds: Family<StepLabels, Histogram>,
    triggers: Family<TriggerLabels, Counter>,
    pending: Family<SiteLabels, Gauge>,
    lease_lost: Family<SiteLabels, Counter>,
    commits: Family<CommitLabels, Counter>,
    messages: Family<MessageLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefreshLabels {
    site: String,
    trigger: &'static str,
    outcome: &'static str,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    site: String,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TriggerLabels {
    site: String,
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SiteLabels {
    site: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommitLabels {
    site: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    site: String,
    payload: &'static str,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            refreshes: Family::default(),
            step_seconds: Family::new_with_constructor(|| Histogram::new(STEP_SECONDS)),
            triggers: Family::default(),
            pending: Family::default(),
            lease_lost: Family::default(),
            commits: Family::default(),
            messages: Family::default(),
        }
    }

    /// Starts at zero the counters of a site whose labels are known beforehand.
    pub(super) fn add(&self, site: &SiteId) {
        drop(self.pending.get_or_create(&SiteLabels { site: site.to_string() }));
        drop(self.lease_lost.get_or_create(&SiteLabels { site: site.to_string() }));
        for result in CommitResult::ALL {
            drop(self.commits.get_or_create(&CommitLabels { site: site.to_string(), result: result.as_str() }));
        }
        for payload in Payload::ALL {
            drop(self.messages.get_or_create(&MessageLabels { site: site.to_string(), payload: payload.as_str() }));
        }
    }

    pub(super) fn observe(&self, site: &SiteId, observation: &Observation<'_>) {
        let site = site.to_string();
        match *observation {
            Observation::Decided { decision, folded } => {
                self.triggers.get_or_create(&TriggerLabels { site, decision: decision.as_str() }).inc_by(folded);
            }
            Observation::Timed(step, took) => {
                self.step_seconds.get_or_create(&StepLabels { site, stage: step.as_str() }).observe(took.as_secs_f64());
            }
            Observation::Finished { trigger, outcome, stage } => {
                let stage = stage.map_or("", Stage::as_str);
                let labels = RefreshLabels { site, trigger: trigger.as_str(), outcome: outcome.as_str(), stage };
                self.refreshes.get_or_create(&labels).inc();
            }
            Observation::Pending(is_pending) => {
                self.pending.get_or_create(&SiteLabels { site }).set(i64::from(is_pending));
            }
            Observation::LeaseLost => {
                self.lease_lost.get_or_create(&SiteLabels { site }).inc();
            }
            Observation::Commit(result) => {
                self.commits.get_or_create(&CommitLabels { site, result: result.as_str() }).inc();
            }
            Observation::Looked(_) | Observation::Entered(_) => {}
        }
    }

    pub(super) fn message(&self, site: &SiteId, payload: Payload) {
        self.messages.get_or_create(&MessageLabels { site: site.to_string(), payload: payload.as_str() }).inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "refreshes",
            "Refreshes of this process that have ended, by what started them, how they ended and the stage that failed",
            self.refreshes.clone(),
        );
        registry.register_with_unit(
            "stage_duration",
            "How long a stage of a refresh took: solve, extract, verify, commit",
            Unit::Seconds,
            self.step_seconds.clone(),
        );
        registry.register("triggers", "Triggers by the decision they led to", self.triggers.clone());
        registry.register("pending", "1 while triggers wait for an answer", self.pending.clone());
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

/// Values that are computed from the state at each scrape. Unknown values are left out.
#[derive(Debug)]
struct Gauges(Arc<StatusRegistry>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.sites(&mut encoder)?;
        self.process(&mut encoder)
    }
}

impl Gauges {
    fn sites(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sites = self.0.sites();
        let mut gauge = |name, help, unit: Option<&Unit>, value: fn(&SiteStatus) -> Option<f64>| {
            let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            for site in &sites {
                if let Some(value) = value(site) {
                    metric.encode_family(&[("site", site.site.as_str())])?.encode_gauge(&value)?;
                }
            }
            fmt::Result::Ok(())
        };
        let seconds = Some(&Unit::Seconds);
        gauge(
            "token_valid",
            "1 where the store has a token whose end has not passed, 0 where not; absent until the store was read.",
            None,
            |site| match site.state {
                TokenState::Unknown => None,
                TokenState::Fresh => Some(1.0),
                TokenState::Missing | TokenState::Expired => Some(0.0),
            },
        )?;
        gauge("token_version", "The version of the current token; 0 where another program wrote it.", None, |site| {
            site.token.as_ref().map(|token| float(token.version))
        })?;
        gauge(
            "token_expiry_timestamp",
            "When the current token or its key ends, whichever comes first, in Unix time.",
            seconds,
            |site| site.token.as_ref().and_then(TokenStatus::ends_at).map(unix),
        )?;
        gauge(
            "refresh_due_timestamp",
            "When a new token is fetched by itself, by the schedule or ahead of the end, in Unix time.",
            seconds,
            |site| site.refresh_at.map(unix),
        )?;
        gauge(
            "last_attempt_timestamp",
            "When an attempt last began in this process, or succeeded in any, in Unix time.",
            seconds,
            |site| site.last_attempt_at.map(unix),
        )?;
        gauge(
            "last_success_timestamp",
            "When a token was last stored by any process, in Unix time.",
            seconds,
            |site| site.last_success_at.map(unix),
        )?;
        gauge("consecutive_failures", "Failed attempts in a row, over all replicas.", None, |site| {
            site.read_at.map(|_| site.failing.as_ref().map_or(0.0, |failing| f64::from(failing.attempts)))
        })
    }

    fn process(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let subscription = self.0.subscription();
        let canary = subscription.canary;
        let mut gauge = |name, help, unit: Option<&Unit>, value: Option<f64>| {
            let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            value.map_or(Ok(()), |value| metric.encode_gauge(&value))
        };
        let is_up = matches!(subscription.state, SubscriptionState::Up { .. });
        let age = |at: Duration| self.0.now().saturating_sub(at).as_secs_f64();
        gauge(
            "subscription_up",
            "1 while this process is subscribed in Redis, 0 otherwise.",
            None,
            Some(f64::from(is_up)),
        )?;
        gauge(
            "canary_round_trip",
            "How long the last canary was on its way through Redis and back.",
            Some(&Unit::Seconds),
            canary.map(|canary| canary.round_trip.as_secs_f64()),
        )?;
        gauge(
            "canary_age",
            "How long ago the last canary came back.",
            Some(&Unit::Seconds),
            canary.map(|canary| age(canary.at)),
        )?;
        gauge(
            "event_subscribers",
            "How many clients follow /api/events.",
            None,
            Some(float(self.0.subscribers() as u64)),
        )?;
        let reconnects = ConstCounter::new(subscription.reconnects());
        let help = "How often the subscription in Redis came back after it was lost.";
        reconnects.encode(encoder.encode_descriptor("reconnects", help, None, MetricType::Counter)?)
    }
}

fn unix(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// Versions are milliseconds since 1970: a double holds them exactly.
fn float(number: u64) -> f64 {
    number as f64
}
