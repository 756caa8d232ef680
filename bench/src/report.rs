//! The figures, as they are stored in `docs/performance/figures.json`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;
use crate::machine::Machine;

/// In the folder of the documentation.
const FILE: &str = "performance/figures.json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Subject {
    Sidecar,
    /// With parsers that use the project's Python client.
    SidecarPython,
    Floor,
    /// Celery as its guide describes it.
    Guide,
    /// Celery with parsers that poll ten times a second.
    Polling,
    /// Celery in one process, with parsers that wait for the task's result.
    Result,
    /// Celery with a lock around the trigger.
    Lock,
    /// Celery in one process.
    Leanest,
    /// Redis with a subscriber that drops what it receives.
    RedisAlone,
    /// The source `browser`.
    Browser,
    /// The source `browser`, with a browser that is kept running.
    KeptBrowser,
    /// The source `flaresolverr`, with the FlareSolverr that the tests install.
    Flaresolverr,
    /// The gateway of the sidecar.
    Gateway,
    /// nginx as a reverse proxy.
    Nginx,
}

impl Subject {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sidecar => "token-sidecar",
            Self::SidecarPython => "token-sidecar, Python parser",
            Self::Floor => "the floor",
            Self::Guide => "Celery, as its guide describes it",
            Self::Polling => "Celery, polled every 0.1 s",
            Self::Result => "Celery, waiting for the result",
            Self::Lock => "Celery, lock around the trigger",
            Self::Leanest => "Celery, leanest",
            Self::RedisAlone => "Redis alone",
            Self::Browser => "`browser`",
            Self::KeptBrowser => "`browser`, kept running",
            Self::Flaresolverr => "`flaresolverr`",
            Self::Gateway => "the gateway",
            Self::Nginx => "nginx",
        }
    }
}

/// All figures. A part that was not measured is empty.
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
    pub(crate) solvers: Vec<Solvers>,
    pub(crate) files: Option<Files>,
    pub(crate) browser: Vec<Browser>,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) size: Option<Size>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) subject: Subject,
    pub(crate) processes: u32,
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
    pub(crate) seconds: u32,
    pub(crate) cpu_ms: f64,
    /// CPU time in ticks of 10 ms.
    pub(crate) ticks: u64,
    pub(crate) commands_per_minute: f64,
}

/// Times from `exec`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) subject: Subject,
    pub(crate) subscribed: Option<Distribution>,
    pub(crate) solver_requested: Option<Distribution>,
}

/// Times from the report.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) subject: Subject,
    /// Until the solver has the request.
    pub(crate) dispatch: Distribution,
    /// Until the parser holds the new token.
    pub(crate) end_to_end: Distribution,
}

/// Many parsers that get a 401 at once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Herd {
    pub(crate) subject: Subject,
    pub(crate) parsers: u32,
    /// How long a solve takes.
    pub(crate) solve_s: f64,
    /// Solves requested until all parsers work again, and tasks that are still queued then.
    pub(crate) solves: usize,
    pub(crate) commands: u64,
    /// Until the last parser works again.
    pub(crate) all_work_s: Option<f64>,
    pub(crate) gave_up: u32,
}

/// Messages as fast as Redis accepts them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flood {
    pub(crate) subject: Subject,
    pub(crate) messages: u64,
    /// The median of several runs.
    pub(crate) per_second: f64,
    pub(crate) cpu_s_per_million: f64,
    pub(crate) idle_rss_kib: u64,
    pub(crate) peak_rss_kib: u64,
}

/// One process with many sites.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sites {
    pub(crate) sites: u32,
    /// From `exec` to the subscription.
    pub(crate) subscribed_s: f64,
    pub(crate) rss_kib: u64,
    pub(crate) peak_rss_kib: u64,
    pub(crate) commands_per_second: f64,
    /// Of one core, when idle.
    pub(crate) cpu_percent: f64,
}

/// Many replicas.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Replicas {
    pub(crate) replicas: u32,
    pub(crate) reports: usize,
    pub(crate) solves: usize,
    pub(crate) commands_per_report: f64,
    pub(crate) end_to_end: Distribution,
}

/// Many parsers that wait for the same token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) parsers: u32,
    /// From the report until the first parser, and the last, holds the token.
    pub(crate) first_ms: f64,
    pub(crate) last_ms: f64,
}

/// Two solvers of which the first fails: times from the report until the parser holds the new token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Solvers {
    pub(crate) first: FirstSolver,
    /// The report after the first solver has failed.
    pub(crate) first_report: Distribution,
    /// The ones after it.
    pub(crate) later_reports: Distribution,
}

/// Times from a report until the parser holds the new token.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Files {
    /// Without files.
    pub(crate) plain: Distribution,
    /// With files whose commands fail, hang and leave processes behind.
    pub(crate) beside_commands: Distribution,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FirstSolver {
    /// There is no second one.
    Alone,
    /// It refuses connections.
    Dead,
    /// It does not answer.
    Hung,
}

impl FirstSolver {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Dead => "dead",
            Self::Hung => "hung",
        }
    }
}

/// A page opened by a browser: times from the report to the announcement.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Browser {
    pub(crate) subject: Subject,
    /// The page sets the cookie at once.
    pub(crate) plain: Distribution,
    /// The page's script sets the cookie after 1 s.
    pub(crate) late: Distribution,
    /// Of the sidecar and all processes that serve a solve.
    pub(crate) peak_pss_kib: u64,
    /// Of all that is left after a solve.
    pub(crate) rest_pss_kib: u64,
    pub(crate) rest_processes: u32,
}

/// The gateway in front of an API on the same machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gateway {
    /// Beside another reverse proxy, each alone on the same core.
    pub(crate) proxies: Vec<Proxy>,
    /// From a report to the solver's request.
    pub(crate) dispatch: Distribution,
    /// The same while clients keep the gateway busy.
    pub(crate) busy_dispatch: Distribution,
    pub(crate) revoked: Revoked,
    pub(crate) large: Large,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Proxy {
    pub(crate) subject: Subject,
    /// How much later than from the API itself an answer comes, on one connection: the median.
    pub(crate) added_ms: f64,
    /// Requests answered, with several connections.
    pub(crate) per_second: f64,
    /// Requests answered in a second of the proxy's CPU time.
    pub(crate) per_cpu_second: f64,
    pub(crate) idle_rss_kib: u64,
    /// The highest RSS with many connections.
    pub(crate) peak_rss_kib: u64,
    pub(crate) connections: u32,
}

/// Clients that send one request after another when the token is revoked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Revoked {
    pub(crate) clients: u32,
    /// Requests that were on their way with the old token and were refused one after another, over this time.
    pub(crate) late: u32,
    pub(crate) late_s: f64,
    /// How long a solve takes.
    pub(crate) solve_s: f64,
    pub(crate) solves: usize,
    pub(crate) requests: u64,
    /// Requests that were not answered with 200.
    pub(crate) failures: u64,
    /// From the revocation until each client has had an answer to a request that it sent after it.
    pub(crate) all_go_on_s: f64,
}

/// A body of this size in each direction.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Large {
    pub(crate) bytes: u64,
    pub(crate) idle_rss_kib: u64,
    pub(crate) peak_rss_kib: u64,
    /// What the API could send to a client that read nothing.
    pub(crate) unread_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) binary_bytes: u64,
    pub(crate) dependencies: u64,
}

impl Report {
    pub(crate) fn read(docs: &Path) -> anyhow::Result<Self> {
        let path = docs.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} was written by another version of the benchmark", path.display()))
    }

    pub(crate) fn write(&self, docs: &Path) -> anyhow::Result<()> {
        let path = docs.join(FILE);
        fs::create_dir_all(path.parent().unwrap_or(docs))?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The row of a subject.
pub(crate) fn row<T>(rows: &[T], subject: impl Fn(&T) -> Subject, wanted: Subject) -> Option<&T> {
    rows.iter().find(|row| subject(row) == wanted)
}
