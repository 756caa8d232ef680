//! Refreshes, brought about one after the other, and a sidecar under valgrind that works on them.

use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Process, Redis, until};
use crate::resp::Resp;
use crate::solver::Solver;
use crate::world::{INVALID, World};

/// Reports so that it leads to a solve whatever came before, and waits until the solver is asked.
pub(crate) fn force(link: &mut Resp, solver: &Solver) -> anyhow::Result<()> {
    let next = solver.solves();
    link.ask(&["PUBLISH", INVALID, r#"{"force":true}"#])?;
    solver.arrival(next)?;
    Ok(())
}

/// Refreshes; their numbers tell which of the sidecar's they are after its first.
pub(crate) fn run(redis: &Redis, solver: &Solver, numbers: RangeInclusive<u32>) -> anyhow::Result<()> {
    let mut link = redis.connect()?;
    for number in numbers {
        force(&mut link, solver)?;
        until_noted(&mut link, number + 1)?;
    }
    Ok(())
}

/// Waits until so many refreshes are noted in the history.
pub(crate) fn until_noted(link: &mut Resp, wanted: u32) -> anyhow::Result<()> {
    until("the refresh", || {
        let noted = link.ask(&["XLEN", "{chitai_gorod_token}:history"])?.number();
        Ok((noted >= Some(wanted.into())).then_some(()))
    })
}

/// A sidecar under valgrind, and what valgrind writes.
pub(crate) struct Watched {
    pub(crate) sidecar: Process,
    log: PathBuf,
    _folder: TempDir,
}

impl Watched {
    /// Starts it, and waits for its first token.
    pub(crate) fn start(
        world: &World,
        redis: &Redis,
        solver: &Solver,
        valgrind: &[&str],
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("valgrind");
        let mut command = Command::new("valgrind");
        command.args(valgrind).arg(format!("--log-file={}", log.display())).arg(world.binary()?);
        let sidecar = World::sidecar_by(command, redis, solver, settings)?;
        until_noted(&mut redis.connect()?, 1)?;
        Ok(Self { sidecar, log, _folder: folder })
    }

    /// Ends it, and gives all that valgrind wrote.
    pub(crate) fn end(self) -> anyhow::Result<String> {
        self.sidecar.end()?;
        Ok(fs::read_to_string(self.log)?)
    }
}
