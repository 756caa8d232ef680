//! What is measured, one file a part.

mod flood;
mod growth;
mod herd;
mod idle;
mod latency;
pub(crate) mod size;
mod start;

use clap::ValueEnum;

use crate::report::Report;
use crate::world::World;

/// A part of the benchmark.
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
}

impl Part {
    pub(crate) const ALL: [Self; 9] = [
        Self::Size,
        Self::Idle,
        Self::Start,
        Self::Latency,
        Self::Herd,
        Self::Flood,
        Self::Sites,
        Self::Replicas,
        Self::Waiting,
    ];

    /// What it says while it runs.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Size => "a cold build, some minutes",
            Self::Idle => "a minute of rest, after half a minute to get there",
            Self::Start => "from exec to a subscription, and to the solver",
            Self::Latency => "from a report to the solver, and to the new token; some minutes with Celery",
            Self::Herd => "1,000 parsers meet a 401 at once; some minutes with Celery",
            Self::Flood => "messages as fast as Redis takes them",
            Self::Sites => "1 to 10,000 sites in one process",
            Self::Replicas => "1 to 100 sidecars beside each other",
            Self::Waiting => "1 to 10,000 parsers that wait for one token",
        }
    }

    pub(crate) fn measure(self, world: &World, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Self::Size => report.size = Some(size::measure(world)?),
            Self::Idle => report.idle = idle::measure(world)?,
            Self::Start => report.start = start::measure(world)?,
            Self::Latency => report.latency = latency::measure(world)?,
            Self::Herd => report.herd = herd::measure(world)?,
            Self::Flood => report.flood = flood::measure(world)?,
            Self::Sites => report.sites = growth::sites(world)?,
            Self::Replicas => report.replicas = growth::replicas(world)?,
            Self::Waiting => report.waiting = growth::waiting(world)?,
        }
        Ok(())
    }
}
