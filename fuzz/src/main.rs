//! Fuzz targets for everything that the sidecar reads. `scripts/fuzz` builds this program with libFuzzer's coverage
//! counters in the sidecar's own code, and runs it; `FUZZ_TARGET` chooses the target.
//!
//! A target takes any bytes and panics where a promise is broken. The seeds are recorded answers, samples of the contract
//! and inputs of tests.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a failure is to panic")]

mod address;
mod answer;
mod browser;
mod claims;
mod cookies;
mod env_file;
mod event;
mod excerpt;
mod folding;
mod report;
mod seeds;
mod set_cookie;
mod settings;
mod times;

use std::path::Path;
use std::sync::OnceLock;

struct Target {
    name: &'static str,
    check: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
}

const TARGETS: &[Target] = &[
    Target { name: "address", check: address::check, seeds: address::seeds },
    Target { name: "answer", check: answer::check, seeds: answer::seeds },
    Target { name: "browser", check: browser::check, seeds: browser::seeds },
    Target { name: "claims", check: claims::check, seeds: claims::seeds },
    Target { name: "cookies", check: cookies::check, seeds: cookies::seeds },
    Target { name: "env_file", check: env_file::check, seeds: env_file::seeds },
    Target { name: "event", check: event::check, seeds: event::seeds },
    Target { name: "excerpt", check: excerpt::check, seeds: excerpt::seeds },
    Target { name: "folding", check: folding::check, seeds: folding::seeds },
    Target { name: "report", check: report::check, seeds: report::seeds },
    Target { name: "set_cookie", check: set_cookie::check, seeds: set_cookie::seeds },
    Target { name: "settings", check: settings::check, seeds: settings::seeds },
    Target { name: "times", check: times::check, seeds: times::seeds },
];

static CHOSEN: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        (target.check)(data);
    }
});

/// Finds the target and writes its seeds into the folder `FUZZ_SEEDS`. Without a target, prints the names of all.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a command-line program that reads its environment"
)]
fn choose() {
    let Ok(name) = std::env::var("FUZZ_TARGET") else {
        TARGETS.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    };
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    CHOSEN.get_or_init(|| target);
    if let Ok(folder) = std::env::var("FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(Path::new(&folder).join(format!("seed-{number:03}")), seed).unwrap();
        }
    }
}
