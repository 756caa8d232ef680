//! Counts that do not depend on the machine, checked against `bench/budget.toml`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::bench::{Bench, force_refresh};
use crate::parts::size;
use crate::redis::RedisServer;
use crate::solver::Solver;

const REFRESHES: u32 = 100;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    redis_commands_per_refresh: u64,
    binary_bytes: u64,
    dependencies: u64,
}

/// Prints each count; whether all of them are within the budget.
pub(crate) fn check(bench: &Bench, budget: &Path) -> anyhow::Result<bool> {
    let text = fs::read_to_string(budget).with_context(|| format!("cannot read {}", budget.display()))?;
    let allowed: Counts = toml::from_str(&text).with_context(|| budget.display().to_string())?;
    let found = Counts {
        redis_commands_per_refresh: commands_per_refresh(bench)?,
        binary_bytes: size::binary(bench)?,
        dependencies: size::dependencies()?,
    };
    let rows = [
        ("redis_commands_per_refresh", found.redis_commands_per_refresh, allowed.redis_commands_per_refresh),
        ("binary_bytes", found.binary_bytes, allowed.binary_bytes),
        ("dependencies", found.dependencies, allowed.dependencies),
    ];
    for (name, found, allowed) in rows {
        let verdict = if found <= allowed { "within" } else { "OVER" };
        crate::progress(format_args!("{name}: {found}, {verdict} the budget of {allowed}"));
    }
    Ok(rows.iter().all(|(_, found, allowed)| found <= allowed))
}

fn commands_per_refresh(bench: &Bench) -> anyhow::Result<u64> {
    let (redis, solver) = (RedisServer::start()?, Solver::start()?);
    let _sidecar = bench.ready_sidecar(&redis, &solver, &[])?;
    let mut connection = redis.connect()?;
    let mut counter = redis.count_commands()?;
    let before = counter.so_far()?;
    for _ in 0..REFRESHES {
        force_refresh(&mut connection, &solver)?;
        // Time for the commit: a report that arrives before it would join this refresh.
        Bench::pause();
    }
    let published = u64::from(REFRESHES);
    Ok((counter.so_far()? - before - published) / published)
}
