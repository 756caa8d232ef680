//! The solver and the API are away for long.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use crate::process::patience::now;
use crate::process::{Running, World};
use crate::support::measured::{measured, seconds};
use crate::support::proxy::{Network, Proxy};

const NO_DEBOUNCE: (&str, &str) = ("SIDECAR_DEBOUNCE", "0s");
const NO_PORT: (&str, &str) = ("SIDECAR_LISTEN", "off");

/// A proxy in front of the server of this URL, and the URL through the proxy.
pub(crate) fn by_proxy(url: &str) -> (Proxy, String) {
    let mut url: url::Url = url.parse().unwrap();
    let proxy = Proxy::before(url.port().unwrap());
    url.set_port(Some(proxy.port())).unwrap();
    (proxy, url.to_string())
}

#[test]
fn a_solver_that_is_down_for_long_is_tried_at_the_shared_pace_and_found_when_it_is_back() {
    let world = World::start();
    let (proxy, url) = by_proxy(&world.simulator.flaresolverr_url());
    let env = [
        NO_DEBOUNCE,
        NO_PORT,
        ("FLARESOLVERR_URL", &url),
        ("SIDECAR_BACKOFF_INITIAL", "250ms"),
        ("SIDECAR_BACKOFF_MAX", "2s"),
    ];
    let (one, events) = world.ready_sidecar(&env);
    let replicas: Vec<Running> = (0..2).map(|_| world.sidecar(&env)).collect();
    world.until_subscribed(3);
    proxy.is(Network::Cut);
    let token = world.token();
    let began = now();
    world.publish("now");
    let last = events.until("the eighth failure", |event| event["attempt"] == 8 && event["cause"] == "attempt");
    measured("solver down, three replicas: eight attempts took", seconds(began.elapsed()));
    // 0.25 + 0.5 + 1 + 2 + 2 + 2 + 2 s, each a fifth more or less.
    assert!(began.elapsed() > Duration::from_secs(7), "three try as often as one: {:?}", began.elapsed());
    assert!(last["valid_until"].is_string(), "the stored token goes on: {last}");
    assert_eq!(world.token(), token);
    let asked = now();
    world.publish("now");
    events.until("an answer at once", |event| event["cause"] == "repeated" && event["event"] == "token:failed");
    measured("solver down: a report is answered within", seconds(asked.elapsed()));
    let began = now();
    proxy.is(Network::Fine);
    events.until("a token", |event| event["cause"] == "refreshed");
    measured("solver back, longest back-off 2 s: a new token by itself within", seconds(began.elapsed()));
    for sidecar in replicas.into_iter().chain([one]) {
        sidecar.stop().expect(0);
    }
}

/// With the time-outs of production: three requests of 10 s.
#[test]
fn a_silent_api_is_given_up_in_bounded_time_and_the_token_stays() {
    let world = World::start();
    let (proxy, url) = by_proxy(&world.simulator.api_url());
    let env = [NO_DEBOUNCE, ("CHITAI_GOROD_API_URL", &url)];
    let backoff = [("SIDECAR_BACKOFF_INITIAL", "1s"), ("SIDECAR_BACKOFF_MAX", "1s")];
    let (sidecar, events) = world.ready_sidecar(&[&env[..], &backoff].concat());
    let token = world.token();
    proxy.is(Network::Silent);
    let began = now();
    world.publish("now");
    let event = events.failed("verify");
    measured("API silent: failed is announced after", seconds(began.elapsed()));
    assert!(event["valid_until"].is_string(), "{event}");
    assert_eq!(world.token(), token);
    assert_eq!(sidecar.get("/healthz").status, 200, "that is not the sidecar's illness");
    let began = now();
    proxy.is(Network::Fine);
    events.until("a token", |event| event["cause"] == "refreshed");
    measured("API back, longest back-off 1 s: a new token by itself within", seconds(began.elapsed()));
    sidecar.stop().expect(0);
}
