//! Any order of arrivals, outcomes and takings in, against a plain list of what is unanswered.

use jiff::Timestamp;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use token_sidecar::domain::inbox::Inbox;
use token_sidecar::domain::pending::{Arrival, MAX_FINGERPRINTS, Note, Outcome, Pending};

use token_sidecar::refresh::mailbox::Mailbox;
use token_sidecar_client::wire::{Fingerprint, Report};

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // Of each step some, in orders that matter.
    vec![
        (0..=255).collect(),
        vec![0, 1, 0, 0, 9, 0, 8, 1, 0, 2, 1, 10],
        [0, 3, 1, 0, 0, 5, 9, 8, 0, 3, 0, 0, 10].repeat(20),
        (0..40).flat_map(|n| [0, n, 1, 1]).chain([8, 0, 5, 9, 10]).collect(),
    ]
}

pub(crate) fn check(data: &[u8]) {
    // What is left of the bytes when a step wants more of them is no step.
    let _ = run(&mut Unstructured::new(data));
}

/// What is unanswered, in the order of arrival.
#[derive(Default)]
struct Unanswered(Vec<Arrival>);

impl Unanswered {
    fn folded(&self) -> Pending {
        let mut pending = Pending::default();
        self.0.iter().cloned().for_each(|arrival| pending.fold(arrival));
        pending
    }

    /// An outcome answers all but a report of the very token that it stored.
    fn settle(&mut self, outcome: Outcome) {
        let kept_apart = self.folded().reported;
        self.0.retain_mut(|arrival| match (arrival, outcome) {
            (Arrival::Message(report), Outcome::Refreshed(stored)) => {
                let stays = report.fingerprint == Some(stored) && kept_apart.contains(stored);
                *report = Report { fingerprint: report.fingerprint, ..Report::default() };
                stays
            }
            _ => false,
        });
    }
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let (mailbox, mut inbox) = (Mailbox::default(), Inbox::default());
    // What is in the mailbox, and what was taken in.
    let (mut arrived, mut taken_in) = (Unanswered::default(), Unanswered::default());
    let (mut outcomes, mut posted, mut counted) = (0, 0_u64, 0);
    while !u.is_empty() {
        match u.int_in_range(0..=10)? {
            step @ 0..=7 => {
                let arrival = if step < 4 { Arrival::Message(report(u)?) } else { arrival(u, step)? };
                arrived.0.push(arrival.clone());
                mailbox.post(arrival);
                posted += 1;
            }
            8 => {
                let outcome = if u.arbitrary()? { Outcome::Failed } else { Outcome::Refreshed(fingerprint(u)?) };
                mailbox.settle(outcome, None);
                outcomes += 1;
                arrived.settle(outcome);
                taken_in.settle(outcome);
            }
            9 => {
                counted += inbox.count();
                inbox.take_in(mailbox.take());
                taken_in.0.append(&mut arrived.0);
                let without_count = Pending { uncounted: 0, ..inbox.pending.clone() };
                let expected = Pending { uncounted: 0, ..taken_in.folded() };
                assert_eq!(without_count, expected, "of {:?}", taken_in.0);
                assert!(inbox.pending.reported.iter().count() <= MAX_FINGERPRINTS);
                // Who asked and was not answered is there still, kept apart or not.
                let asks = taken_in.0.iter().any(|arrival| matches!(arrival, Arrival::Message(_) | Arrival::Manual(_)));
                assert_eq!(inbox.is_asked(), asks);
            }
            _ => counted += inbox.count(),
        }
        assert_eq!(mailbox.outcomes(), outcomes);
    }
    inbox.take_in(mailbox.take());
    assert_eq!(counted + inbox.count() + inbox.take_answered(), posted, "each trigger is counted once");
    Ok(())
}

fn report(u: &mut Unstructured<'_>) -> Result<Report> {
    let fingerprint = if u.arbitrary()? { Some(fingerprint(u)?) } else { None };
    let mut word = || -> Result<Option<String>> { Ok(u.arbitrary::<Option<u8>>()?.map(|n| n.to_string())) };
    let (reason, source) = (word()?, word()?);
    Ok(Report { fingerprint, force: u.ratio(1, 4)?, reason, source })
}

/// More of them than are told apart.
fn fingerprint(u: &mut Unstructured<'_>) -> Result<Fingerprint> {
    Ok(Fingerprint::of(&u.int_in_range(0..=11)?.to_string()))
}

fn arrival(u: &mut Unstructured<'_>, step: i32) -> Result<Arrival> {
    Ok(match step {
        4 => Arrival::Tick(Timestamp::from_second(u.int_in_range(0..=99)?).unwrap_or_default()),
        5 => Arrival::Manual(Note::default()),
        6 => [Arrival::Startup, Arrival::Reconnect, Arrival::Vanished][u.choose_index(3)?].clone(),
        _ => [Arrival::Expiry, Arrival::Retry][u.choose_index(2)?].clone(),
    })
}
