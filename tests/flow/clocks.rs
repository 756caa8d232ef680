//! A store whose clock is set, and one that is far away.

use token_sidecar::domain::schedule::Schedule;
use token_sidecar::domain::verdict::Pace;

use crate::bench::Bench;
use crate::outside::Answer;
use crate::store::Op;
use crate::world::{ms, secs};

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

fn bench_now(bench: &Bench, state: &crate::world::State) -> i64 {
    crate::world::at(bench.shared.elapsed()).as_millisecond() + state.clock_step
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_during_a_solve_that_fails_gives_a_retry_at_by_the_new_clock() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
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

/// A back-off that was set by a clock far ahead would last until tomorrow.
#[tokio::test(start_paused = true)]
async fn a_back_off_lasts_no_longer_than_the_longest_once_the_clock_is_right_again() {
    const DAY: i64 = 86_400_000;
    for refuses in [false, true] {
        let bench = Bench::calm(1).await;
        bench.state().sources[0].next = [Answer::Fails("solver: down", Pace::Ordinary)].into();
        bench.state().clock_step = DAY; // the token's end
        if refuses {
            bench.refuse_writes_of(0);
        }
        bench.until("a failure", |s| !s.failed().is_empty()).await;
        bench.mend();
        bench.state().clock_step = 0;
        bench.forget();
        bench.publish("");
        let asked = bench.shared.elapsed();
        bench.until("a new token", |s| !s.refreshed().is_empty()).await;
        assert!(bench.shared.elapsed() - asked < secs(630), "{:?}", bench.shared.elapsed() - asked);
        bench.finish().await;
    }
}

/// As after the machine has slept, when the process' own clock has stood still.
#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_forward_delays_no_tick_and_no_renewal() {
    for schedule in ["every 3h", "off"] {
        let bench = Bench::with(|setup| setup.policy.schedule = Schedule::parse(schedule, "UTC").unwrap());
        let bench = bench.calmed(1).await;
        bench.state().clock_step = if schedule == "off" { 82_000_000 } else { 10_800_000 };
        let stepped = bench.shared.elapsed();
        bench.until("a new token", |s| !s.refreshed().is_empty()).await;
        let waited = bench.shared.elapsed() - stepped;
        assert!(waited < secs(12 + 17 + 1), "{schedule}: {waited:?}");
        bench.finish().await;
    }
}

/// A link so slow that a command is a second old when it arrives.
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
