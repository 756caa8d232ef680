//! A page that a browser opens: by the sidecar's own browser, started for it or kept, and by an installed FlareSolverr.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::bench::{Bench, FAILED, INVALID, TOKEN, UPDATED};
use crate::clock::Instant;
use crate::distribution::Distribution;
use crate::process::{Process, Usage, free_address, usage_of};
use crate::redis::{Connection, RedisServer};
use crate::report::{Browser, Subject};

const SAMPLES: u32 = 10;
/// Between two looks at the memory of all processes.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
/// After a solve, before the memory at rest is read.
const REST: Duration = Duration::from_secs(3);

/// What does the solves, and the sidecars that ask it.
struct Rival {
    subject: Subject,
    /// FlareSolverr, where it is one.
    server: Option<Process>,
    settings: Vec<(&'static str, String)>,
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Vec<Browser>> {
    let mut shop = Process::start(Command::new(beside("token-sidecar-simulator")?).args(["--listen", "127.0.0.1:0"]))?;
    let shop_url = shop.read_line()?.context("the simulator says no address")?;
    let shop_url = shop_url.trim_end_matches('/').to_owned();
    let browser = |subject, keep: &str| {
        let sandbox = (!rustix::process::getuid().is_root()).to_string();
        let sources = ("SIDECAR_SOURCES", "browser".to_owned());
        Rival {
            subject,
            server: None,
            settings: vec![sources, ("BROWSER_KEEP", keep.to_owned()), ("BROWSER_SANDBOX", sandbox)],
        }
    };
    let rivals = [browser(Subject::Browser, "0s"), browser(Subject::KeptBrowser, "10m"), flaresolverr()?];
    let samples = bench.scaled(SAMPLES);
    // In turns, so that a disturbance of the machine affects all.
    let (mut plain, mut late) = (vec![Vec::new(); rivals.len()], vec![Vec::new(); rivals.len()]);
    for (times, page, wait) in [(&mut plain, "/shop", "0s"), (&mut late, "/shop/late?ms=1000", "1s")] {
        let mut solvers = rivals
            .iter()
            .map(|rival| Solving::start(bench, rival, &shop_url, page, wait))
            .collect::<Result<Vec<_>, _>>()?;
        for _ in 0..samples {
            for (solver, times) in solvers.iter_mut().zip(times.iter_mut()) {
                Bench::pause();
                times.push(solver.solve()?);
            }
        }
    }
    rivals
        .iter()
        .zip(plain.into_iter().zip(late))
        .map(|(rival, (plain, late))| {
            let (peak_pss_kib, rest) = memory(bench, rival, &shop_url)?;
            Ok(Browser {
                subject: rival.subject,
                plain: Distribution::of(plain),
                late: Distribution::of(late),
                peak_pss_kib,
                rest_pss_kib: rest.pss_kib,
                rest_processes: rest.processes,
            })
        })
        .collect()
}

/// A sidecar that opens one page, with its own Redis.
struct Solving {
    sidecar: Process,
    _redis: RedisServer,
    subscription: Connection,
    connection: Connection,
}

impl Solving {
    fn start(bench: &Bench, rival: &Rival, shop: &str, page: &str, wait: &str) -> anyhow::Result<Self> {
        let redis = RedisServer::start()?;
        let mut command = Command::new(std::path::absolute(&bench.sidecar)?);
        // FlareSolverr waits for a cookie that comes late only where it is told to.
        command.args(["run", "--set", &format!("flaresolverr.wait={wait}")]).env_clear().current_dir("/");
        command.env("SIDECAR_LISTEN", "off").env("SIDECAR_DEBOUNCE", "0s").env("REDIS_URL", redis.url());
        command.env("CHITAI_GOROD_SITE_URL", format!("{shop}{page}"));
        command.env("CHITAI_GOROD_API_URL", format!("{shop}/web/api/v2"));
        command.envs(rival.settings.iter().map(|(name, value)| (name, value)));
        let mut sidecar = Process::start_with_log(&mut command)?;
        let (mut subscription, mut connection) = (redis.connect()?, redis.connect()?);
        sidecar.until("the first token", || Ok(connection.ask(&["GET", TOKEN])?.text()))?;
        subscription.subscribe(&[UPDATED, FAILED])?;
        Ok(Self { sidecar, _redis: redis, subscription, connection })
    }

    /// From the report to the announcement of the new token.
    fn solve(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.connection.ask(&["PUBLISH", INVALID, r#"{"force":true}"#])?;
        let (channel, event) = self.subscription.message()?;
        ensure!(channel == UPDATED, "{event}");
        Ok(Instant::now().since(started))
    }
}

/// The highest PSS of all processes that serve a solve, and what is left at rest. Reading the memory of a dozen processes
/// costs more than a solve may be disturbed by, so it has runs of its own.
fn memory(bench: &Bench, rival: &Rival, shop: &str) -> anyhow::Result<(u64, Usage)> {
    let mut solving = Solving::start(bench, rival, shop, "/shop", "0s")?;
    let roots: Vec<u32> = std::iter::once(&solving.sidecar).chain(&rival.server).map(Process::id).collect();
    let done = Arc::new(AtomicBool::new(false));
    let sampling = thread::spawn({
        let (roots, done) = (roots.clone(), Arc::clone(&done));
        move || {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(usage_of(&roots).map_or(0, |usage| usage.pss_kib));
                thread::sleep(SAMPLE_INTERVAL);
            }
            peak
        }
    });
    let solved = (0..3).try_for_each(|_| solving.solve().map(drop));
    done.store(true, Ordering::Relaxed);
    let peak = sampling.join().map_err(|_| anyhow::anyhow!("the sampling thread panicked"))?;
    solved?;
    thread::sleep(REST);
    Ok((peak, usage_of(&roots)?))
}

/// The FlareSolverr that the tests install.
fn flaresolverr() -> anyhow::Result<Rival> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/real-flaresolverr");
    let installed = Command::new(script).arg("install").status().context(script)?;
    ensure!(installed.success(), "a real FlareSolverr cannot be had: see `{script} install`");
    let port = free_address()?.port();
    let mut server = Process::start_with_log(Command::new(script).args(["run", &port.to_string()]))?;
    server.until("FlareSolverr to listen", || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()))
    })?;
    let url = ("FLARESOLVERR_URL", format!("http://127.0.0.1:{port}/v1"));
    Ok(Rival { subject: Subject::Flaresolverr, server: Some(server), settings: vec![url] })
}

/// A program that cargo has put beside this one.
fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    ensure!(program.exists(), "{} is missing: cargo build --release -p {name}", program.display());
    Ok(program)
}
