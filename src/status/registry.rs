//! The board that the process writes its state on, and the server reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::wire::{Event, Payload, SiteId};
use tokio::sync::broadcast;

use super::counters::Tally;
use crate::domain::schedule::Schedule;
use crate::refresh::ports::{Observation, Observer};
use crate::status::model::{Canary, LinkObserver, LinkStatus, SiteStatus, Subscription};
use crate::status::view::SiteReport;

/// Reads the monotonic clock that all spans on the board count by.
pub type Monotonic = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How many events a slow subscriber may be behind before it is dropped.
const EVENT_BUFFER: usize = 64;

/// A larger event is none of ours: anybody may publish on the channels.
const MAX_EVENT_BYTES: usize = 16 * 1024;

/// What is to be seen of this process.
pub struct Board {
    clock: Monotonic,
    sites: BTreeMap<SiteId, Arc<Post>>,
    link: Mutex<LinkStatus>,
    events: broadcast::Sender<Notice>,
}

/// One site's place on the board.
struct Post {
    schedule: Schedule,
    status: Mutex<SiteStatus>,
    tally: Mutex<Tally>,
}

/// Writes one site's place: given to whoever drives the site.
#[derive(Clone)]
pub struct SiteObserver {
    clock: Monotonic,
    post: Arc<Post>,
}

/// An event as subscribers get it.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    /// `token:updated` or `token:failed`.
    pub(crate) name: &'static str,
    /// The message.
    pub(crate) json: Arc<str>,
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new(clock: Monotonic) -> Self {
        Self { clock, sites: BTreeMap::new(), link: Mutex::default(), events: broadcast::Sender::new(EVENT_BUFFER) }
    }

    /// Makes a place for a site.
    pub fn add(&mut self, site: &SiteId, schedule: Schedule) -> SiteObserver {
        let post = Arc::new(Post { schedule, status: Mutex::default(), tally: Mutex::default() });
        self.sites.insert(site.clone(), post.clone());
        SiteObserver { clock: self.clock.clone(), post }
    }

    /// The sites as they are shown now.
    #[must_use]
    pub fn reports(&self) -> Vec<SiteReport> {
        let now = self.now();
        let report =
            |(site, post): (&SiteId, &Arc<Post>)| SiteReport::of(site, &lock(&post.status), &post.schedule, now);
        self.sites.iter().map(report).collect()
    }

    /// An estimate of the store's clock, from the latest reading; `None` before the first.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        let latest = self.sites.values().filter_map(|post| lock(&post.status).reading.clone()).max_by_key(|r| r.seen);
        latest.map(|reading| reading.time_of(self.now()))
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

    /// Calls with every site's id, state and schedule.
    pub(crate) fn each(&self, mut show: impl FnMut(&SiteId, &SiteStatus, &Schedule)) {
        for (site, post) in &self.sites {
            show(site, &lock(&post.status), &post.schedule);
        }
    }

    /// Calls with what was counted of every site.
    pub(crate) fn each_tally(&self, mut show: impl FnMut(&SiteId, &Tally)) {
        for (site, post) in &self.sites {
            show(site, &lock(&post.tally));
        }
    }

    pub(crate) fn link(&self) -> LinkStatus {
        lock(&self.link).clone()
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.events.subscribe()
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.events.receiver_count()
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("sites", &self.sites.keys()).finish_non_exhaustive()
    }
}

impl LinkObserver for Board {
    fn connected(&self) {
        let since = self.now();
        let mut link = lock(&self.link);
        link.connects += 1;
        link.subscription = Subscription::Up { since };
    }

    fn disconnected(&self, reason: &str) {
        let now = self.now();
        let mut link = lock(&self.link);
        let since = match link.subscription {
            // It is still away: the new attempt has failed too.
            Subscription::Down { since, .. } => since,
            Subscription::Up { .. } | Subscription::Connecting => now,
        };
        link.subscription = Subscription::Down { since, reason: reason.to_owned() };
    }

    fn canary(&self, round_trip: Duration) {
        let at = self.now();
        lock(&self.link).canary = Some(Canary { at, round_trip });
    }

    fn message(&self, site: &SiteId, payload: Payload) {
        if let Some(post) = self.sites.get(site) {
            lock(&post.tally).message(payload);
        }
    }

    fn event(&self, event: &Event) {
        let name = match event {
            Event::Updated(_) => "token:updated",
            Event::Failed(_) => "token:failed",
        };
        let ours = SiteId::parse(event.site()).is_some_and(|site| self.knows(&site));
        let json = event.to_json();
        if ours && json.len() <= MAX_EVENT_BYTES {
            // Nobody listening is no error.
            let _ = self.events.send(Notice { name, json: json.into() });
        }
    }
}

impl Observer for SiteObserver {
    fn observe(&self, observation: Observation<'_>) {
        let now = (self.clock)();
        let Post { status, tally, .. } = &*self.post;
        match observation {
            Observation::Looked(snapshot) => lock(status).look(snapshot, now),
            Observation::Decided { decision, folded } => lock(tally).decided(decision, folded),
            Observation::Entered(stage) => lock(status).enter(stage, now),
            Observation::Timed(stage, took) => lock(tally).timed(stage, took),
            Observation::Finished { trigger, outcome, stage } => {
                lock(tally).finished(trigger, outcome, stage);
                lock(status).finish();
            }
            Observation::LeaseLost => lock(tally).lease_lost(),
            Observation::Commit(result) => lock(tally).committed(result),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here leaves half a change behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::server::trial::{Trial, snapshot};

    #[test]
    fn the_link_is_up_or_down_since_the_change_not_since_the_last_word_on_it() {
        let trial = Trial::new();
        let link = || trial.board.link();
        let s = Duration::from_secs;
        assert_eq!(link(), LinkStatus::default());
        trial.board.disconnected("refused");
        trial.pass(s(10));
        trial.board.disconnected("refused again");
        assert_eq!(link().subscription, Subscription::Down { since: s(100), reason: "refused again".into() });
        trial.board.connected();
        assert_eq!((link().subscription, link().reconnects()), (Subscription::Up { since: s(110) }, 0));
        trial.pass(s(10));
        trial.board.disconnected("reset");
        assert_eq!(link().subscription, Subscription::Down { since: s(120), reason: "reset".into() });
        trial.board.connected();
        assert_eq!(link().reconnects(), 1);
    }

    #[test]
    fn the_time_is_the_latest_reading_and_what_has_passed_since() {
        let trial = Trial::new();
        assert_eq!(trial.board.time(), None);
        trial.look(&snapshot());
        trial.pass(Duration::from_millis(2_500));
        assert_eq!(trial.board.time(), Some("2026-11-22T07:20:02.5Z".parse().unwrap()));
    }
}
