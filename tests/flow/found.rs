//! Tokens that are found and adopted: in the key, or in the configuration.

use token_sidecar::domain::verdict::Pace;
use token_sidecar_client::wire::Trigger;

use crate::bench::Bench;
use crate::keys::{COOKIES, TOKEN};
use crate::outside::{Answer, Mood};
use crate::world::secs;

#[tokio::test(start_paused = true)]
async fn a_foreign_token_that_works_is_adopted_with_the_ttl_it_has() {
    let mut bench = Bench::new();
    bench.write_foreign("foreign", Some(secs(5000)));
    bench.state().api.live.insert("foreign".into(), None);
    let ends = bench.state().keys.ends(TOKEN);
    for _ in 0..3 {
        bench.start();
    }
    bench.until("it is adopted", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        let event = state.refreshed()[0];
        assert_eq!((event.trigger, event.source.as_str()), (Trigger::Bootstrap, "redis"));
        assert_eq!(state.refreshed().len(), 1, "by one of three");
        assert_eq!(state.keys.ends(TOKEN), ends, "it keeps its TTL");
        assert_eq!(state.keys.get(COOKIES), Some(r#"{"access-token":"Bearer%20foreign"}"#));
        assert_eq!(state.keys.ends(COOKIES), ends);
        assert_eq!(state.solves.started, 0);
        assert!(state.outputs.contains(&(0, "foreign".to_owned())));
    }
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_token_without_an_end_is_given_one_when_it_is_adopted() {
    let mut bench = Bench::new();
    bench.write_foreign("foreign", None);
    bench.state().api.live.insert("foreign".into(), None);
    bench.start();
    bench.until("it is adopted", |s| !s.refreshed().is_empty()).await;
    assert!(bench.state().keys.ends(TOKEN).is_some());
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_token_that_is_refused_leads_to_a_solve() {
    let mut bench = Bench::new();
    bench.write_foreign("foreign", Some(secs(5000)));
    bench.start();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().token(), Some("token-1"));
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_token_that_is_not_adopted_is_named_with_the_last_version_known() {
    let bench = Bench::calm(1).await;
    bench.write_foreign("foreign", Some(secs(5000)));
    bench.report("token-0");
    bench.until("an answer", |s| !s.repeated().is_empty()).await;
    {
        let state = bench.state();
        let event = state.repeated()[0];
        assert_eq!((event.refreshed_at, event.version), (None, state.keys.version()));
        assert_eq!(state.solves.started, 0, "a report on another token than the one that stands");
    }
    bench.finish().await;
}

/// A foreign token that could not be verified is renewed ahead of its end like any other.
#[tokio::test(start_paused = true)]
async fn a_foreign_token_that_stays_foreign_is_renewed_ahead_of_its_end() {
    let mut bench = Bench::new();
    bench.write_foreign("foreign", Some(secs(1500)));
    bench.state().api.next = [Mood::Blocks].into();
    bench.start();
    bench.until("an answer", |s| !s.repeated().is_empty()).await;
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert!(bench.shared.elapsed() < secs(1500), "renewed at {:?}", bench.shared.elapsed());
    assert_eq!(bench.state().refreshed()[0].trigger, Trigger::Expiry);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_configured_token_is_adopted_where_there_is_none_and_it_works() {
    let mut bench = Bench::with(|s| s.bootstrap = Some("Bearer configured"));
    bench.state().api.live.insert("configured".into(), None);
    bench.start();
    bench.start();
    bench.until("it is adopted", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    {
        let state = bench.state();
        assert_eq!(state.token(), Some("configured"));
        assert_eq!((state.refreshed().len(), state.solves.started), (1, 0));
        let event = state.refreshed()[0];
        assert_eq!((event.trigger, event.source.as_str()), (Trigger::Bootstrap, "bootstrap"));
    }
    bench.finish().await;
}

/// An operator configures a token because solving fails: the back-off of the process before must not keep it out.
#[tokio::test(start_paused = true)]
async fn a_configured_token_is_adopted_at_the_first_attempt_also_where_the_start_found_a_back_off() {
    let mut bench = Bench::new();
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Ordinary);
    bench.start();
    bench.publish("");
    bench.until("two failures", |s| s.failed().len() == 2).await;
    bench.crash(0);
    bench.setup.bootstrap = Some("configured");
    bench.state().api.live.insert("configured".into(), None);
    bench.start();
    bench.until("it is adopted", |s| !s.refreshed().is_empty()).await;
    bench.rest().await;
    assert_eq!(bench.state().token(), Some("configured"));
    assert_eq!(bench.state().solves.started, 2);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_configured_token_is_tried_once_and_not_at_every_failure() {
    let mut bench = Bench::with(|s| s.bootstrap = Some("configured"));
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::Ordinary);
    bench.start();
    bench.until("four failures", |s| s.failed().len() == 4).await;
    assert_eq!(bench.state().api.asked, ["configured"]);
    bench.state().sources[0].rest = Answer::Fails("solver: down", Pace::LongestBackoff);
    bench.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_configured_token_that_is_refused_is_passed_over_and_one_is_left_alone_where_a_token_stands() {
    let mut bench = Bench::with(|s| s.bootstrap = Some("configured"));
    bench.start();
    bench.until("a new token", |s| !s.refreshed().is_empty()).await;
    assert_eq!(bench.state().token(), Some("token-1"));
    bench.state().api.live.insert("configured".into(), None);
    bench.start();
    bench.until("an answer", |s| !s.repeated().is_empty()).await;
    assert_eq!(bench.state().token(), Some("token-1"));
    bench.finish().await;
}
