//! Where a page may have its token, and what the browser says of itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use percent_encoding::percent_decode_str;
use simulator::Faults;
use token_sidecar::config::{BrowserConfig, BrowserPlace, StorageItem};
use token_sidecar::domain::extract::Solution;

use crate::machine::Machine;
use crate::process::{World, keys};
use crate::shop::{Shop, cookie};

fn item(key: &str, pointer: Option<&str>) -> StorageItem {
    StorageItem { key: key.to_owned(), pointer: pointer.map(str::to_owned) }
}

/// The one browser of all these pages never waits for one of them to load.
#[tokio::test]
async fn the_token_is_taken_from_every_place_the_moment_it_is_there() {
    let shop = Shop::start(&[]);
    for page in [
        "/shop",
        "/shop/late?ms=300",
        "/shop/challenge?ms=300",
        "/shop/never-loaded",
        "/shop/alert",
        "/shop/download-frame",
        "/shop/status?code=404&token=1",
    ] {
        let solution = shop.open(&shop.config(page)).await.unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(cookie(&solution, "access-token").starts_with("Bearer%20ey"), "{page}");
    }
    let in_json = "/user/a~1b/token";
    for (page, token, is_bearer) in [
        ("/shop/local?ms=200", BrowserPlace::Local(item("token", None)), false),
        ("/shop/local", BrowserPlace::Local(item("auth", Some(in_json))), true),
        ("/shop/session", BrowserPlace::Session(item("token", None)), false),
        ("/shop/session?ms=200", BrowserPlace::Session(item("auth", Some(in_json))), true),
        ("/shop/request?ms=200", BrowserPlace::Request("authorization".parse().unwrap()), true),
    ] {
        let config = BrowserConfig { token, ..shop.config(page) };
        let solution = shop.open(&config).await.unwrap_or_else(|error| panic!("{page}: {error}"));
        let bare = solution.bare.unwrap().0;
        assert!(bare.starts_with(if is_bearer { "Bearer ey" } else { "ey" }), "{page}");
        assert!(!solution.cookies.iter().any(|cookie| cookie.name == "access-token"), "{page}: of an earlier page");
    }
    shop.end().await;
}

#[tokio::test]
async fn the_browser_says_what_one_with_a_window_says() {
    let shop = Shop::start(&[]);
    let solution = shop.open(&shop.config("/shop/agent")).await.unwrap();
    says_nothing_of_headless(&solution);
    assert_eq!(cookie(&solution, "webdriver"), "false");
    shop.end().await;
}

pub(crate) fn says_nothing_of_headless(solution: &Solution) {
    let plain = |name| percent_decode_str(cookie(solution, name)).decode_utf8().unwrap().into_owned();
    let (agent, hints) = (plain("agent"), plain("hints"));
    assert_eq!(solution.user_agent.as_ref(), Some(&agent), "the one that was sent");
    assert!(agent.starts_with("Mozilla/5.0 (X11; Linux x86_64) ") && agent.contains(" Chrome/"), "{agent}");
    assert!(!agent.contains("Headless"), "{agent}");
    assert!(hints.contains("\"Chromium\";v=") && !hints.contains("Headless"), "{hints}");
}

#[test]
fn what_is_stored_is_the_jar_that_the_api_accepts_of_one_page() {
    let machine = Machine::start(World::start());
    let world = &machine.world;
    world.faults(Faults { require_user_agent: true, ..Faults::default() });
    let events = world.events();
    let sidecar = machine.sidecar("/shop/edge-late", &[]);
    let event = events.refreshed();
    assert_eq!(event["source"], "browser");
    let statistics = world.simulator.statistics();
    assert_eq!(statistics.pages, 1, "one page");
    assert_eq!(statistics.api.answered.get(&403), Some(&1), "the first jar is blocked: {:?}", statistics.api);
    let token = world.token().unwrap();
    let cookies: serde_json::Value = serde_json::from_str(&world.ask::<String>(&["GET", keys::COOKIES])).unwrap();
    assert_eq!(cookies["access-token"], format!("Bearer%20{token}"));
    assert!(cookies["__ddg1_"].is_string(), "{cookies}");
    assert_eq!(statistics.api.user_agents, [world.meta("user_agent").unwrap()]);
    assert!(world.meta("user_agent").unwrap().contains(" Chrome/"));
    sidecar.stop().expect(0);
}
