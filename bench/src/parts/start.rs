//! From `exec` to the subscription, and to the solver's request for the token that is missing.

use std::time::Duration;

use crate::bench::{Bench, INVALID};
use crate::celery::{Celery, Layout};
use crate::clock::Instant;
use crate::distribution::Distribution;
use crate::floor;
use crate::process::Process;
use crate::redis::RedisServer;
use crate::report::{Start, Subject};
use crate::solver::Solver;

const STARTS: u32 = 50;
/// Of Celery, which takes seconds each.
const CELERY_STARTS: u32 = 10;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Vec<Start>> {
    let solver = Solver::start()?;
    let (mut ours, mut requested, mut least) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.scaled(STARTS) {
        let redis = RedisServer::start()?;
        let next = solver.solves();
        let sidecar = bench.sidecar(&redis, &solver, &[])?;
        ours.push(subscribed(&redis, &sidecar, INVALID)?);
        requested.push(solver.arrival(next)?.since(sidecar.started));
        drop(sidecar);
        least.push(subscribed(&redis, &Bench::floor(&redis, &solver)?, floor::INVALID)?);
    }
    let mut rows = vec![
        Start {
            subject: Subject::Sidecar,
            subscribed: Some(Distribution::of(ours)),
            solver_requested: Some(Distribution::of(requested)),
        },
        Start { subject: Subject::Floor, subscribed: Some(Distribution::of(least)), solver_requested: None },
    ];
    if let Some(python) = bench.python() {
        for (subject, layout) in [(Subject::Guide, Layout::Guide), (Subject::Leanest, Layout::Leanest)] {
            let mut requested = Vec::new();
            for _ in 0..bench.scaled(CELERY_STARTS) {
                let redis = RedisServer::start()?;
                let celery = Celery::new(python, &redis, &solver)?;
                celery.trigger()?;
                let next = solver.solves();
                let started = Instant::now();
                let _processes = celery.start(layout)?;
                requested.push(solver.arrival(next)?.since(started));
            }
            rows.push(Start { subject, subscribed: None, solver_requested: Some(Distribution::of(requested)) });
        }
    }
    Ok(rows)
}

/// The time from `exec` to the subscription, for which Redis is polled without a pause.
fn subscribed(redis: &RedisServer, process: &Process, channel: &str) -> anyhow::Result<Duration> {
    let mut connection = redis.connect()?;
    while connection.subscribers(channel)? == 0 {}
    Ok(Instant::now().since(process.started))
}
