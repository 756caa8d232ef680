//! The laws: what must hold at every step of a story.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use token_sidecar::domain::pending::MAX_FINGERPRINTS;
use token_sidecar_client::wire::{Event, FailedCause, Report, Trigger, UpdatedCause};

use crate::shop::Proof;

/// The least first delay of the back-off.
const SHORTEST_DELAY: Duration = Duration::from_millis(3900);
/// How far a sidecar's estimate of Redis' clock may be off, in ms.
const CLOCK_TOLERANCE: i64 = 600;
/// How long ago a request to the API may have been sent that is answered now.
const LAST_WORD: Duration = Duration::from_secs(40);
/// `max_timeout`: how long a solver may take, or all solvers of an attempt together.
pub(crate) const LONGEST_SOLVE: Duration = Duration::from_secs(40);

/// What the laws need to know of the story.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    /// The law that was broken first.
    pub(crate) broken: Option<String>,
    pub(crate) asks: Vec<Ask>,
    pub(crate) solves: Vec<Solve>,
    /// When something last happened to a process or its connections for which it may lose its lease.
    excuses: BTreeMap<usize, Duration>,
    excuse_for_all: Option<Duration>,
    /// When a process last verified the stored token, and it was refused.
    found_refused: BTreeMap<usize, Duration>,
    data_lost: Option<Duration>,
    /// The last forced report, by the processes that received it.
    forced: BTreeMap<usize, Duration>,
    /// The last report without a fingerprint, or beyond those that are kept apart, by the processes that received it.
    bare: BTreeMap<usize, Duration>,
    /// The tokens that were reported since the last event.
    reported: BTreeSet<String>,
    explicit: Option<Duration>,
    refreshed: Option<(Duration, u64)>,
    /// A failed attempt: when, and the `retry_at` in ms.
    failed: Option<(Duration, i64)>,
    /// Numbers reports and events in their order.
    counted: u64,
    /// The number of the last event for each token that does not work; `None` for all other events.
    announced: BTreeMap<Option<String>, u64>,
    /// The claim that was committed or failed last.
    settled: Option<String>,
}

/// A report.
#[derive(Debug)]
pub(crate) struct Ask {
    number: u64,
    at: Duration,
    fingerprint: Option<String>,
    /// The processes that Redis sent it to.
    pub(crate) received_by: BTreeSet<usize>,
}

/// A solve, as the solver sees it.
#[derive(Debug)]
pub(crate) struct Solve {
    pub(crate) process: usize,
    /// When Redis gave it the lock.
    pub(crate) claimed: Duration,
    began: Duration,
    pub(crate) ended: Option<Duration>,
}

/// The state when a solve begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: Duration,
    /// When Redis gave it the lock.
    pub(crate) claimed: Duration,
    /// Redis' clock in ms.
    pub(crate) now: i64,
    pub(crate) stored: Stored,
    /// Since when the API answers correctly.
    pub(crate) honest_since: Option<Duration>,
    /// Whether a schedule may have caused the solve.
    pub(crate) scheduled: bool,
}

/// The token that parsers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Works,
    Refused,
    None,
}

impl Laws {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Something happened to a process that may make it lose its lease.
    pub(crate) fn excuse(&mut self, process: usize, at: Duration) {
        let last = self.excuses.entry(process).or_default();
        *last = at.max(*last);
    }

    pub(crate) fn excuse_all(&mut self, at: Duration) {
        self.excuse_for_all = Some(at);
    }

    /// When something last happened to a process, to its connections or to Redis.
    fn shaken(&self, process: usize) -> Option<Duration> {
        self.excuses.get(&process).copied().max(self.excuse_for_all)
    }

    /// A process has verified the stored token, and it was refused.
    pub(crate) fn found_refused(&mut self, process: usize, at: Duration) {
        self.found_refused.insert(process, at);
    }

    /// Redis has lost data.
    pub(crate) fn data_lost(&mut self, at: Duration) {
        self.data_lost = Some(at);
        self.settled = None;
        self.excuse_all(at);
        self.failed = None;
    }

    /// Redis' answer to a commit or failure of a claim.
    pub(crate) fn settling(&mut self, claim: &str, outcome: &[u8]) {
        match outcome {
            b"done" => self.settled = Some(claim.to_owned()),
            b"superseded" if self.settled.as_deref() == Some(claim) => {
                self.broke("what was done is never denied to a repeated commit".to_owned());
            }
            _ => {}
        }
    }

    /// Records a report; returns its number.
    pub(crate) fn asked(&mut self, at: Duration, received_by: BTreeSet<usize>, payload: &str) -> u64 {
        self.explicit = Some(at);
        if payload.contains("force") {
            self.forced.extend(received_by.iter().map(|process| (*process, at)));
        }
        let fingerprint = Report::parse(payload.as_bytes()).0.fingerprint.map(|named| named.to_string());
        self.reported.extend(fingerprint.clone());
        if fingerprint.is_none() || self.reported.len() > MAX_FINGERPRINTS {
            self.bare.extend(received_by.iter().map(|process| (*process, at)));
        }
        self.counted += 1;
        self.asks.push(Ask { number: self.counted, at, fingerprint, received_by });
        self.counted
    }

    /// Whether an answer was announced after a report of this number.
    pub(crate) fn is_answered(&self, number: u64) -> bool {
        let ask = self.asks.binary_search_by_key(&number, |ask| ask.number).map(|place| &self.asks[place]);
        ask.is_ok_and(|ask| self.has_answer(ask))
    }

    /// Whether there was an answer: an event that names another token than the reported one, or one that works. Where
    /// the report may have been lost on its way, also the answer to its loss, which the API may leave unclear.
    fn has_answer(&self, ask: &Ask) -> bool {
        let lost = |process| self.shaken(process) >= Some(ask.at);
        let is_lost = ask.received_by.iter().all(|process| lost(*process));
        let answers = |named: &Option<String>| is_lost || named.is_none() || *named != ask.fingerprint;
        let others = self.announced.iter().filter(|(named, _)| answers(named));
        others.max_by_key(|(_, last)| **last).is_some_and(|(_, last)| *last > ask.number)
    }

    /// The first unanswered report that a living process received.
    pub(crate) fn unanswered(&self, lives: impl Fn(usize) -> bool) -> Option<&Ask> {
        let is_open = |ask: &&Ask| !self.has_answer(ask) && ask.received_by.iter().any(|p| lives(*p));
        self.asks.iter().find(is_open)
    }

    /// Records the start of a solve; returns its number.
    pub(crate) fn solve_begins(&mut self, process: usize, moment: Moment) -> usize {
        let Moment { at, claimed, now, stored, honest_since, scheduled } = moment;
        let since = |what: Option<Duration>, when: Duration| what.is_some_and(|w| w >= when);
        let shaken = self.shaken(process);
        // A process that received nothing after a report cannot know that it was answered.
        let unsettled = |asks: &BTreeMap<usize, Duration>| asks.get(&process).is_some_and(|ask| since(shaken, *ask));
        let forced = self.forced.get(&process).copied();
        for running in self.solves.iter().filter(|s| s.ended.is_none()) {
            // One that has lost its lease may not know it yet when it asks its second solver.
            let excused = since(self.shaken(running.process), running.claimed) || since(shaken, claimed);
            if !excused {
                let law = "one solve at a time while leases hold";
                return self.broke(format!("{law}: sidecar {process} begins while {running:?} goes on"));
            }
        }
        let refreshed = self.refreshed.map(|(when, _)| when);
        let before = refreshed.max(self.failed.map(|(when, _)| when));
        if let Some(before) = before
            && at < before + SHORTEST_DELAY
            && stored != Stored::None
            && !scheduled
            && !unsettled(&self.forced)
            && !since(forced, before)
            && !since(shaken, before)
            && !since(self.found_refused.get(&process).copied(), before)
            && claimed > before
        {
            return self.broke(format!("solves are paced: one begins {at:?}, an outcome came {before:?}"));
        }
        if let Some((failed_at, retry_at)) = self.failed
            && now + CLOCK_TOLERANCE < retry_at
            && !unsettled(&self.forced)
            && !since(forced, failed_at)
            && !since(shaken, failed_at)
            // An attempt that was under way then may ask its next solver before it learns of the failure.
            && claimed > failed_at
        {
            let early = retry_at - now;
            return self.broke(format!("back-off is shared: sidecar {process} solves {early} ms before `retry_at`"));
        }
        let refreshed = refreshed.unwrap_or_default();
        // A failed attempt is retried, whatever happened to the token meanwhile.
        let wanted = claimed < refreshed
            || self.failed.is_some()
            || unsettled(&self.bare)
            || since(self.explicit, refreshed)
            || since(self.excuse_for_all, refreshed);
        if stored == Stored::Works && !wanted && !scheduled && honest_since.is_some_and(|s| s + LAST_WORD < at) {
            let law = "no implicit question costs a solve while the token works";
            return self.broke(format!("{law}: sidecar {process}"));
        }
        self.solves.push(Solve { process, claimed, began: at, ended: None });
        self.solves.len() - 1
    }

    pub(crate) fn solve_ends(&mut self, number: usize, at: Duration) {
        let Some(solve) = self.solves.get_mut(number) else { return };
        solve.ended = Some(at);
        let (process, claimed) = (solve.process, solve.claimed);
        // Those of one attempt.
        let earlier = self.solves[..=number].iter().rev();
        let first = earlier.take_while(|s| (s.process, s.claimed) == (process, claimed)).last().map(|s| s.began);
        if let Some(began) = first.filter(|began| at > *began + LONGEST_SOLVE) {
            self.broke(format!("solvers share the time of an attempt: one began {began:?} and ends {at:?}"));
        }
    }

    /// Something was announced, of a token with this proof, which works or not; a failure may have been noted in the keys
    /// or not.
    pub(crate) fn event(&mut self, at: Duration, event: &Event, is_noted: bool, proof: Option<Proof>, works: bool) {
        self.counted += 1;
        let named = match event {
            Event::Updated(updated) if !works => Some(updated.fingerprint.clone()),
            _ => None,
        };
        self.announced.insert(named, self.counted);
        self.reported.clear();
        match event {
            Event::Updated(updated) if updated.cause == UpdatedCause::Refreshed => {
                if let Some((_, before)) = self.refreshed
                    && updated.version <= before
                {
                    self.broke(format!("versions only grow: {} after {before}", updated.version));
                }
                match proof {
                    Some(Proof { accepted: true, solve_began }) => {
                        let outdated = solve_began
                            .zip(self.refreshed)
                            .is_some_and(|(began, (stored, _))| began < stored && self.data_lost < Some(stored));
                        if outdated && updated.trigger != Trigger::Bootstrap {
                            self.broke("an older solve never overwrites a newer token".to_owned());
                        }
                    }
                    found => {
                        self.broke(format!("a token that the API has not accepted is never stored: {found:?}"));
                    }
                }
                self.refreshed = Some((at, updated.version));
                self.failed = None;
            }
            // A failure that Redis refused to store cannot be shared.
            Event::Failed(failed) if failed.cause == FailedCause::Attempt && is_noted => {
                self.failed = Some((at, failed.retry_at.as_millisecond()));
            }
            _ => {}
        }
    }

    fn broke(&mut self, law: String) -> usize {
        self.broken.get_or_insert(law);
        usize::MAX
    }
}
