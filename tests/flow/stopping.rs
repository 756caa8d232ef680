//! Shutdown: what is under way is finished within the grace, or given up so that others can go on.

use token_sidecar::domain::verdict::Pace;

use crate::bench::Bench;
use crate::keys::LOCK;
use crate::outside::{Answer, Mood};
use crate::store::{Fault, Op};
use crate::world::{ms, secs};

#[tokio::test(start_paused = true)]
async fn a_replica_at_rest_stops_at_once() {
    let bench = Bench::calm(1).await;
    bench.stop(0);
    bench.pass(ms(10)).await;
    assert!(bench.has_ended(0));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_under_way_is_finished_within_the_grace_and_nothing_new_is_begun() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(secs(12)).await;
    bench.stop(0);
    bench.pass(secs(4)).await;
    assert!(!bench.has_ended(0));
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.pass(ms(300)).await;
    assert!(bench.has_ended(0));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_outlasts_the_grace_is_given_up_and_the_lock_is_free() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.stop(0);
    bench.pass(secs(8)).await;
    assert!(bench.state().keys.get(LOCK).is_some());
    bench.stop_now(0);
    bench.pass(ms(50)).await;
    assert!(bench.has_ended(0));
    assert!(bench.state().keys.get(LOCK).is_none());
    assert!(bench.state().keys.history("outcome").is_empty(), "no failure: nothing failed");
    bench.unsubscribe(0);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_verification_that_hangs_is_given_up_when_the_grace_is_over() {
    let bench = Bench::calm(1).await;
    bench.state().api.mood = Mood::Hangs;
    bench.publish("");
    bench.until("the API is called", |s| !s.api.asked.is_empty()).await;
    bench.stop(0);
    bench.pass(secs(8)).await;
    bench.stop_now(0);
    bench.pass(ms(50)).await;
    assert!(bench.has_ended(0) && bench.state().keys.get(LOCK).is_none());
    bench.unsubscribe(0);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_store_does_not_answer_is_given_up_when_the_grace_is_over() {
    let bench = Bench::calm(1).await;
    bench.spoil_all(Op::Commit, Fault::Away);
    bench.publish("");
    bench.until("a commit", |s| s.count(Op::Commit) > 0).await;
    bench.stop(0);
    bench.pass(secs(8)).await;
    assert!(!bench.has_ended(0));
    bench.stop_now(0);
    bench.pass(ms(50)).await;
    assert!(bench.has_ended(0) && bench.state().keys.get(LOCK).is_none());
    bench.unsubscribe(0);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_the_store_does_not_note_is_given_up_when_the_grace_is_over() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Ordinary);
    bench.spoil_all(Op::Fail, Fault::Away);
    bench.publish("");
    bench.until("a failure", |s| s.count(Op::Fail) > 0).await;
    bench.stop(0);
    bench.pass(secs(8)).await;
    assert!(!bench.has_ended(0));
    bench.stop_now(0);
    bench.pass(ms(50)).await;
    assert!(bench.has_ended(0) && bench.state().keys.get(LOCK).is_none());
    bench.unsubscribe(0);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_a_deferral_and_a_follower_end_at_once() {
    let bench = Bench::calm(3).await;
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    bench.state().api.mood = Mood::Hangs;
    bench.unsubscribe(1);
    bench.unsubscribe(2);
    bench.report("token-1"); // replica 0 waits for the end of the window
    bench.reconnect(1); // replica 1 verifies
    bench.pass(ms(100)).await;
    bench.redis(&["SET", LOCK, "another"]);
    bench.by_hand(2); // replica 2 follows
    bench.pass(ms(100)).await;
    for replica in 0..3 {
        bench.stop(replica);
        bench.pass(ms(20)).await;
        assert!(bench.has_ended(replica), "{replica}");
        bench.unsubscribe(replica);
    }
    bench.redis(&["DEL", LOCK]);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_store_is_away_stops_at_once() {
    let mut bench = Bench::new();
    bench.spoil_all(None, Fault::Away);
    bench.start();
    bench.pass(secs(20)).await;
    bench.stop(0);
    bench.pass(ms(20)).await;
    assert!(bench.has_ended(0));
    bench.unsubscribe(0);
    bench.finish().await;
}

/// What a replica has taken in and not answered is handed to the process, which answers the parsers that wait.
#[tokio::test(start_paused = true)]
async fn a_replica_that_is_stopped_hands_back_the_reports_that_it_did_not_answer() {
    for stage in ["following a dead holder", "committing", "noting a failure"] {
        let mut bench = Bench::calm(if stage == "following a dead holder" { 2 } else { 1 }).await;
        let stopped = match stage {
            "following a dead holder" => {
                bench.slow(1, ms(20));
                bench.publish("");
                bench.until("a solve", |s| s.solves.started == 1).await;
                bench.pass(ms(500)).await;
                bench.crash(0);
                1
            }
            "committing" => {
                bench.spoil_all(Op::Commit, Fault::Away);
                bench.publish("");
                bench.until("a commit", |s| s.count(Op::Commit) > 0).await;
                0
            }
            _ => {
                bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Ordinary);
                bench.spoil_all(Op::Fail, Fault::Away);
                bench.publish("");
                bench.until("a failure", |s| s.count(Op::Fail) > 0).await;
                0
            }
        };
        bench.stop_now(stopped);
        assert!(bench.left_by(stopped).await.is_asked(), "{stage}");
        bench.unsubscribe(stopped);
        bench.mend();
        bench.redis(&["DEL", LOCK]);
        bench.finish().await;
    }
}
