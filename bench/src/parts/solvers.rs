//! Two solvers of which the first fails, beside one alone; a solve takes a second.

use std::time::Duration;

use crate::bench::{Bench, INVALID, TOKEN, UPDATED};
use crate::distribution::Distribution;
use crate::parsers::Parser;
use crate::redis::RedisServer;
use crate::report::{FirstSolver, Solvers};
use crate::solver::Solver;

const SOLVE: Duration = Duration::from_secs(1);
/// A solver that hangs has half of it.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// Each with new processes.
const RUNS: u32 = 5;
/// Within the half minute for which a solver that has failed is left alone.
const LATER_REPORTS: usize = 4;

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Vec<Solvers>> {
    [FirstSolver::Alone, FirstSolver::Dead, FirstSolver::Hung].into_iter().map(|first| row(bench, first)).collect()
}

fn row(bench: &Bench, first: FirstSolver) -> anyhow::Result<Solvers> {
    let (mut first_reports, mut later_reports) = (Vec::new(), Vec::new());
    for _ in 0..bench.scaled(RUNS) {
        let (redis, solver) = (RedisServer::start()?, Solver::start()?);
        let other = solver.another()?;
        let urls = match first {
            FirstSolver::Alone => solver.url(),
            FirstSolver::Dead | FirstSolver::Hung => format!("{} {}", other.url(), solver.url()),
        };
        let max_timeout = format!("{}s", MAX_TIMEOUT.as_secs());
        let settings =
            [("FLARESOLVERR_URL", &*urls), ("FLARESOLVERR_MAX_TIMEOUT", &*max_timeout), ("SIDECAR_DEBOUNCE", "0s")];
        // Its first token comes from the solver that fails then.
        let _sidecar = bench.ready_sidecar(&redis, &solver, &settings)?;
        solver.set_solve_time(SOLVE);
        match first {
            FirstSolver::Alone => {}
            FirstSolver::Dead => other.kill()?,
            FirstSolver::Hung => other.hang(),
        }
        let mut parser = Parser::subscribed(&redis, INVALID, UPDATED, TOKEN)?;
        first_reports.push(parser.sample(&solver)?.end_to_end);
        for _ in 0..LATER_REPORTS {
            Bench::pause();
            later_reports.push(parser.sample(&solver)?.end_to_end);
        }
    }
    let (first_report, later_reports) = (Distribution::of(first_reports), Distribution::of(later_reports));
    Ok(Solvers { first, first_report, later_reports })
}
