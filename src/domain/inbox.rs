//! What arrived for a site, in the order of publication, and what the driver still has to answer.

use super::pending::{Arrival, Outcome, Pending};
use super::snapshot::Snapshot;
use token_sidecar_client::wire::Fingerprint;

/// What was received since the driver last took it. Its size does not depend on the number of messages.
///
/// Messages and outcomes come over one connection, in the order in which Redis published them. So an outcome answers
/// exactly what arrived before it, here and in the driver's [`Inbox`].
#[derive(Debug, Default)]
pub struct Arrived {
    /// All outcomes, combined.
    outcome: Option<Outcome>,
    /// What arrived after the last outcome, and what the outcomes did not answer of what came before.
    pending: Pending,
    /// How many of these triggers an outcome has answered.
    joined: u64,
    change: Change,
    /// The newest token that a sidecar has stored, and its version.
    newest: Option<(u64, Fingerprint)>,
}

/// What may have changed in Redis since the state was read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    #[default]
    None,
    /// A token of this version was stored: nothing new for the process that stored it.
    Stored(u64),
    /// Anything may have changed.
    Unknown,
}

/// All unanswered triggers of a site. The driver owns it.
#[derive(Debug, Default)]
pub struct Inbox {
    pub pending: Pending,
    /// Triggers that wait for another replica's refresh.
    joined: Option<Box<Joined>>,
    /// How many triggers an outcome has answered before a decision counted them.
    answered: u64,
    change: Change,
}

/// Triggers that the outcome of another replica's refresh will answer.
#[derive(Debug)]
struct Joined {
    pending: Pending,
    /// The version and the failures in a row before that outcome.
    version: u64,
    attempts: u32,
}

impl Arrived {
    pub fn post(&mut self, arrival: Arrival) {
        self.pending.fold_knowing(self.newest.map(|(_, fingerprint)| fingerprint), arrival);
    }

    /// A sidecar has stored this token, as far as is known the newest.
    pub fn stored(&mut self, version: u64, fingerprint: Fingerprint) {
        self.newest = self.newest.max(Some((version, fingerprint)));
    }

    /// Takes all that has arrived.
    pub fn take(&mut self) -> Self {
        let newest = self.newest;
        std::mem::replace(self, Self { newest, ..Self::default() })
    }

    /// An attempt has ended; it stored a token of this version, if any.
    pub fn settle(&mut self, outcome: Outcome, version: Option<u64>) {
        self.joined += self.pending.settle(outcome);
        self.outcome = Some(self.outcome.map_or(outcome, |earlier| earlier.and_then(outcome)));
        self.change = self.change.and_then(version.map_or(Change::Unknown, Change::Stored));
        if let (Outcome::Refreshed(fingerprint), Some(version)) = (outcome, version) {
            self.stored(version, fingerprint);
        }
    }

    /// The state in Redis may have changed.
    pub fn hint(&mut self) {
        self.change = Change::Unknown;
    }
}

impl Change {
    fn and_then(self, later: Self) -> Self {
        match (self, later) {
            (Self::None, change) | (change, Self::None) => change,
            (Self::Stored(one), Self::Stored(other)) => Self::Stored(one.max(other)),
            _ => Self::Unknown,
        }
    }
}

impl Inbox {
    /// Takes in what has arrived, and returns whether a trigger was among it.
    pub fn take_in(&mut self, arrived: Arrived) -> bool {
        let Arrived { outcome, pending, joined, change, newest: _ } = arrived;
        if let Some(outcome) = outcome {
            self.settle(outcome);
        }
        let is_news = !pending.is_empty();
        self.pending.absorb(pending);
        self.answered += joined;
        self.change = self.change.and_then(change);
        is_news
    }

    /// An attempt has ended: it answers all pending triggers and those that joined it.
    pub fn settle(&mut self, outcome: Outcome) {
        if let Some(mut joined) = self.joined.take() {
            self.answered += joined.pending.settle(outcome);
            joined.pending.absorb(std::mem::take(&mut self.pending));
            self.pending = joined.pending;
        }
        self.answered += self.pending.settle(outcome);
    }

    /// An announcement has answered all that is pending.
    pub fn answer(&mut self) {
        self.pending = Pending::default();
    }

    /// Moves what is pending to the refresh that holds the lock in this state.
    pub fn join(&mut self, snapshot: &Snapshot) {
        let pending = std::mem::take(&mut self.pending);
        match &mut self.joined {
            Some(joined) => joined.pending.absorb(pending),
            None => {
                let (version, attempts) = (snapshot.version, snapshot.attempts());
                self.joined = Some(Box::new(Joined { pending, version, attempts }));
            }
        }
    }

    /// Compares the joined triggers with a state that was just read, since the outcome may have been missed. Once that
    /// refresh has ended, the triggers that it did not answer are pending again.
    pub fn compare(&mut self, snapshot: &Snapshot) {
        let Some(mut joined) = self.joined.take() else { return };
        if snapshot.version > joined.version
            && let Some(fingerprint) = snapshot.fingerprint()
        {
            self.answered += joined.pending.settle(Outcome::Refreshed(fingerprint));
        } else if snapshot.attempts() > joined.attempts {
            self.answered += joined.pending.settle(Outcome::Failed);
        } else if snapshot.lock.is_some() {
            self.joined = Some(joined);
            return;
        }
        joined.pending.absorb(std::mem::take(&mut self.pending));
        self.pending = joined.pending;
    }

    /// Forgets a manual trigger.
    pub fn drop_manual(&mut self) {
        self.pending.manual = false;
        if let Some(joined) = &mut self.joined {
            joined.pending.manual = false;
        }
    }

    /// Whether triggers wait for the outcome of another replica's refresh.
    pub const fn has_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// Whether the state in Redis may have changed since this version was read. Resets the answer.
    pub fn take_change(&mut self, known: u64) -> bool {
        match std::mem::take(&mut self.change) {
            Change::None => false,
            Change::Stored(version) => version > known,
            Change::Unknown => true,
        }
    }

    /// How many triggers outcomes have answered since the last call.
    pub fn take_answered(&mut self) -> u64 {
        std::mem::take(&mut self.answered)
    }

    /// Marks all pending triggers as counted, and returns how many were not counted before.
    pub fn count(&mut self) -> u64 {
        std::mem::take(&mut self.pending.uncounted)
    }

    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.joined.is_none()
    }

    /// Whether a message or a manual trigger waits for an answer.
    pub fn is_asked(&self) -> bool {
        self.pending.is_asked() || self.joined.as_ref().is_some_and(|joined| joined.pending.is_asked())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::pending::Note;
    use crate::domain::snapshot::{Current, Provenance};
    use token_sidecar_client::wire::{Cookies, Fingerprint, Report, Token};

    fn report(token: &str) -> Arrival {
        Arrival::Message(Report { fingerprint: Some(Fingerprint::of(token)), ..Report::default() })
    }

    fn stored(token: &str) -> Outcome {
        Outcome::Refreshed(Fingerprint::of(token))
    }

    /// A state with this version and token; locked or not.
    fn state(version: u64, token: &str, lock: bool) -> Snapshot {
        let token = Token::parse(token).unwrap();
        Snapshot {
            at: Timestamp::from_second(1_795_331_400).unwrap(),
            etag: String::new(),
            version,
            current: Some(Current {
                token,
                cookies: Cookies::default(),
                key_ends_at: None,
                provenance: Provenance::Foreign,
            }),
            lock: lock.then(|| std::time::Duration::from_secs(7)),
            failing: None,
        }
    }

    #[test]
    fn a_stored_token_is_a_change_where_its_version_is_not_known() {
        let seen = |events: &[Option<(Outcome, Option<u64>)>]| {
            let (mut arrived, mut inbox) = (Arrived::default(), Inbox::default());
            for event in events {
                match event {
                    Some((outcome, version)) => arrived.settle(*outcome, *version),
                    None => arrived.hint(),
                }
            }
            inbox.take_in(arrived);
            (inbox.take_change(7), inbox.take_change(7))
        };
        let token = stored("a");
        assert_eq!(seen(&[]), (false, false));
        assert_eq!(seen(&[Some((token, Some(7)))]), (false, false), "its own");
        assert_eq!(seen(&[Some((token, Some(8))), Some((token, Some(7)))]), (true, false), "another's, once");
        assert_eq!(seen(&[Some((token, Some(7))), Some((Outcome::Failed, None))]), (true, false), "a failure");
        assert_eq!(seen(&[None, Some((token, Some(7)))]), (true, false), "a hint");
    }

    #[test]
    fn an_outcome_answers_what_the_driver_has_taken_in_before_it_and_not_what_came_after() {
        let mut inbox = Inbox::default();
        let mut first = Arrived::default();
        first.post(report("old"));
        inbox.take_in(first);
        let mut second = Arrived::default();
        second.settle(stored("new"), Some(1));
        second.post(report("new"));
        inbox.take_in(second);
        assert!(!inbox.pending.reported.contains(Fingerprint::of("old")));
        assert!(inbox.pending.reported.contains(Fingerprint::of("new")));
        assert_eq!(inbox.take_answered(), 1);
    }

    #[test]
    fn a_missed_outcome_answers_what_had_joined_and_nothing_later() {
        let mut inbox = Inbox::default();
        inbox.pending.fold(Arrival::Manual(Note::default()));
        inbox.join(&state(1, "old", true));
        assert!(inbox.has_joined() && !inbox.is_empty() && inbox.is_asked());
        inbox.pending.fold(Arrival::Message(Report::default()));
        inbox.compare(&state(2, "new", false));
        assert_eq!((inbox.pending.forced(), inbox.pending.unnamed), (None, true));
    }

    #[test]
    fn what_joined_stays_while_the_lock_is_held_and_is_pending_again_without_an_outcome() {
        let mut inbox = Inbox::default();
        inbox.pending.fold(Arrival::Manual(Note::default()));
        inbox.join(&state(1, "old", true));
        inbox.compare(&state(1, "old", true));
        assert!(inbox.has_joined() && inbox.pending.is_empty());
        inbox.pending.fold(report("old"));
        inbox.compare(&state(1, "old", false));
        assert!(!inbox.has_joined() && inbox.pending.manual && !inbox.pending.reported.is_empty());
    }

    #[test]
    fn each_trigger_is_counted_once() {
        let mut inbox = Inbox::default();
        for outcome in [None, Some(Outcome::Failed)] {
            let mut arrived = Arrived::default();
            arrived.post(Arrival::Manual(Note::default()));
            arrived.post(Arrival::Expiry);
            if let Some(outcome) = outcome {
                arrived.settle(outcome, None);
            }
            inbox.take_in(arrived);
        }
        // The outcome has answered the two that were taken in before, too.
        assert_eq!((inbox.count(), inbox.take_answered(), inbox.count()), (0, 4, 0));
        inbox.pending.fold(Arrival::Retry);
        assert_eq!((inbox.count(), inbox.count()), (1, 0));
    }
}
