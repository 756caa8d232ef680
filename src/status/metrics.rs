//! The metrics, all named `token_sidecar_…`: what each site has counted, and gauges read from its state at each scrape.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use strum::VariantArray;
use token_sidecar_client::wire::{Payload, Trigger};

use super::gateway::{AnswerClass, GatewayCounts, GatewayOutcome};
use super::output::OutputStatus;
use super::process::process_metrics;
use super::registry::StatusRegistry;
use super::site::{SiteStatus, TokenState, TokenStatus};
use super::subscription::SubscriptionState;
use crate::domain::breaker::BreakerState;
use crate::log;
use crate::refresh::observation::{DecisionKind, Observation, OutcomeKind, Step};

/// The upper bounds of the buckets: from a commit in a millisecond to a solve that waited in FlareSolverr's queue.
const STAGE_SECONDS: [f64; 14] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 150.0];

const PREFIX: &str = "token_sidecar_";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' own, version 0.0.4: what every scraper reads.
    Text,
    OpenMetrics,
}

/// What is counted of a site. Each number stands at the place of its label.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    refreshes: [u64; OutcomeKind::VARIANTS.len()],
    triggers: [u64; DecisionKind::VARIANTS.len()],
    pub(super) messages: [u64; Payload::VARIANTS.len()],
    lease_lost: u64,
    pending: bool,
    /// `None` where the gateway does not serve the site.
    pub(super) gateway: Option<GatewayCounts>,
}

/// How long something took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// How often it took no longer than each bound.
    within: [u64; STAGE_SECONDS.len()],
    count: u64,
    sum: f64,
}

/// What is counted over all sites: with a label more for each site, a hundred of them would have too many samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    stages: [Times; Step::VARIANTS.len()],
    refreshes: [[u64; OutcomeKind::VARIANTS.len()]; Trigger::VARIANTS.len()],
}

impl Counts {
    pub(super) const fn observe(&mut self, observation: &Observation<'_>) {
        match *observation {
            Observation::Decided { decision, folded } => self.triggers[decision as usize] += folded,
            Observation::Finished(outcome, _) => self.refreshes[outcome as usize] += 1,
            Observation::Pending(is_pending) => self.pending = is_pending,
            Observation::LeaseLost => self.lease_lost += 1,
            Observation::Looked(_) | Observation::Entered(_) | Observation::Timed(..) => {}
        }
    }
}

impl Times {
    pub(super) fn observe(&mut self, took: Duration) {
        for (within, bound) in self.within.iter_mut().zip(STAGE_SECONDS) {
            *within += u64::from(took.as_secs_f64() <= bound);
        }
        self.count += 1;
        self.sum += took.as_secs_f64();
    }
}

impl Totals {
    pub(super) fn observe(&mut self, observation: &Observation<'_>) {
        match *observation {
            Observation::Timed(step, took) => self.stages[step as usize].observe(took),
            Observation::Finished(outcome, trigger) => self.refreshes[trigger as usize][outcome as usize] += 1,
            _ => {}
        }
    }
}

/// All metrics of the process. Values that are not known are left out.
pub(crate) fn metrics(status: &StatusRegistry, format: Format) -> String {
    let (sites, totals) = (status.counted(), status.totals());
    let mut page = Page { sites: &sites, format, text: String::new() };
    page.head("build_info", "The build that runs.");
    page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.counters::<OutcomeKind>("refreshes_total", "outcome", "Refreshes of this process.", |c| &c.refreshes);
    let name = "refreshes_by_trigger_total";
    page.head(name, "Refreshes of this process over all sites, by what they were started for.");
    for (trigger, outcomes) in Trigger::VARIANTS.iter().zip(totals.refreshes) {
        for (outcome, count) in OutcomeKind::VARIANTS.iter().zip(outcomes) {
            page.sample(name, &[("trigger", trigger.into_str()), ("outcome", outcome.into_str())], count as f64);
        }
    }
    page.counters::<DecisionKind>("triggers_total", "decision", "Triggers by the decision on them.", |c| &c.triggers);
    page.counters::<Payload>("messages_total", "payload", "Reports by how much of them could be used.", |c| {
        &c.messages
    });
    page.each("lease_lost_total", "Locks lost while a refresh of this process went on.", |_, counts| {
        Some(counts.lease_lost as f64)
    });
    page.each("pending", "1 while triggers wait for an answer.", |_, counts| Some(f64::from(counts.pending)));
    page.each("token_valid", "1 where there is a token that works as far as is known, 0 where not.", |site, _| {
        (site.state != TokenState::Unknown).then(|| f64::from(site.state == TokenState::Fresh))
    });
    page.each("token_version", "The version of the current token; 0 where another program wrote it.", |site, _| {
        site.token.as_ref().map(|token| token.version as f64)
    });
    page.each("token_expiry_timestamp_seconds", "When the current token or its key ends, in Unix time.", |site, _| {
        site.token.as_ref().and_then(TokenStatus::ends_at).map(unix)
    });
    page.each("refresh_due_timestamp_seconds", "When the token is renewed by itself, in Unix time.", |site, _| {
        site.refresh_at.map(unix)
    });
    page.each("last_attempt_timestamp_seconds", "When the last attempt began or ended, in Unix time.", |site, _| {
        site.last_attempt_at.map(unix)
    });
    page.each("last_success_timestamp_seconds", "When a token was last stored, in Unix time.", |site, _| {
        site.last_success_at.map(unix)
    });
    page.each(
        "token_expiring",
        "1 where the token still works, and its renewal is due and has failed or is late.",
        |site, _| site.read_at.map(|_| f64::from(site.expiring)),
    );
    page.each(
        "recovered_timestamp_seconds",
        "When failures were last seen to have ended with a token, in Unix time.",
        |site, _| site.recovered_at.map(unix),
    );
    page.each("consecutive_failures", "Failed attempts in a row, over all replicas.", |site, _| {
        site.read_at.map(|_| site.failing.as_ref().map_or(0.0, |failing| f64::from(failing.attempts)))
    });

    let outputs = status.outputs();
    let mut each_output = |name, help, value: fn(&OutputStatus) -> Option<bool>| {
        page.head(name, help);
        for (site, output) in
            outputs.iter().flat_map(|(site, outputs)| outputs.iter().map(move |output| (site, output)))
        {
            if let Some(value) = value(output) {
                let file = output.file.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                page.sample(name, &[("site", site.as_str()), ("file", &file)], f64::from(value));
            }
        }
    };
    each_output("output_current", "1 where a file holds the current token, 0 where not.", |output| output.current);
    each_output(
        "output_hook_succeeded",
        "1 where the last run of a file's command or signal has succeeded, 0 where not.",
        |output| output.hook.as_ref()?.succeeded,
    );

    page.head(
        "solver_state",
        "1 for the state of each solver: closed, open (it has failed), half-open (the next solve decides).",
    );
    for solver in status.solvers() {
        for state in BreakerState::VARIANTS {
            let labels = [("solver", solver.address.as_str()), ("state", state.into_str())];
            page.sample("solver_state", &labels, f64::from(solver.state == *state));
        }
    }

    let name = "stage_duration_seconds";
    page.head(name, "How long the stages of the refreshes of this process took.");
    for (step, times) in Step::VARIANTS.iter().zip(totals.stages).skip(1) {
        page.histogram(name, &[("stage", step.into_str())], times);
    }
    if sites.iter().any(|(_, counts)| counts.gateway.is_some()) {
        page.counters::<GatewayOutcome>(
            "gateway_requests_total",
            "outcome",
            "Requests by what the gateway did.",
            |c| c.gateway.as_ref().map_or(&[], |gateway| &gateway.outcomes),
        );
        page.counters::<AnswerClass>("gateway_answers_total", "status", "Answers of the gateway by status.", |c| {
            c.gateway.as_ref().map_or(&[], |gateway| &gateway.answers)
        });
        let name = "gateway_added_duration_seconds";
        page.head(name, "How much longer than the API itself the gateway took to answer.");
        page.histogram(name, &[], status.gateway_times());
    }
    let subscription = status.subscription();
    let is_up = matches!(subscription.state, SubscriptionState::Up { .. });
    let canary_age = subscription.canary.map(|canary| status.now().saturating_sub(canary.at).as_secs_f64());
    let round_trip = subscription.canary.map(|canary| canary.round_trip.as_secs_f64());
    for (name, help, value) in [
        ("subscription_up", "1 while this process is subscribed in Redis.", Some(f64::from(is_up))),
        ("reconnects_total", "Subscriptions after the first.", Some(subscription.reconnects() as f64)),
        ("canary_round_trip_seconds", "How long the last canary took through Redis and back.", round_trip),
        ("canary_age_seconds", "How long ago the last canary came back.", canary_age),
        ("event_subscribers", "Clients of /api/events.", Some(status.subscribers() as f64)),
        ("log_lines_dropped_total", "Lines for which stderr was not drained in time.", Some(log::dropped() as f64)),
    ] {
        page.head(name, help);
        if let Some(value) = value {
            page.sample(name, &[], value);
        }
    }
    let started_at =
        ("process_start_time_seconds", "When the process started, in Unix time.", status.started_at().map(unix));
    for (name, help, value) in process_metrics().into_iter().chain([started_at]) {
        page.head(name, help);
        if let Some(value) = value {
            page.sample(name, &[], value);
        }
    }
    if format == Format::OpenMetrics {
        page.text += "# EOF\n";
    }
    page.text
}

struct Page<'a> {
    sites: &'a [(SiteStatus, Counts)],
    format: Format,
    text: String,
}

impl Page<'_> {
    /// A counter of each site for each label; none of a site without these counts.
    fn counters<L: VariantArray + Copy + Into<&'static str>>(
        &mut self,
        name: &str,
        label: &str,
        help: &str,
        of: fn(&Counts) -> &[u64],
    ) {
        self.head(name, help);
        for (site, counts) in self.sites {
            for (value, count) in L::VARIANTS.iter().zip(of(counts)) {
                self.sample(name, &[("site", &site.site), (label, (*value).into())], *count as f64);
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], times: Times) {
        let bucket = format!("{name}_bucket");
        for (bound, within) in STAGE_SECONDS.iter().zip(times.within) {
            self.sample(&bucket, &[labels, &[("le", &format!("{bound:?}"))]].concat(), within as f64);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), times.count as f64);
        self.sample(&format!("{name}_sum"), labels, times.sum);
        self.sample(&format!("{name}_count"), labels, times.count as f64);
    }

    /// One number of each site.
    fn each(&mut self, name: &str, help: &str, of: fn(&SiteStatus, &Counts) -> Option<f64>) {
        self.head(name, help);
        for (site, counts) in self.sites {
            if let Some(value) = of(site, counts) {
                self.sample(name, &[("site", &site.site)], value);
            }
        }
    }

    /// By the name's suffix: `_total` is a counter, which OpenMetrics names without it, `_duration_seconds` a histogram.
    fn head(&mut self, name: &str, help: &str) {
        let (name, kind) = match (name.strip_suffix("_total"), self.format) {
            (Some(family), Format::OpenMetrics) => (family, "counter"),
            (Some(_), Format::Text) => (name, "counter"),
            (None, _) if name.ends_with("_duration_seconds") => (name, "histogram"),
            (None, _) => (name, "gauge"),
        };
        let prefix = prefix(name);
        let _infallible = write!(self.text, "# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}\n");
    }

    /// No value of a label may have a character that would have to be escaped.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _infallible = write!(self.text, "{}{name}", prefix(name));
        for (n, (label, value)) in labels.iter().enumerate() {
            let _infallible = write!(self.text, "{}{label}=\"{value}\"", if n == 0 { '{' } else { ',' });
        }
        let _infallible = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// The metrics of the process have the names that dashboards for any program expect.
fn prefix(name: &str) -> &'static str {
    if name.starts_with("process_") { "" } else { PREFIX }
}

fn unix(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
