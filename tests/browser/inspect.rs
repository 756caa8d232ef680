//! `inspect` by a real browser, which sees storage and headers too.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;

use crate::machine::Machine;
use crate::process::{Ran, World};

const API: &str = "/web/api/v2/search/product?phrase=x";
/// The pages of these tests set their token as soon as they have loaded.
const WAIT: &str = "browser.wait=5s";

fn inspect(machine: &Machine, page: &str, args: &[&str]) -> Ran {
    let page = machine.world.simulator.url(page);
    let ran = machine.world.call_with(&[&["inspect", &page, "--set", WAIT], args].concat(), &machine.env(&[]));
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!all.contains("eyJ"), "{all}");
    ran
}

/// Whether a sidecar with the written file gets its token there.
fn works(machine: &Machine, name: &str) {
    let (file, env) = (format!("{name}.toml"), machine.env(&[]));
    let site = ["--config", &file, "--site", name];
    machine.world.call_with(&[&["check-config"], &site[..2]].concat(), &env).expect(0);
    machine.world.call_with(&[&["doctor"], &site[..]].concat(), &env).expect(0).prints("source browser: ");
    machine.world.call_with(&[&["refresh"], &site[..]].concat(), &env).expect(0).prints("new token");
}

#[test]
fn a_token_in_the_storage_is_found_and_the_written_site_works() {
    let machine = Machine::start(World::start());
    let api = machine.world.simulator.url(API);
    let ran = inspect(&machine, "/shop/local", &["--api", &api, "--write", "local.toml", "--name", "local"]).expect(0);
    let line = ran.stdout.lines().nth(1).unwrap();
    assert!(line.starts_with("localStorage  ") && line.ends_with("  accepts it"), "{}", ran.stdout);
    assert!(ran.stdout.contains("auth#/user/a~1b/token"), "{}", ran.stdout);
    works(&machine, "local");
    let ran = inspect(&machine, "/shop/session", &["--json"]).expect(0);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    let found = |item: &Value| (item["kind"].clone(), item["name"].clone(), item["likely"].clone());
    let all: Vec<_> = json["items"].as_array().unwrap().iter().map(found).collect();
    assert!(all.contains(&("sessionStorage".into(), "token".into(), true.into())), "{json}");
    assert!(machine.entries().is_empty() && machine.processes().is_empty(), "nothing is left behind");
}

#[test]
fn a_token_in_a_header_is_found_and_the_written_site_works() {
    let machine = Machine::start(World::start());
    let api = machine.world.simulator.url(API);
    let args = ["--source", "browser", "--api", &api, "--write", "header.toml", "--name", "header"];
    let ran = inspect(&machine, "/shop/request", &args).expect(0);
    let line = ran.stdout.lines().nth(1).unwrap();
    assert!(line.starts_with("header  authorization to 127.0.0.1  "), "{}", ran.stdout);
    assert!(!ran.stderr.contains("`browser` alone"), "{}", ran.stderr);
    assert!(machine.world.read("header.toml").contains("browser.token = \"request:authorization\""));
    works(&machine, "header");
}

#[test]
fn what_a_page_has_that_never_ends_to_load_counts_and_an_interrupt_leaves_nothing_behind() {
    let machine = Machine::start(World::start());
    let short = ["--set", "browser.max_timeout=8s"];
    inspect(&machine, "/shop/never-loaded", &short).expect(0).prints("cookie  access-token");
    inspect(&machine, "/shop/denied", &short).expect(75).stderr_has("HTTP 403: the site has blocked this address");
    let (page, before) = (machine.world.simulator.url("/shop/hang"), machine.world.simulator.statistics().pages);
    let waiting = machine.world.begin(&["inspect", &page], &machine.env(&[]));
    machine.world.when("the page is asked for", |all| all.pages > before);
    assert!(!machine.browsers(&waiting).is_empty());
    waiting.signal("INT");
    waiting.end().expect(75).stderr_has("stopped before");
    assert!(machine.entries().is_empty() && machine.processes().is_empty(), "nothing is left behind");
}
