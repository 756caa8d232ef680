//! More of everything: the curve, not a point.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::clock::Instant;
use crate::parsers::Parser;
use crate::process::{Redis, until};
use crate::report::{Replicas, Sites, Waiting};
use crate::resp::command;
use crate::solver::Solver;
use crate::spread::Spread;
use crate::world::{INVALID, TOKEN, UPDATED, World};

const SITES: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const REPLICAS: [u32; 5] = [1, 3, 10, 30, 100];
const WAITING: [u32; 5] = [1, 10, 100, 1_000, 10_000];
/// How long sites are watched at rest, in seconds.
const REST: u32 = 20;
/// Reports to each number of replicas.
const REPORTS: u32 = 20;

pub(super) fn sites(world: &World) -> anyhow::Result<Vec<Sites>> {
    SITES.iter().map(|&count| site_count(world, count)).collect()
}

fn site_count(world: &World, count: u32) -> anyhow::Result<Sites> {
    let (redis, solver) = (Redis::start()?, Solver::start()?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sites.toml");
    let here = solver.address();
    // As many browsers as the solver has: what is measured is the sidecar.
    let mut toml = "flaresolverr.concurrency = 16\n[sites]\nchitai_gorod.enabled = false\n".to_owned();
    for n in 0..count {
        let (page, api) = (format!("http://{here}/shop"), format!("http://{here}/web/api/v2"));
        writeln!(toml, "s{n} = {{ page_url = \"{page}\", api_url = \"{api}\", cookie = \"access-token\" }}")?;
    }
    fs::write(&file, toml)?;
    // Only the newest token works: each site would find that of the one before it refused.
    let settings = [("SIDECAR_CONFIG", &*file.to_string_lossy()), ("SIDECAR_VERIFY", "off")];
    let sidecar = world.sidecar(&redis, &solver, &settings)?;
    let last = format!("s{}:token:invalid", count - 1);
    until("the sites", || Ok((redis.listeners(&last)? == 1).then_some(())))?;
    let subscribed = Instant::now().since(sidecar.began);
    let mut link = redis.connect()?;
    until("the tokens", || {
        // Token, cookies, meta and history.
        Ok((link.ask(&["DBSIZE"])?.number() == Some(4 * i64::from(count))).then_some(()))
    })?;
    thread::sleep(Duration::from_secs(2));
    let mut counter = redis.count()?;
    let (before, asked, began) = (sidecar.weight()?, counter.so_far()?, Instant::now());
    thread::sleep(Duration::from_secs(world.scaled(REST).into()));
    let (after, commands, span) = (sidecar.weight()?, counter.so_far()? - asked, Instant::now().since(began));
    Ok(Sites {
        sites: count,
        subscribed_s: subscribed.as_secs_f64(),
        rss_kib: after.rss_kib,
        peak_rss_kib: after.peak_kib,
        commands_per_second: commands as f64 / span.as_secs_f64(),
        cpu_percent: 100.0 * (after.cpu - before.cpu).as_secs_f64() / span.as_secs_f64(),
    })
}

pub(super) fn replicas(world: &World) -> anyhow::Result<Vec<Replicas>> {
    REPLICAS.iter().map(|&count| replica_count(world, count)).collect()
}

fn replica_count(world: &World, count: u32) -> anyhow::Result<Replicas> {
    let (redis, solver) = (Redis::start()?, Solver::start()?);
    let settings = [("SIDECAR_DEBOUNCE", "0s"), ("SIDECAR_LISTEN", "off")];
    let _sidecars: Vec<_> = (0..count).map(|_| world.sidecar(&redis, &solver, &settings)).collect::<Result<_, _>>()?;
    until("the replicas", || Ok((redis.listeners(INVALID)? == i64::from(count)).then_some(())))?;
    let mut link = redis.connect()?;
    until("the first token", || Ok(link.ask(&["GET", TOKEN])?.text()))?;
    // Every replica asks at its start whether the token works.
    thread::sleep(Duration::from_secs(3));
    // Long enough for all replicas to hear of it, as a browser is.
    solver.takes(Duration::from_millis(100));
    let mut parser = Parser::listening(&redis, INVALID, UPDATED, TOKEN)?;
    let mut counter = redis.count()?;
    let (solves, asked) = (solver.solves(), counter.so_far()?);
    let mut samples = Vec::new();
    for _ in 0..REPORTS {
        samples.push(parser.sample(&solver)?.end_to_end);
        thread::sleep(Duration::from_millis(500));
    }
    Ok(Replicas {
        replicas: count,
        reports: samples.len(),
        solves: solver.solves() - solves,
        commands_per_report: (counter.so_far()? - asked) as f64 / samples.len() as f64,
        end_to_end: Spread::of(samples),
    })
}

pub(super) fn waiting(world: &World) -> anyhow::Result<Vec<Waiting>> {
    WAITING.iter().map(|&count| waiting_count(world, count)).collect()
}

fn waiting_count(world: &World, count: u32) -> anyhow::Result<Waiting> {
    let (redis, solver) = (Redis::start()?, Solver::start()?);
    let _sidecar = world.ready(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
    let mut ears = Vec::new();
    for _ in 0..count {
        let mut ear = redis.connect()?;
        ear.subscribe(&[UPDATED])?;
        ears.push(ear);
    }
    let mut link = redis.connect()?;
    let get = command(&["GET", TOKEN]);
    let began = Instant::now();
    link.ask(&["PUBLISH", INVALID, "now"])?;
    let mut first = None;
    for ear in &mut ears {
        ear.message()?;
        link.send(&get)?;
        link.reply()?;
        first.get_or_insert_with(|| Instant::now().since(began));
    }
    let last = Instant::now().since(began);
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    Ok(Waiting { parsers: count, first_ms: first.map_or(f64::NAN, ms), last_ms: ms(last) })
}
