//! The parts of the benchmark, one a file; `growth` holds the three that measure curves.

mod browser;
mod files;
mod flood;
mod gateway;
mod growth;
mod herd;
mod idle;
mod latency;
pub(crate) mod size;
mod solvers;
mod start;

use clap::ValueEnum;

use crate::bench::Bench;
use crate::report::Report;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Size,
    Idle,
    Start,
    Latency,
    Herd,
    Flood,
    Sites,
    Replicas,
    Waiting,
    Solvers,
    Files,
    Browser,
    Gateway,
}

impl Part {
    pub(crate) const ALL: [Self; 13] = [
        Self::Size,
        Self::Idle,
        Self::Start,
        Self::Latency,
        Self::Herd,
        Self::Flood,
        Self::Sites,
        Self::Replicas,
        Self::Waiting,
        Self::Solvers,
        Self::Files,
        Self::Browser,
        Self::Gateway,
    ];

    /// Printed while it runs.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Size => "the binary and its dependencies",
            Self::Idle => "a minute in which nothing happens, after half a minute to settle",
            Self::Start => "from exec to the subscription, and to the solver's request",
            Self::Latency => "from a report to the solver's request, and to the new token; minutes with Celery",
            Self::Herd => "1,000 parsers get a 401 at once; minutes with Celery",
            Self::Flood => "messages as fast as Redis accepts them",
            Self::Sites => "1 to 10,000 sites in one process",
            Self::Replicas => "1 to 100 replicas",
            Self::Waiting => "1 to 10,000 parsers that wait for the same token",
            Self::Solvers => "two solvers, of which the first is dead or hangs",
            Self::Files => "commits beside files whose commands fail, hang and fork",
            Self::Browser => "a page opened by a browser of the sidecar's own, and by a real FlareSolverr; minutes",
            Self::Gateway => "the gateway beside nginx, a token that is revoked, 1 GiB each way; minutes",
        }
    }

    pub(crate) fn measure(self, bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Self::Size => report.size = Some(size::measure(bench)?),
            Self::Idle => report.idle = idle::measure(bench)?,
            Self::Start => report.start = start::measure(bench)?,
            Self::Latency => report.latency = latency::measure(bench)?,
            Self::Herd => report.herd = herd::measure(bench)?,
            Self::Flood => report.flood = flood::measure(bench)?,
            Self::Sites => report.sites = growth::sites(bench)?,
            Self::Replicas => report.replicas = growth::replicas(bench)?,
            Self::Waiting => report.waiting = growth::waiting(bench)?,
            Self::Solvers => report.solvers = solvers::measure(bench)?,
            Self::Files => report.files = Some(files::measure(bench)?),
            Self::Browser => report.browser = browser::measure(bench)?,
            Self::Gateway => report.gateway = Some(gateway::measure(bench)?),
        }
        Ok(())
    }
}
