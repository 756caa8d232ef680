//! The sidecar as a process, and what its browsers leave on the machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::world::{Env, text};
use crate::process::{Running, World};

/// A world whose sidecars have a folder for temporary files of their own.
pub(crate) struct Machine {
    pub(crate) world: World,
    temp: PathBuf,
}

/// A process of a browser.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) arguments: String,
    parent: u32,
}

impl Machine {
    pub(crate) fn start(world: World) -> Self {
        let temp = world.path("temp");
        fs::create_dir(&temp).unwrap();
        Self { world, temp }
    }

    /// The variables of a sidecar whose source is a browser without a sandbox, as the tests may run as root.
    pub(crate) fn env<'a>(&'a self, more: &Env<'a>) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("SIDECAR_SOURCES", "browser"),
            ("BROWSER_SANDBOX", "false"),
            ("SIDECAR_DEBOUNCE", "0s"),
            ("TMPDIR", text(&self.temp)),
        ];
        own.iter().chain(more).copied().collect()
    }

    /// A sidecar that opens this page of the simulator, and is subscribed to triggers.
    pub(crate) fn sidecar(&self, page: &str, env: &Env<'_>) -> Running {
        let url = self.world.simulator.url(page);
        let env = [&[("CHITAI_GOROD_SITE_URL", url.as_str())], env].concat();
        self.world.begin(&["run"], &self.env(&env)).listening()
    }

    /// All processes of all browsers: their working folder is their profile.
    pub(crate) fn processes(&self) -> HashSet<Process> {
        processes_in(&self.temp)
    }

    /// The browsers themselves.
    pub(crate) fn browsers(&self, sidecar: &Running) -> Vec<u32> {
        let is_main = |process: &Process| process.parent == sidecar.pid();
        self.processes().into_iter().filter(is_main).map(|process| process.pid).collect()
    }

    /// Kills the processes whose arguments contain this.
    pub(crate) fn kill(&self, arguments: &str) {
        for process in self.processes().iter().filter(|process| process.arguments.contains(arguments)) {
            kill(process.pid);
        }
    }

    /// What is in the folder for temporary files, and in the folders of the sidecars there.
    pub(crate) fn entries(&self) -> Vec<PathBuf> {
        let list = |folder: &Path| -> Vec<PathBuf> {
            fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
        };
        let folders = list(&self.temp);
        let inner: Vec<PathBuf> = folders.iter().flat_map(|folder| list(folder)).collect();
        [folders, inner].concat()
    }
}

pub(crate) fn kill(pid: u32) {
    // It may just have ended by itself.
    let _status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
}

/// The processes whose working folder is in this folder.
pub(crate) fn processes_in(folder: &Path) -> HashSet<Process> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let here =
        pids.filter(|pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at.starts_with(folder)));
    here.filter_map(|pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        Some(Process { pid, arguments, parent })
    })
    .collect()
}

/// The TCP ports that these processes listen on, as `/proc/net` shows them.
pub(crate) fn listening(pids: &[u32]) -> Vec<String> {
    let sockets: HashSet<String> = pids
        .iter()
        .flat_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten())
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    // The fourth field is the state (0A: listens), the tenth the inode.
    fields
        .filter(|fields| fields[3] == "0A" && sockets.contains(&format!("socket:[{}]", fields[9])))
        .map(|fields| fields[1].to_owned())
        .collect()
}

/// The open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
