//! What is pending for a site: every trigger since the last outcome, folded into one small summary.
//!
//! However many messages come, this stays as small as it is.

use jiff::Timestamp;

use token_sidecar_client::wire::{Event, FailedCause, Fingerprint, Report, Trigger, UpdatedCause};

/// How many distinct fingerprints are told apart; one more counts as a message without one, so that
/// no flood can push a true report out.
pub const MAX_FINGERPRINTS: usize = 8;

/// A handful of distinct fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprints {
    held: [Option<Fingerprint>; MAX_FINGERPRINTS],
}

impl Fingerprints {
    /// Adds one; `false` where there is no room.
    pub fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        for place in &mut self.held {
            match place {
                Some(held) if *held == fingerprint => return true,
                Some(_) => {}
                None => {
                    *place = Some(fingerprint);
                    return true;
                }
            }
        }
        false
    }

    /// Whether this one is among them.
    #[must_use]
    pub fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.iter().any(|held| held == fingerprint)
    }

    /// All of them, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Fingerprint> {
        self.held.iter().flatten().copied()
    }

    /// Whether there is none.
    #[must_use]
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

/// What is pending for one site.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inbox {
    /// Something must be solved whatever the state: by a message or by hand.
    pub forced: Option<Trigger>,
    /// A message without a (readable) fingerprint.
    pub bare: bool,
    /// The tokens that were reported as refused.
    pub reported: Fingerprints,
    /// A question that only asks: start-up, reconnect, vanished.
    pub implicit: Option<Trigger>,
    /// The latest tick of the schedule, by its due time.
    pub tick: Option<Timestamp>,
    /// The token or its key is due for renewal.
    pub expiry: bool,
    /// The back-off is over.
    pub retry: bool,
    /// The latest reason and source that a message gave.
    pub note: Note,
    /// How many triggers are folded in here and not counted yet.
    pub folded: u64,
}

/// What the senders of messages said, for logs and the history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Note {
    /// The latest `reason`.
    pub reason: Option<String>,
    /// The latest `source`.
    pub source: Option<String>,
}

/// Something to fold in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// A message on `S:token:invalid`.
    Message(Report),
    /// Forced by the command `refresh` or over HTTP.
    Manual,
    /// A tick of the schedule that was due then.
    Tick(Timestamp),
    /// The token or its key is due for renewal.
    Expiry,
    /// The back-off is over.
    Retry,
    /// The process has just started.
    Startup,
    /// The subscription is back after a gap.
    Reconnect,
    /// The key was seen to be gone.
    Vanished,
}

/// An attempt that has just ended, as it is heard on the site's channels. It answers what arrived before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new token with this fingerprint was stored.
    Refreshed(Fingerprint),
    /// An attempt failed.
    Failed,
}

impl Outcome {
    /// The attempt that an event says has just ended; a repeated announcement ends none.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Updated(updated) if updated.cause == UpdatedCause::Refreshed => {
                Fingerprint::parse(&updated.fingerprint).map(Self::Refreshed)
            }
            Event::Failed(failed) if failed.cause == FailedCause::Attempt => Some(Self::Failed),
            _ => None,
        }
    }

    /// Both outcomes as one: what either answers. After two different ones nothing is left that came before.
    #[must_use]
    pub fn and_then(self, later: Self) -> Self {
        if self == later { self } else { Self::Failed }
    }
}

impl Inbox {
    /// Folds one arrival in.
    pub fn fold(&mut self, arrival: Arrival) {
        self.folded += 1;
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
            Some(_) => self.bare = true,
            None if !report.force => self.bare = true,
            None => {}
        }
        if report.reason.is_some() {
            self.note.reason = report.reason;
        }
        if report.source.is_some() {
            self.note.source = report.source;
        }
    }

    /// The same, with its triggers counted already.
    #[must_use]
    pub fn counted(self) -> Self {
        Self { folded: 0, ..self }
    }

    /// Folds in what arrived later than all of this.
    pub fn absorb(&mut self, later: Self) {
        self.forced = match (self.forced, later.forced) {
            (Some(Trigger::Manual), _) | (_, Some(Trigger::Manual)) => Some(Trigger::Manual),
            (one, other) => one.or(other),
        };
        for fingerprint in later.reported.iter() {
            self.bare |= !self.reported.insert(fingerprint);
        }
        self.bare |= later.bare;
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
        self.folded += later.folded;
    }

    /// Takes out what an attempt that ended just now has answered. A report on the very token that the
    /// attempt stored stays: nothing that came before it could know that token, unless it was the same.
    pub fn settle(&mut self, outcome: Outcome) {
        let reported = match outcome {
            Outcome::Failed => Fingerprints::default(),
            Outcome::Refreshed(stored) => {
                let mut left = self.reported;
                left.retain(|f| f == stored);
                left
            }
        };
        *self = Self { reported, ..Self::default() };
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.implicit.is_none() && !self.states()
    }

    /// Whether somebody states that a new token is wanted.
    #[must_use]
    pub fn states(&self) -> bool {
        self.forced.is_some()
            || self.bare
            || !self.reported.is_empty()
            || self.tick.is_some()
            || self.expiry
            || self.retry
    }

    /// Whether somebody asked: by a message or by hand.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.forced.is_some() || self.bare || !self.reported.is_empty()
    }

    /// Whether somebody outside waits for an answer: who asked, or whoever may have in a gap that was not heard.
    #[must_use]
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
    fn only_what_has_just_ended_is_an_outcome() {
        let updated = r#"{"event":"token:updated","site":"s","cause":"refreshed","version":1,"key":"k","source":"x",
            "fingerprint":"9f86d081884c7d65","trigger":"invalid"}"#;
        let failed = r#"{"event":"token:failed","site":"s","cause":"attempt","stage":"solve","error":"x","attempt":3,
            "retry_at":"2026-11-22T07:14:05Z","trigger":"invalid"}"#;
        for (message, outcome) in [
            (updated.to_owned(), Some(Outcome::Refreshed(Fingerprint::of("test")))),
            (updated.replace("refreshed", "repeated"), None),
            (failed.to_owned(), Some(Outcome::Failed)),
            (failed.replace("\"attempt\",", "\"repeated\","), None),
            // The contract's sample, which has no cause, is no attempt that ended just now.
            (failed.replace("\"cause\":\"attempt\",", ""), None),
        ] {
            let event = Event::parse(message.as_bytes());
            assert!(event.is_some(), "{message}");
            assert_eq!(event.as_ref().and_then(Outcome::of), outcome, "{message}");
        }
    }

    #[test]
    fn a_million_messages_fold_into_one_summary() {
        let mut inbox = Inbox::default();
        for _ in 0..1_000_000 {
            inbox.fold(Arrival::Message(Report::default()));
        }
        assert_eq!(inbox, Inbox { bare: true, folded: 1_000_000, ..Inbox::default() });
    }

    #[test]
    fn a_flood_of_fingerprints_pushes_no_true_report_out() {
        let mut inbox = Inbox::default();
        for n in 0..1000 {
            inbox.fold(report(&format!("false {n}")));
        }
        inbox.fold(report("true"));
        assert!(inbox.bare, "one more than fits counts as bare, and a bare message asks for a solve");
        assert_eq!(inbox.reported.iter().count(), MAX_FINGERPRINTS);
    }

    #[test]
    fn an_outcome_answers_what_came_before_it() {
        let mut inbox = Inbox::default();
        inbox.fold(report("old"));
        inbox.fold(Arrival::Manual);
        inbox.fold(Arrival::Message(Report::default()));
        inbox.fold(Arrival::Reconnect);
        inbox.fold(Arrival::Tick(Timestamp::from_second(7).unwrap()));
        let mut failed = inbox.clone();
        inbox.settle(Outcome::Refreshed(Fingerprint::of("new")));
        assert!(inbox.is_empty());
        failed.settle(Outcome::Failed);
        assert!(failed.is_empty());
    }

    #[test]
    fn a_report_on_the_token_that_was_stored_again_stays() {
        let mut inbox = Inbox::default();
        inbox.fold(report("same"));
        inbox.settle(Outcome::Refreshed(Fingerprint::of("same")));
        assert!(inbox.states() && inbox.reported.contains(Fingerprint::of("same")));
    }

    proptest! {
        #[test]
        fn taking_and_restoring_loses_nothing(arrivals in proptest::collection::vec(arrival(), 0..40), cut in 0usize..40) {
            let mut whole = Inbox::default();
            let (mut early, mut late) = (Inbox::default(), Inbox::default());
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
    fn start_up_outranks_a_reconnect_and_a_hand_outranks_a_message() {
        let mut inbox = Inbox::default();
        inbox.fold(Arrival::Reconnect);
        inbox.fold(Arrival::Startup);
        inbox.fold(Arrival::Vanished);
        assert_eq!(inbox.implicit, Some(Trigger::Startup));
        inbox.fold(Arrival::Message(Report { force: true, ..Report::default() }));
        inbox.fold(Arrival::Manual);
        inbox.fold(Arrival::Message(Report { force: true, ..Report::default() }));
        assert_eq!(inbox.forced, Some(Trigger::Manual));
    }
}
