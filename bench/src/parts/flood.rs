//! Messages as fast as Redis takes them, with the sidecar as the only subscriber, and with one that does nothing.

use crate::clock::Instant;
use crate::process::{Process, Redis, until};
use crate::report::{Flood, Who};
use crate::resp::command;
use crate::solver::Solver;
use crate::world::{INVALID, World};

const MESSAGES: u32 = 1_000_000;
/// How many are on their way at once.
const PIPELINE: u32 = 1_000;
/// The bytes of an answer, `:1` and the end of its line.
const ANSWER: u64 = 4;
/// How often each is measured, by turns.
const ROUNDS: usize = 11;

/// One run.
struct Run {
    per_second: f64,
    cpu_s_per_million: f64,
    idle_rss_kib: u64,
    peak_rss_kib: u64,
}

pub(super) fn measure(world: &World) -> anyhow::Result<Vec<Flood>> {
    let messages = world.scaled(MESSAGES);
    let solver = Solver::start()?;
    let (mut nobody, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let redis = Redis::start()?;
        nobody.push(run(&redis, &World::drain(&redis, INVALID)?, messages)?);
        let redis = Redis::start()?;
        ours.push(run(&redis, &world.ready(&redis, &solver, &[])?, messages)?);
    }
    Ok(vec![row(Who::Sidecar, messages, ours), row(Who::Nobody, messages, nobody)])
}

fn run(redis: &Redis, subscriber: &Process, messages: u32) -> anyhow::Result<Run> {
    let mut link = redis.connect()?;
    let batch = command(&["PUBLISH", INVALID, "now"]).repeat(usize::try_from(PIPELINE)?);
    let before = subscriber.weight()?;
    let began = Instant::now();
    for _ in 0..messages / PIPELINE {
        link.send(&batch)?;
        link.skip(u64::from(PIPELINE) * ANSWER)?;
    }
    let spent = Instant::now().since(began).as_secs_f64();
    // It may be behind.
    until("the subscriber", || {
        let listeners = link.ask(&["CLIENT", "LIST", "TYPE", "PUBSUB"])?.text().unwrap_or_default();
        Ok((listeners.contains(" oll=0 ") && listeners.contains(" obl=0 ")).then_some(()))
    })?;
    let after = subscriber.weight()?;
    let million = f64::from(messages) / 1e6;
    Ok(Run {
        per_second: f64::from(messages) / spent,
        cpu_s_per_million: (after.cpu - before.cpu).as_secs_f64() / million,
        idle_rss_kib: before.rss_kib,
        peak_rss_kib: after.peak_kib,
    })
}

fn row(who: Who, messages: u32, mut runs: Vec<Run>) -> Flood {
    runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let middle = &runs[runs.len() / 2];
    Flood {
        who,
        messages: messages.into(),
        per_second: middle.per_second,
        cpu_s_per_million: middle.cpu_s_per_million,
        idle_rss_kib: middle.idle_rss_kib,
        peak_rss_kib: runs.iter().map(|run| run.peak_rss_kib).max().unwrap_or_default(),
    }
}
