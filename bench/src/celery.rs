//! The Celery design that the sidecar replaces, and the parsers in Python that both are measured with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::clock::Instant;
use crate::parsers::Sample;
use crate::process::{Process, Redis, until};
use crate::report::{Herd, Who};
use crate::resp::Reply;
use crate::solver::Solver;
use crate::world::TOKEN;

/// Celery's own; the guide has no other.
const QUEUE: &str = "celery";
/// Samples that count for nothing: whatever is done for the first time is done in them.
const WARMUP: &str = "3";
/// Over how many processes a herd of parsers is spread.
const HERD_PROCESSES: u32 = 4;
/// How long a parser of a herd goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Celery as one starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Beat and a worker with two processes, as the guide has it.
    Guide,
    /// Beat within a worker that is one process, without gossip, mingle and heartbeat.
    Leanest,
}

/// What runs beside a Redis and a solver: programs of one virtual environment, and the folder that they write to.
pub(crate) struct Celery<'a> {
    programs: &'a Path,
    redis: &'a Redis,
    solver: &'a Solver,
    folder: TempDir,
    switches: Vec<(&'static str, &'static str)>,
}

/// A line of `parsers.py latency`.
#[derive(Deserialize)]
struct Line {
    refused_ns: u64,
    token_ns: u64,
}

/// What `parsers.py herd` says in the end.
#[derive(Deserialize)]
struct Outcome {
    working_ms: Vec<f64>,
    gave_up: u32,
}

impl<'a> Celery<'a> {
    pub(crate) fn new(programs: &'a Path, redis: &'a Redis, solver: &'a Solver) -> anyhow::Result<Self> {
        Ok(Self { programs, redis, solver, folder: tempfile::tempdir()?, switches: Vec::new() })
    }

    /// With switches of `bench/celery/README.md`.
    pub(crate) fn tuned(mut self, switches: &[(&'static str, &'static str)]) -> Self {
        self.switches.extend(switches);
        self
    }

    /// Starts beat and worker; they are there before they are ready.
    pub(crate) fn start(&self, layout: Layout) -> anyhow::Result<Vec<Process>> {
        let celery = |arguments: &[&str]| Process::start(self.celery()?.args(arguments).arg("--loglevel=warning"));
        match layout {
            Layout::Guide => Ok(vec![celery(&["worker", "--concurrency=2"])?, celery(&["beat"])?]),
            Layout::Leanest => {
                let lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"];
                Ok(vec![celery(&[&["worker", "--beat", "--pool=solo"], &lean[..]].concat())?])
            }
        }
    }

    /// Starts beat and worker, and waits until they have stored a first token.
    pub(crate) fn ready(&self, layout: Layout) -> anyhow::Result<Vec<Process>> {
        let processes = self.start(layout)?;
        self.trigger()?;
        self.token()?;
        Ok(processes)
    }

    /// Queues a task, as a parser does.
    pub(crate) fn trigger(&self) -> anyhow::Result<()> {
        let task = "services.celery_tasks.update_chitai_gorod_token";
        let done = self.celery()?.args(["call", task]).stdout(Stdio::null()).status()?;
        ensure!(done.success(), "no task could be queued");
        Ok(())
    }

    /// Waits for the first token.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let mut link = self.redis.connect()?;
        until("the first token", || Ok(link.ask(&["GET", TOKEN])?.text()))
    }

    /// What one parser in Python meets, over and over.
    pub(crate) fn latency(&self, client: &str, samples: u32) -> anyhow::Result<Vec<Sample>> {
        let first = self.solver.solves();
        let count = samples.to_string();
        let mut parser = self.parsers(&["--client", client, "latency", &count, "--warmup", WARMUP])?;
        let mut found = Vec::new();
        while let Some(line) = parser.line()? {
            let Line { refused_ns, token_ns } = serde_json::from_str(&line)?;
            let (refused, token) = (Instant::from_nanos(refused_ns), Instant::from_nanos(token_ns));
            // One parser at a time, and so one solve after each refusal.
            let asked = self.solver.arrivals(first).into_iter().find(|arrival| *arrival > refused);
            let dispatch = asked.context("the solver was not asked")?.since(refused);
            found.push(Sample { dispatch, end_to_end: token.since(refused) });
        }
        ensure!(found.len() == usize::try_from(samples)?, "the parser has ended early");
        Ok(found)
    }

    /// Many parsers in threads of a few processes, all of which meet a 401 at the same moment.
    pub(crate) fn herd(&self, who: Who, parsers: u32, solve: Duration) -> anyhow::Result<Herd> {
        let client = if who == Who::SidecarPython { "sidecar" } else { "celery" };
        self.solver.expire();
        self.solver.takes(solve);
        let (each, patience) = ((parsers / HERD_PROCESSES).to_string(), PATIENCE.as_secs().to_string());
        let mut herd = Vec::new();
        for _ in 0..HERD_PROCESSES {
            herd.push(self.parsers(&["--client", client, "herd", &each, "--patience", &patience])?);
        }
        for process in &mut herd {
            ensure!(process.line()?.as_deref() == Some("ready"), "a parser has ended early");
        }
        let mut counter = self.redis.count()?;
        let (solves, commands) = (self.solver.solves(), counter.so_far()?);
        let go = Instant::now().nanos() + 100_000_000;
        for process in &mut herd {
            process.tell(&format!("go {go}"))?;
        }
        let (mut last, mut gave_up) = (0.0_f64, 0);
        for process in &mut herd {
            let said = process.line()?.context("a parser has ended early")?;
            let outcome: Outcome = serde_json::from_str(&said)?;
            last = outcome.working_ms.into_iter().fold(last, f64::max);
            gave_up += outcome.gave_up;
        }
        let commands = counter.so_far()? - commands;
        let queued = self.redis.connect()?.ask(&["LLEN", QUEUE])?;
        let queued = if let Reply::Number(queued) = queued { usize::try_from(queued)? } else { 0 };
        Ok(Herd {
            who,
            parsers,
            solve_s: solve.as_secs_f64(),
            solves: self.solver.solves() - solves + queued,
            commands,
            all_work_s: (gave_up == 0).then_some(last / 1e3),
            gave_up,
        })
    }

    fn parsers(&self, arguments: &[&str]) -> anyhow::Result<Process> {
        Process::start(self.command("python")?.arg(sources().join("parsers.py")).args(arguments))
    }

    fn celery(&self) -> anyhow::Result<Command> {
        let mut command = self.command("celery")?;
        command.arg("--app=services.celery_app");
        Ok(command)
    }

    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(std::path::absolute(self.programs.join(program))?);
        command.current_dir(self.folder.path()).stderr(Stdio::null());
        command.env("PYTHONPATH", sources().join("celery")).env("REDIS_URL", self.redis.url());
        command.env("ENV_FILE", self.folder.path().join("tokens.env"));
        command.envs(self.solver.environment()).envs(self.switches.iter().copied());
        Ok(command)
    }
}

/// The folder of this crate, with the Python in it.
fn sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
