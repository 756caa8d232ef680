//! Browsers and sidecars that are killed or stopped in the middle of a page.

use std::time::Duration;

use simulator::{CookieKind, Faults};

use crate::machine::{Machine, kill};
use crate::process::patience::now;
use crate::process::{World, eventually};
use crate::support::measured::{measured, seconds};

fn has_ended(machine: &Machine) {
    let began = now();
    eventually("no process of the browser is left", || machine.processes().is_empty().then_some(()));
    let took = began.elapsed();
    measured("no process of the browser is left after", seconds(took));
    // It was killed, so that only the kernel's work is left: some 0.05 s.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_browser_ends_with_its_page() {
    let machine = Machine::start(World::start());
    let events = machine.world.events();
    let sidecar = machine.sidecar("/shop", &[]);
    events.refreshed();
    has_ended(&machine);
    sidecar.stop().expect(0);
}

#[test]
fn a_killed_sidecar_leaves_no_browser_and_the_next_one_removes_its_folder() {
    let machine = Machine::start(World::start());
    let sidecar = machine.sidecar("/shop/hang", &[]);
    machine.world.when("the page is opened", |all| all.pages > 0);
    assert!(machine.processes().len() > 3);
    sidecar.kill();
    has_ended(&machine);
    let left = machine.entries();
    assert!(!left.is_empty());
    let sidecar = machine.sidecar("/shop", &[]);
    sidecar.logs("removed what a killed browser has left");
    assert!(!left[0].exists(), "{left:?}");
    sidecar.stop().expect(0);
    assert_eq!(machine.entries(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_sidecar_that_is_stopped_in_the_middle_of_a_page_leaves_nothing() {
    let machine = Machine::start(World::start());
    let sidecar = machine.sidecar("/shop/hang", &[("SIDECAR_SHUTDOWN_GRACE", "1s")]);
    machine.world.when("the page is opened", |all| all.pages > 0);
    let began = now();
    sidecar.stop().expect(0);
    let took = began.elapsed();
    measured("stopped in the middle of a page, grace 1 s: it has ended after", seconds(took));
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(machine.processes().is_empty());
    assert_eq!(machine.entries(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_browser_or_renderer_that_is_killed_is_told_and_the_next_solve_has_another_browser() {
    let machine = Machine::start(World::start());
    let world = &machine.world;
    let events = world.events();
    let env = [("SIDECAR_BACKOFF_INITIAL", "1s"), ("SIDECAR_BACKOFF_MAX", "1s")];
    // A page without a token, whose image shows that its renderer has it.
    world.faults(Faults { cookie: CookieKind::Absent, ..Faults::default() });
    let sidecar = machine.sidecar("/shop/never-loaded", &env);
    let open = |time: u64| world.when("the page asks for its image", |all| all.pages == 2 * time);
    open(1);
    machine.kill("--type=renderer");
    let event = events.failed("solve");
    assert_eq!(event["error"], "browser: the page has crashed its renderer");
    open(2);
    let browsers = machine.browsers(&sidecar);
    assert_eq!(browsers.len(), 1, "{browsers:?}");
    kill(browsers[0]);
    let event = events.failed("solve");
    assert_eq!(event["error"], "browser: it has ended (killed, crashed or out of memory)");
    open(3);
    assert_ne!(machine.browsers(&sidecar), browsers);
    sidecar.stop().expect(0);
}
