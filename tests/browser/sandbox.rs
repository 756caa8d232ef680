//! The browser's sandbox, and what `doctor` says of browsers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use rustix::process::getuid;

use crate::machine::Machine;
use crate::process::{Running, World};

/// Debian's `nobody`.
const NOBODY: u32 = 65_534;

#[test]
fn doctor_opens_an_empty_page_or_names_the_cure() {
    let machine = Machine::start(World::start());
    let doctor = |name, value| machine.world.call_with(&["doctor"], &machine.env(&[(name, value)]));
    let ran = doctor("BROWSER_PATH", "/usr/bin/chromium").expect(0);
    let line = ran.stdout.lines().find(|line| line.contains("source browser: Chrome/")).unwrap_or_default();
    assert!(line.contains(", an empty page after ") && line.ends_with(" ms"), "{}", ran.stdout);
    let ran = doctor("BROWSER_PATH", "/nowhere/chromium").expect(1);
    ran.prints("BROWSER_PATH: /nowhere/chromium is no file").prints("→ install Debian's `chromium`");
    if getuid().is_root() {
        let ran = doctor("BROWSER_SANDBOX", "true").expect(1);
        ran.prints("its sandbox does not work as root").prints("BROWSER_SANDBOX=false");
    }
    assert!(machine.processes().is_empty() && machine.entries().is_empty());
}

#[test]
fn the_sandbox_works_for_a_user_without_rights() {
    let machine = Machine::start(World::start());
    let world = &machine.world;
    let user = NOBODY.to_string();
    let setpriv = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
    let starter = if getuid().is_root() {
        set_permissions(world.folder.path(), Permissions::from_mode(0o755)).unwrap();
        chown(world.path("temp"), Some(NOBODY), Some(NOBODY)).unwrap();
        &setpriv[..]
    } else {
        &[]
    };
    let events = world.events();
    let env = machine.env(&[("BROWSER_SANDBOX", "true"), ("BROWSER_KEEP", "60s"), ("PATH", "/usr/bin:/bin")]);
    let sidecar = Running::start(&mut world.command_under(starter, &["run"], &env));
    assert_eq!(events.refreshed()["source"], "browser");
    let processes = machine.processes();
    assert!(processes.iter().any(|process| process.arguments.contains("--type=zygote")), "{processes:?}");
    assert!(!processes.iter().any(|process| process.arguments.contains("--no-sandbox")), "{processes:?}");
    sidecar.stop().expect(0);
    assert!(machine.processes().is_empty() && machine.entries().is_empty());
}
