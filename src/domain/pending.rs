//! What is pending for a site: every trigger since the last outcome, merged into a value of constant size.

use jiff::Timestamp;
use token_sidecar_client::wire::{Event, FailedCause, Fingerprint, Report, Trigger, UpdatedCause};

/// How many distinct fingerprints are kept, beside that of the newest token. A report with one more counts as a report
/// without a fingerprint, so that a flood of reports cannot displace a valid one.
pub const MAX_FINGERPRINTS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprints {
    /// A place of its own for the newest token: within its debounce window a report without a fingerprint would be
    /// answered with that very token.
    newest: Option<Fingerprint>,
    others: Vec<Fingerprint>,
}

impl Fingerprints {
    /// Returns `false` where there is no room.
    pub fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        if !self.contains(fingerprint) && self.others.len() < MAX_FINGERPRINTS {
            self.others.push(fingerprint);
        }
        self.contains(fingerprint)
    }

    /// Adds the newest token, for which there is always room. Returns `false` where there is none for the one before it.
    fn insert_newest(&mut self, fingerprint: Fingerprint) -> bool {
        let before = self.newest.replace(fingerprint);
        before.is_none_or(|before| self.insert(before))
    }

    pub fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.newest == Some(fingerprint) || self.others.contains(&fingerprint)
    }

    pub fn iter(&self) -> impl Iterator<Item = Fingerprint> {
        let others = self.others.iter().copied().filter(|other| self.newest != Some(*other));
        self.newest.into_iter().chain(others)
    }

    pub fn is_empty(&self) -> bool {
        self.newest.is_none() && self.others.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pending {
    /// A manual trigger: a solve is wanted in any state.
    pub manual: bool,
    /// A message with `force`: the same.
    pub force: bool,
    /// A report without a fingerprint, or with one that cannot be parsed.
    pub unnamed: bool,
    pub reported: Fingerprints,
    /// An implicit trigger: start-up, reconnect, vanished.
    pub implicit: Option<Trigger>,
    /// When the latest tick of the schedule was due.
    pub tick: Option<Timestamp>,
    /// The token or its key is due for renewal.
    pub expiry: bool,
    /// The back-off is over.
    pub retry: bool,
    pub note: Note,
    /// How many of these triggers no decision has counted yet.
    pub uncounted: u64,
}

/// Reason and source of the reports and manual triggers, for logs and the history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    pub reason: Option<String>,
    pub source: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message on `S:token:invalid`.
    Message(Report),
    /// Forced by the command `refresh` or over HTTP, with who asked and why.
    Manual(Note),
    /// A tick of the schedule, with its due time.
    Tick(Timestamp),
    /// The token or its key is due for renewal.
    Expiry,
    /// The back-off is over.
    Retry,
    /// The process has just started.
    Startup,
    /// The subscription was restored after a gap.
    Reconnect,
    /// The token's key no longer exists.
    Vanished,
}

/// How an attempt has ended. It answers every trigger that arrived before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new token with this fingerprint was stored.
    Refreshed(Fingerprint),
    Failed,
}

impl Outcome {
    /// The outcome that an event announces; `None` for a repeated announcement.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Updated(updated) if updated.cause == UpdatedCause::Refreshed => {
                Fingerprint::parse(&updated.fingerprint).map(Self::Refreshed)
            }
            Event::Failed(failed) if failed.cause == FailedCause::Attempt => Some(Self::Failed),
            _ => None,
        }
    }

    /// Combines two outcomes into one that answers what either answers. Two different ones answer everything before
    /// them.
    pub fn and_then(self, later: Self) -> Self {
        if self == later { self } else { Self::Failed }
    }
}

impl From<Arrival> for Pending {
    fn from(arrival: Arrival) -> Self {
        let mut pending = Self { uncounted: 1, ..Self::default() };
        match arrival {
            Arrival::Message(report) => {
                pending.force = report.force;
                pending.unnamed = report.fingerprint.is_none() && !report.force;
                pending.reported.others = report.fingerprint.into_iter().collect();
                pending.note = Note { reason: report.reason, source: report.source };
            }
            Arrival::Manual(note) => {
                pending.manual = true;
                pending.note = note;
            }
            Arrival::Tick(due) => pending.tick = Some(due),
            Arrival::Expiry => pending.expiry = true,
            Arrival::Retry => pending.retry = true,
            Arrival::Startup => pending.implicit = Some(Trigger::Startup),
            Arrival::Reconnect => pending.implicit = Some(Trigger::Reconnect),
            Arrival::Vanished => pending.implicit = Some(Trigger::Vanished),
        }
        pending
    }
}

impl Pending {
    pub fn fold(&mut self, arrival: Arrival) {
        self.absorb(arrival.into());
    }

    /// Merges in one more, where this is the newest token that is known.
    pub fn fold_knowing(&mut self, newest: Option<Fingerprint>, arrival: Arrival) {
        let mut later = Self::from(arrival);
        if let Some(newest) = newest.filter(|newest| later.reported.contains(*newest)) {
            later.reported = Fingerprints { newest: Some(newest), others: Vec::new() };
        }
        self.absorb(later);
    }

    /// Merges in what arrived later than all of this.
    pub fn absorb(&mut self, later: Self) {
        self.manual |= later.manual;
        self.force |= later.force;
        for fingerprint in later.reported.others {
            self.unnamed |= !self.reported.insert(fingerprint);
        }
        if let Some(newest) = later.reported.newest {
            self.unnamed |= !self.reported.insert_newest(newest);
        }
        self.unnamed |= later.unnamed;
        if later.implicit == Some(Trigger::Startup) || self.implicit.is_none() {
            self.implicit = later.implicit;
        }
        self.tick = self.tick.max(later.tick);
        self.expiry |= later.expiry;
        self.retry |= later.retry;
        self.note.reason = later.note.reason.or(self.note.reason.take());
        self.note.source = later.note.source.or(self.note.source.take());
        self.uncounted += later.uncounted;
    }

    /// Removes what an attempt that has just ended answers, and returns how many uncounted triggers that were. A report
    /// on the token that the attempt stored stays: its sender knew that token, so the report is newer.
    pub fn settle(&mut self, outcome: Outcome) -> u64 {
        let settled = std::mem::take(self);
        if let Outcome::Refreshed(stored) = outcome
            && settled.reported.contains(stored)
        {
            self.reported.insert(stored);
        }
        settled.uncounted
    }

    pub fn is_empty(&self) -> bool {
        self.implicit.is_none() && !self.is_explicit()
    }

    /// Whether a trigger asks for a new token.
    pub fn is_explicit(&self) -> bool {
        self.is_asked() || self.tick.is_some() || self.expiry || self.retry
    }

    /// Whether a message or a manual trigger is pending.
    pub fn is_asked(&self) -> bool {
        self.forced().is_some() || self.unnamed || !self.reported.is_empty()
    }

    /// What wants a solve in any state.
    pub fn forced(&self) -> Option<Trigger> {
        self.manual.then_some(Trigger::Manual).or(self.force.then_some(Trigger::Invalid))
    }

    /// Whether a client may be waiting for an answer: one that sent a message, or one whose message was lost in a gap.
    pub fn wants_answer(&self) -> bool {
        self.is_asked() || self.implicit.is_some()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(text: &str) -> Arrival {
        let fingerprint = Some(Fingerprint::of(text));
        Arrival::Message(Report { fingerprint, ..Report::default() })
    }

    #[test]
    fn only_an_attempt_that_has_just_ended_is_an_outcome() {
        let updated = r#"{"event":"token:updated","site":"s","cause":"refreshed","version":1,"key":"k","source":"x",
            "fingerprint":"9f86d081884c7d65","trigger":"invalid"}"#;
        let failed = r#"{"event":"token:failed","site":"s","cause":"attempt","stage":"solve","error":"x","attempt":3,
            "retry_at":"2026-11-22T07:14:05Z","trigger":"invalid"}"#;
        for (message, outcome) in [
            (updated.to_owned(), Some(Outcome::Refreshed(Fingerprint::of("test")))),
            (updated.replace("refreshed", "repeated"), None),
            (failed.to_owned(), Some(Outcome::Failed)),
            (failed.replace("\"attempt\",", "\"repeated\","), None),
            // The contract's sample has no cause, so it is not an attempt that has just ended.
            (failed.replace("\"cause\":\"attempt\",", ""), None),
        ] {
            let event = Event::parse(message.as_bytes());
            assert!(event.is_some(), "{message}");
            assert_eq!(event.as_ref().and_then(Outcome::of), outcome, "{message}");
        }
    }

    #[test]
    fn a_million_messages_fold_into_one_summary() {
        let mut pending = Pending::default();
        for _ in 0..1_000_000 {
            pending.fold(Arrival::Message(Report::default()));
        }
        assert_eq!(pending, Pending { unnamed: true, uncounted: 1_000_000, ..Pending::default() });
    }

    #[test]
    fn a_flood_of_fingerprints_pushes_no_true_report_out() {
        let mut pending = Pending::default();
        for n in 0..1000 {
            pending.fold(report(&format!("false {n}")));
        }
        pending.fold(report("true"));
        assert!(pending.unnamed, "one more than fits counts as unnamed, which asks for a solve");
        assert_eq!(pending.reported.iter().count(), MAX_FINGERPRINTS);
    }

    #[test]
    fn a_report_on_the_newest_token_has_a_place_of_its_own() {
        let (first, second) = (Fingerprint::of("first"), Fingerprint::of("second"));
        let mut pending = Pending::default();
        pending.fold_knowing(Some(first), report("first"));
        for n in 0..MAX_FINGERPRINTS {
            pending.fold_knowing(Some(first), report(&format!("stale {n}")));
        }
        assert!(pending.reported.contains(first) && !pending.unnamed);
        // It is no longer the newest, and the other places are taken.
        pending.fold_knowing(Some(second), report("second"));
        assert!(pending.reported.contains(second) && !pending.reported.contains(first) && pending.unnamed);
        let mut inbox = Pending::default();
        inbox.absorb(pending);
        assert_eq!(inbox.reported.iter().next(), Some(second));
        assert_eq!(inbox.reported.iter().count(), MAX_FINGERPRINTS + 1);
        inbox.settle(Outcome::Refreshed(second));
        assert!(inbox.reported.contains(second), "it knew that token");
    }

    #[test]
    fn an_outcome_answers_what_came_before_it() {
        let mut pending = Pending::default();
        pending.fold(report("old"));
        pending.fold(Arrival::Manual(Note::default()));
        pending.fold(Arrival::Message(Report::default()));
        pending.fold(Arrival::Reconnect);
        pending.fold(Arrival::Tick(Timestamp::from_second(7).unwrap()));
        let mut failed = pending.clone();
        pending.settle(Outcome::Refreshed(Fingerprint::of("new")));
        assert!(pending.is_empty());
        failed.settle(Outcome::Failed);
        assert!(failed.is_empty());
    }

    #[test]
    fn a_report_on_the_token_that_was_stored_again_stays() {
        let mut pending = Pending::default();
        pending.fold(report("same"));
        pending.settle(Outcome::Refreshed(Fingerprint::of("same")));
        assert!(pending.is_explicit() && pending.reported.contains(Fingerprint::of("same")));
    }

    proptest! {
        #[test]
        fn absorbing_in_two_parts_loses_nothing(arrivals in proptest::collection::vec(arrival(), 0..40), cut in 0usize..40) {
            let mut whole = Pending::default();
            let (mut early, mut late) = (Pending::default(), Pending::default());
            for (n, arrival) in arrivals.into_iter().enumerate() {
                whole.fold(arrival.clone());
                if n < cut { early.fold(arrival) } else { late.fold(arrival) }
            }
            early.absorb(late);
            prop_assert_eq!(early, whole);
        }
    }

    fn arrival() -> impl Strategy<Value = Arrival> {
        let message = (proptest::option::of(0u8..12), any::<bool>(), proptest::option::of("[ab]")).prop_map(
            |(token, force, reason)| {
                let fingerprint = token.map(|t| Fingerprint::of(&t.to_string()));
                Arrival::Message(Report { fingerprint, force, reason, ..Report::default() })
            },
        );
        let tick = (0i64..9).prop_map(|s| Arrival::Tick(Timestamp::from_second(s).unwrap()));
        let rest = proptest::sample::select(vec![
            Arrival::Manual(Note::default()),
            Arrival::Expiry,
            Arrival::Retry,
            Arrival::Startup,
            Arrival::Reconnect,
            Arrival::Vanished,
        ]);
        prop_oneof![4 => message, 1 => tick, 2 => rest]
    }

    #[test]
    fn start_up_outranks_a_reconnect_and_a_manual_trigger_outranks_a_message() {
        let mut pending = Pending::default();
        pending.fold(Arrival::Reconnect);
        pending.fold(Arrival::Startup);
        pending.fold(Arrival::Vanished);
        assert_eq!(pending.implicit, Some(Trigger::Startup));
        pending.fold(Arrival::Message(Report { force: true, ..Report::default() }));
        pending.fold(Arrival::Manual(Note::default()));
        pending.fold(Arrival::Message(Report { force: true, ..Report::default() }));
        assert_eq!(pending.forced(), Some(Trigger::Manual));
    }
}
