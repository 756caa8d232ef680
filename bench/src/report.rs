//! The figures, as they are kept.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::spread::Spread;

/// The file of the figures, in the folder of the documentation.
const FILE: &str = "performance/figures.json";

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Who {
    /// The sidecar.
    Sidecar,
    /// The same, with the project's Python client as the parser.
    SidecarPython,
    /// The fewest round trips.
    Floor,
    /// Celery as the guide has it.
    Guide,
    /// Celery, polled ten times a second.
    Polling,
    /// Celery, waiting for the task's result.
    Result,
    /// Celery with a lock at the trigger.
    Lock,
    /// Celery in one process.
    Leanest,
    /// Redis with a subscriber that does nothing.
    Nobody,
}

impl Who {
    /// As it stands in a table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "token-sidecar",
            Self::SidecarPython => "token-sidecar, Python parser",
            Self::Floor => "the floor",
            Self::Guide => "Celery, as its guide has it",
            Self::Polling => "Celery, polled each 0.1 s",
            Self::Result => "Celery, waiting for the result",
            Self::Lock => "Celery, lock at the trigger",
            Self::Leanest => "Celery, leanest",
            Self::Nobody => "one that does nothing",
        }
    }
}

/// All figures; a part that was not measured has none.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) idle: Vec<Idle>,
    pub(crate) start: Vec<Start>,
    pub(crate) latency: Vec<Latency>,
    pub(crate) herd: Vec<Herd>,
    pub(crate) flood: Vec<Flood>,
    pub(crate) sites: Vec<Sites>,
    pub(crate) replicas: Vec<Replicas>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) size: Option<Size>,
}

/// What something costs while nothing happens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) who: Who,
    pub(crate) processes: u32,
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
    pub(crate) seconds: u32,
    pub(crate) cpu_ms: f64,
    /// Of 10 ms, as the system accounts for them.
    pub(crate) ticks: u64,
    pub(crate) commands_per_minute: f64,
}

/// From `exec` on, in ms.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) who: Who,
    /// Until it is subscribed.
    pub(crate) subscribed: Option<Spread>,
    /// Until it has asked the solver for what was missing when it started.
    pub(crate) solver_asked: Option<Spread>,
}

/// From the report on, in ms.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) who: Who,
    pub(crate) dispatch: Spread,
    pub(crate) end_to_end: Spread,
}

/// Many parsers that meet a 401 at once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Herd {
    pub(crate) who: Who,
    pub(crate) parsers: u32,
    /// What a solve takes.
    pub(crate) solve_s: f64,
    /// Solves asked for until all work, and queued by then.
    pub(crate) solves: usize,
    pub(crate) commands: u64,
    /// Until the last one works again.
    pub(crate) all_work_s: Option<f64>,
    pub(crate) gave_up: u32,
}

/// Messages as fast as Redis takes them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flood {
    pub(crate) who: Who,
    pub(crate) messages: u64,
    /// Of several runs, the one in the middle.
    pub(crate) per_second: f64,
    pub(crate) cpu_s_per_million: f64,
    pub(crate) idle_rss_kib: u64,
    pub(crate) peak_rss_kib: u64,
}

/// A process with so many sites, each with a token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sites {
    pub(crate) sites: u32,
    /// From `exec` until it is subscribed.
    pub(crate) subscribed_s: f64,
    pub(crate) rss_kib: u64,
    pub(crate) peak_rss_kib: u64,
    pub(crate) commands_per_second: f64,
    /// Of one core, while nothing happens.
    pub(crate) cpu_percent: f64,
}

/// So many sidecars beside each other.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Replicas {
    pub(crate) replicas: u32,
    pub(crate) reports: usize,
    pub(crate) solves: usize,
    pub(crate) commands_per_report: f64,
    pub(crate) end_to_end: Spread,
}

/// So many parsers that wait for one token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) parsers: u32,
    /// From the report until the first one, and the last one, holds the token.
    pub(crate) first_ms: f64,
    pub(crate) last_ms: f64,
}

/// What is to be had, and what it is made of.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) binary_bytes: u64,
    /// Of the image, where an engine could build it.
    pub(crate) image_bytes: Option<u64>,
    pub(crate) dependencies: u64,
    pub(crate) cold_build_s: f64,
}

impl Report {
    pub(crate) fn read(docs: &Path) -> anyhow::Result<Self> {
        let path = docs.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not what this version writes", path.display()))
    }

    pub(crate) fn write(&self, docs: &Path) -> anyhow::Result<()> {
        let path = docs.join(FILE);
        fs::create_dir_all(path.parent().unwrap_or(docs))?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// The row of one of those that are compared.
pub(crate) fn row<T>(rows: &[T], who: impl Fn(&T) -> Who, wanted: Who) -> Option<&T> {
    rows.iter().find(|row| who(row) == wanted)
}
