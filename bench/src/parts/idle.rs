//! A minute in which nothing happens, after one refresh and some time to settle.

use std::thread;
use std::time::Duration;

use crate::bench::Bench;
use crate::celery::{Celery, Layout};
use crate::process::{Process, Usage};
use crate::redis::{CommandCounter, RedisServer};
use crate::report::{Idle, Subject};
use crate::solver::Solver;

/// Seconds.
const SETTLING: u32 = 30;
/// Seconds.
const MEASURED: u32 = 60;

/// Idle processes with a Redis server of their own.
struct Group {
    subject: Subject,
    redis: RedisServer,
    processes: Vec<Process>,
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Vec<Idle>> {
    let solver = Solver::start()?;
    let redis = RedisServer::start()?;
    let sidecar = bench.ready_sidecar(&redis, &solver, &[])?;
    let mut groups = vec![Group { subject: Subject::Sidecar, redis, processes: vec![sidecar] }];
    if let Some(python) = bench.python() {
        for (subject, layout) in [(Subject::Guide, Layout::Guide), (Subject::Leanest, Layout::Leanest)] {
            let redis = RedisServer::start()?;
            let processes = Celery::new(python, &redis, &solver)?.start_ready(layout)?;
            groups.push(Group { subject, redis, processes });
        }
    }
    thread::sleep(Duration::from_secs(bench.scaled(SETTLING).into()));
    let mut before = Vec::new();
    for group in &groups {
        let mut counter = group.redis.count_commands()?;
        before.push((group.usage()?, counter.so_far()?, counter));
    }
    let seconds = bench.scaled(MEASURED);
    thread::sleep(Duration::from_secs(seconds.into()));
    groups.iter().zip(before).map(|(group, before)| group.since(before, seconds)).collect()
}

impl Group {
    fn since(
        &self,
        (then, commands_then, mut counter): (Usage, u64, CommandCounter),
        seconds: u32,
    ) -> anyhow::Result<Idle> {
        let (now, commands) = (self.usage()?, counter.so_far()? - commands_then);
        Ok(Idle {
            subject: self.subject,
            processes: now.processes,
            rss_kib: now.rss_kib,
            pss_kib: now.pss_kib,
            seconds,
            cpu_ms: (now.cpu - then.cpu).as_secs_f64() * 1e3,
            ticks: now.ticks - then.ticks,
            commands_per_minute: commands as f64 * 60.0 / f64::from(seconds),
        })
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        let mut sum = Usage::default();
        for process in &self.processes {
            sum += process.usage()?;
        }
        Ok(sum)
    }
}
