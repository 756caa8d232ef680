//! The gateway: what it adds beside nginx, a token that is revoked under its clients, large bodies, and what its work does
//! to the refreshes of the same process.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::api::Api;
use crate::bench::{Bench, INVALID, TOKEN, UPDATED};
use crate::clock::Instant;
use crate::distribution::Distribution;
use crate::http::{Client, Load, request};
use crate::nginx::Nginx;
use crate::parsers::Parser;
use crate::process::{Process, cores, free_address, on_core, until};
use crate::redis::RedisServer;
use crate::report::{Gateway, Large, Proxy, Revoked, Subject};
use crate::solver::Solver;

const SITE: &str = "chitai_gorod";
/// All that is compared takes turns, so that a disturbance of the machine affects all of it.
const ROUNDS: usize = 9;
/// On one connection, in a round.
const REQUESTS: u32 = 2_000;
/// Connections that keep a proxy busy.
const BUSY: u32 = 64;
/// How long they do in a round.
const BUSY_TIME: Duration = Duration::from_secs(2);
/// Connections for the memory that they take.
const CONNECTIONS: u32 = 1_000;
/// How long these send requests.
const CONNECTED: Duration = Duration::from_secs(5);
/// Refreshes in a round.
const REFRESHES: u32 = 20;
/// Clients when the token is revoked.
const CLIENTS: u32 = 1_000;
const SOLVE: Duration = Duration::from_secs(3);
/// Requests that are refused late.
const LATE: u32 = 100;
/// Over which time they are.
const LATE_FOR: Duration = Duration::from_secs(30);
/// How long the clients are at work before it is.
const BEFORE: Duration = Duration::from_secs(1);
const LARGE: u64 = 1 << 30;
/// How long nothing is sent before the API counts as stopped.
const STOPPED: Duration = Duration::from_secs(1);

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Gateway> {
    let cores = cores()?;
    let [first, second, ..] = cores[..] else { anyhow::bail!("two cores are needed: one is that of the proxy") };
    // All but the proxies, and the sidecar where it is measured alone, runs on the second core.
    on_core(second, || {
        let proxies = proxies(bench, first)?;
        let (dispatch, busy_dispatch) = dispatch(bench, first)?;
        Ok(Gateway { proxies, dispatch, busy_dispatch, revoked: revoked(bench, first)?, large: large(bench, first)? })
    })
}

/// A sidecar with its gateway, and what it needs.
struct Gated {
    sidecar: Process,
    address: SocketAddr,
    redis: RedisServer,
    solver: Solver,
}

impl Gated {
    fn start(bench: &Bench, core: usize, solver: Solver, api: &str) -> anyhow::Result<Self> {
        let (redis, address) = (RedisServer::start()?, free_address()?);
        let listen = address.to_string();
        let settings = [("SIDECAR_GATEWAY", &listen[..]), ("CHITAI_GOROD_API_URL", api), ("SIDECAR_DEBOUNCE", "0s")];
        let mut sidecar = on_core(core, || bench.ready_sidecar(&redis, &solver, &settings))?;
        let mut client = Client::open(address)?;
        sidecar.until("the gateway to serve", || {
            Ok((client.ask(&request(&format!("/{SITE}/x")))? == 200).then_some(()))
        })?;
        Ok(Self { sidecar, address, redis, solver })
    }
}

/// The median of an odd number of figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A proxy under measurement, and its figures of each round.
struct Rival<'a> {
    subject: Subject,
    process: &'a Process,
    address: SocketAddr,
    idle_rss_kib: u64,
    added_ms: Vec<f64>,
    per_second: Vec<f64>,
    per_cpu_second: Vec<f64>,
}

impl<'a> Rival<'a> {
    fn new(subject: Subject, process: &'a Process, address: SocketAddr) -> anyhow::Result<Self> {
        let idle_rss_kib = process.usage()?.rss_kib;
        let (added_ms, per_second, per_cpu_second) = Default::default();
        Ok(Self { subject, process, address, idle_rss_kib, added_ms, per_second, per_cpu_second })
    }

    fn busy(&mut self, request: &[u8], time: Duration) -> anyhow::Result<()> {
        let load = Load::start(self.address, request, BUSY)?;
        let (before, cpu, started) = (load.answered(), self.process.usage()?.cpu, Instant::now());
        thread::sleep(time);
        let (after, spent, took) = (load.answered(), self.process.usage()?.cpu - cpu, Instant::now().since(started));
        ensure!(load.stop()?.failures == 0, "{} failed", self.subject.name());
        let answered = (after - before) as f64;
        self.per_second.push(answered / took.as_secs_f64());
        self.per_cpu_second.push(answered / spent.as_secs_f64());
        Ok(())
    }

    fn finish(self, request: &[u8], bench: &Bench) -> anyhow::Result<Proxy> {
        let connections = bench.scaled(CONNECTIONS);
        let load = Load::start(self.address, request, connections)?;
        thread::sleep(CONNECTED);
        let peak_rss_kib = self.process.usage()?.peak_kib;
        ensure!(load.stop()?.failures == 0, "{} failed", self.subject.name());
        Ok(Proxy {
            subject: self.subject,
            added_ms: median(self.added_ms),
            per_second: median(self.per_second),
            per_cpu_second: median(self.per_cpu_second),
            idle_rss_kib: self.idle_rss_kib,
            peak_rss_kib,
            connections,
        })
    }
}

fn proxies(bench: &Bench, core: usize) -> anyhow::Result<Vec<Proxy>> {
    let api = Nginx::api()?;
    let gated = Gated::start(bench, core, Solver::start()?, &format!("http://{}", api.address()))?;
    let token = gated.redis.token()?;
    let nginx = on_core(core, || Nginx::proxy(api.address(), SITE, &token))?;
    let mut rivals = [
        Rival::new(Subject::Gateway, &gated.sidecar, gated.address)?,
        Rival::new(Subject::Nginx, &nginx.process, nginx.address())?,
    ];
    let (direct, through) = (request("/search"), request(&format!("/{SITE}/search")));
    for _ in 0..ROUNDS {
        let alone = one_connection(bench, api.address(), &direct)?;
        for rival in &mut rivals {
            rival.added_ms.push(one_connection(bench, rival.address, &through)? - alone);
        }
        for rival in &mut rivals {
            rival.busy(&through, BUSY_TIME / bench.scaled_down())?;
        }
    }
    rivals.into_iter().map(|rival| rival.finish(&through, bench)).collect()
}

/// From a request to its answer: the median, in milliseconds.
fn one_connection(bench: &Bench, address: SocketAddr, request: &[u8]) -> anyhow::Result<f64> {
    let mut client = Client::open(address)?;
    let mut times = Vec::new();
    for _ in 0..bench.scaled(REQUESTS) {
        let started = Instant::now();
        ensure!(client.ask(request)? == 200, "a request failed");
        times.push(Instant::now().since(started));
    }
    Ok(Distribution::of(times).median)
}

/// At rest, and while clients keep the gateway busy.
fn dispatch(bench: &Bench, core: usize) -> anyhow::Result<(Distribution, Distribution)> {
    let api = Nginx::api()?;
    let gated = Gated::start(bench, core, Solver::start()?, &format!("http://{}", api.address()))?;
    let mut parser = Parser::subscribed(&gated.redis, INVALID, UPDATED, TOKEN)?;
    let mut refresh = |times: &mut Vec<Duration>| {
        Bench::pause();
        times.push(parser.sample(&gated.solver)?.dispatch);
        anyhow::Ok(())
    };
    let (mut rest, mut busy) = (Vec::new(), Vec::new());
    let request = request(&format!("/{SITE}/search"));
    for _ in 0..ROUNDS {
        (0..bench.scaled(REFRESHES)).try_for_each(|_| refresh(&mut rest))?;
        let load = Load::start(gated.address, &request, BUSY)?;
        let refreshed = (0..bench.scaled(REFRESHES)).try_for_each(|_| refresh(&mut busy));
        ensure!(load.stop()?.failures == 0, "the gateway failed");
        refreshed?;
    }
    Ok((Distribution::of(rest), Distribution::of(busy)))
}

/// The token is revoked while all clients are at work. Some of their requests, which were sent before, are refused one
/// after another for long after there is a new token.
fn revoked(bench: &Bench, core: usize) -> anyhow::Result<Revoked> {
    let solver = Solver::start()?;
    let api = Api::start(&solver)?;
    let gated = Gated::start(bench, core, solver, &api.url())?;
    gated.solver.set_solve_time(SOLVE);
    let solves = gated.solver.solves();
    let (clients, late, late_for) = (bench.scaled(CLIENTS), bench.scaled(LATE), LATE_FOR / bench.scaled_down());
    let waiting = (0..late)
        .map(|number| {
            let mut client = Client::open(gated.address)?;
            let ms = (late_for * (number + 1) / late).as_millis();
            client.send(&request(&format!("/{SITE}/late?ms={ms}")))?;
            Ok(client)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let counts = api.counts();
    until("all that will be refused late to be sent", || {
        Ok((counts.late.load(Ordering::Relaxed) == u64::from(late)).then_some(()))
    })?;
    let load = Load::start(gated.address, &request(&format!("/{SITE}/search")), clients)?;
    thread::sleep(BEFORE);
    let revoked = api.revoke();
    load.mark();
    let mut failures = 0;
    for mut client in waiting {
        let head = client.head()?;
        client.skip(head.length)?;
        failures += u64::from(head.status != 200);
    }
    let refused = counts.late_refused.load(Ordering::Relaxed);
    ensure!(refused == u64::from(late), "{refused} of {late} requests were refused late");
    let ended = load.stop()?;
    Ok(Revoked {
        clients,
        late,
        late_s: late_for.as_secs_f64(),
        solve_s: SOLVE.as_secs_f64(),
        solves: gated.solver.solves() - solves,
        requests: ended.requests + u64::from(late),
        failures: failures + ended.failures,
        all_go_on_s: ended.all_went_on.context("a client did not go on")?.since(revoked).as_secs_f64(),
    })
}

/// The client of the answer pauses after its head, until the API can send no more.
fn large(bench: &Bench, core: usize) -> anyhow::Result<Large> {
    let solver = Solver::start()?;
    let api = Api::start(&solver)?;
    let gated = Gated::start(bench, core, solver, &api.url())?;
    let idle_rss_kib = gated.sidecar.usage()?.rss_kib;
    let bytes = LARGE / u64::from(bench.scaled_down());

    let mut down = Client::open(gated.address)?;
    down.send(&request(&format!("/{SITE}/large?bytes={bytes}")))?;
    let head = down.head()?;
    ensure!((head.status, head.length) == (200, bytes), "{head:?}");
    let sent = || api.counts().sent.load(Ordering::Relaxed);
    let (mut unread_bytes, mut since) = (sent(), Instant::now());
    until("the API to stop", || {
        let now = sent();
        if now != unread_bytes {
            (unread_bytes, since) = (now, Instant::now());
        }
        Ok((Instant::now().since(since) > STOPPED).then_some(()))
    })?;
    down.skip(bytes)?;

    let mut up = Client::open(gated.address)?;
    up.send(format!("PUT /{SITE}/large HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n").as_bytes())?;
    let piece = [b'x'; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(piece.len() as u64);
        up.send(&piece[..usize::try_from(length)?])?;
        left -= length;
    }
    let head = up.head()?;
    let arrived = up.text(head.length)?;
    ensure!(head.status == 200 && arrived == bytes.to_string(), "{arrived} of {bytes} bytes have arrived: {head:?}");
    Ok(Large { bytes, idle_rss_kib, peak_rss_kib: gated.sidecar.usage()?.peak_kib, unread_bytes })
}
