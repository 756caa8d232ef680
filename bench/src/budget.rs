//! Counts that do not depend on the machine, held against `bench/budget.toml`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::parts::size;
use crate::process::Redis;
use crate::refreshes::{self, Watched, force};
use crate::resp::command;
use crate::solver::Solver;
use crate::world::{INVALID, World};

const REFRESHES: u32 = 100;
const MESSAGES: u32 = 10_000;
/// Long enough for all messages to arrive, however slow the machine.
const SOLVE: Duration = Duration::from_secs(5);

/// What each count may be, or is.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    redis_commands_per_refresh: u64,
    allocations_per_refresh: u64,
    allocations_per_message: u64,
    binary_bytes: u64,
    dependencies: u64,
}

/// Measures, says each count, and whether all are within the budget.
pub(crate) fn check(world: &World, budget: &Path) -> anyhow::Result<bool> {
    let text = fs::read_to_string(budget).with_context(|| format!("{} cannot be read", budget.display()))?;
    let allowed: Counts = toml::from_str(&text).with_context(|| budget.display().to_string())?;
    let found = count(world)?;
    let rows = [
        ("redis_commands_per_refresh", found.redis_commands_per_refresh, allowed.redis_commands_per_refresh),
        ("allocations_per_refresh", found.allocations_per_refresh, allowed.allocations_per_refresh),
        ("allocations_per_message", found.allocations_per_message, allowed.allocations_per_message),
        ("binary_bytes", found.binary_bytes, allowed.binary_bytes),
        ("dependencies", found.dependencies, allowed.dependencies),
    ];
    for (name, found, allowed) in rows {
        let word = if found <= allowed { "within" } else { "BEYOND" };
        crate::say(format_args!("{name}: {found}, {word} the budget of {allowed}"));
    }
    Ok(rows.iter().all(|(_, found, allowed)| found <= allowed))
}

fn count(world: &World) -> anyhow::Result<Counts> {
    let rest = allocations(world, |_, _| Ok(()))?;
    let refreshing = allocations(world, |redis, solver| refreshes::run(redis, solver, 1..=REFRESHES))?;
    let messages = allocations(world, |redis, solver| {
        // All of them arrive during one solve, and are answered by it.
        solver.takes(SOLVE);
        let mut link = redis.connect()?;
        force(&mut link, solver)?;
        link.send(&command(&["PUBLISH", INVALID, "now"]).repeat(usize::try_from(MESSAGES)?))?;
        for _ in 0..MESSAGES {
            link.reply()?;
        }
        refreshes::until_noted(&mut link, 2)
    })?;
    let one = refreshing.saturating_sub(rest) / u64::from(REFRESHES);
    Ok(Counts {
        redis_commands_per_refresh: commands(world)?,
        allocations_per_refresh: one,
        allocations_per_message: messages.saturating_sub(rest + one) / u64::from(MESSAGES),
        binary_bytes: size::binary(world)?,
        dependencies: size::dependencies()?,
    })
}

/// The commands that the sidecar sends for a refresh.
fn commands(world: &World) -> anyhow::Result<u64> {
    let (redis, solver) = (Redis::start()?, Solver::start()?);
    let _sidecar = world.ready(&redis, &solver, &[])?;
    let mut link = redis.connect()?;
    let mut counter = redis.count()?;
    let before = counter.so_far()?;
    for _ in 0..REFRESHES {
        force(&mut link, &solver)?;
        // Its announcement is heard before the next report, or the two would be one.
        World::pause();
    }
    let sent = counter.so_far()? - before - u64::from(REFRESHES);
    Ok(sent / u64::from(REFRESHES))
}

/// How often memory is asked for from the start to the end of a sidecar that has its first token and then works.
fn allocations(world: &World, work: impl FnOnce(&Redis, &Solver) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let (redis, solver) = (Redis::start()?, Solver::start()?);
    let settings = [("SIDECAR_LISTEN", "off")];
    let watched = Watched::start(world, &redis, &solver, &["--undef-value-errors=no"], &settings)?;
    work(&redis, &solver)?;
    let said = watched.end()?;
    let Some((_, heap)) = said.split_once("total heap usage: ") else { bail!("valgrind says: {said}") };
    let digits: String = heap.split(' ').next().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
    ensure!(!digits.is_empty(), "valgrind says: {said}");
    Ok(digits.parse()?)
}
