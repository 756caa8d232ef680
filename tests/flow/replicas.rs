//! Several replicas: one solve for all, whichever of them dies and whatever is lost.

use token_sidecar::domain::verdict::Pace;
use token_sidecar::refresh::observation::OutcomeKind;
use token_sidecar_client::wire::Trigger;

use crate::bench::Bench;
use crate::keys::LOCK;
use crate::outside::{Answer, Seen};
use crate::store::Op;
use crate::world::{ms, secs};

async fn one_solve_for(replicas: usize) {
    let bench = Bench::calm(replicas).await;
    bench.publish("");
    bench.report("token-0");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1), "{:?}", state.events);
        assert_eq!(state.outputs.iter().filter(|s| s.1 == "token-1").count(), replicas, "every replica's `.env`");
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn two_replicas_solve_once_and_announce_once() {
    one_solve_for(2).await;
}

/// Defect 1: as many browsers as reports.
#[tokio::test(start_paused = true)]
async fn ten_replicas_solve_once_and_announce_once() {
    one_solve_for(10).await;
}

#[tokio::test(start_paused = true)]
async fn ten_replicas_that_start_on_an_empty_store_solve_once() {
    let mut bench = Bench::new();
    for _ in 0..10 {
        bench.start();
    }
    bench.until("a token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.refreshed().len()), (1, 1));
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_on_a_token_just_stored_is_solved_once_by_ten_replicas() {
    let bench = Bench::calm(10).await;
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.report("token-1");
    bench.until("another token", |s| s.refreshed().len() == 2).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (2, 2));
    }
    bench.finish().await;
}

/// Defect 12: a worker that was killed lost the refresh until the next tick.
#[tokio::test(start_paused = true)]
async fn a_follower_takes_over_within_one_lock_ttl_when_the_holder_dies() {
    let mut bench = Bench::calm(2).await;
    bench.solves_at_once = 2; // the dead replica's browser goes on by itself
    bench.slow(1, ms(20));
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(secs(7)).await;
    bench.crash(0);
    let died = bench.shared.elapsed();
    bench.until("another solve", |s| s.solves.started == 2).await;
    let waited = bench.shared.elapsed() - died;
    assert!(waited <= secs(15) + ms(200), "taken over after {waited:?}");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Invalid);
    bench.finish().await;
}

/// Defect 12, alone: the restarted process continues the refresh.
#[tokio::test(start_paused = true)]
async fn a_replica_that_is_started_again_after_a_crash_refreshes_what_the_dead_one_had_begun() {
    let mut bench = Bench::new();
    bench.solves_at_once = 2;
    bench.start();
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.crash(0);
    bench.start();
    bench.until("a token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().solves.started, 2);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_takes_over_at_once_when_the_holder_gives_up() {
    let mut bench = Bench::calm(2).await;
    bench.solves_at_once = 2;
    bench.slow(1, ms(20));
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(secs(2)).await;
    bench.stop_now(0);
    let stopped = bench.shared.elapsed();
    bench.until("another solve", |s| s.solves.started == 2).await;
    let waited = bench.shared.elapsed() - stopped;
    assert!(waited <= ms(200), "taken over after {waited:?}");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_misses_the_outcome_finds_it_and_does_not_solve_again() {
    let bench = Bench::calm(2).await;
    bench.slow(1, ms(20));
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(secs(1)).await;
    bench.unsubscribe(1);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.pass(secs(30)).await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1));
    }
    assert!(bench.state().outputs.contains(&(1, "token-1".to_owned())), "the follower's `.env` is current");
    bench.reconnect(1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_lock_ran_out_commits_if_no_other_has_and_the_other_one_is_superseded() {
    let mut bench = Bench::calm(2).await;
    bench.solves_at_once = 2;
    bench.slow(1, ms(20));
    bench.state().sources[0].delay = secs(40);
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.cut_off(0);
    bench.until("the follower takes over", |s| s.solves.started == 2).await;
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().token(), Some("token-1"), "the first one's");
    assert_eq!(holder(&bench), Some(1), "it frees no lock but its own");
    bench.until("the second one is superseded", |s| s.keys.history("outcome").contains(&"superseded")).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert!(state.saw(&Seen::LeaseLost) >= 1);
        assert_eq!(state.token(), Some("token-1"));
        assert_eq!(state.events.len(), 1, "nothing is announced of the second: {:?}", state.events);
        assert_eq!(state.solves.started, 2);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_holder_that_finds_a_newer_version_drops_its_result_and_leaves_an_entry_in_the_history() {
    let mut bench = Bench::calm(2).await;
    bench.solves_at_once = 2;
    bench.slow(1, ms(20));
    bench.state().sources[0].delay = secs(100);
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.cut_off(0);
    bench.state().sources[0].delay = secs(5);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.mend();
    let first = bench.state().token().unwrap().to_owned();
    bench.until("the late one is superseded", |s| s.saw(&Seen::Finished(OutcomeKind::Superseded)) == 1).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!(state.token(), Some(first.as_str()));
        assert_eq!(state.events.len(), 1, "{:?}", state.events);
        assert_eq!(state.keys.history("outcome"), ["refreshed", "superseded"]);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_failure_does_not_count_against_the_replica_that_took_over() {
    let mut bench = Bench::calm(2).await;
    bench.solves_at_once = 2;
    bench.slow(1, ms(20));
    bench.state().sources[0].delay = secs(40);
    bench.state().sources[0].next = [Answer::Fails("solver: late", Pace::LongestBackoff)].into();
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.cut_off(0);
    bench.until("the follower takes over", |s| s.solves.started == 2).await;
    bench.mend();
    bench.until("the late one has failed", |s| s.count(Op::Fail) == 1).await;
    bench.pass(ms(100)).await;
    assert_eq!(holder(&bench), Some(1), "it frees no lock but its own");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert!(bench.state().failed().is_empty());
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_holder_that_gives_up_frees_no_lock_but_its_own() {
    let mut bench = Bench::calm(2).await;
    bench.solves_at_once = 2;
    bench.slow(1, ms(20));
    bench.state().sources[0].delay = secs(60);
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.cut_off(0);
    bench.until("the follower takes over", |s| s.solves.started == 2).await;
    bench.mend();
    bench.stop_now(0);
    bench.pass(ms(100)).await;
    assert_eq!(bench.state().count(Op::Vacate), 1);
    assert_eq!(holder(&bench), Some(1));
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

/// The replica that holds the lock.
fn holder(bench: &Bench) -> Option<usize> {
    let state = bench.state();
    state.keys.get(LOCK)?.split('-').next()?.parse().ok()
}

/// The triggers of an attempt that was dropped in favour of another replica's are not forgotten with it.
#[tokio::test(start_paused = true)]
async fn a_trigger_whose_late_attempt_was_dropped_is_served_when_the_other_one_dies_too() {
    let mut bench = Bench::calm(2).await;
    bench.solves_at_once = 2;
    bench.state().sources[0].delay = secs(30);
    bench.state().sources[0].next = [Answer::Fails("solver: late", Pace::LongestBackoff)].into();
    bench.by_hand(0);
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.unsubscribe(0);
    bench.cut_off(0);
    bench.pass(secs(16)).await;
    bench.publish("");
    bench.until("the other one takes over", |s| s.solves.started == 2).await;
    bench.mend();
    bench.until("the late one has failed", |s| s.count(Op::Fail) == 1).await;
    bench.crash(1);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Manual);
    bench.reconnect(0);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_deleted_during_a_solve_is_taken_again_by_its_holder() {
    let bench = Bench::calm(2).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(secs(1)).await;
    bench.redis(&["DEL", LOCK]);
    bench.pass(secs(5)).await;
    assert!(bench.state().keys.get(LOCK).is_some());
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_empty_during_a_solve_gets_the_token_and_a_greater_version() {
    let bench = Bench::calm(2).await;
    let before = bench.state().keys.version();
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.state().keys.flush();
    bench.state().clock_step = -60_000_000;
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    assert!(bench.state().refreshed()[0].version > before);
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}

/// A replica that receives a message only when the attempt that answers it is over already.
#[tokio::test(start_paused = true)]
async fn a_forced_message_costs_ten_replicas_one_attempt_even_where_the_source_fails_at_once() {
    let bench = Bench::calm(10).await;
    for replica in 0..10 {
        bench.slow(replica, ms(1 + replica as u64));
    }
    {
        let mut state = bench.state();
        state.sources[0].delay = ms(1);
        state.sources[0].rest = Answer::Fails("solver: connection refused", Pace::LongestBackoff);
    }
    bench.force();
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.rest().await;
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn every_message_is_answered_while_replicas_come_and_go() {
    let mut bench = Bench::calm(3).await;
    bench.solves_at_once = 4;
    for round in 0..4 {
        bench.publish("");
        bench.pass(secs(4)).await;
        bench.crash(round);
        bench.start();
        bench.pass(secs(7)).await;
        bench.publish("");
        bench.until("an answer", |s| s.refreshed().len() > round).await;
        bench.pass(secs(11)).await;
    }
    bench.finish().await;
}

/// A follower does not rely on the TTL that it has read once.
#[tokio::test(start_paused = true)]
async fn a_lock_that_an_operator_deletes_is_noticed_within_seconds() {
    let bench = Bench::calm(1).await;
    bench.redis(&["SET", LOCK, "another:px=3600000", "PX", "3600000"]);
    bench.publish("");
    bench.pass(secs(20)).await;
    assert_eq!(bench.state().solves.started, 0);
    bench.redis(&["DEL", LOCK]);
    let deleted = bench.shared.elapsed();
    bench.until("a solve", |s| s.solves.started == 1).await;
    let waited = bench.shared.elapsed() - deleted;
    assert!(waited <= secs(13), "{waited:?}");
    bench.finish().await;
}
