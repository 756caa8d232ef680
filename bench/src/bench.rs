//! The programs under measurement, and how they are started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::floor;
use crate::process::{Process, until};
use crate::redis::{Connection, RedisServer};
use crate::solver::Solver;

/// The channels and the key of the sidecar's built-in site.
pub(crate) const INVALID: &str = "chitai_gorod:token:invalid";
pub(crate) const UPDATED: &str = "chitai_gorod:token:updated";
pub(crate) const FAILED: &str = "chitai_gorod:token:failed";
pub(crate) const TOKEN: &str = "chitai_gorod_token";

/// Where the programs are, and how much is measured.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) sidecar: PathBuf,
    pub(crate) python: Option<PathBuf>,
    pub(crate) quick: bool,
}

impl Bench {
    /// A number of samples or seconds; a tenth of it with `--quick`.
    pub(crate) fn scaled(&self, whole: u32) -> u32 {
        whole.div_ceil(self.scaled_down())
    }

    /// By how much a number of samples or a time is divided.
    pub(crate) const fn scaled_down(&self) -> u32 {
        if self.quick { 10 } else { 1 }
    }

    /// Starts a sidecar with this Redis and this solver. `settings` are the variables that differ from the defaults.
    pub(crate) fn sidecar(
        &self,
        redis: &RedisServer,
        solver: &Solver,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Process> {
        let mut command = Command::new(std::path::absolute(&self.sidecar)?);
        // In a folder without a `.env`, and on a free port.
        command.arg("run").env_clear().current_dir("/").env("SIDECAR_LISTEN", "127.0.0.1:0");
        command.env("REDIS_URL", redis.url()).envs(solver.environment()).envs(settings.iter().copied());
        Process::start_with_log(&mut command)
    }

    /// Starts a sidecar and waits until it is subscribed and has stored its first token.
    pub(crate) fn ready_sidecar(
        &self,
        redis: &RedisServer,
        solver: &Solver,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Process> {
        let mut sidecar = self.sidecar(redis, solver, settings)?;
        let mut connection = redis.connect()?;
        sidecar.until("the first token", || Ok(connection.ask(&["GET", TOKEN])?.text()))?;
        sidecar.until("its subscription", || Ok((redis.subscribers(INVALID)? > 0).then_some(())))?;
        Ok(sidecar)
    }

    /// Starts the [floor](crate::floor).
    pub(crate) fn floor(redis: &RedisServer, solver: &Solver) -> anyhow::Result<Process> {
        let (redis, solver) = (redis.address().to_string(), solver.address().to_string());
        Process::start(Command::new(std::env::current_exe()?).args(["floor", &redis, &solver]))
    }

    /// Starts the floor and waits until it is subscribed.
    pub(crate) fn ready_floor(redis: &RedisServer, solver: &Solver) -> anyhow::Result<Process> {
        let floor = Self::floor(redis, solver)?;
        until("the floor to subscribe", || Ok((redis.subscribers(floor::INVALID)? == 1).then_some(())))?;
        Ok(floor)
    }

    /// Starts a subscriber that drops what it receives.
    pub(crate) fn drain(redis: &RedisServer, channel: &str) -> anyhow::Result<Process> {
        let address = redis.address().to_string();
        let drain = Process::start(Command::new(std::env::current_exe()?).args(["drain", &address, channel]))?;
        until("the subscriber", || Ok((redis.subscribers(channel)? == 1).then_some(())))?;
        Ok(drain)
    }

    /// The folder of Celery's programs, where Celery is to be measured.
    pub(crate) fn python(&self) -> Option<&Path> {
        self.python.as_deref()
    }

    /// A short random pause, so that one sample does not influence the next.
    pub(crate) fn pause() {
        std::thread::sleep(Duration::from_micros(fastrand::u64(20_000..60_000)));
    }
}

/// Publishes a report that always leads to a solve, and waits until the solver receives the request.
pub(crate) fn force_refresh(connection: &mut Connection, solver: &Solver) -> anyhow::Result<()> {
    let next = solver.solves();
    connection.ask(&["PUBLISH", INVALID, r#"{"force":true}"#])?;
    solver.arrival(next)?;
    Ok(())
}
