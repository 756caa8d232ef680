//! The status registry: refreshes and the subscription write it, the server reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use token_sidecar_client::wire::{Event, Payload, SiteId};
use tokio::sync::broadcast;

use super::gateway::{GatewayCounts, GatewayObserver};
use super::hourly::{HOURS, Hourly};
use super::metrics::{Counts, Times, Totals};
use super::output::{OutputObserver, OutputStatus};
use super::site::{LATE, SiteRecord, SiteStatus};
use super::subscription::{Canary, SubscriptionObserver, SubscriptionState, SubscriptionStatus};
use crate::domain::breaker::SolverStatus;
use crate::domain::notice::News;
use crate::domain::schedule::Schedule;
use crate::refresh::observation::{Observation, Observer, Step};

pub type MonotonicClock = Arc<dyn Fn() -> Duration + Send + Sync>;
/// Reads the solvers as they are now.
pub type SolverReader = Box<dyn Fn() -> Vec<SolverStatus> + Send + Sync>;

/// How many events a slow subscriber may be behind before it is dropped.
pub(crate) const EVENT_BUFFER: usize = 512;

/// A longer event is not forwarded: any client may publish on the channels.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// The state of all sites of the process and of its subscription.
pub struct StatusRegistry {
    clock: MonotonicClock,
    sites: BTreeMap<SiteId, Arc<Entry>>,
    subscription: Mutex<SubscriptionStatus>,
    totals: Arc<Mutex<Totals>>,
    gateway_times: Arc<Mutex<Times>>,
    solvers: SolverReader,
    started_at: Option<Timestamp>,
    events: broadcast::Sender<EventMessage>,
}

pub(super) struct Entry {
    site: SiteId,
    schedule: Schedule,
    /// Reports, also those of the gateway.
    pub(super) reports: Mutex<Hourly>,
    pub(super) state: Mutex<(SiteRecord, Counts)>,
    pub(super) outputs: Mutex<Vec<OutputStatus>>,
}

/// Writes the state of one site.
#[derive(Clone)]
pub struct SiteObserver {
    clock: MonotonicClock,
    entry: Arc<Entry>,
    totals: Arc<Mutex<Totals>>,
    events: broadcast::Sender<EventMessage>,
}

/// An event as subscribers get it.
#[derive(Debug, Clone)]
pub(crate) struct EventMessage {
    /// `token:updated`, `token:failed`, `refresh` or `redis`.
    pub(crate) name: &'static str,
    pub(crate) json: Arc<str>,
}

impl StatusRegistry {
    pub fn new(clock: MonotonicClock) -> Self {
        Self {
            clock,
            sites: BTreeMap::new(),
            subscription: Mutex::default(),
            totals: Arc::default(),
            gateway_times: Arc::default(),
            solvers: Box::new(Vec::new),
            started_at: None,
            events: broadcast::Sender::new(EVENT_BUFFER),
        }
    }

    pub fn add(&mut self, site: &SiteId, schedule: Schedule) -> SiteObserver {
        let entry = Arc::new(Entry {
            site: site.clone(),
            schedule,
            reports: Mutex::default(),
            state: Mutex::default(),
            outputs: Mutex::default(),
        });
        self.sites.insert(site.clone(), Arc::clone(&entry));
        let (clock, totals) = (Arc::clone(&self.clock), Arc::clone(&self.totals));
        SiteObserver { clock, entry, totals, events: self.events.clone() }
    }

    /// Counts the requests of a site that the gateway serves; `None` for an unknown site.
    pub fn gateway(&self, site: &SiteId) -> Option<GatewayObserver> {
        let entry = Arc::clone(self.sites.get(site)?);
        lock(&entry.state).1.gateway = Some(GatewayCounts::default());
        Some(GatewayObserver { clock: Arc::clone(&self.clock), entry, times: Arc::clone(&self.gateway_times) })
    }

    /// Sets where the solvers are read.
    pub fn read_solvers(&mut self, solvers: SolverReader) {
        self.solvers = solvers;
    }

    /// Sets when the process started, by the wall clock.
    pub const fn start_at(&mut self, at: Timestamp) {
        self.started_at = Some(at);
    }

    pub(super) const fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// The solvers, by their addresses.
    pub fn solvers(&self) -> Vec<SolverStatus> {
        (self.solvers)()
    }

    pub fn sites(&self) -> Vec<SiteStatus> {
        self.counted().into_iter().map(|(status, _)| status).collect()
    }

    /// The sites with the reports on each in the last hours, and with their outputs.
    pub(crate) fn reported(&self) -> Vec<(SiteStatus, [u32; HOURS], Vec<OutputStatus>)> {
        let now = self.now();
        let entries = self.sites.values().map(|entry| (lock(&entry.reports).until(now), lock(&entry.outputs).clone()));
        self.sites().into_iter().zip(entries).map(|(site, (reports, outputs))| (site, reports, outputs)).collect()
    }

    /// The outputs of each site.
    pub(super) fn outputs(&self) -> Vec<(&SiteId, Vec<OutputStatus>)> {
        self.sites.iter().map(|(site, entry)| (site, lock(&entry.outputs).clone())).collect()
    }

    /// The sites with what is counted of each.
    pub(super) fn counted(&self) -> Vec<(SiteStatus, Counts)> {
        let now = self.now();
        let sites = self.sites.iter().map(|(site, entry)| {
            let state = lock(&entry.state);
            (state.0.status(site, &entry.schedule, now), state.1)
        });
        sites.collect()
    }

    /// The sites whose token ends soon without a renewal. A process that has just started may be about to begin one.
    pub fn expiring(&self) -> Vec<News> {
        let has_settled = self.now() >= LATE;
        let news = |site: SiteStatus| {
            let is_known = site.expiring && (has_settled || site.failing.is_some());
            let (token, site) = (site.token.filter(|_| is_known)?, SiteId::parse(&site.site)?);
            let (version, ends_at) = (token.version, token.ends_at()?);
            Some(News::Expiring { site, version, fingerprint: token.fingerprint, ends_at })
        };
        self.sites().into_iter().filter_map(news).collect()
    }

    /// An estimate of the store's clock, from the latest reading; `None` before the first.
    pub fn time(&self) -> Option<Timestamp> {
        let now = self.now();
        let times = self.sites.values().filter_map(|entry| {
            let state = lock(&entry.state);
            Some((state.0.read_at()?, state.0.time_at(now)?))
        });
        times.max().map(|(_, time)| time)
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    pub(crate) fn knows(&self, site: &SiteId) -> bool {
        self.sites.contains_key(site)
    }

    pub(crate) fn site_ids(&self) -> impl Iterator<Item = &SiteId> {
        self.sites.keys()
    }

    pub(crate) fn subscription(&self) -> SubscriptionStatus {
        lock(&self.subscription).clone()
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<EventMessage> {
        self.events.subscribe()
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.events.receiver_count()
    }

    pub(super) fn totals(&self) -> Totals {
        *lock(&self.totals)
    }

    pub(super) fn gateway_times(&self) -> Times {
        *lock(&self.gateway_times)
    }

    /// Tells subscribers that the subscription is `up` or `down`.
    fn tell(&self, subscription: &str) {
        let json = json!({ "subscription": subscription }).to_string();
        let _ = self.events.send(EventMessage { name: "redis", json: json.into() });
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(lock(&self.subscription).state, SubscriptionState::Up { .. })
    }
}

impl SubscriptionObserver for StatusRegistry {
    fn connected(&self) {
        let since = self.now();
        let mut subscription = lock(&self.subscription);
        subscription.connects += 1;
        subscription.state = SubscriptionState::Up { since };
        self.tell("up");
    }

    fn disconnected(&self, reason: &str) {
        let now = self.now();
        let mut subscription = lock(&self.subscription);
        let since = match subscription.state {
            // Another attempt to connect has failed.
            SubscriptionState::Down { since, .. } => since,
            SubscriptionState::Up { .. } | SubscriptionState::Connecting => {
                self.tell("down");
                now
            }
        };
        subscription.state = SubscriptionState::Down { since, reason: reason.to_owned() };
    }

    fn canary(&self, round_trip: Duration) {
        let at = self.now();
        lock(&self.subscription).canary = Some(Canary { at, round_trip });
    }

    fn message(&self, site: &SiteId, payload: Payload) {
        if let Some(entry) = self.sites.get(site) {
            lock(&entry.state).1.messages[payload as usize] += 1;
            lock(&entry.reports).count((self.clock)());
        }
    }

    fn event(&self, event: &Event) {
        let name = match event {
            Event::Updated(_) => "token:updated",
            Event::Failed(_) => "token:failed",
        };
        let json = event.to_json();
        if self.sites.contains_key(event.site()) && json.len() <= MAX_EVENT_BYTES {
            // Fails only if there is no subscriber.
            let _ = self.events.send(EventMessage { name, json: json.into() });
        }
    }
}

impl SiteObserver {
    /// Adds an output of the site, by a name that is its own.
    pub fn output(&self, file: impl Into<String>, has_hook: bool) -> OutputObserver {
        OutputObserver::new(Arc::clone(&self.entry), file.into(), has_hook)
    }

    /// Tells subscribers which step a refresh of this process is at; `None` after its end.
    fn tell(&self, step: Option<Step>) {
        if self.events.receiver_count() > 0 {
            let json = json!({ "site": self.entry.site.as_str(), "stage": step }).to_string();
            let _ = self.events.send(EventMessage { name: "refresh", json: json.into() });
        }
    }
}

impl Observer for SiteObserver {
    fn observe(&self, observation: Observation<'_>) {
        lock(&self.totals).observe(&observation);
        let (record, counts) = &mut *lock(&self.entry.state);
        counts.observe(&observation);
        match observation {
            Observation::Looked(snapshot) => record.look(snapshot, (self.clock)()),
            Observation::Entered(step) => {
                record.enter(step, (self.clock)());
                self.tell(Some(step));
            }
            Observation::Finished(..) => {
                record.finish((self.clock)());
                self.tell(None);
            }
            _ => {}
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change can panic halfway, so the value is whole even if the lock is poisoned.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::server::trial::{Trial, site, snapshot};
    use crate::status::GatewayOutcome;
    use strum::VariantArray as _;

    #[test]
    fn the_subscription_is_up_or_down_since_the_change_not_since_the_last_report_of_it() {
        let trial = Trial::new();
        let subscription = || trial.status.subscription();
        let s = Duration::from_secs;
        assert_eq!(subscription(), SubscriptionStatus::default());
        trial.status.disconnected("refused");
        trial.pass(s(10));
        trial.status.disconnected("refused again");
        assert_eq!(subscription().state, SubscriptionState::Down { since: s(100), reason: "refused again".into() });
        trial.status.connected();
        assert_eq!((subscription().state, subscription().reconnects()), (SubscriptionState::Up { since: s(110) }, 0));
        trial.pass(s(10));
        trial.status.disconnected("reset");
        assert_eq!(subscription().state, SubscriptionState::Down { since: s(120), reason: "reset".into() });
        trial.status.connected();
        assert_eq!(subscription().reconnects(), 1);
    }

    #[test]
    fn reports_are_counted_by_the_hour_those_of_the_gateway_too() {
        let trial = Trial::new();
        trial.status.message(&site("shop"), Payload::Bare);
        let gateway = trial.status.gateway(&site("shop")).unwrap();
        for outcome in GatewayOutcome::VARIANTS {
            gateway.answered(200, *outcome, Duration::ZERO);
        }
        trial.pass(Duration::from_secs(3600));
        let (_, hours, _) = trial.status.reported().remove(0);
        assert_eq!(hours[HOURS - 3..], [0, 3, 0], "a message, a request that was replayed, one that was refused");
    }

    #[test]
    fn the_time_is_the_latest_reading_and_what_has_passed_since() {
        let trial = Trial::new();
        assert_eq!(trial.status.time(), None);
        trial.look(&snapshot());
        trial.pass(Duration::from_millis(2_500));
        assert_eq!(trial.status.time(), Some("2026-11-22T07:20:02.5Z".parse().unwrap()));
    }
}
