//! Decides what a trigger leads to: the contract's table.

use jiff::Timestamp;
use token_sidecar_client::wire::Trigger;

use super::lifetime::later;
use super::pending::Pending;
use super::site::Policy;
use super::snapshot::{Provenance, Snapshot};

/// What to do about all pending triggers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is left to do, and no client waits for an answer.
    Nothing,
    /// Another replica refreshes: its outcome is the answer.
    Follow,
    /// Announce `failed` with the `retry_at` in force.
    Backoff,
    /// Announce the current token again.
    Repeat,
    /// Ask the API about the current token first.
    Verify(Trigger),
    /// Wait: a solve is due at this time.
    Defer(Timestamp),
    /// Claim and solve.
    Solve(Trigger),
}

/// Decides about everything that is pending at once. `now` is an estimate of the store's clock.
pub fn decide(snapshot: &Snapshot, pending: &Pending, policy: &Policy, now: Timestamp) -> Decision {
    if pending.is_empty() {
        return Decision::Nothing;
    }
    if snapshot.lock.is_some() {
        return Decision::Follow;
    }
    if let Some(trigger) = pending.forced() {
        return Decision::Solve(trigger);
    }
    if let Some(trigger) = adoptable(snapshot, pending, now) {
        return Decision::Verify(trigger);
    }
    if snapshot.backs_off(now) {
        return if pending.wants_answer() { Decision::Backoff } else { Decision::Nothing };
    }
    let Some(current) = &snapshot.current else {
        return Decision::Solve(wanted(pending, snapshot));
    };
    let fresh = current.is_younger_than(policy.debounce, now);
    let reported = pending.reported.contains(current.token.fingerprint());
    let tick = pending.tick.is_some_and(|due| !snapshot.is_refreshed_since(due, now));
    let expiry = pending.expiry && current.renew_at().is_some_and(|due| due <= now);
    let retry = pending.retry && snapshot.failing.is_some();
    if tick || expiry || retry || (pending.unnamed && !fresh) || (reported && !fresh) {
        return Decision::Solve(wanted(pending, snapshot));
    }
    if reported {
        let stored_at = current.refresh().map_or(now, |r| r.at);
        return Decision::Defer(later(stored_at, policy.debounce));
    }
    if let Some(trigger) = pending.implicit {
        return if current.has_ended(now) { Decision::Solve(trigger) } else { Decision::Verify(trigger) };
    }
    if pending.wants_answer() { Decision::Repeat } else { Decision::Nothing }
}

/// A token that another program wrote is verified even while backing off: it may end the failures.
fn adoptable(snapshot: &Snapshot, pending: &Pending, now: Timestamp) -> Option<Trigger> {
    let current = snapshot.current.as_ref()?;
    let silent = !pending.is_explicit();
    (!current.has_ended(now) && silent && current.provenance == Provenance::Foreign)
        .then_some(pending.implicit)
        .flatten()
}

/// The trigger of a solve: the strongest one that is pending; a retry keeps the trigger of the attempt it repeats.
fn wanted(pending: &Pending, snapshot: &Snapshot) -> Trigger {
    if pending.unnamed || !pending.reported.is_empty() {
        Trigger::Invalid
    } else if pending.tick.is_some() {
        Trigger::Schedule
    } else if let (true, Some(failing)) = (pending.retry, &snapshot.failing) {
        failing.trigger
    } else if pending.expiry {
        Trigger::Expiry
    } else {
        pending.implicit.unwrap_or(Trigger::Invalid)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::pending::{Arrival, Fingerprints, Note};
    use crate::domain::schedule::Schedule;
    use crate::domain::site::Verify;
    use crate::domain::snapshot::{Current, Failing, Refresh};
    use proptest::prelude::*;
    use token_sidecar_client::wire::{Cookies, Fingerprint, Report, Stage, Token};

    const DAY: u64 = 86_400;
    const NOW: i64 = 1_795_331_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn policy() -> Policy {
        Policy {
            debounce: Duration::from_secs(10),
            lock_ttl: Duration::from_secs(15),
            backoff_max: Duration::from_secs(600),
            token_ttl: Duration::from_secs(DAY),
            verify: Verify::Strict,
            schedule: Schedule::parse("off", "UTC").unwrap(),
        }
    }

    /// No token, no lock, no failure.
    fn empty() -> Snapshot {
        Snapshot { at: at(NOW), etag: String::new(), version: 1, current: None, lock: None, failing: None }
    }

    /// A token that a sidecar stored for a day, `age` seconds ago.
    fn stored(age: i64) -> Snapshot {
        let refresh =
            Refresh { at: at(NOW - age), trigger: Trigger::Startup, source: "solver".into(), user_agent: None };
        with_token(Provenance::Sidecar(refresh), later(at(NOW - age), Duration::from_secs(DAY)))
    }

    /// A token that another program wrote and that ends in `left` seconds.
    fn foreign(left: i64) -> Snapshot {
        with_token(Provenance::Foreign, at(NOW + left))
    }

    fn with_token(provenance: Provenance, ends_at: Timestamp) -> Snapshot {
        let token = Token::parse("current").unwrap();
        Snapshot {
            current: Some(Current { token, cookies: Cookies::default(), key_ends_at: Some(ends_at), provenance }),
            ..empty()
        }
    }

    /// The same state after failures, with a retry in `retry_in` seconds.
    fn failing(retry_in: i64, snapshot: Snapshot) -> Snapshot {
        let failing = Failing {
            attempts: 3,
            retry_at: at(NOW + retry_in),
            trigger: Trigger::Expiry,
            stage: Stage::Solve,
            error: "down".into(),
        };
        Snapshot { failing: Some(Box::new(failing)), ..snapshot }
    }

    fn locked(snapshot: Snapshot) -> Snapshot {
        Snapshot { lock: Some(Duration::from_secs(7)), ..snapshot }
    }

    fn unnamed() -> Arrival {
        Arrival::Message(Report::default())
    }

    fn force() -> Arrival {
        Arrival::Message(Report { force: true, ..Report::default() })
    }

    fn manual() -> Arrival {
        Arrival::Manual(Note::default())
    }

    fn report(token: &str) -> Arrival {
        Arrival::Message(Report { fingerprint: Some(Fingerprint::of(token)), ..Report::default() })
    }

    /// A tick that was due `ago` seconds ago.
    fn tick(ago: i64) -> Arrival {
        Arrival::Tick(at(NOW - ago))
    }

    fn pending(arrivals: impl IntoIterator<Item = Arrival>) -> Pending {
        let mut pending = Pending::default();
        arrivals.into_iter().for_each(|arrival| pending.fold(arrival));
        pending
    }

    #[test]
    fn each_row_of_the_contract_has_its_decision() {
        use Arrival::{Expiry, Reconnect, Retry, Startup, Vanished};
        use Decision::{Backoff, Defer, Follow, Nothing, Repeat, Solve, Verify};
        use Trigger as T;
        for (snapshot, arrivals, expected, why) in [
            // Nothing is pending.
            (stored(3600), vec![], Nothing, "nothing is pending"),
            (locked(empty()), vec![], Nothing, "nothing is pending, and a refresh is under way"),
            // A refresh is under way.
            (locked(stored(3600)), vec![unnamed()], Follow, "a refresh under way answers a message"),
            (locked(stored(3600)), vec![force()], Follow, "a message with force joins the refresh"),
            (locked(stored(3600)), vec![manual()], Follow, "a manual trigger joins the refresh"),
            (locked(empty()), vec![Startup], Follow, "a start joins the refresh"),
            (locked(failing(60, empty())), vec![unnamed()], Follow, "a refresh under way comes before the back-off"),
            (locked(stored(3600)), vec![tick(1)], Follow, "a tick joins the refresh"),
            (locked(foreign(3600)), vec![Startup], Follow, "an adoption under way answers a start"),
            // Backing off.
            (failing(60, stored(3600)), vec![unnamed()], Backoff, "a message is answered with the time of the retry"),
            (failing(60, stored(3600)), vec![report("current")], Backoff, "so is a report on the current token"),
            (failing(60, stored(3600)), vec![report("other")], Backoff, "so is a stale one: this row comes first"),
            (failing(60, empty()), vec![unnamed()], Backoff, "also without a token"),
            (failing(60, stored(3600)), vec![Reconnect], Backoff, "messages may have been missed"),
            (failing(60, empty()), vec![Startup], Backoff, "a start does not end the back-off"),
            (failing(60, stored(3600)), vec![tick(1)], Nothing, "a tick waits for the retry"),
            (failing(60, stored(DAY as i64 - 5)), vec![Expiry], Nothing, "so does a renewal"),
            (failing(60, stored(3600)), vec![force()], Solve(T::Invalid), "force ends the back-off"),
            (failing(60, stored(3600)), vec![manual()], Solve(T::Manual), "a manual trigger ends the back-off"),
            (failing(0, stored(3600)), vec![Retry], Solve(T::Expiry), "a retry keeps the trigger it retries"),
            (failing(-5, stored(3)), vec![Retry], Solve(T::Expiry), "a retry does not depend on the age of the token"),
            (failing(0, stored(3600)), vec![Retry, unnamed()], Solve(T::Invalid), "a message comes first"),
            (stored(3600), vec![Retry], Nothing, "nothing is left to retry"),
            (failing(60, foreign(3600)), vec![Startup], Verify(T::Startup), "a foreign token may end the failures"),
            (failing(60, foreign(3600)), vec![Startup, unnamed()], Backoff, "but not with a message beside it"),
            (failing(60, foreign(-1)), vec![Startup], Backoff, "but not one that has expired"),
            // No token.
            (empty(), vec![unnamed()], Solve(T::Invalid), "no token: a message"),
            (empty(), vec![report("other")], Solve(T::Invalid), "no token: no report is stale"),
            (empty(), vec![Startup], Solve(T::Startup), "no token: a start"),
            (empty(), vec![Vanished], Solve(T::Vanished), "the key is gone"),
            (empty(), vec![Reconnect], Solve(T::Reconnect), "a gap, and no token"),
            (empty(), vec![tick(1)], Solve(T::Schedule), "no token: a tick"),
            // A fingerprint that is not the current token's.
            (stored(3600), vec![report("other")], Repeat, "a stale report"),
            (stored(3), vec![report("other")], Repeat, "a stale report inside the window"),
            (foreign(3600), vec![report("other")], Repeat, "a stale report on a foreign token"),
            (stored(3600), vec![report("a"), report("b"), report("c")], Repeat, "many stale reports"),
            // A message without a fingerprint.
            (stored(3), vec![unnamed()], Repeat, "an unnamed message inside the window"),
            (stored(9), vec![unnamed(), report("other")], Repeat, "with a stale report beside it"),
            (stored(10), vec![unnamed()], Solve(T::Invalid), "the window is over"),
            (foreign(3600), vec![unnamed()], Solve(T::Invalid), "a foreign token counts as stored long ago"),
            (stored(-3600), vec![unnamed()], Solve(T::Invalid), "stored in the future counts as long ago"),
            (stored(3), vec![force()], Solve(T::Invalid), "force ignores the window"),
            // The current token's fingerprint.
            (stored(3600), vec![report("current")], Solve(T::Invalid), "a report on the current token"),
            (stored(3), vec![report("current")], Defer(at(NOW + 7)), "inside the window it waits"),
            (stored(3), vec![report("current"), unnamed()], Defer(at(NOW + 7)), "an unnamed message waits too"),
            (stored(3), vec![report("current"), report("other")], Defer(at(NOW + 7)), "and a stale report"),
            (stored(3), vec![report("current"), Reconnect], Defer(at(NOW + 7)), "and a reconnect"),
            (stored(3), vec![report("current"), force()], Solve(T::Invalid), "force ends the deferral"),
            (stored(3), vec![report("current"), tick(1)], Solve(T::Invalid), "so does a tick"),
            (foreign(3600), vec![report("current")], Solve(T::Invalid), "a foreign token is reported"),
            (stored(10), vec![report("current")], Solve(T::Invalid), "the window has ended"),
            // The clock.
            (stored(3600), vec![tick(1)], Solve(T::Schedule), "a tick"),
            (stored(3), vec![tick(1)], Solve(T::Schedule), "debounce does not apply to it"),
            (stored(3), vec![tick(5)], Nothing, "a refresh after its due time has served it"),
            (stored(3), vec![tick(3)], Nothing, "so has one at exactly its due time"),
            (stored(3), vec![tick(5), unnamed()], Repeat, "a served tick needs no solve"),
            (stored(-3600), vec![tick(5)], Solve(T::Schedule), "what was stored in the future serves no tick"),
            (foreign(3600), vec![tick(5)], Solve(T::Schedule), "a foreign token serves no tick"),
            (stored(DAY as i64 * 9 / 10), vec![Expiry], Solve(T::Expiry), "a tenth is left"),
            (stored(3600), vec![Expiry], Nothing, "the token was renewed meanwhile"),
            (foreign(59), vec![Expiry], Solve(T::Expiry), "a foreign token is renewed a minute ahead"),
            (foreign(61), vec![Expiry], Nothing, "and not earlier"),
            // Implicit triggers.
            (stored(3600), vec![Startup], Verify(T::Startup), "a start verifies the token"),
            (stored(3600), vec![Reconnect], Verify(T::Reconnect), "a gap verifies the token"),
            (stored(3600), vec![Vanished], Verify(T::Vanished), "the key is there after all"),
            (stored(3), vec![Reconnect, unnamed()], Verify(T::Reconnect), "a message inside the window beside it"),
            (stored(3600), vec![Reconnect, report("other")], Verify(T::Reconnect), "a stale report beside it"),
            (stored(3600), vec![Reconnect, unnamed()], Solve(T::Invalid), "a message outside the window beside it"),
            (foreign(3600), vec![Startup], Verify(T::Startup), "a foreign token is verified"),
            (foreign(3600), vec![Startup, manual()], Solve(T::Manual), "unless a manual trigger is pending"),
            (foreign(-1), vec![Startup], Solve(T::Startup), "an expired token is not verified"),
        ] {
            assert_eq!(decide(&snapshot, &pending(arrivals), &policy(), at(NOW)), expected, "{why}");
        }
    }

    #[test]
    fn without_a_debounce_window_nothing_is_deferred() {
        let policy = Policy { debounce: Duration::ZERO, ..policy() };
        for arrivals in [vec![unnamed()], vec![report("current")]] {
            assert_eq!(decide(&stored(0), &pending(arrivals), &policy, at(NOW)), Decision::Solve(Trigger::Invalid));
        }
    }

    fn snapshots() -> impl Strategy<Value = Snapshot> {
        let token = prop_oneof![
            1 => Just(empty()),
            3 => (-20i64..2 * DAY as i64).prop_map(stored),
            2 => (-20i64..7200).prop_map(foreign),
        ];
        let retry = proptest::option::of(-600i64..600);
        (token, retry, proptest::option::weighted(0.2, 0u64..20)).prop_map(|(snapshot, retry, lock)| {
            let snapshot = retry.map_or(snapshot.clone(), |retry| failing(retry, snapshot));
            Snapshot { lock: lock.map(Duration::from_secs), ..snapshot }
        })
    }

    fn arrivals() -> impl Strategy<Value = Arrival> {
        use Arrival::{Expiry, Reconnect, Retry, Startup, Vanished};
        let reports = prop_oneof![Just(report("current")), (0u8..12).prop_map(|n| report(&n.to_string()))];
        let rest = proptest::sample::select(vec![manual(), Expiry, Retry, Startup, Reconnect, Vanished]);
        prop_oneof![2 => Just(unnamed()), 1 => Just(force()), 4 => reports, 1 => (-5i64..60).prop_map(tick), 3 => rest]
    }

    fn pendings() -> impl Strategy<Value = Pending> {
        proptest::collection::vec(arrivals(), 0..6).prop_map(pending)
    }

    fn decided(snapshot: &Snapshot, pending: &Pending) -> Decision {
        decide(snapshot, pending, &policy(), at(NOW))
    }

    /// The token is there and has not ended.
    fn lives(snapshot: &Snapshot) -> bool {
        snapshot.current.as_ref().is_some_and(|c| !c.has_ended(at(NOW)))
    }

    proptest! {
        #[test]
        fn while_locked_everything_follows(snapshot in snapshots(), pending in pendings()) {
            let snapshot = locked(snapshot);
            let expected = if pending.is_empty() { Decision::Nothing } else { Decision::Follow };
            prop_assert_eq!(decided(&snapshot, &pending), expected);
        }

        #[test]
        fn force_solves_unless_locked(snapshot in snapshots(), pending in pendings(), is_manual in any::<bool>()) {
            let snapshot = Snapshot { lock: None, ..snapshot };
            let mut pending = pending;
            pending.fold(if is_manual { manual() } else { force() });
            prop_assert!(matches!(decided(&snapshot, &pending), Decision::Solve(_)));
        }

        #[test]
        fn a_stale_fingerprint_never_costs_a_solve(snapshot in snapshots(), pending in pendings(), name in "[a-z]{1,6}x") {
            prop_assume!(snapshot.current.is_some() && pending.reported.iter().count() < 8);
            let mut more = pending.clone();
            more.fold(report(&name));
            let (without, with) = (decided(&snapshot, &pending), decided(&snapshot, &more));
            prop_assert!(!matches!(with, Decision::Solve(_)) || matches!(without, Decision::Solve(_)));
        }

        #[test]
        fn an_unnamed_message_inside_the_window_never_costs_a_solve(
            snapshot in snapshots(), pending in pendings(), age in 0i64..10,
        ) {
            let snapshot = Snapshot { current: stored(age).current, ..snapshot };
            prop_assume!(!pending.unnamed);
            let more = Pending { unnamed: true, ..pending.clone() };
            let (without, with) = (decided(&snapshot, &pending), decided(&snapshot, &more));
            prop_assert!(!matches!(with, Decision::Solve(_)) || matches!(without, Decision::Solve(_)));
        }

        #[test]
        fn backing_off_never_solves_unless_forced(snapshot in snapshots(), pending in pendings(), rest in 1i64..600) {
            let snapshot = failing(rest, snapshot);
            let pending = Pending { manual: false, force: false, ..pending };
            prop_assert!(!matches!(decided(&snapshot, &pending), Decision::Solve(_) | Decision::Defer(_)));
        }

        #[test]
        fn an_implicit_trigger_never_solves_while_the_token_is_valid(
            snapshot in snapshots(),
            questions in proptest::collection::vec(
                proptest::sample::select(vec![Arrival::Startup, Arrival::Reconnect, Arrival::Vanished]), 1..4),
        ) {
            prop_assume!(lives(&snapshot));
            prop_assert!(!matches!(decided(&snapshot, &pending(questions)), Decision::Solve(_)));
        }

        #[test]
        fn a_waiting_client_is_always_answered(snapshot in snapshots(), pending in pendings()) {
            prop_assume!(pending.wants_answer());
            prop_assert_ne!(decided(&snapshot, &pending), Decision::Nothing);
        }

        #[test]
        fn a_report_on_the_current_token_leads_to_a_solve_now_or_later(snapshot in snapshots(), pending in pendings()) {
            let mut pending = pending;
            let mut reported = Fingerprints::default();
            reported.insert(Fingerprint::of("current"));
            pending.reported = reported;
            prop_assume!(snapshot.current.is_some());
            let decision = decided(&snapshot, &pending);
            prop_assert!(!matches!(decision, Decision::Nothing | Decision::Repeat | Decision::Verify(_)));
        }

        #[test]
        fn a_deferral_ends_within_the_window(snapshot in snapshots(), pending in pendings()) {
            if let Decision::Defer(due) = decided(&snapshot, &pending) {
                // An age of down to a second below zero is within the tolerance of the clock.
                prop_assert!(at(NOW) < due && due <= at(NOW + 11), "{due}");
            }
        }
    }
}
