//! The functions that a refresh runs, in the order in which it first runs them: with them side by side it touches half as
//! many pages of code, and all of them are cold when a report comes after hours.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::process::Redis;
use crate::refreshes::{self, Watched};
use crate::solver::Solver;
use crate::world::World;

/// Before them everything is done that is done once.
const WARM_UP: u32 = 3;
const REFRESHES: u32 = 3;

/// Runs the sidecar, which must have its symbols, under valgrind, and writes the file that `build.rs` reads.
pub(crate) fn write(world: &World, file: &Path) -> anyhow::Result<()> {
    let functions = symbols(&world.binary()?)?;
    let (redis, solver) = (Redis::start()?, Solver::start()?);
    let valgrind = ["--tool=lackey", "--trace-superblocks=yes", "--vex-guest-chase=no"];
    // A lease that ends late: the sidecar is slow here, and a renewal is no part of a refresh.
    let settings = [("SIDECAR_LISTEN", "off"), ("SIDECAR_LOCK_TTL", "600s")];
    let watched = Watched::start(world, &redis, &solver, &valgrind, &settings)?;
    refreshes::run(&redis, &solver, 1..=WARM_UP)?;
    let before = watched.written()?.len();
    refreshes::run(&redis, &solver, WARM_UP + 1..=WARM_UP + REFRESHES)?;
    let start = watched.sidecar.start_of(&world.binary()?)?;
    let trace = watched.written()?;
    drop(watched);
    let mut known = HashSet::new();
    let mut names: Vec<String> = String::from_utf8_lossy(&trace[before..])
        .lines()
        .filter_map(|line| u64::from_str_radix(line.strip_prefix("SB ")?.trim(), 16).ok()?.checked_sub(start))
        .filter_map(|at| functions.range(..=at).next_back().filter(|(_, function)| at < function.end))
        .map(|(_, function)| pattern(&function.name))
        .collect();
    names.retain(|name| known.insert(name.clone()));
    ensure!(
        !names.is_empty(),
        "no function of the sidecar was seen: {}",
        String::from_utf8_lossy(&trace[..before.min(500)])
    );
    crate::say(format_args!("{} functions", names.len()));
    fs::write(file, names.join("\n") + "\n").with_context(|| format!("{} cannot be written", file.display()))
}

struct Function {
    end: u64,
    name: String,
}

/// The functions of a binary by their address.
fn symbols(binary: &Path) -> anyhow::Result<BTreeMap<u64, Function>> {
    let said = Command::new("nm").arg("--defined-only").arg("--print-size").arg(binary).output()?;
    let text = String::from_utf8(said.stdout)?;
    let functions: BTreeMap<u64, Function> = text
        .lines()
        .filter_map(|line| {
            let [at, size, kind, name] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
            let (at, size) = (u64::from_str_radix(at, 16).ok()?, u64::from_str_radix(size, 16).ok()?);
            let function = Function { end: at + size, name: name.to_owned() };
            (kind.eq_ignore_ascii_case("t") && name.starts_with('_')).then_some((at, function))
        })
        .collect();
    ensure!(
        !functions.is_empty(),
        "{} has no symbols: build it with CARGO_PROFILE_RELEASE_STRIP=none",
        binary.display()
    );
    Ok(functions)
}

/// The name without what changes with a compiler or a version: the hash of a crate.
fn pattern(name: &str) -> String {
    let mut parts = name.split(".llvm.").next().unwrap_or_default().split("Cs");
    let mut pattern = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        pattern += if rest.starts_with('_') { "Cs*" } else { "Cs" };
        pattern += if rest.starts_with('_') { rest } else { part };
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_outlives_the_hash_of_a_crate() {
        assert_eq!(pattern("_RNvMs_NtCs5yZ_5tokio4ioNtB4_2Io3use"), "_RNvMs_NtCs*_5tokio4ioNtB4_2Io3use");
        assert_eq!(pattern("_RNvCs5yZ_5tokio3run.llvm.123"), "_RNvCs*_5tokio3run");
        assert_eq!(pattern("_RNvNtC3Css3run"), "_RNvNtC3Css3run");
    }
}
