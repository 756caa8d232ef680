//! A proxy with a login: the page and the API are reached by it, and nobody else learns the password.

use simulator::Faults;

use crate::machine::Machine;
use crate::process::{Running, World, eventually};

const PASSWORD: &str = "hunter2";

/// A sidecar whose shop has a name that only the proxy resolves.
fn sidecar(machine: &Machine, page: &str, password: &str) -> Running {
    let proxy = format!("http://user:{password}@{}", machine.world.simulator.address());
    let page = format!("http://www.shop.test{page}");
    let env = [
        ("CHITAI_GOROD_PROXY_URL", proxy.as_str()),
        ("CHITAI_GOROD_SITE_URL", &page),
        ("CHITAI_GOROD_API_URL", "http://api.shop.test/web/api/v2"),
    ];
    machine.world.begin(&["run"], &machine.env(&env)).listening()
}

#[test]
fn the_login_is_given_to_the_proxy_and_is_seen_nowhere() {
    let machine = Machine::start(World::start());
    let world = &machine.world;
    world.faults(Faults { proxy_login: Some(format!("user:{PASSWORD}")), ..Faults::default() });
    let events = world.events();
    let running = sidecar(&machine, "/shop/late?ms=500", PASSWORD);
    world.when("the page is opened", |all| all.pages > 0);
    let arguments: String = machine.processes().into_iter().map(|process| process.arguments).collect();
    assert!(arguments.contains("--type=renderer") && !arguments.contains(PASSWORD), "{arguments}");
    assert_eq!(events.refreshed()["source"], "browser");
    let statistics = world.simulator.statistics();
    assert_eq!(statistics.api.answered.get(&200), Some(&1), "{statistics:?}");
    // The page once without and once with the login, and the probe.
    assert!(statistics.proxied >= 3, "{statistics:?}");
    let ran = running.stop().expect(0);
    assert!(!(ran.stdout + &ran.stderr).contains(PASSWORD));
}

#[test]
fn a_wrong_login_is_told() {
    let machine = Machine::start(World::start());
    machine.world.faults(Faults { proxy_login: Some("user:another".to_owned()), ..Faults::default() });
    let events = machine.world.events();
    let running = sidecar(&machine, "/shop", PASSWORD);
    let event = events.failed("solve");
    assert_eq!(event["error"], "browser: the proxy refuses user and password", "{event}");
    assert_eq!(machine.world.simulator.statistics().pages, 0);
    eventually("the browser is closed", || machine.processes().is_empty().then_some(()));
    let ran = running.stop().expect(0);
    assert!(!(ran.stdout + &ran.stderr).contains(PASSWORD));
}
