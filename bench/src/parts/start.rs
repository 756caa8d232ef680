//! From `exec` on: until it is subscribed, and until the solver is asked for what was missing all along.

use std::time::Duration;

use crate::celery::{Celery, Layout};
use crate::clock::Instant;
use crate::floor;
use crate::process::{Process, Redis, listeners};
use crate::report::{Start, Who};
use crate::solver::Solver;
use crate::spread::Spread;
use crate::world::{INVALID, World};

const STARTS: u32 = 50;
/// Of Celery, which takes a second each.
const SLOW_STARTS: u32 = 10;

pub(super) fn measure(world: &World) -> anyhow::Result<Vec<Start>> {
    let solver = Solver::start()?;
    let (mut ours, mut asked, mut least) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..world.scaled(STARTS) {
        let redis = Redis::start()?;
        let next = solver.solves();
        let sidecar = world.sidecar(&redis, &solver, &[])?;
        ours.push(subscribed(&redis, &sidecar, INVALID)?);
        asked.push(solver.arrival(next)?.since(sidecar.began));
        drop(sidecar);
        least.push(subscribed(&redis, &World::floor(&redis, &solver)?, floor::INVALID)?);
    }
    let mut rows = vec![
        Start { who: Who::Sidecar, subscribed: Some(Spread::of(ours)), solver_asked: Some(Spread::of(asked)) },
        Start { who: Who::Floor, subscribed: Some(Spread::of(least)), solver_asked: None },
    ];
    if let Some(python) = world.python() {
        for (who, layout) in [(Who::Guide, Layout::Guide), (Who::Leanest, Layout::Leanest)] {
            let mut asked = Vec::new();
            for _ in 0..world.scaled(SLOW_STARTS) {
                let redis = Redis::start()?;
                let celery = Celery::new(python, &redis, &solver)?;
                celery.trigger()?;
                let next = solver.solves();
                let began = Instant::now();
                let _processes = celery.start(layout)?;
                asked.push(solver.arrival(next)?.since(began));
            }
            rows.push(Start { who, subscribed: None, solver_asked: Some(Spread::of(asked)) });
        }
    }
    Ok(rows)
}

/// How long it took to be subscribed; asked without a pause.
fn subscribed(redis: &Redis, process: &Process, channel: &str) -> anyhow::Result<Duration> {
    let mut link = redis.connect()?;
    while listeners(&mut link, channel)? == 0 {}
    Ok(Instant::now().since(process.began))
}
