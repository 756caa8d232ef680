//! A store that is away or whose answers are lost.

use token_sidecar::domain::verdict::Pace;
use token_sidecar::refresh::observation::OutcomeKind;

use crate::bench::Bench;
use crate::outside::{Answer, Seen};
use crate::store::{Fault, Op};
use crate::world::{ms, secs};

/// Defect 7: a failed write was swallowed and reported as success.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_minute_gets_the_token_when_it_is_back() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(secs(10)).await;
    bench.spoil_all(None, Fault::Away);
    bench.unsubscribe(0);
    bench.pass(secs(60)).await;
    {
        let state = bench.state();
        assert!(state.events.is_empty() && state.saw(&Seen::Finished(OutcomeKind::Refreshed)) == 0);
    }
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.reconnect(0);
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.token()), (1, Some("token-1")));
    }
    bench.finish().await;
}

/// A commit can be applied and its answer lost: the repetition must do nothing.
#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_not_published_twice() {
    let bench = Bench::calm(2).await;
    bench.spoil(Op::Commit, Fault::AnswerLost, 2);
    bench.publish("");
    bench.until("the commit is known", |s| s.saw(&Seen::Finished(OutcomeKind::Refreshed)) == 1).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len(), state.keys.history("outcome").len()), (1, 1, 1));
        assert_eq!(state.count(Op::Commit), 3);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_answer_is_lost_is_not_announced_twice() {
    let bench = Bench::calm(2).await;
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
    bench.spoil(Op::Fail, Fault::AnswerLost, 2);
    bench.publish("");
    bench.until("the failure is known", |s| s.saw(&Seen::Finished(OutcomeKind::Failed)) == 1).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.events.len(), state.keys.history("outcome").len(), state.count(Op::Fail)), (1, 1, 3));
    }
    bench.finish().await;
}

/// What arrives after a commit was applied is not answered by its repetition, which publishes nothing.
#[tokio::test(start_paused = true)]
async fn a_message_between_a_commit_and_its_repetition_has_an_answer_of_its_own() {
    for payload in ["", r#"{"force":true}"#, r#"{"fingerprint":"9f86d081884c7d65"}"#] {
        let bench = Bench::calm(1).await;
        bench.slow(0, ms(2));
        bench.spoil(Op::Commit, Fault::AnswerLost, 1);
        bench.publish("");
        bench.until("a new token", |s| !s.refreshed().is_empty()).await;
        bench.pass(ms(40)).await;
        bench.publish(payload);
        bench.rest().await;
        let solves = if payload.contains("force") { 2 } else { 1 };
        {
            let state = bench.state();
            assert_eq!((state.solves.started, state.events.len()), (solves, 2), "{payload}");
        }
        bench.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_between_a_noted_failure_and_its_repetition_has_an_answer_of_its_own() {
    for payload in ["", r#"{"force":true}"#] {
        let bench = Bench::calm(1).await;
        bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
        bench.spoil(Op::Fail, Fault::AnswerLost, 1);
        bench.publish("");
        bench.until("a failure", |s| !s.failed().is_empty()).await;
        bench.pass(ms(40)).await;
        bench.publish(payload);
        bench.rest().await;
        assert_eq!(bench.state().events.len(), 2, "{payload}");
        bench.finish().await;
    }
}

/// A message that was published before the commit but arrives after its reply is answered by it.
#[tokio::test(start_paused = true)]
async fn a_forced_message_that_is_still_on_its_way_when_the_commit_is_answered_costs_no_second_solve() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(ms(17_040)).await;
    bench.late(0, ms(60));
    bench.force();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1));
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_is_used_and_not_waited_for() {
    let bench = Bench::calm(2).await;
    bench.spoil(Op::Claim, Fault::AnswerLost, 1);
    bench.publish("");
    let asked = bench.shared.elapsed();
    bench.until("a solve", |s| s.solves.started == 1).await;
    let waited = bench.shared.elapsed() - asked;
    assert!(waited < secs(1), "{waited:?}");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1));
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_given_up_does_not_block_the_next_one() {
    let bench = Bench::calm(1).await;
    bench.spoil(Op::Claim, Fault::AnswerLost, 3);
    bench.publish("");
    let asked = bench.shared.elapsed();
    bench.until("a solve", |s| s.solves.started == 1).await;
    let waited = bench.shared.elapsed() - asked;
    assert!(waited < secs(3), "{waited:?}");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

/// A master without enough replicas answers reads and refuses writes for the time being.
#[tokio::test(start_paused = true)]
async fn a_store_that_answers_reads_and_is_away_for_writes_is_called_at_a_growing_pace() {
    let bench = Bench::calm(1).await;
    bench.spoil_all(Op::Claim, Fault::Away);
    bench.publish("");
    bench.pass(secs(60)).await;
    let calls = bench.state().calls.len();
    assert!(calls < 200, "{calls} calls within a minute");
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_trigger_whose_answer_could_not_be_announced_is_announced_later() {
    let bench = Bench::calm(1).await;
    bench.spoil(Op::Announce, Fault::Away, 3);
    bench.report("long gone");
    bench.until("an answer", |s| !s.repeated().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_empty_gets_a_token_even_where_no_reconnect_was_noticed() {
    let bench = Bench::calm(2).await;
    let before = bench.state().keys.version();
    bench.spoil_all(None, Fault::Away);
    bench.pass(secs(20)).await;
    bench.state().keys.flush();
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert!(bench.shared.elapsed() < secs(70), "{:?}", bench.shared.elapsed());
    assert!(bench.state().refreshed()[0].version > before);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_while_the_store_is_away_is_served_when_it_is_back() {
    let bench = Bench::calm(1).await;
    bench.spoil_all(None, Fault::Away);
    bench.by_hand(0);
    bench.pass(secs(30)).await;
    assert_eq!(bench.state().solves.started, 0);
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}
