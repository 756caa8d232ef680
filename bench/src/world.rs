//! What is measured, and how it is started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::floor;
use crate::process::{Process, Redis, until};
use crate::solver::Solver;

/// The channel that the sidecar listens to.
pub(crate) const INVALID: &str = "chitai_gorod:token:invalid";
/// Where it says that there is a token.
pub(crate) const UPDATED: &str = "chitai_gorod:token:updated";
/// Where it says that there is none.
pub(crate) const FAILED: &str = "chitai_gorod:token:failed";
/// Where it stores the token.
pub(crate) const TOKEN: &str = "chitai_gorod_token";

/// What the programs are, and how much of them is measured.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) sidecar: PathBuf,
    pub(crate) python: Option<PathBuf>,
    pub(crate) quick: bool,
}

impl World {
    /// So many samples, or so much time, or less of it.
    pub(crate) fn scaled(&self, whole: u32) -> u32 {
        if self.quick { whole.div_ceil(10) } else { whole }
    }

    /// A sidecar that knows of Redis and the solver, and of nothing else. `settings` is what differs from the defaults.
    pub(crate) fn sidecar(&self, redis: &Redis, solver: &Solver, settings: &[(&str, &str)]) -> anyhow::Result<Process> {
        Self::sidecar_by(Command::new(self.binary()?), redis, solver, settings)
    }

    /// Where the sidecar is, from anywhere.
    pub(crate) fn binary(&self) -> anyhow::Result<PathBuf> {
        Ok(std::path::absolute(&self.sidecar)?)
    }

    /// The same, by a command that ends in the sidecar's path.
    pub(crate) fn sidecar_by(
        mut command: Command,
        redis: &Redis,
        solver: &Solver,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Process> {
        // Away from any `.env`; its log is written, and thrown away.
        command.arg("run").env_clear().current_dir("/").stderr(Stdio::null());
        command.env("REDIS_URL", redis.url()).envs(solver.environment()).envs(settings.iter().copied());
        Process::start(&mut command)
    }

    /// A sidecar that has its first token, and rests.
    pub(crate) fn ready(&self, redis: &Redis, solver: &Solver, settings: &[(&str, &str)]) -> anyhow::Result<Process> {
        let sidecar = self.sidecar(redis, solver, settings)?;
        let mut link = redis.connect()?;
        until("the first token", || Ok(link.ask(&["GET", TOKEN])?.text()))?;
        until("the sidecar", || Ok((redis.listeners(INVALID)? > 0).then_some(())))?;
        Ok(sidecar)
    }

    /// The floor.
    pub(crate) fn floor(redis: &Redis, solver: &Solver) -> anyhow::Result<Process> {
        let (redis, solver) = (redis.address().to_string(), solver.address().to_string());
        Process::start(Command::new(std::env::current_exe()?).args(["floor", &redis, &solver]))
    }

    /// The floor, listening.
    pub(crate) fn listening_floor(redis: &Redis, solver: &Solver) -> anyhow::Result<Process> {
        let floor = Self::floor(redis, solver)?;
        until("the floor", || Ok((redis.listeners(floor::INVALID)? == 1).then_some(())))?;
        Ok(floor)
    }

    /// A subscriber that does nothing with what it hears.
    pub(crate) fn drain(redis: &Redis, channel: &str) -> anyhow::Result<Process> {
        let at = redis.address().to_string();
        let drain = Process::start(Command::new(std::env::current_exe()?).args(["drain", &at, channel]))?;
        until("the subscriber", || Ok((redis.listeners(channel)? == 1).then_some(())))?;
        Ok(drain)
    }

    /// The Python of the comparison with Celery.
    pub(crate) fn python(&self) -> Option<&Path> {
        self.python.as_deref()
    }

    /// A short time in which nothing happens, so that one sample does not touch the next.
    pub(crate) fn pause() {
        std::thread::sleep(Duration::from_micros(fastrand::u64(20_000..60_000)));
    }
}
