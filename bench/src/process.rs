//! What is measured, as processes: started, weighed and ended.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::AddAssign;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;

use crate::clock::Instant;
use crate::resp::{Reply, Resp};

/// How often something is looked at that is waited for.
const PACE: Duration = Duration::from_micros(200);
/// How long anything may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of ours; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// When it was started.
    pub(crate) began: Instant,
    said: Option<Lines<BufReader<ChildStdout>>>,
}

/// What a process and its children weigh.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weight {
    pub(crate) processes: u32,
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
    /// The greatest that RSS has been.
    pub(crate) peak_kib: u64,
    /// CPU time, as the scheduler counts it.
    pub(crate) cpu: Duration,
    /// CPU time in ticks of 10 ms, as `top` sees it.
    pub(crate) ticks: u64,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let began = Instant::now();
        let mut child =
            command.spawn().with_context(|| format!("{} cannot be run", command.get_program().display()))?;
        let said = child.stdout.take().map(|out| BufReader::new(out).lines());
        Ok(Self { child, began, said })
    }

    /// The next line that it prints; nothing once it has ended.
    pub(crate) fn line(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.said.as_mut().and_then(Iterator::next).transpose()?)
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("it does not listen")?;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        signal(self.child.id(), Signal::TERM)?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "it has ended with {ended}");
        Ok(())
    }

    /// What it and its children weigh.
    pub(crate) fn weight(&self) -> anyhow::Result<Weight> {
        let mut sum = Weight::default();
        for pid in family(self.child.id())? {
            let folder = PathBuf::from(format!("/proc/{pid}"));
            // One that has just ended weighs nothing.
            let Ok(rollup) = fs::read_to_string(folder.join("smaps_rollup")) else { continue };
            sum.processes += 1;
            sum.rss_kib += kib(&rollup, "Rss:");
            sum.pss_kib += kib(&rollup, "Pss:");
            sum.peak_kib += kib(&fs::read_to_string(folder.join("status"))?, "VmHWM:");
            let stat = fs::read_to_string(folder.join("stat"))?;
            let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
            sum.ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
            for task in fs::read_dir(folder.join("task"))? {
                let spent = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
                let nanos = spent.split_ascii_whitespace().next().unwrap_or("0");
                sum.cpu += Duration::from_nanos(nanos.parse()?);
            }
        }
        Ok(sum)
    }
}

impl AddAssign for Weight {
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
        let family = family(self.child.id()).unwrap_or_default();
        for pid in family {
            let _gone = signal(pid, Signal::KILL);
        }
        let _reaped = self.child.wait();
    }
}

/// A Redis of our own, with nothing in it.
#[derive(Debug)]
pub(crate) struct Redis {
    _process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Redis {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let folder = tempfile::tempdir()?;
        let port = address.port().to_string();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--maxclients", "30000"])
            .arg("--dir")
            .arg(folder.path())
            .args(["--loglevel", "warning"]);
        let process = Process::start(&mut command)?;
        until("redis-server", || Ok(Resp::connect(address).is_ok().then_some(())))?;
        Ok(Self { _process: process, address, _folder: folder })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    pub(crate) fn connect(&self) -> anyhow::Result<Resp> {
        Resp::connect(self.address)
    }

    /// Counts from now on the commands that clients send; what a script calls is work of that one command.
    pub(crate) fn count(&self) -> anyhow::Result<Counter> {
        let mut monitor = self.connect()?;
        monitor.ask(&["MONITOR"])?;
        let counted = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&counted);
        thread::spawn(move || {
            while let Ok(line) = monitor.reply() {
                if line.text().is_some_and(|line| !line.contains(" lua] ")) {
                    counting.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Counter { link: self.connect()?, counted, own: 0 })
    }

    /// How many listen to a channel.
    pub(crate) fn listeners(&self, channel: &str) -> anyhow::Result<i64> {
        listeners(&mut self.connect()?, channel)
    }
}

/// How many listen to a channel.
pub(crate) fn listeners(link: &mut Resp, channel: &str) -> anyhow::Result<i64> {
    let Reply::Array(reply) = link.ask(&["PUBSUB", "NUMSUB", channel])? else { bail!("no answer") };
    Ok(reply.get(1).and_then(Reply::number).unwrap_or_default())
}

/// Counts commands, its own not among them.
#[derive(Debug)]
pub(crate) struct Counter {
    link: Resp,
    counted: Arc<AtomicU64>,
    own: u64,
}

impl Counter {
    /// How many there were so far, all of which Redis has worked on by now.
    pub(crate) fn so_far(&mut self) -> anyhow::Result<u64> {
        self.own += 1;
        let before = self.counted.load(Ordering::Relaxed);
        self.link.ask(&["PING"])?;
        until("MONITOR", || Ok((self.counted.load(Ordering::Relaxed) > before).then_some(())))?;
        Ok(self.counted.load(Ordering::Relaxed) - self.own)
    }
}

/// Lets this process, and those that it starts, have as many connections as the system allows them.
pub(crate) fn open_many_files() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Waits until `look` finds something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now().since(began) > PATIENCE {
            bail!("waited in vain for {what}");
        }
        thread::sleep(PACE);
    }
}

fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid.cast_signed()).context("there is no such process")?;
    Ok(kill_process(pid, signal)?)
}

/// A process and all below it.
fn family(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent: u32| (pid, parent)));
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| pid));
        next += 1;
    }
    Ok(family)
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or_default()
}
