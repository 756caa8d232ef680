//! Child processes and what they use of the machine.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock::Instant;

const POLL_INTERVAL: Duration = Duration::from_micros(200);
const DEADLINE: Duration = Duration::from_secs(60);

/// A child process; it and its descendants are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) started: Instant,
    output: Option<Lines<BufReader<ChildStdout>>>,
    log: Option<File>,
}

/// What a process and its descendants use.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) processes: u32,
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
    /// The highest RSS so far.
    pub(crate) peak_kib: u64,
    /// CPU time by the scheduler's count.
    pub(crate) cpu: Duration,
    /// CPU time in ticks of 10 ms, as `top` shows it.
    pub(crate) ticks: u64,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let output = child.stdout.take().map(|out| BufReader::new(out).lines());
        Ok(Self { child, started, output, log: None })
    }

    /// Keeps its standard error, to be shown where it ends early.
    pub(crate) fn start_with_log(command: &mut Command) -> anyhow::Result<Self> {
        let log = tempfile::tempfile()?;
        let mut process = Self::start(command.stderr(log.try_clone()?))?;
        process.log = Some(log);
        Ok(process)
    }

    /// Polls until `condition` returns a value; fails where the process has ended, with the last line of its log.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        until(what, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status} before {what}: {}", self.last_log_line()?);
            }
            condition()
        })
    }

    fn last_log_line(&mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        if let Some(log) = &mut self.log {
            log.rewind()?;
            log.read_to_string(&mut text)?;
        }
        Ok(text.lines().last().unwrap_or("no log").to_owned())
    }

    /// The next line of its standard output; none once it has ended.
    pub(crate) fn read_line(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.output.as_mut().and_then(Iterator::next).transpose()?)
    }

    /// Writes a line to its standard input.
    pub(crate) fn write_line(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("its standard input is closed")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        usage_of(&[self.child.id()])
    }
}

/// What processes and their descendants use.
pub(crate) fn usage_of(roots: &[u32]) -> anyhow::Result<Usage> {
    let mut sum = Usage::default();
    for root in roots {
        for pid in with_descendants(*root)? {
            let folder = PathBuf::from(format!("/proc/{pid}"));
            // The process may have ended since the list was read.
            let Ok(rollup) = fs::read_to_string(folder.join("smaps_rollup")) else { continue };
            sum.processes += 1;
            sum.rss_kib += kib(&rollup, "Rss:");
            sum.pss_kib += kib(&rollup, "Pss:");
            let (status, stat) = (fs::read_to_string(folder.join("status")), fs::read_to_string(folder.join("stat")));
            let (Ok(status), Ok(stat), Ok(tasks)) = (status, stat, fs::read_dir(folder.join("task"))) else { continue };
            sum.peak_kib += kib(&status, "VmHWM:");
            let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
            sum.ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
            for task in tasks.flatten() {
                let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let nanos = schedstat.split_ascii_whitespace().next().unwrap_or("0");
                sum.cpu += Duration::from_nanos(nanos.parse()?);
            }
        }
    }
    Ok(sum)
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.processes += other.processes;
        self.rss_kib += other.rss_kib;
        self.pss_kib += other.pss_kib;
        self.peak_kib += other.peak_kib;
        self.cpu += other.cpu;
        self.ticks += other.ticks;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for pid in with_descendants(self.child.id()).unwrap_or_default() {
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                let _already_gone = kill_process(pid, Signal::KILL);
            }
        }
        let _status = self.child.wait();
    }
}

/// Calls a function on one core: the processes and threads that it starts stay on that core.
pub(crate) fn on_core<T>(core: usize, call: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("core {core}"))?;
    let result = call();
    sched_setaffinity(None, &before)?;
    result
}

/// The cores that this process may use.
pub(crate) fn cores() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}

/// An address of this machine on which nothing listens.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Raises the limit of open files of this process and its children to what the system allows.
pub(crate) fn raise_open_files_limit() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Polls until `condition` returns a value.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = condition()? {
            return Ok(found);
        }
        if Instant::now().since(started) > DEADLINE {
            bail!("waited {} s in vain for {what}", DEADLINE.as_secs());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The ids of a process and all its descendants.
fn with_descendants(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent: u32| (pid, parent)));
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        found.extend(parents.iter().filter(|(_, parent)| *parent == process).map(|(pid, _)| pid));
        next += 1;
    }
    Ok(found)
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_early_is_not_waited_for_and_its_last_line_is_shown() -> anyhow::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", "echo starting >&2; echo 'the port is taken' >&2; exit 69"]);
        let mut process = Process::start_with_log(&mut command)?;
        let error = process.until("its subscription", || Ok(None::<()>)).err().context("it cannot be there")?;
        assert_eq!(error.to_string(), "it ended with exit status: 69 before its subscription: the port is taken");
        Ok(())
    }
}
