//! Triggers that only check: start-up, reconnect, vanished.

use token_sidecar::domain::pending::Arrival;
use token_sidecar::refresh::driver::HEARTBEAT;
use token_sidecar_client::wire::Trigger;

use crate::bench::Bench;
use crate::keys::TOKEN;
use crate::outside::{Answer, Mood};
use crate::world::{ms, secs};

#[tokio::test(start_paused = true)]
async fn a_start_with_a_working_token_announces_it_and_costs_no_solve() {
    let mut bench = Bench::new();
    bench.store_token("token-0", secs(3600));
    bench.start();
    bench.until("an answer", |s| !s.repeated().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (0, 1));
    }
    assert_eq!(bench.state().api.asked, ["token-0"]);
    assert_eq!(bench.state().outputs, [(0, "token-0".to_owned())], "the `.env` is brought up to date");
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_refused_token_solves() {
    let mut bench = Bench::new();
    bench.store_token("token-0", secs(3600));
    bench.state().api.live.clear();
    bench.start();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Startup);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_token_that_cannot_be_verified_leaves_it() {
    for mood in [Mood::Blocks, Mood::Fails, Mood::Hangs] {
        let mut bench = Bench::new();
        bench.store_token("token-0", secs(3600));
        bench.state().api.mood = mood;
        bench.start();
        bench.until("an answer", |s| !s.repeated().is_empty()).await;
        bench.rest().await;
        assert_eq!(bench.state().solves.started, 0, "{mood:?}");
        bench.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_gap_the_token_is_verified_and_announced_and_no_solve_is_spent() {
    let bench = Bench::calm(1).await;
    bench.unsubscribe(0);
    bench.publish("lost");
    bench.pass(secs(5)).await;
    assert!(bench.state().events.is_empty(), "no report was received");
    bench.reconnect(0);
    bench.until("an answer", |s| !s.repeated().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.api.asked.len()), (0, 1));
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_gap_a_refused_token_is_replaced() {
    let bench = Bench::calm(1).await;
    bench.unsubscribe(0);
    bench.state().api.live.clear();
    bench.publish("lost");
    bench.reconnect(0);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Reconnect);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_vanishes_is_noticed_within_seconds_and_replaced_once() {
    let bench = Bench::calm(3).await;
    bench.redis(&["DEL", TOKEN]);
    let gone = bench.shared.elapsed();
    bench.until("a solve", |s| s.solves.started == 1).await;
    assert!(bench.shared.elapsed() - gone <= secs(13));
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Vanished);
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}

/// The look that finds the key gone need not be the heartbeat's.
#[tokio::test(start_paused = true)]
async fn a_key_whose_absence_is_first_seen_after_a_hint_is_replaced_too() {
    let bench = Bench::calm(1).await;
    bench.redis(&["DEL", TOKEN]);
    bench.hint(0);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Vanished);
    bench.finish().await;
}

/// The heartbeat reads one key only; a hint must not be answered by that.
#[tokio::test(start_paused = true)]
async fn a_hint_in_the_moment_of_the_heartbeat_is_not_lost() {
    for moment in 0..24 {
        let bench = Bench::calm(1).await;
        bench.pass(HEARTBEAT + ms(40)).await;
        let beaten = bench.state().calls.last().unwrap().0;
        bench.pass(beaten + HEARTBEAT - ms(12) + ms(moment) - bench.shared.elapsed()).await;
        bench.store_token("token-other", secs(60));
        bench.hint(0);
        bench.pass(secs(1)).await;
        assert!(bench.state().outputs.contains(&(0, "token-other".to_owned())), "moment {moment}");
        bench.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_vanished_key_that_is_there_after_all_is_verified_and_stays() {
    let bench = Bench::calm(1).await;
    bench.post(0, Arrival::Vanished);
    bench.until("an answer", |s| !s.repeated().is_empty()).await;
    assert_eq!(bench.state().solves.started, 0);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_explicit_trigger_does_not_wait_for_a_question_that_hangs() {
    let bench = Bench::calm(1).await;
    bench.state().api.next = [Mood::Hangs].into();
    bench.post(0, Arrival::Reconnect);
    bench.until("the API is called", |s| !s.api.asked.is_empty()).await;
    bench.pass(secs(1)).await;
    let asked = bench.shared.elapsed();
    bench.report("token-0");
    bench.until("a solve", |s| s.solves.started == 1).await;
    assert!(bench.shared.elapsed() - asked < ms(100));
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_manual_refresh_at_the_moment_of_the_answer_to_a_question_is_not_answered_by_it() {
    let bench = Bench::calm(1).await;
    bench.by_hand_at_the_next_answer(0);
    bench.post(0, Arrival::Reconnect);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Manual);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_by_a_refresh_that_ends_meanwhile() {
    let bench = Bench::calm(2).await;
    bench.slow(1, ms(20));
    bench.state().sources[0].delay = secs(5);
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.post(1, Arrival::Reconnect);
    bench.post(0, Arrival::Reconnect);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1), "{:?}", state.events);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_of_ten_replicas_costs_no_solve_and_at_most_an_announcement_each() {
    let bench = Bench::calm(10).await;
    for replica in 0..10 {
        bench.reconnect(replica);
    }
    bench.rest().await;
    assert_eq!(bench.state().solves.started, 0);
    assert!((1..=10).contains(&bench.state().repeated().len()));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn questions_while_the_token_works_never_cost_a_solve() {
    let bench = Bench::calm(2).await;
    bench.state().sources[0].rest = Answer::Dead;
    for round in 0..50 {
        bench.post(round % 2, if round % 3 == 0 { Arrival::Reconnect } else { Arrival::Vanished });
        bench.pass(ms(333)).await;
    }
    bench.rest().await;
    assert_eq!(bench.state().solves.started, 0);
    bench.finish().await;
}
