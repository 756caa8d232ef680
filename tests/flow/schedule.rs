//! What is due by the clock: ticks and renewals.

use token_sidecar::domain::schedule::Schedule;
use token_sidecar_client::wire::Trigger;

use crate::bench::{Bench, Setup};
use crate::outside::Answer;
use crate::world::{at, ms, secs};

fn every(text: &str) -> impl FnOnce(&mut Setup) {
    let schedule = Schedule::parse(text, "UTC").unwrap();
    move |setup| setup.policy.schedule = schedule
}

#[tokio::test(start_paused = true)]
async fn a_tick_is_served_once_by_whichever_of_five_replicas() {
    let bench = Bench::with(every("every 10m")).calmed(5).await;
    bench.until("two ticks", |s| s.refreshed().len() == 2).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (2, 2));
        assert!(state.refreshed().iter().all(|u| u.trigger == Trigger::Schedule));
        let due = [at(secs(600)), at(secs(1200))];
        for (began, due) in state.solves_began().iter().zip(due) {
            assert!(at(*began) >= due && at(*began) < due + ms(100), "{began:?}");
        }
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_debounce_window_does_not_hold_a_tick() {
    let bench = Bench::with(every("every 10m")).calmed(2).await;
    bench.pass(secs(600 - 17 - 5) - bench.shared.elapsed()).await;
    bench.publish("");
    bench.until("two refreshes", |s| s.refreshed().len() == 2).await;
    let triggers: Vec<_> = bench.state().refreshed().iter().map(|u| u.trigger).collect();
    assert_eq!(triggers, [Trigger::Invalid, Trigger::Schedule], "five seconds apart");
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_ends_after_the_due_time_serves_the_tick() {
    let bench = Bench::with(every("every 10m")).calmed(2).await;
    bench.pass(secs(600 - 5) - bench.shared.elapsed()).await;
    bench.publish("");
    bench.until("a refresh", |s| s.refreshed().len() == 1).await;
    bench.pass(secs(300)).await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1));
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_fails_is_retried_as_what_it_was() {
    let bench = Bench::with(every("every 10m")).calmed(3).await;
    let down = Answer::Fails("solver: down", token_sidecar::domain::verdict::Pace::Ordinary);
    bench.state().sources[0].next = [down].into();
    bench.until("a refresh", |s| s.refreshed().len() == 1).await;
    bench.rest().await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Schedule);
    assert_eq!(bench.state().solves.started, 2);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_a_tenth_of_its_time_ahead_of_its_end_by_one_of_three_replicas() {
    let mut bench = Bench::with(|s| s.policy.token_ttl = secs(1000));
    for _ in 0..3 {
        bench.start();
    }
    bench.until("a second token", |s| s.refreshed().len() == 2).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!(state.solves.started, 2);
        assert_eq!(state.refreshed()[1].trigger, Trigger::Expiry);
        let first = state.refreshed()[0];
        assert!(first.refresh_at.is_some());
        let waited = state.solves_began()[1] - state.solves_began()[0] - secs(17);
        assert!(waited >= secs(900) && waited < secs(901), "{waited:?}");
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_was_due_while_the_store_was_away_is_served_when_it_is_back() {
    let bench = Bench::with(every("every 10m")).calmed(2).await;
    bench.pass(secs(590) - bench.shared.elapsed()).await;
    bench.spoil_all(None, crate::store::Fault::Away);
    bench.pass(secs(30)).await;
    bench.mend();
    bench.until("a refresh", |s| s.refreshed().len() == 1).await;
    assert!(bench.shared.elapsed() < secs(645));
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Schedule);
    bench.finish().await;
}

/// A store's clock that was ahead and is set right must not stop the schedule for the difference.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_silence_the_schedule() {
    let bench = Bench::with(every("every 10m"));
    bench.state().clock_step = 7_200_000;
    let bench = bench.calmed(1).await;
    bench.state().clock_step = 0;
    bench.until("a refresh", |s| !s.refreshed().is_empty()).await;
    assert!(bench.shared.elapsed() < secs(1300), "{:?}", bench.shared.elapsed());
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_ahead_costs_at_most_one_refresh() {
    let bench = Bench::with(every("every 10m")).calmed(2).await;
    bench.state().clock_step = 3_600_000;
    bench.pass(secs(500)).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert!(state.solves.started <= 2, "{}", state.solves.started);
    }
    bench.finish().await;
}
