//! How the cost grows with the number of sites, replicas and waiting parsers.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::bench::{Bench, INVALID, TOKEN, UPDATED};
use crate::clock::Instant;
use crate::distribution::Distribution;
use crate::parsers::Parser;
use crate::process::until;
use crate::redis::{RedisServer, command};
use crate::report::{Replicas, Sites, Waiting};
use crate::solver::Solver;

const SITES: [u32; 4] = [1, 100, 1_000, 10_000];
const REPLICAS: [u32; 5] = [1, 3, 10, 30, 100];
const WAITING: [u32; 5] = [1, 10, 100, 1_000, 10_000];
/// How long idle sites are measured, in seconds.
const MEASURED: u32 = 20;
/// Reports for each number of replicas.
const REPORTS: u32 = 20;

pub(super) fn sites(bench: &Bench) -> anyhow::Result<Vec<Sites>> {
    SITES.iter().map(|&count| site_count(bench, count)).collect()
}

fn site_count(bench: &Bench, count: u32) -> anyhow::Result<Sites> {
    let (redis, solver) = (RedisServer::start()?, Solver::start()?);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sites.toml");
    let here = solver.address();
    // As many as the solver's threads, so that the solver is not the bottleneck.
    let mut toml = "flaresolverr.concurrency = 16\n[sites]\nchitai_gorod.enabled = false\n".to_owned();
    for n in 0..count {
        let (page, api) = (format!("http://{here}/shop"), format!("http://{here}/web/api/v2"));
        writeln!(toml, "s{n} = {{ page_url = \"{page}\", api_url = \"{api}\", cookie = \"access-token\" }}")?;
    }
    fs::write(&file, toml)?;
    // The API is not part of what is measured here.
    let settings = [("SIDECAR_CONFIG", &*file.to_string_lossy()), ("SIDECAR_VERIFY", "off")];
    let sidecar = bench.sidecar(&redis, &solver, &settings)?;
    let last = format!("s{}:token:invalid", count - 1);
    until("all sites to subscribe", || Ok((redis.subscribers(&last)? == 1).then_some(())))?;
    let subscribed = Instant::now().since(sidecar.started);
    let mut connection = redis.connect()?;
    until("all tokens", || {
        // Four keys a site: token, cookies, meta and history.
        Ok((connection.ask(&["DBSIZE"])?.number() == Some(4 * i64::from(count))).then_some(()))
    })?;
    thread::sleep(Duration::from_secs(2));
    let mut counter = redis.count_commands()?;
    let (before, commands_before, started) = (sidecar.usage()?, counter.so_far()?, Instant::now());
    thread::sleep(Duration::from_secs(bench.scaled(MEASURED).into()));
    let (after, commands, span) =
        (sidecar.usage()?, counter.so_far()? - commands_before, Instant::now().since(started));
    Ok(Sites {
        sites: count,
        subscribed_s: subscribed.as_secs_f64(),
        rss_kib: after.rss_kib,
        peak_rss_kib: after.peak_kib,
        commands_per_second: commands as f64 / span.as_secs_f64(),
        cpu_percent: 100.0 * (after.cpu - before.cpu).as_secs_f64() / span.as_secs_f64(),
    })
}

pub(super) fn replicas(bench: &Bench) -> anyhow::Result<Vec<Replicas>> {
    REPLICAS.iter().map(|&count| replica_count(bench, count)).collect()
}

fn replica_count(bench: &Bench, count: u32) -> anyhow::Result<Replicas> {
    let (redis, solver) = (RedisServer::start()?, Solver::start()?);
    let settings = [("SIDECAR_DEBOUNCE", "0s"), ("SIDECAR_LISTEN", "off")];
    let _sidecars: Vec<_> = (0..count).map(|_| bench.sidecar(&redis, &solver, &settings)).collect::<Result<_, _>>()?;
    until("all replicas to subscribe", || Ok((redis.subscribers(INVALID)? == i64::from(count)).then_some(())))?;
    let mut connection = redis.connect()?;
    until("the first token", || Ok(connection.ask(&["GET", TOKEN])?.text()))?;
    // At start-up every replica verifies the token.
    thread::sleep(Duration::from_secs(3));
    // As with a browser, long enough for all replicas to see the lock.
    solver.set_solve_time(Duration::from_millis(100));
    let mut parser = Parser::subscribed(&redis, INVALID, UPDATED, TOKEN)?;
    let mut counter = redis.count_commands()?;
    let (solves, commands) = (solver.solves(), counter.so_far()?);
    let mut samples = Vec::new();
    for _ in 0..REPORTS {
        samples.push(parser.sample(&solver)?.end_to_end);
        thread::sleep(Duration::from_millis(500));
    }
    Ok(Replicas {
        replicas: count,
        reports: samples.len(),
        solves: solver.solves() - solves,
        commands_per_report: (counter.so_far()? - commands) as f64 / samples.len() as f64,
        end_to_end: Distribution::of(samples),
    })
}

pub(super) fn waiting(bench: &Bench) -> anyhow::Result<Vec<Waiting>> {
    WAITING.iter().map(|&count| waiting_count(bench, count)).collect()
}

fn waiting_count(bench: &Bench, count: u32) -> anyhow::Result<Waiting> {
    let (redis, solver) = (RedisServer::start()?, Solver::start()?);
    let _sidecar = bench.ready_sidecar(&redis, &solver, &[("SIDECAR_DEBOUNCE", "0s")])?;
    let mut subscriptions = Vec::new();
    for _ in 0..count {
        let mut subscription = redis.connect()?;
        subscription.subscribe(&[UPDATED])?;
        subscriptions.push(subscription);
    }
    let mut connection = redis.connect()?;
    let get = command(&["GET", TOKEN]);
    let started = Instant::now();
    connection.ask(&["PUBLISH", INVALID, "now"])?;
    let mut first = None;
    for subscription in &mut subscriptions {
        subscription.message()?;
        connection.send(&get)?;
        connection.reply()?;
        first.get_or_insert_with(|| Instant::now().since(started));
    }
    let last = Instant::now().since(started);
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    Ok(Waiting { parsers: count, first_ms: first.map_or(f64::NAN, ms), last_ms: ms(last) })
}
