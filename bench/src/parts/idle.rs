//! A minute in which nothing happens, after one refresh and a while to settle.

use std::thread;
use std::time::Duration;

use crate::celery::{Celery, Layout};
use crate::process::{Counter, Process, Redis, Weight};
use crate::report::{Idle, Who};
use crate::solver::Solver;
use crate::world::World;

/// How long the processes settle.
const SETTLING: u32 = 30;
/// How long they are watched.
const WATCHED: u32 = 60;

/// One that rests, with a Redis of its own.
struct Resting {
    who: Who,
    redis: Redis,
    processes: Vec<Process>,
}

pub(super) fn measure(world: &World) -> anyhow::Result<Vec<Idle>> {
    let solver = Solver::start()?;
    let redis = Redis::start()?;
    let sidecar = world.ready(&redis, &solver, &[])?;
    let mut resting = vec![Resting { who: Who::Sidecar, redis, processes: vec![sidecar] }];
    if let Some(python) = world.python() {
        for (who, layout) in [(Who::Guide, Layout::Guide), (Who::Leanest, Layout::Leanest)] {
            let redis = Redis::start()?;
            let processes = Celery::new(python, &redis, &solver)?.ready(layout)?;
            resting.push(Resting { who, redis, processes });
        }
    }
    thread::sleep(Duration::from_secs(world.scaled(SETTLING).into()));
    let mut before = Vec::new();
    for one in &resting {
        let mut counter = one.redis.count()?;
        before.push((one.weight()?, counter.so_far()?, counter));
    }
    let seconds = world.scaled(WATCHED);
    thread::sleep(Duration::from_secs(seconds.into()));
    resting.iter().zip(before).map(|(one, before)| one.since(before, seconds)).collect()
}

impl Resting {
    fn since(&self, (then, asked, mut counter): (Weight, u64, Counter), seconds: u32) -> anyhow::Result<Idle> {
        let (now, commands) = (self.weight()?, counter.so_far()? - asked);
        Ok(Idle {
            who: self.who,
            processes: now.processes,
            rss_kib: now.rss_kib,
            pss_kib: now.pss_kib,
            seconds,
            cpu_ms: (now.cpu - then.cpu).as_secs_f64() * 1e3,
            ticks: now.ticks - then.ticks,
            commands_per_minute: commands as f64 * 60.0 / f64::from(seconds),
        })
    }

    fn weight(&self) -> anyhow::Result<Weight> {
        let mut sum = Weight::default();
        for process in &self.processes {
            sum += process.weight()?;
        }
        Ok(sum)
    }
}
