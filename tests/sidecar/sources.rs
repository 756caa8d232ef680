//! Where the token comes from, and how it is proved.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use simulator::{CookieKind, Faults, Settings};

use crate::process::{World, keys};
use crate::support::redis_server::RedisServer;

#[test]
fn sources_are_tried_in_their_order() {
    let world = World::start();
    let (sidecar, events) =
        world.ready_sidecar(&[("SIDECAR_SOURCES", "http,flaresolverr"), ("SIDECAR_DEBOUNCE", "0s")]);
    assert_eq!(world.meta("source").as_deref(), Some("http"));
    assert_eq!(world.solves(), 0, "no browser is needed");
    let cookies: serde_json::Value = serde_json::from_str(&world.ask::<String>(&["GET", keys::COOKIES])).unwrap();
    assert_eq!(cookies["access-token"], format!("Bearer%20{}", world.token().unwrap()), "whatever the source");
    // The plain request is blocked once: the browser is used.
    world.faults(Faults { api_status: Some(403), remaining: Some(1), ..Faults::default() });
    world.publish("now");
    let event = events.refreshed();
    assert_eq!(event["source"], "flaresolverr");
    assert_eq!(world.solves(), 1);
    sidecar.stop().expect(0);
}

#[test]
fn the_other_order_falls_back_the_other_way() {
    let world = World::start();
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_SOURCES", "flaresolverr,http")]);
    assert_eq!(world.meta("source").as_deref(), Some("http"));
    assert_eq!(world.solves(), 1);
    sidecar.stop().expect(0);
}

#[test]
fn where_all_sources_fail_every_one_is_named() {
    let world = World::start();
    world.faults(Faults { solve_reset: true, api_status: Some(500), ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&[("SIDECAR_SOURCES", "flaresolverr,http")]);
    let event = events.failed("solve");
    let error = event["error"].as_str().unwrap();
    assert!(error.contains("FlareSolverr") && error.contains("500"), "{error}");
    assert_eq!(world.history().pop().unwrap()["source"], "flaresolverr,http");
    sidecar.stop().expect(0);
}

/// Defect 5 of the system before: a hard-coded user agent made the edge answer 403 to a token that works.
#[test]
fn verification_has_the_user_agent_and_the_cookies_of_the_solver() {
    let settings = Settings { user_agent: "Rehearsal/7 (browser)".to_owned(), ..Settings::default() };
    let world = World::with(RedisServer::start(), settings);
    world.faults(Faults { require_user_agent: true, ..Faults::default() });
    let (sidecar, events) = world.ready_sidecar(&[]);
    assert_eq!(world.meta("user_agent").as_deref(), Some("Rehearsal/7 (browser)"));
    let api = world.simulator.statistics().api;
    assert_eq!(api.user_agents, ["Rehearsal/7 (browser)"]);
    sidecar.stop().expect(0);
    // The stored token is verified with the same bundle when a process starts.
    let sidecar = world.sidecar(&[]);
    events.repeated();
    assert_eq!(world.simulator.statistics().api.answered.get(&403), None);
    sidecar.stop().expect(0);
}

#[test]
fn of_several_cookies_the_one_that_fits_the_page_is_taken_and_older_names_count() {
    for cookie in [CookieKind::Duplicate, CookieKind::BearerToken, CookieKind::Opaque] {
        let world = World::start();
        world.faults(Faults { cookie, ..Faults::default() });
        let (sidecar, _events) = world.ready_sidecar(&[]);
        let expires_at = world.meta("expires_at").unwrap_or_default();
        assert_eq!(expires_at.is_empty(), cookie == CookieKind::Opaque, "{cookie:?}: {expires_at}");
        assert_eq!(world.history()[0]["outcome"], "refreshed");
        sidecar.stop().expect(0);
    }
}

/// Defect 11 of the system before: it sent a command that FlareSolverr does not have.
#[test]
fn the_solver_receives_the_page_alone() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("FLARESOLVERR_MAX_TIMEOUT", "61s")]);
    let solves = world.simulator.statistics().solves;
    assert_eq!(solves.commands.keys().collect::<Vec<_>>(), ["request.get"]);
    assert_eq!(solves.last_request["url"], world.simulator.shop_url());
    assert_eq!(solves.last_request["maxTimeout"], 61_000);
    assert_eq!(solves.sessions, 0, "no browser stays open");
    sidecar.stop().expect(0);
}
