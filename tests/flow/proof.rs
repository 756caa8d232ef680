//! From a source's answer to a token that may be stored: extraction, verification, several sources.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use token_sidecar::domain::site::Verify;
use token_sidecar::domain::verdict::Pace;
use token_sidecar_client::wire::Stage;

use crate::bench::Bench;
use crate::keys::LOCK;
use crate::outside::{Answer, Mood, Script, page};
use crate::store::Op;
use crate::world::{AGENT, at, secs};

/// A JWT that was issued when the test began and expires so much later.
fn jwt(life: u64) -> String {
    let (iat, exp) = (at(secs(0)).as_second(), at(secs(life)).as_second());
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"iat":{iat},"exp":{exp}}}"#));
    format!("eyJhbGciOiJIUzI1NiJ9.{payload}.c2ln")
}

/// A bench with two sources and one replica at rest.
async fn two_sources(first: Answer, second: Answer) -> Bench {
    let bench = Bench::new();
    {
        let mut state = bench.state();
        state.sources.push(Script::new());
        state.sources[0].rest = first;
        state.sources[1].rest = second;
    }
    bench.calmed(1).await
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_that_the_api_refuses_is_never_stored() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].next = [Answer::Dead].into();
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    {
        let state = bench.state();
        assert_eq!(state.failed()[0].stage, Stage::Verify);
        assert_eq!(state.failed()[0].error, "the API refused a fresh token: 401");
        assert_eq!((state.token(), state.count(Op::Commit)), (Some("token-0"), 0));
        assert!(state.outputs.iter().all(|s| s.1 == "token-0"));
        assert_eq!(state.api.asked.len(), 1, "a clear word is not asked for again");
    }
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

/// Defect 5: a hard-coded user agent was answered 403 for a token that works.
#[tokio::test(start_paused = true)]
async fn a_token_is_proved_with_the_user_agent_that_fetched_it_now_and_at_the_next_start() {
    let mut bench = Bench::new();
    bench.start();
    bench.until("a token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().api.live["token-1"].as_deref(), Some(AGENT));
    bench.start();
    bench.until("it is verified", |s| !s.repeated().is_empty()).await;
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_has_lost_its_lock_asks_no_further_source() {
    let bench = two_sources(Answer::Fails("solver: down", Pace::Ordinary), Answer::Fresh).await;
    bench.publish("");
    bench.until("a solve", |s| s.solves.started == 1).await;
    bench.redis(&["SET", LOCK, "another:px=3600000", "PX", "3600000"]);
    bench.until("the attempt has failed", |s| s.count(Op::Fail) == 1).await;
    assert_eq!(bench.state().sources[1].started, 0);
    bench.redis(&["DEL", LOCK]);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

/// Defect 6: 401 and 403 were treated alike.
#[tokio::test(start_paused = true)]
async fn a_403_proves_nothing_about_the_token_and_the_next_source_is_tried() {
    let bench = two_sources(Answer::Fresh, Answer::Fresh).await;
    bench.state().api.next = [Mood::Blocks].into();
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].source, "source-1");
    assert_eq!(bench.state().token(), Some("token-2"));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_first_solution_is_blocked_a_later_one_of_the_same_page_is_tried() {
    let bench = two_sources(Answer::Late, Answer::Fresh).await;
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].source, "source-0");
    assert_eq!(bench.state().token(), Some("token-1"));
    assert_eq!(bench.state().solves.started, 1);
    assert_eq!(bench.state().api.asked, ["token-1", "token-1"]);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_first_solution_has_a_placeholder_a_later_one_of_the_same_page_is_tried() {
    let bench = two_sources(Answer::Placeholder, Answer::Fresh).await;
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().refreshed()[0].source, "source-0");
    assert_eq!(bench.state().token(), Some("token-1"));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_403_everywhere_is_a_failure_of_verification_and_leaves_the_old_token() {
    let bench = two_sources(Answer::Fresh, Answer::Fresh).await;
    bench.state().api.next = [Mood::Blocks, Mood::Blocks].into();
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    {
        let state = bench.state();
        assert_eq!(state.failed()[0].stage, Stage::Verify);
        assert_eq!(state.token(), Some("token-0"));
        assert_eq!(state.keys.history("source"), ["source-0,source-1"]);
    }
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_source_is_tried_where_one_is_down_or_brings_no_token() {
    let down = Answer::Fails("solver: connection refused", Pace::Ordinary);
    let empty = Answer::Page(token_sidecar::domain::extract::Solution::default());
    for first in [down, empty, Answer::Dead] {
        let bench = two_sources(first, Answer::Fresh).await;
        bench.publish("");
        bench.until("a new token", |s| !s.refreshed().is_empty()).await;
        bench.rest().await;
        assert_eq!(bench.state().refreshed()[0].source, "source-1");
        assert_eq!(bench.state().sources.iter().map(|s| s.started).collect::<Vec<_>>(), [1, 1]);
        assert!(bench.state().failed().is_empty());
        bench.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_all_sources_names_each_error_and_waits_long_where_one_was_banned() {
    let down = Answer::Fails("solver: connection refused", Pace::Ordinary);
    let banned = Answer::Fails("http: banned", Pace::LongestBackoff);
    let bench = two_sources(banned, down).await;
    bench.publish("");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    let failed = bench.state().failed()[0].clone();
    assert_eq!(failed.error, "http: banned; then solver: connection refused");
    assert!(failed.retry_at > at(bench.shared.elapsed() + secs(590)));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_unclear_answer_of_the_api_leads_to_a_few_more_requests() {
    let bench = Bench::calm(1).await;
    bench.state().api.next = [Mood::Fails, Mood::Hangs].into();
    bench.publish("");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    assert_eq!(bench.state().api.asked, ["token-1", "token-1", "token-1"]);
    assert_eq!(bench.state().solves.started, 1);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn strict_stores_no_token_that_the_api_leaves_unclear() {
    let mut bench = Bench::new();
    bench.state().api.mood = Mood::Fails;
    bench.start();
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    {
        let state = bench.state();
        assert_eq!((state.failed()[0].stage, state.token()), (Stage::Verify, None));
    }
    assert_eq!(bench.state().api.asked.len(), 3);
    bench.state().api.mood = Mood::Honest;
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn tolerant_stores_an_unclear_token_where_there_is_none() {
    let mut bench = Bench::with(|s| s.policy.verify = Verify::Tolerant);
    bench.state().api.mood = Mood::Fails;
    bench.start();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().token(), Some("token-1"));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn tolerant_stores_an_unclear_token_in_place_of_a_reported_one_and_not_of_one_that_stands() {
    let bench = Bench::with(|s| s.policy.verify = Verify::Tolerant).calmed(1).await;
    bench.state().api.mood = Mood::Fails;
    bench.by_hand(0);
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    assert_eq!(bench.state().token(), Some("token-0"), "no parser has reported it");
    bench.publish(&format!(
        r#"{{"force":true,"fingerprint":"{}"}}"#,
        token_sidecar_client::wire::Fingerprint::of("token-0")
    ));
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn tolerant_stores_an_unclear_token_in_place_of_an_expired_one() {
    let mut bench = Bench::with(|s| s.policy.verify = Verify::Tolerant);
    bench.write_foreign(&jwt(0), None);
    bench.state().api.mood = Mood::Fails;
    bench.start();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn tolerant_stores_no_token_that_is_refused_or_blocked() {
    let mut bench = Bench::with(|s| s.policy.verify = Verify::Tolerant);
    bench.state().api.next = [Mood::Blocks].into();
    bench.state().sources[0].next = [Answer::Fresh, Answer::Dead].into();
    bench.start();
    bench.until("two failures", |s| s.failed().len() == 2).await;
    assert_eq!(bench.state().token(), None);
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn off_never_calls_the_api() {
    let mut bench = Bench::with(|s| s.policy.verify = Verify::Off);
    bench.start();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.start();
    bench.until("the token is announced", |s| !s.repeated().is_empty()).await;
    assert!(bench.state().api.asked.is_empty());
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_fails_at_extract_and_nothing_is_stored_or_written() {
    let mut many = page("x");
    many.cookies.retain(|c| c.name != "access-token");
    for (answer, error) in [
        (Answer::Page(many), "no cookie `access-token` among the 1 of the answer"),
        (
            Answer::Token("not%20a%20token".into()),
            "the token of the cookie `access-token` of .shop.test/ is malformed: the value has",
        ),
        (
            Answer::Token("%20".into()),
            "the token of the cookie `access-token` of .shop.test/ is malformed: the value is empty",
        ),
        (Answer::Token(jwt(10)), "the token of the cookie `access-token` of .shop.test/ has expired"),
    ] {
        let bench = Bench::calm(1).await;
        bench.state().outputs.clear();
        bench.state().sources[0].next = [answer].into();
        bench.publish("");
        bench.until("a failure", |s| !s.failed().is_empty()).await;
        {
            let state = bench.state();
            let failed = state.failed()[0];
            assert_eq!(failed.stage, Stage::Extract);
            assert!(failed.error.starts_with(error), "{}", failed.error);
            assert_eq!((state.token(), state.outputs.len(), state.api.asked.len()), (Some("token-0"), 0, 0));
        }
        bench.until("a new token", |s| !s.refreshed().is_empty()).await;
        bench.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_very_token_that_was_reported_is_no_candidate() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].next = [Answer::Token("token-0".into())].into();
    bench.report("token-0");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    assert_eq!(bench.state().failed()[0].stage, Stage::Extract);
    assert!(bench.state().api.asked.is_empty(), "it is not even asked about");
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    bench.finish().await;
}

/// A failure answers the report of a token: the next report may name none.
#[tokio::test(start_paused = true)]
async fn the_token_that_was_reported_is_a_candidate_again_for_a_report_that_names_none() {
    let bench = Bench::calm(1).await;
    bench.state().sources[0].rest = Answer::Token("token-0".into());
    bench.report("token-0");
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    bench.force();
    bench.until("the same token again", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().token(), Some("token-0"));
    bench.finish().await;
}

/// However many tokens others have stored meanwhile, a report is remembered until its own refresh.
#[tokio::test(start_paused = true)]
async fn the_tenth_token_that_was_reported_is_no_candidate_either() {
    let bench = Bench::calm(2).await;
    bench.slow(1, crate::world::ms(20));
    for n in 1..=10 {
        let current = bench.state().token().unwrap().to_owned();
        bench.report(&current);
        bench.until("the next token", |s| s.refreshed().len() == n).await;
        bench.pass(secs(11)).await;
    }
    bench.crash(0);
    let current = bench.state().token().unwrap().to_owned();
    bench.state().sources[0].next = [Answer::Token(current.clone())].into();
    bench.report(&current);
    bench.until("a failure", |s| !s.failed().is_empty()).await;
    assert_eq!(bench.state().failed()[0].stage, Stage::Extract);
    bench.until("a new token", |s| s.refreshed().len() == 11).await;
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_key_ends_before_the_token_does() {
    let mut bench = Bench::new();
    let token = jwt(3600);
    bench.state().api.live.insert(token.clone(), None);
    bench.state().sources[0].rest = Answer::Token(token);
    bench.start();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    let event = bench.state().refreshed()[0].clone();
    assert_eq!(event.expires_at, Some(at(secs(3600))));
    assert_eq!(event.ttl, Some(3600 - 17 - 60 - 1), "an hour less the solve, less a minute, rounded down");
    bench.finish().await;
}
