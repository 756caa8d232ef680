//! From a report to the solver's request, and to the parser that holds the new token.

use crate::bench::{Bench, INVALID, TOKEN, UPDATED};
use crate::celery::{Celery, Layout};
use crate::distribution::Distribution;
use crate::floor;
use crate::parsers::{Parser, Sample};
use crate::redis::RedisServer;
use crate::report::{Latency, Subject};
use crate::solver::Solver;

const SAMPLES: u32 = 500;
/// Of parsers in Python, which pause for half a second between two samples.
const PYTHON_SAMPLES: u32 = 40;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Vec<Latency>> {
    let mut rows = sidecar_and_floor(bench)?;
    if let Some(python) = bench.python() {
        let samples = bench.scaled(PYTHON_SAMPLES);
        let (redis, solver) = (RedisServer::start()?, Solver::start()?);
        let _sidecar = bench.ready_sidecar(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
        let parsers = Celery::new(python, &redis, &solver)?;
        rows.push(row(Subject::SidecarPython, &parsers.latency("sidecar", samples)?));
        for (subject, layout, switches) in [
            (Subject::Guide, Layout::Guide, &[][..]),
            (Subject::Polling, Layout::Guide, &[("POLL_INTERVAL", "0.1")]),
            (Subject::Result, Layout::Leanest, &[("WAIT_RESULT", "1")]),
        ] {
            let (redis, solver) = (RedisServer::start()?, Solver::start()?);
            let celery = Celery::new(python, &redis, &solver)?.tuned(switches);
            let _processes = celery.start_ready(layout)?;
            rows.push(row(subject, &celery.latency("celery", samples)?));
        }
    }
    Ok(rows)
}

/// In turns, so that a disturbance of the machine affects both.
fn sidecar_and_floor(bench: &Bench) -> anyhow::Result<Vec<Latency>> {
    let (redis, solver) = (RedisServer::start()?, Solver::start()?);
    let _sidecar = bench.ready_sidecar(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
    let _floor = Bench::ready_floor(&redis, &solver)?;
    let mut sidecar = Parser::subscribed(&redis, INVALID, UPDATED, TOKEN)?;
    let mut floor = Parser::subscribed(&redis, floor::INVALID, floor::UPDATED, floor::TOKEN)?;
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _ in 0..bench.scaled(SAMPLES) {
        for (parser, samples) in [(&mut sidecar, &mut ours), (&mut floor, &mut least)] {
            Bench::pause();
            samples.push(parser.sample(&solver)?);
        }
    }
    Ok(vec![row(Subject::Sidecar, &ours), row(Subject::Floor, &least)])
}

fn row(subject: Subject, samples: &[Sample]) -> Latency {
    Latency {
        subject,
        dispatch: Distribution::of(samples.iter().map(|sample| sample.dispatch).collect()),
        end_to_end: Distribution::of(samples.iter().map(|sample| sample.end_to_end).collect()),
    }
}
