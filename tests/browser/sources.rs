//! Browsers beside other sources and other sites.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use simulator::{Faults, PageMode};

use crate::machine::Machine;
use crate::process::{Events, World, eventually, keys};
use crate::support::redis_server::Port;

#[test]
fn a_browser_takes_over_from_flaresolverr() {
    let machine = Machine::start(World::start());
    let nowhere = Port::hold();
    let url = format!("http://127.0.0.1:{}/v1", nowhere.number());
    let events = machine.world.events();
    let env = [("SIDECAR_SOURCES", "flaresolverr,browser"), ("FLARESOLVERR_URL", &url)];
    let sidecar = machine.sidecar("/shop", &env);
    assert_eq!(events.refreshed()["source"], "browser");
    sidecar.stop().expect(0);
}

#[test]
fn two_sites_share_one_browser_by_turns() {
    let machine = Machine::start(World::start());
    let world = &machine.world;
    world.write_second_site("sources = [\"browser\"]");
    world.faults(Faults { page: Some(PageMode::Late), page_delay: Duration::from_millis(500), ..Faults::default() });
    let events = Events::on(&world.redis, &[keys::ALL_UPDATED]);
    let env = machine.env(&[]);
    let sidecar = world.begin(&["run", "--config", "sidecar.toml"], &env).listening();
    let (mut sites, mut most) = (BTreeSet::new(), 0);
    eventually("both sites have a token", || {
        most = most.max(machine.browsers(&sidecar).len());
        for event in events.drain() {
            assert_eq!(event["source"], "browser", "{event}");
            sites.insert(event["site"].as_str().unwrap().to_owned());
        }
        (sites.len() == 2).then_some(())
    });
    assert_eq!(most, 1, "{sites:?}");
    sidecar.stop().expect(0);
}
