//! Failures: how they are announced, paced and shared.

use std::time::Duration;

use token_sidecar::domain::verdict::Pace;
use token_sidecar_client::wire::{Stage, Trigger};

use crate::bench::Bench;
use crate::outside::{Answer, Mood};
use crate::store::Op;
use crate::world::{at, ms, secs};

/// Defect 4: failures were returned as values, so that nothing retried.
#[tokio::test(start_paused = true)]
async fn a_failure_is_announced_and_retried_by_itself_at_its_retry_at_with_the_trigger_it_retries() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].next = [Answer::Fails("solver: timeout after 60 s", Pace::Ordinary)].into();
    bench.by_hand(0);
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    let failed = bench.state().failed()[0].clone();
    assert_eq!((failed.stage, failed.error.as_str()), (Stage::Solve, "solver: timeout after 60 s"));
    assert_eq!((failed.attempt, failed.trigger), (1, Trigger::Manual));
    assert!(failed.valid_until.is_some(), "the old token is still good as far as is known");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    {
        let state = bench.state();
        assert_eq!(state.refreshed()[0].trigger, Trigger::Manual, "a retry keeps the trigger");
        let began = at(state.solves_began()[1]);
        assert!(began >= failed.retry_at && began < failed.retry_at + ms(50), "{began} for {}", failed.retry_at);
    }
    bench.finish().await;
}

/// Attempts within half an hour by so many replicas where nothing works and every replica receives reports.
async fn attempts(replicas: usize) -> u64 {
    let bench = Bench::calm(replicas).await;
    {
        let mut state = bench.state();
        state.sources[0].rest = Answer::Fails("solver: down", Pace::Ordinary);
        state.sources[0].delay = secs(1);
    }
    let began = bench.shared.elapsed();
    while bench.shared.elapsed() < began + secs(1800) {
        bench.publish("");
        bench.pass(secs(7)).await;
    }
    let attempts = bench.state().solves.started;
    assert_eq!(attempts, bench.state().failed().len() as u64, "each attempt is announced once");
    let numbers: Vec<u32> = bench.state().failed().iter().map(|f| f.attempt).collect();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "{numbers:?}");
    bench.finish().await;
    attempts
}

#[tokio::test(start_paused = true)]
async fn ten_replicas_together_try_as_often_as_one() {
    let (one, ten) = (attempts(1).await, attempts(10).await);
    assert!((7..=11).contains(&one), "{one} attempts by one");
    assert!(ten.abs_diff(one) <= 1, "{ten} attempts by ten, {one} by one");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_was_banned_waits_long_from_the_first_failure_on() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].next = [Answer::Fails("solver: banned", Pace::LongestBackoff)].into();
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    let failed = bench.shared.elapsed();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert!(bench.shared.elapsed() - failed >= secs(600));
    bench.finish().await;
}

/// Defect 4 again: a site that keeps refusing fresh tokens must not be called in a loop.
#[tokio::test(start_paused = true)]
async fn a_site_that_refuses_fresh_tokens_is_paced_by_the_same_back_off() {
    let bench = Bench::calm(3).await;
    {
        let mut state = bench.state();
        state.sources[0].rest = Answer::Dead;
        state.sources[0].delay = secs(1);
    }
    for _ in 0..60 {
        bench.publish("");
        bench.pass(secs(5)).await;
    }
    {
        let state = bench.state();
        assert!(state.solves.started <= 7, "{} solves in five minutes", state.solves.started);
        assert!(state.failed().iter().all(|f| f.stage == Stage::Verify));
        assert_eq!(state.token(), Some("token-0"), "a refused token is never stored");
        assert_eq!(state.count(Op::Commit), 0);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_the_failures() {
    let bench = Bench::calm(1).await;
    let fails = || Answer::Fails("solver: down", Pace::Ordinary);
    bench.state().sources[0].next = [fails(), fails(), Answer::Fresh, fails()].into();
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.pass(secs(20)).await;
    bench.publish("");
    bench.until("three failures", |s| s.failed().len() == 3).await;
    let attempts: Vec<u32> = bench.state().failed().iter().map(|f| f.attempt).collect();
    assert_eq!(attempts, [1, 2, 1]);
    bench.until("another token", |s| s.refreshed().len() == 2).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_tick_and_an_expiry_while_failing_leave_the_pace_to_the_retry() {
    let schedule = token_sidecar::domain::schedule::Schedule::parse("every 1m", "UTC").unwrap();
    let bench = Bench::with(|s| s.policy.schedule = schedule).calmed(2).await;
    {
        let mut state = bench.state();
        state.sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
        state.sources[0].delay = secs(1);
    }
    bench.publish("");
    bench.pass(secs(590)).await;
    assert_eq!(bench.state().solves.started, 1);
    assert_eq!(bench.state().events.len(), 1, "no report asked for more answers");
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_starts_while_another_backs_off_calls_no_source() {
    let mut bench = Bench::new();
    {
        let mut state = bench.state();
        state.sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
        state.sources[0].delay = secs(1);
    }
    bench.start();
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    for _ in 0..5 {
        bench.start();
        bench.pass(secs(20)).await;
    }
    assert_eq!(bench.state().solves.started, 1);
    assert!(!bench.state().failed_again().is_empty());
    bench.finish().await;
}

/// A token that another program wrote is verified while backing off, for it may end the failures; but where
/// the API refuses it, the back-off stays what it is.
#[tokio::test(start_paused = true)]
async fn a_refused_foreign_token_while_backing_off_costs_no_solve() {
    let mut bench = Bench::new();
    {
        let mut state = bench.state();
        state.sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
        state.sources[0].delay = secs(1);
    }
    bench.start();
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.write_foreign("foreign", Some(secs(86_400)));
    for _ in 0..3 {
        bench.start();
        bench.pass(secs(5)).await;
    }
    assert_eq!(bench.state().api.asked.len(), 3, "it was looked at");
    assert_eq!(bench.state().solves.started, 1, "backing off: no solve");
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_working_foreign_token_while_backing_off_ends_the_failures() {
    let mut bench = Bench::new();
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
    bench.start();
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.write_foreign("foreign", Some(secs(7200)));
    bench.state().api.live.insert("foreign".into(), None);
    bench.start();
    bench.until("it is adopted", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Bootstrap);
    assert_eq!(bench.state().keys.meta("failures"), Some("0"));
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_token_that_cannot_be_verified_while_backing_off_is_answered_with_the_back_off() {
    let mut bench = Bench::new();
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
    bench.start();
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.write_foreign("foreign", Some(secs(7200)));
    bench.state().api.mood = Mood::Blocks;
    bench.start();
    bench.until("an answer", |s| s.events.len() == 2).await;
    assert_eq!(bench.state().failed_again().len(), 1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn retry_at_is_a_whole_second_and_never_before_the_delay() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Ordinary);
    bench.publish("");
    bench.until("five failures", |s| s.failed().len() == 5).await;
    for failed in bench.state().failed() {
        assert_eq!(failed.retry_at.as_millisecond() % 1000, 0);
    }
    let began = bench.state().solves_began();
    let gaps: Vec<Duration> = began.windows(2).map(|w| w[1] - w[0] - secs(17)).collect();
    for (gap, mean) in gaps.iter().zip([5, 10, 20, 40]) {
        assert!(*gap >= secs(mean).mul_f64(0.8) && *gap <= secs(mean).mul_f64(1.2) + secs(2), "{gaps:?}");
    }
    bench.state().sources[0].rest = Answer::Fresh;
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}
