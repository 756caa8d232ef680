//! The network between a sidecar and Redis fails, in every way that a network can.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::json;
use simulator::Faults;

use crate::process::patience::now;
use crate::process::{World, eventually, keys};
use crate::support::measured::{measured, seconds};
use crate::support::proxy::{Network, Proxy};

const NO_DEBOUNCE: (&str, &str) = ("SIDECAR_DEBOUNCE", "0s");
/// What a busy machine may add to the documented times.
const SLACK: Duration = Duration::from_secs(12);
/// By when `/healthz` shows that a connection is lost, and that one is silent.
const LOST: Duration = Duration::from_secs(8);
const SILENT: Duration = Duration::from_secs(25);
/// How long the network stays as it is where it flaps.
const FLAP: Duration = Duration::from_millis(250);

/// A report of the current token, which the API does not take any more; returns how many sidecars received it.
fn report_a_dead_token(world: &World) -> i64 {
    world.simulator.revoke_all();
    world.publish(json!({"fingerprint": world.meta("fingerprint").unwrap()}).to_string())
}

/// The token dies and a parser reports it while the network is like this; then it heals.
fn weathers(name: &str, network: Network, truth: Duration) {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE, ("REDIS_URL", &proxy.url())]);
    let began = now();
    proxy.is(network);
    let receivers = report_a_dead_token(&world);
    eventually("health shows the loss", || (sidecar.get("/healthz").status == 503).then_some(()));
    measured(&format!("{name}: received by {receivers}; /healthz is 503 after"), seconds(began.elapsed()));
    assert!(began.elapsed() < truth + SLACK, "{name}: {:?}", began.elapsed());
    assert_eq!(events.drain(), Vec::<serde_json::Value>::new(), "{name}: nothing can have been announced");

    let began = now();
    proxy.is(Network::Fine);
    events.until("the report is answered", |event| event["cause"] == "refreshed");
    measured(&format!("{name}: the report is answered after healing within"), seconds(began.elapsed()));
    assert!(began.elapsed() < SLACK, "{name}: {:?}, as long as the lock of a replica that is gone", began.elapsed());
    eventually("health shows the recovery", || (sidecar.get("/healthz").status == 200).then_some(()));
    eventually("it is ready", || (sidecar.get("/readyz").status == 200).then_some(()));
    measured(&format!("{name}: /healthz and /readyz are 200 after healing within"), seconds(began.elapsed()));

    let began = now();
    let before = world.meta("version").and_then(|version| version.parse().ok());
    report_a_dead_token(&world);
    events
        .until("the next one is answered", |event| event["cause"] == "refreshed" && event["version"].as_u64() > before);
    measured(&format!("{name}: the next report is answered within"), seconds(began.elapsed()));
    assert!(sidecar.stop().expect(0).stderr.contains("not subscribed to Redis"), "{name}: it is logged");
}

/// All at once: each waits for the same canary.
#[test]
fn a_report_during_an_outage_of_the_network_is_answered_when_it_is_over() {
    std::thread::scope(|scope| {
        for (name, network, truth) in [
            ("cut", Network::Cut, LOST),
            ("reset", Network::Reset, LOST),
            ("silent in both directions", Network::Silent, SILENT),
            ("silent towards the sidecar", Network::NoReplies, SILENT),
            ("silent towards Redis", Network::NoCommands, SILENT),
        ] {
            scope.spawn(move || weathers(name, network, truth));
        }
    });
}

#[test]
fn connections_that_are_forgotten_on_the_way_are_replaced() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE, ("REDIS_URL", &proxy.url())]);
    proxy.forget();
    let began = now();
    assert_eq!(report_a_dead_token(&world), 1, "Redis still counts it");
    events.refreshed();
    measured("forgotten connections: a report that Redis accepted is answered after", seconds(began.elapsed()));
    assert!(began.elapsed() < SILENT + SLACK, "{:?}", began.elapsed());
    assert_eq!(sidecar.get("/healthz").status, 200);
    sidecar.stop().expect(0);
}

#[test]
fn a_pause_of_the_network_shorter_than_a_canary_loses_nothing_and_is_no_gap() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE, ("REDIS_URL", &proxy.url())]);
    proxy.is(Network::Silent);
    assert_eq!(world.publish("{\"reason\": \"in the pause\"}"), 1);
    events.silent_for(Duration::from_secs(1));
    let began = now();
    proxy.is(Network::Fine);
    events.refreshed();
    measured("a pause of 1 s: the report is answered after it within", seconds(began.elapsed()));
    assert_eq!(world.history().pop().unwrap()["reason"], "in the pause");
    assert!(!sidecar.stop().expect(0).stderr.contains("not subscribed to Redis"));
}

#[test]
fn a_slow_network_slows_answers_and_nothing_else() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    proxy.is(Network::Slow(Duration::from_millis(300)));
    let (sidecar, events) = world.ready_sidecar(&[NO_DEBOUNCE, ("REDIS_URL", &proxy.url())]);
    let began = now();
    report_a_dead_token(&world);
    events.refreshed();
    measured("300 ms in each direction: a report is answered within", seconds(began.elapsed()));
    assert_eq!((world.solves(), world.history().len()), (2, 2));
    assert!(!sidecar.stop().expect(0).stderr.contains("WARN"));
}

#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    // The first refresh: from then on Redis knows the scripts, and a commit is one round trip.
    let (sidecar, events) = world.ready_sidecar(&[("REDIS_URL", &proxy.url())]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    world.publish("{\"force\": true}");
    world.solve_started(2);
    proxy.is(Network::NoReplies);
    world.heal();
    events.refreshed();
    sidecar.logs("failed to write the outcome: trying again");
    let began = now();
    proxy.is(Network::Fine);
    sidecar.logs_times("token updated", 2);
    measured("a lost answer: the sidecar knows of its own commit after healing within", seconds(began.elapsed()));
    // It is inside the debounce window of that commit: no second solve, no second commit.
    world.publish("now");
    events.repeated();
    assert_eq!((world.solves(), world.history().len()), (2, 2));
    sidecar.stop().expect(0);
}

#[test]
fn a_network_that_flaps_loses_no_report_that_redis_accepted() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let (sidecar, _events) = world.ready_sidecar(&[NO_DEBOUNCE, ("REDIS_URL", &proxy.url())]);
    let (mut accepted, mut last) = (0, None);
    for network in [Network::Silent, Network::NoReplies, Network::Cut, Network::Reset].iter().cycle().take(12) {
        std::thread::sleep(FLAP);
        proxy.is(*network);
        last = world.token();
        accepted += report_a_dead_token(&world);
        std::thread::sleep(FLAP);
        proxy.is(Network::Fine);
    }
    let began = now();
    eventually("a token that no parser has reported", || world.token().filter(|token| Some(token) != last.as_ref()));
    measured("a flapping network: reports accepted", accepted);
    measured(
        "a flapping network: a token that no parser has reported after the last fault within",
        seconds(began.elapsed()),
    );
    sidecar.stop().expect(0);
}

#[test]
fn a_holder_that_is_cut_off_is_replaced_and_its_late_result_dropped() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let env = [NO_DEBOUNCE, ("SIDECAR_LOCK_TTL", "2s"), ("SIDECAR_LISTEN", "off")];
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let events = world.events();
    let holder = world.sidecar(&[&env[..], &[("REDIS_URL", &proxy.url())]].concat());
    world.solve_started(1);
    let other = world.sidecar(&env);
    proxy.is(Network::Silent);
    let began = now();
    world.publish("now");
    world.solve_started(2);
    measured("a holder that is cut off: another one solves after", seconds(began.elapsed()));
    world.heal();
    let event = events.refreshed();
    holder.logs("failed to write the outcome: trying again");
    proxy.is(Network::Fine);
    holder.logs("another replica was faster");
    assert_eq!(world.meta("version"), Some(event["version"].to_string()));
    assert_eq!(world.history().iter().filter(|entry| entry["outcome"] == "refreshed").count(), 1);
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::LOCK]), 0);
    holder.stop().expect(0);
    other.stop().expect(0);
}
