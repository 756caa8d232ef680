//! The command `refresh`: one refresh by a process of its own, beside the replicas.

use token_sidecar::domain::verdict::Pace;
use token_sidecar::refresh::manual::ManualOutcome;
use token_sidecar_client::wire::{Stage, Trigger};

use crate::bench::Bench;
use crate::keys::LOCK;
use crate::outside::Answer;
use crate::store::{Fault, Op};
use crate::world::{ms, secs};

#[tokio::test(start_paused = true)]
async fn one_refresh_on_demand_stores_a_token_and_ends() {
    let bench = Bench::calm(2).await;
    let (once, _) = bench.refresh_once();
    let ManualOutcome::Refreshed(snapshot) = once.await else { panic!("a new token") };
    assert_eq!(snapshot.current.unwrap().token.expose(), "token-1");
    bench.rest().await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Manual);
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn it_follows_a_refresh_that_is_under_way_elsewhere() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    let (once, _) = bench.refresh_once();
    assert!(matches!(once.await, ManualOutcome::Refreshed(_)));
    bench.rest().await;
    assert_eq!(bench.state().solves.started, 1);
    assert_eq!(bench.state().events.len(), 1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_outcome_from_before_it_began_is_not_its_own() {
    let bench = Bench::calm(1).await;
    let site = bench.site();
    bench.publish("");
    bench.until("a token", |s| s.refreshed().len() == 1).await;
    let (once, _) = bench.refresh_once_at(site);
    let ManualOutcome::Refreshed(snapshot) = once.await else { panic!("a new token") };
    assert_eq!(snapshot.current.unwrap().token.expose(), "token-2");
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn it_reports_the_failure_of_its_own_attempt_and_of_one_that_it_follows() {
    for follows in [false, true] {
        let bench = Bench::calm(1).await;
        bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
        if follows {
            bench.publish("");
            bench.until("a solve", |s| s.solves.started == 1).await;
        }
        let (once, _) = bench.refresh_once();
        let ManualOutcome::Failed(failing) = once.await else { panic!("a failure") };
        assert_eq!((failing.error.as_str(), failing.attempts), ("solver: down", 1));
        bench.rest().await;
        assert_eq!(bench.state().solves.started, 1);
        bench.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_solves_while_the_site_backs_off() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].next = [Answer::Fails("solver: down", Pace::LongestBackoff)].into();
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    let asked = bench.shared.elapsed();
    let (once, _) = bench.refresh_once();
    assert!(matches!(once.await, ManualOutcome::Refreshed(_)));
    assert!(bench.shared.elapsed() - asked < secs(18));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_as_failed_where_the_store_takes_nothing() {
    for refused in [vec![Op::Claim], vec![Op::Commit, Op::Fail], vec![Op::Claim, Op::Publish]] {
        let bench = Bench::calm(0).await;
        for op in refused {
            bench.spoil_all(op, Fault::Refused);
        }
        let (once, _) = bench.refresh_once();
        let ManualOutcome::Failed(failing) = once.await else { panic!("a failure") };
        assert_eq!(failing.stage, Stage::Store);
        assert!(bench.shared.elapsed() < secs(60));
        bench.mend();
        bench.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_frees_the_lock_where_it_is_stopped() {
    let bench = Bench::calm(0).await;
    let (once, stop) = bench.refresh_once();
    bench.until("a solve", |s| s.solves.started == 1).await;
    stop.graceful.cancel();
    stop.now.cancel();
    assert_eq!(once.await, ManualOutcome::Stopped);
    bench.pass(ms(10)).await;
    assert!(bench.state().keys.get(LOCK).is_none());
    bench.finish().await;
}
