//! A store that refuses.

use token_sidecar::domain::verdict::Pace;
use token_sidecar_client::wire::{Stage, Trigger};

use crate::bench::Bench;
use crate::outside::Answer;
use crate::store::{Fault, Op};
use crate::world::{at, secs};

/// Defect 7: the waiting parsers are answered, and the token is fetched again when the store takes it.
#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_is_a_failure_of_the_store_with_a_paced_retry() {
    let bench = Bench::calm(2).await;
    bench.spoil_all(Op::Commit, Fault::Refused);
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    {
        let state = bench.state();
        let failed = state.failed()[0];
        assert_eq!((failed.stage, failed.attempt), (Stage::Store, 1));
        assert_eq!(failed.error, "the write is refused: NOPERM");
        assert_eq!(state.token(), Some("token-0"));
        assert!(state.refreshed().is_empty());
    }
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.failed().len()), (2, 1));
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_every_write_is_announced_as_failed_and_paced_and_recovers() {
    let bench = Bench::calm(1).await;
    for op in [Op::Commit, Op::Fail] {
        bench.spoil_all(op, Fault::Refused);
    }
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.spoil_all(Op::Claim, Fault::Refused);
    for _ in 0..60 {
        bench.publish("");
        bench.pass(secs(2)).await;
    }
    {
        let state = bench.state();
        assert!(state.failed().iter().all(|f| f.stage == Stage::Store));
        let attempts: Vec<u32> = state.failed().iter().map(|f| f.attempt).collect();
        assert!(attempts.len() >= 3 && attempts.len() <= 6, "{attempts:?}");
        assert!(attempts.is_sorted_by(|a, b| a + 1 == *b), "{attempts:?}");
        assert_eq!(state.solves.started, 1, "no solve whose token could not be stored");
        assert!(state.failed_again().len() >= 50, "every message is answered");
    }
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_claim_names_the_trigger_that_asked() {
    let bench = Bench::calm(1).await;
    bench.spoil_all(Op::Claim, Fault::Refused);
    bench.by_hand(0);
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    assert_eq!(bench.state().failed()[0].trigger, Trigger::Manual);
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Manual, "the retry keeps it");
    bench.finish().await;
}

/// Permissions that are taken away at run time: nothing of the site can be read any more.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_everything_but_messages_is_answered_for_and_called_seldom() {
    let bench = Bench::calm(1).await;
    for op in [Op::Look, Op::Heartbeat, Op::Claim, Op::Announce] {
        bench.spoil_all(op, Fault::Refused);
    }
    for _ in 0..30 {
        bench.publish("");
        bench.hint(0);
        bench.pass(secs(2)).await;
    }
    {
        let state = bench.state();
        assert!(!state.failed().is_empty() && state.failed().len() <= 5, "{} attempts", state.failed().len());
        assert!(state.failed().iter().chain(&state.failed_again()).all(|f| f.stage == Stage::Store));
        assert!(state.events.len() >= 30, "every message is answered: {}", state.events.len());
        assert!(state.calls.len() < 200, "{} calls within a minute", state.calls.len());
        assert_eq!(state.solves.started, 0);
    }
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_everything_is_called_seldom_and_served_when_it_recovers() {
    let bench = Bench::calm(1).await;
    bench.spoil_all(None, Fault::Refused);
    bench.force();
    bench.pass(secs(60)).await;
    let calls = bench.state().calls.len();
    assert!(calls < 200, "{calls} calls within a minute");
    bench.mend();
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

/// A failure that one replica could not store must not outlast the success of another.
#[tokio::test(start_paused = true)]
async fn a_failure_that_was_never_noted_is_forgotten_when_another_replica_succeeds() {
    let bench = Bench::calm(2).await;
    bench.refuse_writes_of(0);
    bench.unsubscribe(1);
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.reconnect(1);
    bench.by_hand(1);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.mend();
    bench.forget();
    bench.pass(secs(1)).await;
    bench.report("long gone");
    bench.pass(secs(60)).await;
    {
        let state = bench.state();
        assert!(state.failed_again().is_empty(), "{:?}", state.events);
        assert_eq!(state.solves.started, 0, "nothing is left to retry");
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_to_publish_is_called_at_a_growing_pace() {
    for op in [Op::Announce, Op::Publish] {
        let bench = Bench::calm(1).await;
        bench.spoil_all(op, Fault::Refused);
        if op == Op::Publish {
            bench.spoil_all(Op::Claim, Fault::Refused);
            bench.force();
            bench.pass(secs(1)).await;
        }
        bench.report("long gone");
        bench.pass(secs(60)).await;
        let calls = bench.state().calls.len();
        assert!(calls < 200, "{calls} calls within a minute");
        bench.mend();
        bench.until("an answer", |s| !s.events.is_empty()).await;
        bench.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_trigger_whose_unnoted_failure_could_not_be_announced_is_announced_later() {
    let bench = Bench::calm(1).await;
    bench.spoil(Op::Claim, Fault::Refused, 1);
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.spoil(Op::Publish, Fault::Away, 2);
    bench.publish("");
    bench.until("an answer", |s| !s.failed_again().is_empty()).await;
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

/// Its own, which no other replica knows, no longer counts once a later one is shared.
#[tokio::test(start_paused = true)]
async fn a_failure_that_the_store_could_not_note_gives_way_to_a_later_one_that_it_noted() {
    let bench = Bench::calm(2).await;
    bench.refuse_writes_of(0);
    bench.by_hand(0);
    bench.until("a refusal", |s| s.failed().len() == 1).await;
    bench.mend();
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Ordinary);
    bench.state().sources[0].delay = secs(1);
    bench.by_hand(1);
    bench.until("a failure that is noted", |s| s.failed().iter().any(|f| f.stage == Stage::Solve)).await;
    let noted = bench.state().failed().iter().find(|f| f.stage == Stage::Solve).unwrap().retry_at;
    let solves = bench.state().solves.started;
    bench.until("the retry", |s| s.solves.started > solves).await;
    let since = bench.state().solves_began().last().copied().unwrap();
    assert!(at(since) >= noted, "tried again at {}, not before {noted}", at(since));
    bench.state().sources[0].rest = Answer::Fresh;
    bench.finish().await;
}

/// Its own announcement of a failure comes back to it as a hint: no reason to announce it again.
#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_all_but_publishing_while_a_long_back_off_is_noted_is_announced_at_a_pace() {
    let bench = Bench::calm(2).await;
    bench.state().sources[0].rest = Answer::Fails("solver: banned", Pace::LongestBackoff);
    bench.publish("");
    bench.until("a long back-off", |s| s.failed().len() == 1).await;
    for op in [Op::Look, Op::Claim, Op::Commit, Op::Fail, Op::Announce] {
        bench.spoil_all(op, Fault::Refused);
    }
    bench.publish("");
    bench.pass(secs(60)).await;
    let announced = bench.state().events.len();
    assert!(announced < 40, "announced {announced} times");
    bench.mend();
    bench.state().sources[0].rest = Answer::Fresh;
    bench.force();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}
