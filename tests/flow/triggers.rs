//! What a message leads to: each row of the contract's table from end to end.

use token_sidecar::domain::verdict::Pace;
use token_sidecar_client::wire::{Fingerprint, Trigger};

use crate::bench::Bench;
use crate::keys::{COOKIES, LOCK, TOKEN};
use crate::outside::Answer;
use crate::store::Op;
use crate::world::{at, ms, secs};

/// Defect 8: token and cookies were written by two commands.
#[tokio::test(start_paused = true)]
async fn a_first_start_without_a_token_solves_and_stores_token_cookies_meta_and_history_at_once() {
    let mut bench = Bench::new();
    bench.start();
    bench.until("a token is stored", |s| s.refreshed().len() == 1).await;
    {
        let state = bench.state();
        let event = state.refreshed()[0].clone();
        assert_eq!(event.fingerprint, Fingerprint::of("token-1").to_string());
        assert_eq!((event.trigger, event.source.as_str(), event.ttl), (Trigger::Startup, "source-0", Some(86_400)));
        assert!(event.refreshed_at.unwrap() >= at(secs(17)) && event.refreshed_at.unwrap() < at(secs(18)));
        let refreshed_ms: u64 = state.keys.meta("refreshed_ms").unwrap().parse().unwrap();
        assert!((0..10).contains(&(event.version - refreshed_ms)), "the time in ms");
        assert_eq!(state.token(), Some("token-1"));
        let cookies = r#"{"__ddg1":"x","access-token":"Bearer%20token-1"}"#;
        assert_eq!(state.keys.get(COOKIES), Some(cookies));
        assert_eq!(state.keys.ends(COOKIES), state.keys.ends(TOKEN));
        assert_eq!(state.keys.history("outcome"), ["refreshed"]);
        assert!(state.keys.get(LOCK).is_none(), "the commit frees the lock");
    }
    bench.rest().await;
    assert_eq!(bench.state().outputs, [(0, "token-1".to_owned())]);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_bare_message_on_an_old_token_leads_to_one_solve_and_one_answer() {
    let bench = Bench::calm(1).await;
    bench.publish("now");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1));
        assert_eq!(state.refreshed()[0].trigger, Trigger::Invalid);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_on_the_current_token_leads_to_a_solve() {
    let bench = Bench::calm(1).await;
    bench.report("token-0");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().token(), Some("token-1"));
    bench.finish().await;
}

/// Defect 1: every client that met a 401 started a solve of its own.
#[tokio::test(start_paused = true)]
async fn a_hundred_messages_before_and_during_a_solve_cost_one_solve_and_have_one_answer() {
    let bench = Bench::calm(1).await;
    for n in 0..100 {
        bench.report("token-0");
        bench.publish("now");
        if n % 10 == 0 {
            bench.pass(secs(1)).await;
        }
    }
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1));
        assert_eq!(state.decided(), 200, "each message is counted with one decision");
    }
    bench.finish().await;
}

/// Defect 2: the second expiry in a process was never reported.
#[tokio::test(start_paused = true)]
async fn the_second_expiry_is_served_like_the_first() {
    let bench = Bench::calm(1).await;
    for n in 1..=3 {
        let current = bench.state().token().unwrap().to_owned();
        bench.report(&current);
        bench.until("the next token", |s| s.refreshed().len() == n).await;
        bench.pass(secs(11)).await;
    }
    assert_eq!(bench.state().token(), Some("token-3"));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_on_a_token_that_is_not_the_current_one_is_answered_without_a_solve() {
    let bench = Bench::calm(1).await;
    bench.report("long gone");
    bench.until("the token is announced again", |s| !s.repeated().is_empty()).await;
    {
        let state = bench.state();
        let event = state.repeated()[0].clone();
        assert_eq!(event.version, state.keys.version());
        assert_eq!((event.trigger, event.source.as_str()), (Trigger::Startup, "solver"), "those of its refresh");
        assert_eq!(event.fingerprint, Fingerprint::of("token-0").to_string());
        assert_eq!(state.solves.started, 0);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_bare_message_within_the_debounce_window_is_answered_without_a_solve_and_after_it_with_one() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.pass(secs(9)).await;
    bench.publish("");
    bench.until("it is announced again", |s| !s.repeated().is_empty()).await;
    assert_eq!(bench.state().solves.started, 1);
    bench.pass(secs(2)).await;
    bench.publish("");
    bench.until("another token", |s| s.refreshed().len() == 2).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_report_on_a_token_just_stored_is_solved_when_the_window_ends_and_answers_what_came_meanwhile() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    let stored = bench.state().last_event().unwrap();
    bench.pass(secs(3)).await;
    bench.report("token-1");
    bench.pass(secs(3)).await;
    bench.publish("");
    bench.report("token-0");
    bench.until("another token", |s| s.refreshed().len() == 2).await;
    bench.rest().await;
    {
        let state = bench.state();
        let waited = state.solves_began()[1] - stored;
        assert!(waited >= secs(10) && waited < ms(10_100), "the solve began after {waited:?}");
        assert_eq!(state.events.len(), 2, "its outcome is the answer to all: {:?}", state.events);
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn force_solves_within_the_debounce_window() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    let stored = bench.state().last_event().unwrap();
    bench.pass(secs(1)).await;
    bench.force();
    bench.until("another token", |s| s.refreshed().len() == 2).await;
    assert!(bench.state().solves_began()[1] - stored < ms(1100));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn force_ends_a_deferral() {
    let bench = Bench::calm(1).await;
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.report("token-1");
    bench.pass(secs(2)).await;
    let asked = bench.shared.elapsed();
    bench.force();
    bench.until("another token", |s| s.refreshed().len() == 2).await;
    bench.rest().await;
    assert!(bench.state().solves_began()[1] - asked < ms(100));
    assert_eq!(bench.state().solves.started, 2);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn force_and_a_manual_refresh_join_a_refresh_that_is_under_way() {
    let bench = Bench::calm(2).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.pass(secs(5)).await;
    bench.force();
    bench.by_hand(0);
    bench.by_hand(1);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.events.len()), (1, 1));
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_manual_refresh_solves_at_once_and_is_named_as_the_trigger() {
    let bench = Bench::calm(1).await;
    bench.by_hand(0);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Manual);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_costs_no_solve_is_answered_some_twenty_times_a_second() {
    let bench = Bench::calm(1).await;
    for _ in 0..5000 {
        bench.report("long gone");
        bench.pass(ms(1)).await;
    }
    bench.rest().await;
    {
        let state = bench.state();
        let answers = state.repeated().len();
        assert!((60..=102).contains(&answers), "{answers} announcements in 5 s");
        assert_eq!(state.solves.started, 0);
        assert_eq!(state.decided(), 5000, "each message is counted with one decision");
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_true_report_is_served_in_the_middle_of_a_burst() {
    let bench = Bench::calm(1).await;
    for n in 0..2000 {
        bench.report(&format!("false {}", n % 7));
        if n == 1000 {
            bench.report("token-0");
        }
        bench.pass(ms(1)).await;
    }
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_while_backing_off_is_answered_with_the_time_of_the_retry_and_costs_nothing() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.pass(secs(60)).await;
    for payload in ["", "now", r#"{"fingerprint":"9f86d081884c7d65"}"#] {
        bench.publish(payload);
        bench.pass(secs(1)).await;
    }
    {
        let state = bench.state();
        assert_eq!((state.solves.started, state.failed().len(), state.failed_again().len()), (1, 1, 3));
        assert!(state.failed_again().iter().all(|f| f.retry_at == state.failed()[0].retry_at && f.attempt == 1));
        assert!(state.repeated().is_empty());
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn force_solves_while_backing_off() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].next = [Answer::Fails("solver: down", Pace::LongestBackoff)].into();
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.force();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().solves.started, 2);
    assert_eq!(bench.state().keys.meta("failures"), Some("0"));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_was_set_by_hand_without_an_end_is_given_one() {
    let bench = Bench::calm(1).await;
    bench.redis(&["SET", LOCK, "by hand"]);
    bench.publish("");
    let asked = bench.shared.elapsed();
    bench.until("a solve", |s| s.solves.started == 1).await;
    let waited = bench.shared.elapsed() - asked;
    assert!(waited >= secs(15) && waited < secs(16), "{waited:?}");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_token_again_after_a_bare_message_is_a_refresh_like_any_other() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].rest = Answer::Token("token-0".into());
    let before = bench.state().keys.version();
    bench.publish("");
    bench.until("a refresh", |s| !s.refreshed().is_empty()).await;
    assert!(bench.state().refreshed()[0].version > before);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_site_at_rest_calls_the_store_seldom() {
    let bench = Bench::calm(1).await;
    bench.pass(secs(3600)).await;
    let calls = bench.state().calls.len();
    assert!(calls <= 460, "{calls} calls within an hour");
    assert_eq!(calls, bench.state().count(Op::Heartbeat), "all of them the cheap question");
    bench.finish().await;
}

/// A decision to wait is not taken on an old state: another program may have changed the key since.
#[tokio::test(start_paused = true)]
async fn within_the_window_a_report_on_a_token_that_is_gone_or_replaced_is_answered_at_once() {
    for is_replaced in [false, true] {
        let bench = Bench::calm(1).await;
        bench.publish("");
        bench.until("a new token", |s| !s.refreshed().is_empty()).await;
        bench.rest().await;
        bench.forget();
        if is_replaced {
            bench.write_foreign("token-of-another-program", None);
        } else {
            bench.redis(&["DEL", TOKEN]);
        }
        bench.report("token-1");
        bench.pass(ms(100)).await;
        let (solves, repeated) = {
            let state = bench.state();
            (state.solves.started, state.repeated().len())
        };
        assert_eq!((solves, repeated), if is_replaced { (0, 1) } else { (1, 0) }, "replaced: {is_replaced}");
        bench.finish().await;
    }
}

/// Any program may publish on the canary channel.
#[tokio::test(start_paused = true)]
async fn a_flood_of_hints_costs_some_twenty_looks_a_second() {
    let bench = Bench::calm(1).await;
    for _ in 0..1000 {
        bench.hint(0);
        bench.pass(ms(1)).await;
    }
    let looks = bench.state().count(Op::Look);
    assert!((15..=22).contains(&looks), "{looks} looks");
    bench.finish().await;
}
