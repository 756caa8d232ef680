//! What is pending for a site: every trigger since the last outcome, merged into a value of constant size.

use jiff::Timestamp;
use token_sidecar_client::wire::{Event, FailedCause, Fingerprint, Report, Trigger, UpdatedCause};

/// How many distinct fingerprints are kept. A report with one more counts as a report without a fingerprint, so that a
/// flood of reports cannot displace a valid one.
pub const MAX_FINGERPRINTS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprints {
    held: [Option<Fingerprint>; MAX_FINGERPRINTS],
}

impl Fingerprints {
    /// Returns `false` where there is no room.
    pub fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        for slot in &mut self.held {
            match slot {
                Some(held) if *held == fingerprint => return true,
                Some(_) => {}
                None => {
                    *slot = Some(fingerprint);
                    return true;
                }
            }
        }
        false
    }

    pub fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.iter().any(|held| held == fingerprint)
    }

    pub fn iter(&self) -> impl Iterator<Item = Fingerprint> {
        self.held.iter().flatten().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.held[0].is_none()
    }

    fn retain(&mut self, keep: impl Fn(Fingerprint) -> bool) {
        let mut kept = Self::default();
        for fingerprint in self.iter().filter(|f| keep(*f)) {
            kept.insert(fingerprint);
        }
        *self = kept;
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pending {
    /// A solve is wanted in any state: by a message with `force`, or by a manual trigger.
    pub forced: Option<Trigger>,
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

/// What the senders of messages said, for logs and the history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    pub reason: Option<String>,
    pub source: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message on `S:token:invalid`.
    Message(Report),
    /// Forced by the command `refresh` or over HTTP.
    Manual,
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

impl Pending {
    pub fn fold(&mut self, arrival: Arrival) {
        self.uncounted += 1;
        match arrival {
            Arrival::Message(report) => self.fold_report(report),
            Arrival::Manual => self.forced = Some(Trigger::Manual),
            Arrival::Tick(due) => self.tick = self.tick.max(Some(due)),
            Arrival::Expiry => self.expiry = true,
            Arrival::Retry => self.retry = true,
            Arrival::Startup => self.implicit = Some(Trigger::Startup),
            Arrival::Reconnect => self.implicit = self.implicit.or(Some(Trigger::Reconnect)),
            Arrival::Vanished => self.implicit = self.implicit.or(Some(Trigger::Vanished)),
        }
    }

    fn fold_report(&mut self, report: Report) {
        if report.force {
            self.forced = self.forced.or(Some(Trigger::Invalid));
        }
        match report.fingerprint {
            Some(fingerprint) if self.reported.insert(fingerprint) => {}
            Some(_) => self.unnamed = true,
            None if !report.force => self.unnamed = true,
            None => {}
        }
        if report.reason.is_some() {
            self.note.reason = report.reason;
        }
        if report.source.is_some() {
            self.note.source = report.source;
        }
    }

    /// Merges in what arrived later than all of this.
    pub fn absorb(&mut self, later: Self) {
        self.forced = match (self.forced, later.forced) {
            (Some(Trigger::Manual), _) | (_, Some(Trigger::Manual)) => Some(Trigger::Manual),
            (one, other) => one.or(other),
        };
        for fingerprint in later.reported.iter() {
            self.unnamed |= !self.reported.insert(fingerprint);
        }
        self.unnamed |= later.unnamed;
        self.implicit = match (self.implicit, later.implicit) {
            (_, Some(Trigger::Startup)) => Some(Trigger::Startup),
            (one, other) => one.or(other),
        };
        self.tick = self.tick.max(later.tick);
        self.expiry |= later.expiry;
        self.retry |= later.retry;
        self.note = Note {
            reason: later.note.reason.or(self.note.reason.take()),
            source: later.note.source.or(self.note.source.take()),
        };
        self.uncounted += later.uncounted;
    }

    /// Removes what an attempt that has just ended answers, and returns how many uncounted triggers that were. A report
    /// on the token that the attempt stored stays: its sender knew that token, so the report is newer.
    pub fn settle(&mut self, outcome: Outcome) -> u64 {
        let reported = match outcome {
            Outcome::Failed => Fingerprints::default(),
            Outcome::Refreshed(stored) => {
                let mut left = self.reported;
                left.retain(|f| f == stored);
                left
            }
        };
        let settled = std::mem::replace(self, Self { reported, ..Self::default() });
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
        self.forced.is_some() || self.unnamed || !self.reported.is_empty()
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
    fn an_outcome_answers_what_came_before_it() {
        let mut pending = Pending::default();
        pending.fold(report("old"));
        pending.fold(Arrival::Manual);
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
            Arrival::Manual,
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
        pending.fold(Arrival::Manual);
        pending.fold(Arrival::Message(Report { force: true, ..Report::default() }));
        assert_eq!(pending.forced, Some(Trigger::Manual));
    }
}
