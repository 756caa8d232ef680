//! A store that is away, forgets answers, says no, or whose clock is set.

use token_sidecar::domain::trigger::Trigger;
use token_sidecar::domain::verdict::Pace;

use crate::bench::{Bench, ms, secs};
use crate::outside::{Answer, Seen};
use crate::store::{Fault, Op};

/// Defect 7: a failed write was swallowed and reported as success.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_minute_gets_the_token_when_it_is_back() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(secs(10)).await;
    bench.spoil_all(None, Fault::Away);
    bench.deafen(0);
    bench.pass(secs(60)).await;
    {
        let state = bench.state();
        assert!(state.events.is_empty() && state.saw(&Seen::Commit("stored")) == 0);
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

/// A commit can be applied and still look failed: the repetition must do nothing again.
#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_is_not_published_twice() {
    let bench = Bench::calm(2).await;
    bench.spoil(Op::Commit, Fault::AnswerLost, 2);
    bench.publish("");
    bench.until("the commit is known", |s| s.saw(&Seen::Commit("stored")) == 1).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len(), state.keys.history.len()), (1, 1, 1));
        assert_eq!(state.count(Op::Commit), 3);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_answer_is_lost_is_not_announced_twice() {
    let bench = Bench::calm(2).await;
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Long);
    bench.spoil(Op::Fail, Fault::AnswerLost, 2);
    bench.publish("");
    bench.until("the failure is known", |s| s.saw(&Seen::Finished(Trigger::Invalid, "failed", "solve")) == 1).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.events.len(), state.keys.history.len(), state.count(Op::Fail)), (1, 1, 3));
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
        bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Long);
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

/// Defect 7: the waiting parsers are told, and the token is fetched again when the store takes it.
#[tokio::test(start_paused = true)]
async fn a_commit_that_is_refused_is_a_failure_of_the_store_with_a_paced_retry() {
    let bench = Bench::calm(2).await;
    bench.spoil_all(Op::Commit, Fault::Refused);
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    {
        let state = bench.state();
        let failed = state.failed()[0];
        assert_eq!((failed.stage.as_str(), failed.attempt), ("store", 1));
        assert_eq!(failed.error, "Redis refused to store the token: NOPERM");
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
        assert!(state.failed().iter().all(|f| f.stage == "store"));
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
async fn a_store_that_refuses_everything_but_messages_is_answered_for_and_asked_seldom() {
    let bench = Bench::calm(1).await;
    for op in [Op::Look, Op::HasToken, Op::Claim, Op::Announce] {
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
        assert!(state.failed().iter().chain(&state.failed_again()).all(|f| f.stage == "store"));
        assert!(state.events.len() >= 30, "every message is answered: {}", state.events.len());
        assert!(state.calls.len() < 200, "{} calls within a minute", state.calls.len());
        assert_eq!(state.solves.started, 0);
    }
    bench.mend();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_everything_is_asked_seldom_and_served_when_it_relents() {
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

/// What one replica could not note must not outlive what another one has achieved.
#[tokio::test(start_paused = true)]
async fn a_failure_that_was_never_noted_is_forgotten_when_another_replica_succeeds() {
    let bench = Bench::calm(2).await;
    bench.refuse_writes_of(0);
    bench.deafen(1);
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
async fn a_store_that_refuses_to_publish_is_asked_at_a_growing_pace() {
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

/// A master without enough replicas answers reads and turns writes away for the time being.
#[tokio::test(start_paused = true)]
async fn a_store_that_answers_reads_and_is_away_for_writes_is_asked_at_a_growing_pace() {
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

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_during_a_solve_is_read_again_before_the_commit() {
    for step in [-7_200_000, 7_200_000] {
        let bench = Bench::calm(1).await;
        bench.publish("");
        bench.until("a solve", |s| s.solves.started == 1).await;
        bench.state().clock_step = step;
        bench.until("a new token", |s| !s.refreshed().is_empty()).await;
        {
            let state = bench.state();
            assert_eq!(state.count(Op::Commit), 2, "once refused, once with the right clock");
            let event = state.refreshed()[0];
            let off = event.refreshed_at.unwrap().as_millisecond() - bench_now(&bench, &state);
            assert!(off.abs() < 1000, "{off} ms off");
        }
        bench.finish().await;
    }
}

fn bench_now(bench: &Bench, state: &crate::bench::State) -> i64 {
    crate::bench::at(bench.shared.elapsed()).as_millisecond() + state.clock_step
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_during_a_solve_that_fails_gives_a_retry_at_by_the_new_clock() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Long);
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.state().clock_step = 7_200_000;
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    {
        let state = bench.state();
        let ahead = state.failed()[0].retry_at.as_millisecond() - bench_now(&bench, &state);
        assert!((600_000..602_000).contains(&ahead), "{ahead}");
    }
    bench.finish().await;
}

/// A link so slow that a question is a second old when it arrives.
#[tokio::test(start_paused = true)]
async fn a_slow_link_is_not_taken_for_a_wrong_clock() {
    let bench = Bench::calm(1).await;
    bench.slow(0, ms(900));
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert!(state.count(Op::Commit) <= 2, "{}", state.count(Op::Commit));
    }
    bench.state().sources[0].next = [Answer::Fails("solver: down", Pace::Ordinary)].into();
    bench.force();
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert!(state.count(Op::Fail) <= 2, "{}", state.count(Op::Fail));
    }
    bench.until("another token", |s| s.refreshed().len() == 2).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_empty_gets_a_token_even_where_no_reconnect_was_noticed() {
    let bench = Bench::calm(2).await;
    let before = bench.state().keys.meta.version;
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
