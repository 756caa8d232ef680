//! The mailbox under any order of arrivals, outcomes, takes and restores, compared with a plain list of unanswered reports.

use jiff::Timestamp;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use token_sidecar::domain::inbox::{Arrival, Inbox, MAX_FINGERPRINTS, Outcome};
use token_sidecar::refresh::mailbox::Mailbox;
use token_sidecar_client::wire::{Fingerprint, Report};

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // Some of each step, in different orders.
    vec![
        (0..=255).collect(),
        vec![0, 1, 0, 0, 9, 0, 8, 1, 0, 2, 1, 10],
        [0, 3, 1, 0, 0, 5, 9, 8, 0, 3, 0, 0, 10].repeat(20),
        (0..40).flat_map(|n| [0, n, 1, 1]).chain([8, 0, 5, 9, 10]).collect(),
    ]
}

pub(crate) fn check(data: &[u8]) {
    // It ends where the bytes are too few for another step.
    let _ = run(&mut Unstructured::new(data));
}

/// What is unanswered, in the order of arrival.
#[derive(Default)]
struct Pending(Vec<Arrival>);

impl Pending {
    fn folded(&self) -> Inbox {
        let mut inbox = Inbox::default();
        self.0.iter().cloned().for_each(|arrival| inbox.fold(arrival));
        inbox
    }

    /// An outcome answers everything but reports of the token that it stored.
    fn settle(&mut self, outcome: Outcome) {
        let told_apart = self.folded().reported;
        self.0.retain_mut(|arrival| match (arrival, outcome) {
            (Arrival::Message(report), Outcome::Refreshed(stored)) => {
                let stays = report.fingerprint == Some(stored) && told_apart.contains(stored);
                *report = Report { fingerprint: report.fingerprint, ..Report::default() };
                stays
            }
            _ => false,
        });
    }
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mailbox = Mailbox::default();
    let (mut pending, mut taken) = (Pending::default(), None::<(Inbox, Pending)>);
    let (mut outcomes, mut posted, mut counted) = (0, 0_u64, 0);
    while !u.is_empty() {
        match u.int_in_range(0..=10)? {
            0..=3 => {
                let report = report(u)?;
                post(&mailbox, &mut pending, Arrival::Message(report));
                posted += 1;
            }
            step @ 4..=7 => {
                post(&mailbox, &mut pending, arrival(u, step)?);
                posted += 1;
            }
            8 if taken.is_none() => {
                let inbox = mailbox.take();
                counted += inbox.folded;
                taken = Some((inbox.counted(), std::mem::take(&mut pending)));
                assert!(mailbox.is_empty());
            }
            9 => {
                let outcome = if u.arbitrary()? { Outcome::Failed } else { Outcome::Refreshed(fingerprint(u)?) };
                mailbox.hear(outcome, None);
                outcomes += 1;
                pending.settle(outcome);
                if let Some((_, taken)) = &mut taken {
                    taken.settle(outcome);
                }
            }
            _ => {
                if let Some((inbox, mut earlier)) = taken.take() {
                    mailbox.restore(inbox);
                    earlier.0.append(&mut pending.0);
                    pending = earlier;
                }
            }
        }
        let inbox = mailbox.peek();
        assert_eq!(inbox.clone().counted(), pending.folded().counted(), "of {:?}", pending.0);
        assert_eq!(inbox.is_empty(), mailbox.is_empty());
        assert!(inbox.reported.iter().count() <= MAX_FINGERPRINTS);
        // An unanswered question is still there, whether its fingerprint is kept or not.
        let asks = pending.0.iter().any(|arrival| matches!(arrival, Arrival::Message(_) | Arrival::Manual));
        assert_eq!(inbox.is_asked(), asks);
        assert_eq!(mailbox.outcomes(), outcomes);
    }
    assert_eq!(counted + mailbox.take().folded + mailbox.take_joined(), posted, "each trigger is counted once");
    Ok(())
}

fn post(mailbox: &Mailbox, pending: &mut Pending, arrival: Arrival) {
    pending.0.push(arrival.clone());
    mailbox.post(arrival);
}

fn report(u: &mut Unstructured<'_>) -> Result<Report> {
    let fingerprint = if u.arbitrary()? { Some(fingerprint(u)?) } else { None };
    let mut word = || -> Result<Option<String>> { Ok(u.arbitrary::<Option<u8>>()?.map(|n| n.to_string())) };
    let (reason, source) = (word()?, word()?);
    Ok(Report { fingerprint, force: u.ratio(1, 4)?, reason, source, ..Report::default() })
}

/// One of more fingerprints than the mailbox keeps.
fn fingerprint(u: &mut Unstructured<'_>) -> Result<Fingerprint> {
    Ok(Fingerprint::of(&u.int_in_range(0..=11)?.to_string()))
}

fn arrival(u: &mut Unstructured<'_>, step: i32) -> Result<Arrival> {
    Ok(match step {
        4 => Arrival::Tick(Timestamp::from_second(u.int_in_range(0..=99)?).unwrap_or_default()),
        5 => Arrival::Manual,
        6 => [Arrival::Startup, Arrival::Reconnect, Arrival::Vanished][u.choose_index(3)?].clone(),
        _ => [Arrival::Expiry, Arrival::Retry][u.choose_index(2)?].clone(),
    })
}
