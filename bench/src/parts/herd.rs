//! 1,000 parsers meet a 401 at the same moment, and a solve takes a second.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;

use crate::celery::{Celery, Layout};
use crate::clock::Instant;
use crate::parsers::recover;
use crate::process::Redis;
use crate::report::{Herd, Who};
use crate::solver::Solver;
use crate::world::{TOKEN, World};

const PARSERS: u32 = 1_000;
const SOLVE: Duration = Duration::from_secs(1);
/// What a thread of a parser needs.
const STACK: usize = 128 * 1024;

pub(super) fn measure(world: &World) -> anyhow::Result<Vec<Herd>> {
    let mut rows = vec![middle(|| bare(world))?];
    if let Some(python) = world.python() {
        let parsers = world.scaled(PARSERS);
        rows.push(middle(|| {
            let (redis, solver) = (Redis::start()?, Solver::start()?);
            let _sidecar = world.ready(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
            Celery::new(python, &redis, &solver)?.herd(Who::SidecarPython, parsers, SOLVE)
        })?);
        for (who, switches) in [(Who::Guide, &[][..]), (Who::Lock, &[("TRIGGER_LOCK_SECONDS", "60")])] {
            rows.push(middle(|| {
                let (redis, solver) = (Redis::start()?, Solver::start()?);
                let celery = Celery::new(python, &redis, &solver)?.tuned(switches);
                let _processes = celery.ready(Layout::Guide)?;
                celery.herd(who, parsers, SOLVE)
            })?);
        }
    }
    Ok(rows)
}

/// The middle one of three by the time until all work: one alone says as much of the machine as of what is measured.
fn middle(herd: impl Fn() -> anyhow::Result<Herd>) -> anyhow::Result<Herd> {
    let mut herds = [herd()?, herd()?, herd()?];
    let time = |herd: &Herd| herd.all_work_s.unwrap_or(f64::INFINITY);
    herds.sort_by(|one, other| time(one).total_cmp(&time(other)));
    let [_, middle, _] = herds;
    Ok(middle)
}

/// Parsers that share nothing: each has its own connections, subscribes, reports, waits and calls by itself.
fn bare(world: &World) -> anyhow::Result<Herd> {
    let (redis, solver) = (Redis::start()?, Solver::start()?);
    let _sidecar = world.ready(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
    let refused = redis.connect()?.ask(&["HGET", &format!("{{{TOKEN}}}:meta"), "fingerprint"])?.text();
    let refused = format!(r#"{{"fingerprint":"{}"}}"#, refused.unwrap_or_default());
    solver.expire();
    solver.takes(SOLVE);
    let solves = solver.solves();
    let parsers = world.scaled(PARSERS);
    let together = Arc::new(Barrier::new(usize::try_from(parsers)? + 1));
    let mut threads = Vec::new();
    for _ in 0..parsers {
        let (mut ear, mut link) = (redis.connect()?, redis.connect()?);
        let (solver, refused, together) = (solver.address(), refused.clone(), Arc::clone(&together));
        threads.push(thread::Builder::new().stack_size(STACK).spawn(move || {
            together.wait();
            recover(&mut ear, &mut link, solver, &refused)
        })?);
    }
    let mut counter = redis.count()?;
    let before = counter.so_far()?;
    let began = Instant::now();
    together.wait();
    let mut last = began;
    for thread in threads {
        last = last.max(thread.join().map_err(|_| anyhow!("a parser has panicked"))??);
    }
    Ok(Herd {
        who: Who::Sidecar,
        parsers,
        solve_s: SOLVE.as_secs_f64(),
        solves: solver.solves() - solves,
        commands: counter.so_far()? - before,
        all_work_s: Some(last.since(began).as_secs_f64()),
        gave_up: 0,
    })
}
