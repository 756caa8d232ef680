//! Many solves: nothing grows, and nothing is left.

use crate::machine::{Machine, descriptors, listening};
use crate::process::patience::now;
use crate::process::{World, eventually};
use crate::support::measured::{measured, seconds};

/// How many solves with one browser.
const WARM: u32 = 60;
/// How many, each with a browser of its own.
const COLD: u32 = 8;
const FORCE: &str = r#"{"force": true}"#;

#[test]
fn a_browser_that_is_kept_serves_many_pages_and_grows_by_nothing() {
    let machine = Machine::start(World::start());
    let world = &machine.world;
    let events = world.events();
    let sidecar = machine.sidecar("/shop", &[("BROWSER_KEEP", "3s")]);
    events.refreshed();
    let figures = || (machine.processes().len(), descriptors(sidecar.pid()), machine.entries().len());
    let (browsers, before, rss) = (machine.browsers(&sidecar), figures(), sidecar.rss_kib());
    let began = now();
    for solve in 1..=WARM {
        world.publish(FORCE);
        events.refreshed();
        assert_eq!(machine.browsers(&sidecar), browsers, "solve {solve}");
    }
    measured("a solve with a browser that is kept", seconds(began.elapsed() / WARM));
    measured("resident memory before and after, KiB", format!("{rss} {}", sidecar.rss_kib()));
    let after = figures();
    measured("processes, descriptors, entries before and after", format!("{before:?} {after:?}"));
    // Chromium starts and ends a few processes as it likes; what stays of every solve would be far more.
    let is_flat = after.0 < before.0 + 10 && after.1 < before.1 + 5 && after.2 == before.2;
    assert!(is_flat, "{before:?} {after:?}");
    let pids: Vec<u32> = machine.processes().iter().map(|process| process.pid).collect();
    assert_eq!(listening(&pids), Vec::<String>::new());
    assert_eq!(listening(&[sidecar.pid()]).len(), 1, "its own page: that ports are seen");
    eventually("the browser is closed when it was kept long enough", || machine.processes().is_empty().then_some(()));
    eventually("its folder is removed", || (machine.entries().len() == 2).then_some(()));
    sidecar.stop().expect(0);
}

#[test]
fn browsers_that_are_not_kept_leave_nothing() {
    let machine = Machine::start(World::start());
    let world = &machine.world;
    let events = world.events();
    let sidecar = machine.sidecar("/shop", &[]);
    events.refreshed();
    // The sidecar's folder and its lock stay.
    let at_rest = || {
        eventually("the browser is closed", || machine.processes().is_empty().then_some(()));
        eventually("its folder is removed", || (machine.entries().len() == 2).then_some(()));
        descriptors(sidecar.pid())
    };
    let before = at_rest();
    let began = now();
    for _ in 0..COLD {
        world.publish(FORCE);
        events.refreshed();
    }
    measured("a solve with a browser of its own", seconds(began.elapsed() / COLD));
    assert!(at_rest() < before + 5);
    sidecar.stop().expect(0);
    assert!(machine.entries().is_empty());
}
