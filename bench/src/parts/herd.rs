//! 1,000 parsers get a 401 at the same moment; a solve takes a second.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;

use crate::bench::{Bench, TOKEN};
use crate::celery::{Celery, Layout};
use crate::clock::Instant;
use crate::parsers::recover;
use crate::redis::RedisServer;
use crate::report::{Herd, Subject};
use crate::solver::Solver;

const PARSERS: u32 = 1_000;
const SOLVE: Duration = Duration::from_secs(1);
/// The stack of a parser's thread.
const STACK: usize = 128 * 1024;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Vec<Herd>> {
    let mut rows = vec![median_run(|| minimal_parsers(bench))?];
    if let Some(python) = bench.python() {
        let parsers = bench.scaled(PARSERS);
        rows.push(median_run(|| {
            let (redis, solver) = (RedisServer::start()?, Solver::start()?);
            let _sidecar = bench.ready_sidecar(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
            Celery::new(python, &redis, &solver)?.herd(Subject::SidecarPython, parsers, SOLVE)
        })?);
        for (subject, switches) in [(Subject::Guide, &[][..]), (Subject::Lock, &[("TRIGGER_LOCK_SECONDS", "60")])] {
            rows.push(median_run(|| {
                let (redis, solver) = (RedisServer::start()?, Solver::start()?);
                let celery = Celery::new(python, &redis, &solver)?.tuned(switches);
                let _processes = celery.start_ready(Layout::Guide)?;
                celery.herd(subject, parsers, SOLVE)
            })?);
        }
    }
    Ok(rows)
}

/// The median of three runs by the time until all parsers work again: a single run depends too much on the machine.
fn median_run(herd: impl Fn() -> anyhow::Result<Herd>) -> anyhow::Result<Herd> {
    let mut herds = [herd()?, herd()?, herd()?];
    let time = |herd: &Herd| herd.all_work_s.unwrap_or(f64::INFINITY);
    herds.sort_by(|one, other| time(one).total_cmp(&time(other)));
    let [_, median, _] = herds;
    Ok(median)
}

/// Parsers that share nothing: each has its own connections and subscription, and reports by itself.
fn minimal_parsers(bench: &Bench) -> anyhow::Result<Herd> {
    let (redis, solver) = (RedisServer::start()?, Solver::start()?);
    let _sidecar = bench.ready_sidecar(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
    let fingerprint = redis.connect()?.ask(&["HGET", &format!("{{{TOKEN}}}:meta"), "fingerprint"])?.text();
    let report = format!(r#"{{"fingerprint":"{}"}}"#, fingerprint.unwrap_or_default());
    solver.expire();
    solver.set_solve_time(SOLVE);
    let solves = solver.solves();
    let parsers = bench.scaled(PARSERS);
    let start_together = Arc::new(Barrier::new(usize::try_from(parsers)? + 1));
    let mut threads = Vec::new();
    for _ in 0..parsers {
        let (mut subscription, mut connection) = (redis.connect()?, redis.connect()?);
        let (solver, report, start_together) = (solver.address(), report.clone(), Arc::clone(&start_together));
        threads.push(thread::Builder::new().stack_size(STACK).spawn(move || {
            start_together.wait();
            recover(&mut subscription, &mut connection, solver, &report)
        })?);
    }
    let mut counter = redis.count_commands()?;
    let before = counter.so_far()?;
    let started = Instant::now();
    start_together.wait();
    let mut last = started;
    for thread in threads {
        last = last.max(thread.join().map_err(|_| anyhow!("a parser has panicked"))??);
    }
    Ok(Herd {
        subject: Subject::Sidecar,
        parsers,
        solve_s: SOLVE.as_secs_f64(),
        solves: solver.solves() - solves,
        commands: counter.so_far()? - before,
        all_work_s: Some(last.since(started).as_secs_f64()),
        gave_up: 0,
    })
}
