//! Messages as fast as Redis accepts them, with the sidecar as the only subscriber, and with one that drops them.

use crate::bench::{Bench, INVALID};
use crate::clock::Instant;
use crate::process::{Process, until};
use crate::redis::{RedisServer, command};
use crate::report::{Flood, Subject};
use crate::solver::Solver;

const MESSAGES: u32 = 1_000_000;
/// Commands sent before their replies are read.
const PIPELINE: u32 = 1_000;
/// The length of a reply: `:1` and the end of the line.
const REPLY: u64 = 4;
/// Each subscriber is measured this often, in turns.
const ROUNDS: usize = 11;

struct Run {
    per_second: f64,
    cpu_s_per_million: f64,
    idle_rss_kib: u64,
    peak_rss_kib: u64,
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Vec<Flood>> {
    let messages = bench.scaled(MESSAGES);
    let solver = Solver::start()?;
    let (mut redis_alone, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let redis = RedisServer::start()?;
        redis_alone.push(run(&redis, &Bench::drain(&redis, INVALID)?, messages)?);
        let redis = RedisServer::start()?;
        ours.push(run(&redis, &bench.ready_sidecar(&redis, &solver, &[])?, messages)?);
    }
    Ok(vec![row(Subject::Sidecar, messages, ours), row(Subject::RedisAlone, messages, redis_alone)])
}

fn run(redis: &RedisServer, subscriber: &Process, messages: u32) -> anyhow::Result<Run> {
    let mut connection = redis.connect()?;
    let batch = command(&["PUBLISH", INVALID, "now"]).repeat(usize::try_from(PIPELINE)?);
    let before = subscriber.usage()?;
    let started = Instant::now();
    for _ in 0..messages / PIPELINE {
        connection.send(&batch)?;
        connection.skip(u64::from(PIPELINE) * REPLY)?;
    }
    let spent = Instant::now().since(started).as_secs_f64();
    // The subscriber may still have messages to read.
    until("the subscriber to catch up", || {
        let clients = connection.ask(&["CLIENT", "LIST", "TYPE", "PUBSUB"])?.text().unwrap_or_default();
        Ok((clients.contains(" oll=0 ") && clients.contains(" obl=0 ")).then_some(()))
    })?;
    let after = subscriber.usage()?;
    let million = f64::from(messages) / 1e6;
    Ok(Run {
        per_second: f64::from(messages) / spent,
        cpu_s_per_million: (after.cpu - before.cpu).as_secs_f64() / million,
        idle_rss_kib: before.rss_kib,
        peak_rss_kib: after.peak_kib,
    })
}

fn row(subject: Subject, messages: u32, mut runs: Vec<Run>) -> Flood {
    runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let median = &runs[runs.len() / 2];
    Flood {
        subject,
        messages: messages.into(),
        per_second: median.per_second,
        cpu_s_per_million: median.cpu_s_per_million,
        idle_rss_kib: median.idle_rss_kib,
        peak_rss_kib: runs.iter().map(|run| run.peak_rss_kib).max().unwrap_or_default(),
    }
}
