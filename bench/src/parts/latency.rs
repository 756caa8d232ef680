//! From a report to the solver's request, and on to the parser that holds the new token.

use crate::celery::{Celery, Layout};
use crate::floor;
use crate::parsers::{Parser, Sample};
use crate::process::Redis;
use crate::report::{Latency, Who};
use crate::solver::Solver;
use crate::spread::Spread;
use crate::world::{INVALID, TOKEN, UPDATED, World};

const SAMPLES: u32 = 500;
/// So many times the processes are started anew: where the kernel puts them makes a difference to all of their samples.
const ROUNDS: u32 = 5;
/// Of parsers in Python, which pause for half a second between two.
const SLOW_SAMPLES: u32 = 60;

pub(super) fn measure(world: &World) -> anyhow::Result<Vec<Latency>> {
    let mut rows = bare(world)?;
    if let Some(python) = world.python() {
        let samples = world.scaled(SLOW_SAMPLES);
        let (redis, solver) = (Redis::start()?, Solver::start()?);
        let _sidecar = world.ready(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
        let parsers = Celery::new(python, &redis, &solver)?;
        rows.push(row(Who::SidecarPython, &parsers.latency("sidecar", samples)?));
        for (who, layout, switches) in [
            (Who::Guide, Layout::Guide, &[][..]),
            (Who::Polling, Layout::Guide, &[("POLL_INTERVAL", "0.1")]),
            (Who::Result, Layout::Leanest, &[("WAIT_RESULT", "1")]),
        ] {
            let (redis, solver) = (Redis::start()?, Solver::start()?);
            let celery = Celery::new(python, &redis, &solver)?.tuned(switches);
            let _processes = celery.ready(layout)?;
            rows.push(row(who, &celery.latency("celery", samples)?));
        }
    }
    Ok(rows)
}

/// The sidecar and the floor by turns, so that whatever disturbs the machine disturbs both.
fn bare(world: &World) -> anyhow::Result<Vec<Latency>> {
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (redis, solver) = (Redis::start()?, Solver::start()?);
        let _sidecar = world.ready(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
        let _floor = World::listening_floor(&redis, &solver)?;
        let mut sidecar = Parser::listening(&redis, INVALID, UPDATED, TOKEN)?;
        let mut floor = Parser::listening(&redis, floor::INVALID, floor::UPDATED, floor::TOKEN)?;
        for _ in 0..world.scaled(SAMPLES) / ROUNDS {
            for (parser, samples) in [(&mut sidecar, &mut ours), (&mut floor, &mut least)] {
                World::pause();
                samples.push(parser.sample(&solver)?);
            }
        }
    }
    Ok(vec![row(Who::Sidecar, &ours), row(Who::Floor, &least)])
}

fn row(who: Who, samples: &[Sample]) -> Latency {
    Latency {
        who,
        dispatch: Spread::of(samples.iter().map(|sample| sample.dispatch).collect()),
        end_to_end: Spread::of(samples.iter().map(|sample| sample.end_to_end).collect()),
    }
}
