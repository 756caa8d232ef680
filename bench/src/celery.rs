//! The Celery design that the sidecar replaces, and the Python parsers that measure both designs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::bench::TOKEN;
use crate::clock::Instant;
use crate::parsers::Sample;
use crate::process::{Process, until};
use crate::redis::{RedisServer, Reply};
use crate::report::{Herd, Subject};
use crate::solver::Solver;

/// Celery's default, which the guide uses.
const QUEUE: &str = "celery";
/// Samples that are dropped, because they pay for first-time work.
const WARMUP: &str = "3";
/// Processes that share the parsers of a herd.
const HERD_PROCESSES: u32 = 4;
/// When a parser of a herd gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How Celery is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Beat, and a worker with two processes, as the guide describes it.
    Guide,
    /// Beat and the worker in one process, without gossip, mingle and heartbeat.
    Leanest,
}

/// Celery's programs with a Redis, a solver and a folder to write to.
pub(crate) struct Celery<'a> {
    programs: &'a Path,
    redis: &'a RedisServer,
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

/// The last line of `parsers.py herd`.
#[derive(Deserialize)]
struct Outcome {
    working_ms: Vec<f64>,
    gave_up: u32,
}

impl<'a> Celery<'a> {
    pub(crate) fn new(programs: &'a Path, redis: &'a RedisServer, solver: &'a Solver) -> anyhow::Result<Self> {
        Ok(Self { programs, redis, solver, folder: tempfile::tempdir()?, switches: Vec::new() })
    }

    /// Sets variables of `bench/celery/README.md`.
    pub(crate) fn tuned(mut self, switches: &[(&'static str, &'static str)]) -> Self {
        self.switches.extend(switches);
        self
    }

    /// Starts beat and worker, without waiting until they are ready.
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
    pub(crate) fn start_ready(&self, layout: Layout) -> anyhow::Result<Vec<Process>> {
        let processes = self.start(layout)?;
        self.trigger()?;
        self.token()?;
        Ok(processes)
    }

    /// Queues a task, as a parser does.
    pub(crate) fn trigger(&self) -> anyhow::Result<()> {
        let task = "services.celery_tasks.update_chitai_gorod_token";
        let done = self.celery()?.args(["call", task]).stdout(Stdio::null()).status()?;
        ensure!(done.success(), "the task could not be queued");
        Ok(())
    }

    /// Waits for the first token.
    fn token(&self) -> anyhow::Result<String> {
        let mut connection = self.redis.connect()?;
        until("the first token", || Ok(connection.ask(&["GET", TOKEN])?.text()))
    }

    /// One Python parser that reports and waits, again and again.
    pub(crate) fn latency(&self, client: &str, samples: u32) -> anyhow::Result<Vec<Sample>> {
        let first = self.solver.solves();
        let count = samples.to_string();
        let mut parser = self.parsers(&["--client", client, "latency", &count, "--warmup", WARMUP])?;
        let mut found = Vec::new();
        while let Some(line) = parser.read_line()? {
            let Line { refused_ns, token_ns } = serde_json::from_str(&line)?;
            let (refused, token) = (Instant::from_nanos(refused_ns), Instant::from_nanos(token_ns));
            // There is one parser, so the next solve is its own.
            let arrival = self.solver.arrivals(first).into_iter().find(|arrival| *arrival > refused);
            let dispatch = arrival.context("no solve was requested")?.since(refused);
            found.push(Sample { dispatch, end_to_end: token.since(refused) });
        }
        ensure!(found.len() == usize::try_from(samples)?, "the parser has ended early");
        Ok(found)
    }

    /// Many parsers in threads of a few processes, all of which get a 401 at the same moment.
    pub(crate) fn herd(&self, subject: Subject, parsers: u32, solve: Duration) -> anyhow::Result<Herd> {
        let client = if subject == Subject::SidecarPython { "sidecar" } else { "celery" };
        self.solver.expire();
        self.solver.set_solve_time(solve);
        let (each, patience) = ((parsers / HERD_PROCESSES).to_string(), PATIENCE.as_secs().to_string());
        let mut herd = Vec::new();
        for _ in 0..HERD_PROCESSES {
            herd.push(self.parsers(&["--client", client, "herd", &each, "--patience", &patience])?);
        }
        for process in &mut herd {
            ensure!(process.read_line()?.as_deref() == Some("ready"), "a parser has ended early");
        }
        let mut counter = self.redis.count_commands()?;
        let (solves, commands) = (self.solver.solves(), counter.so_far()?);
        let go = Instant::now().nanos() + 100_000_000;
        for process in &mut herd {
            process.write_line(&format!("go {go}"))?;
        }
        let (mut last, mut gave_up) = (0.0_f64, 0);
        for process in &mut herd {
            let line = process.read_line()?.context("a parser has ended early")?;
            let outcome: Outcome = serde_json::from_str(&line)?;
            last = outcome.working_ms.into_iter().fold(last, f64::max);
            gave_up += outcome.gave_up;
        }
        let commands = counter.so_far()? - commands;
        let queued = self.redis.connect()?.ask(&["LLEN", QUEUE])?;
        let queued = if let Reply::Number(queued) = queued { usize::try_from(queued)? } else { 0 };
        Ok(Herd {
            subject,
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
