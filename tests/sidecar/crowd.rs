//! Large numbers: of sites in one process, parsers that wait, clients of the HTTP server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use simulator::Faults;
use socket2::{Domain, Socket, Type};

use crate::process::keys::UPDATED;
use crate::process::patience::now;
use crate::process::{DEADLINE, Events, Running, World, eventually, http, keys};
use crate::support::measured::measured;
use crate::support::redis_server::RedisServer;

#[test]
fn ten_thousand_sites_live_in_one_process() {
    const SITES: usize = 10_000;
    const AT_ONCE: u64 = 16;
    let world = World::start();
    let simulator = &world.simulator;
    let mut toml = format!("flaresolverr.concurrency = {AT_ONCE}\n[sites]\nchitai_gorod.enabled = false\n");
    for n in 0..SITES {
        let (page, api) = (simulator.shop_url(), simulator.api_url());
        writeln!(toml, "s{n} = {{ page_url = \"{page}\", api_url = \"{api}\", cookie = \"access-token\" }}").unwrap();
    }
    let file = world.write("sites.toml", &toml);
    let events = Events::on(&world.redis, &[keys::ALL_UPDATED]);
    // No browser answers yet: every site requests its first token and waits for it.
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let env = [
        ("SIDECAR_CONFIG", file.to_str().unwrap()),
        ("SIDECAR_VERIFY", "off"),
        ("SIDECAR_LOCK_TTL", "1h"),
        ("FLARESOLVERR_MAX_TIMEOUT", "10m"),
        ("RUST_LOG", "warn,token_sidecar=info"),
    ];
    let began = now();
    let sidecar = world.begin(&["run"], &env);
    sidecar.logs("token-sidecar starts");
    let configured = began.elapsed();
    eventually("it is ready", || (sidecar.get("/readyz").status == 200).then_some(()));
    measured(
        "10,000 sites are ready after",
        format!("{:.1?}, {configured:.1?} of it for the settings", began.elapsed()),
    );
    eventually("every site holds its lock", || (keys_like(&world, "lock") == SITES).then_some(()));
    let scripts = calls(&world, "evalsha");
    measured("scripts run by then", format!("{scripts}, {} commands to subscribe", calls(&world, "subscribe")));
    // A script that Redis does not know yet is refused to all that call it at that moment.
    assert!(scripts < 2 * SITES + 1_000, "one look and one claim a site: {scripts}");
    let ready = sidecar.rss_kib();

    let publish: Vec<u8> =
        (0..SITES).flat_map(|n| command(&["PUBLISH", &format!("s{n}:token:invalid"), "now"])).collect();
    let mut parser = Raw::connect(&world);
    parser.write(&publish);
    assert!((0..SITES).all(|_| parser.line() == ":1"), "every site is subscribed");
    let asked = now();
    world.heal();
    let mut served = BTreeSet::new();
    while served.len() < SITES {
        // On a busy machine a site's own outcome may arrive too late; then it answers once more.
        let event = events.until("a new token", |event| event["cause"] == "refreshed");
        assert!(served.insert(event["site"].as_str().unwrap().to_owned()), "a second solve: {event}");
    }
    let solved = world.simulator.statistics().solves;
    measured("all of them are solved after", format!("{:.1?}, {} at once", asked.elapsed(), solved.max_running));
    assert_eq!((solved.started, keys_like(&world, "lock")), (SITES as u64, 0));
    assert!(solved.max_running <= AT_ONCE, "{} at once", solved.max_running);

    // At rest each site checks with every beat that its key is still there.
    let (began, cpu, asked) = (now(), sidecar.cpu(), calls(&world, "exists"));
    world.ask::<i64>(&["DEL", "s5000_token"]);
    assert_eq!(events.refreshed()["site"], "s5000");
    let (span, cpu) = (began.elapsed(), sidecar.cpu() - cpu);
    let pace = (calls(&world, "exists") - asked) as f64 / span.as_secs_f64();
    measured("a key that vanished is replaced after", format!("{span:.1?}"));
    let share = 100.0 * cpu.as_secs_f64() / span.as_secs_f64();
    measured("at rest", format!("{pace:.0} commands a second, {share:.0} % of a core"));

    // After a gap every site verifies its token.
    drop(events);
    let before = calls(&world, "evalsha");
    world.ask::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    eventually("every site has asked", || (calls(&world, "evalsha") >= before + SITES).then_some(()));
    let most = sidecar.peak_kib();
    measured("memory", format!("{ready} KiB with all waiting for a browser, {most} KiB at most"));
    // 20 MiB of it is the process with one site. The bound is that of a release build (docs/performance.md), though
    // futures are larger here.
    assert!(most < 128 * 1024, "{most} KiB");
    sidecar.stop().expect(0);
}

#[test]
fn ten_thousand_that_wait_receive_one_refresh() {
    const WAITING: u64 = 10_000;
    // Each has a socket here and one in Redis, whose limit is inherited.
    let files = files_at_most(WAITING + 2_000);
    let waiting = WAITING.min(files.saturating_sub(500));
    let redis = RedisServer::start_with(&[&format!("maxclients {}", waiting + 100)]);
    let world = World::with(redis, simulator::Settings::default());
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let subscribe = command(&["SUBSCRIBE", UPDATED]);
    let mut parsers: Vec<Raw> = (0..waiting)
        .map(|_| {
            let mut parser = Raw::connect(&world);
            parser.write(&subscribe);
            parser
        })
        .collect();
    let confirmed = format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{UPDATED}\r\n:1", UPDATED.len());
    for parser in &mut parsers {
        assert!(confirmed.split("\r\n").all(|line| parser.line() == line));
    }
    let began = now();
    world.publish("now");
    let mut first = None;
    let versions: BTreeSet<String> = parsers
        .iter_mut()
        .map(|parser| {
            let message = (0..7).map(|_| parser.line()).last().unwrap();
            first.get_or_insert_with(|| began.elapsed());
            serde_json::from_str::<serde_json::Value>(&message).unwrap()["version"].to_string()
        })
        .collect();
    let (first, last) = (first.unwrap(), began.elapsed());
    measured(
        &format!("{waiting} receive one refresh"),
        format!("the first after {first:.1?}, the last after {last:.1?}"),
    );
    assert_eq!(versions, [world.meta("version").unwrap()].into());
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn clients_of_every_kind_do_not_delay_health() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_ADMIN_TOKEN", "hunter1"), ("SIDECAR_DEBOUNCE", "1h")]);
    let before = sidecar.rss_kib();
    let mut slowest = Duration::ZERO;
    let mut healthy = || {
        for _ in 0..10 {
            let asked = now();
            assert_eq!(sidecar.get("/healthz").status, 200);
            slowest = slowest.max(asked.elapsed());
        }
    };

    // More than there are places for followers: the rest is refused with 503.
    let follow = "GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut followers: Vec<TcpStream> = (0..32).map(|_| open(&sidecar, follow)).collect();
    followers.iter_mut().for_each(|stream| assert!(head(stream).starts_with("HTTP/1.1 200 OK")));
    assert!((0..20).all(|_| http::get(sidecar.address(), "/api/events").status == 503));
    healthy();

    // 200 that send nothing, and some that send slowly.
    let idle: Vec<TcpStream> = (0..200).map(|_| open(&sidecar, "")).collect();
    healthy();
    let refresh = "POST /api/sites/chitai_gorod/refresh HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hunter2\r\n";
    let mut slow: Vec<TcpStream> = (0..20).map(|_| open(&sidecar, "GET /healthz HTTP/1.1\r\nX: ")).collect();
    let bodies = format!("{refresh}Content-Length: 1000000000\r\n\r\nx");
    let mut bodies: Vec<TcpStream> = (0..20).map(|_| open(&sidecar, &bodies)).collect();
    healthy();
    // Single bytes do not extend the time: the head as a whole has some seconds.
    let began = now();
    let mut cut = 0;
    while cut < slow.len() {
        healthy();
        cut = slow.iter_mut().map(|stream| stream.write_all(b"x")).filter(Result::is_err).count();
        assert!(began.elapsed() < DEADLINE, "{cut} heads of {} were cut off", slow.len());
    }
    measured("heads that do not end are cut off after", format!("{:.1?}", began.elapsed()));
    bodies.iter_mut().for_each(|stream| assert!(head(stream).starts_with("HTTP/1.1 401 "), "no body is waited for"));
    drop(idle);

    // Half a request; several requests in one piece; heads and paths without end.
    let half = open(&sidecar, "GET /healthz HT");
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(half), "");
    let twice = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    assert_eq!(rest(open(&sidecar, &twice)).matches("HTTP/1.1 200").count(), 1, "one request a connection");
    let large = "x".repeat(1 << 20);
    for request in [
        format!("GET /healthz HTTP/1.1\r\nX: {large}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100)),
        format!("GET /{large} HTTP/1.1\r\n\r\n"),
        large.clone(),
    ] {
        let answer = rest(open(&sidecar, &request));
        let status = answer.split(' ').nth(1);
        assert!(matches!(status, None | Some("400" | "414" | "431")), "{answer}");
        healthy();
    }

    // Followers that do not read: 16 MiB for each of them.
    let long = "x".repeat(8 * 1024);
    let forged = format!(
        "{{\"event\":\"token:updated\",\"site\":\"chitai_gorod\",\"cause\":\"repeated\",\"version\":1,\
         \"fingerprint\":\"0123456789abcdef\",\"key\":\"k\",\"ttl\":null,\"expires_at\":null,\"refresh_at\":null,\
         \"refreshed_at\":null,\"trigger\":\"invalid\",\"source\":\"{long}\"}}"
    );
    let forged = command(&["PUBLISH", UPDATED, &forged]);
    let mut raw = Raw::connect(&world);
    for _ in 0..2_000 {
        raw.write(&forged);
        assert_eq!(raw.line(), ":2");
    }
    // The answer to a report means that all before it was taken in: a client that reads meanwhile may keep up.
    world.publish("now");
    events.until("an answer", |event| event["key"] == keys::TOKEN);
    healthy();
    let lagged = followers.into_iter().map(rest).filter(|text| text.contains("event: lagged")).count();
    let peak = sidecar.peak_kib();
    measured("the slowest answer of /healthz", format!("{slowest:.1?}"));
    measured("memory", format!("{before} KiB before, {peak} KiB at most"));
    measured("followers that were dropped", lagged);
    assert_eq!(lagged, 32);
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(peak < before + 24 * 1024, "{before} KiB grew to {peak} KiB");

    events.drain();
    world.publish("{\"force\":true}");
    events.until("a refresh", |event| event["cause"] == "refreshed");
    sidecar.stop().expect(0);
}

#[test]
fn pages_that_many_clients_leave_unread_are_rendered_once() {
    let world = World::start();
    let (page, api) = (world.simulator.shop_url(), world.simulator.api_url());
    let mut toml = String::from("[sites]\nchitai_gorod.enabled = false\n");
    for n in 0..2_000 {
        writeln!(toml, "s{n} = {{ page_url = \"{page}\", api_url = \"{api}\", cookie = \"access-token\" }}").unwrap();
    }
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let file = world.write("sites.toml", &toml);
    let env = [("SIDECAR_CONFIG", file.to_str().unwrap()), ("RUST_LOG", "warn,token_sidecar=info")];
    let sidecar = world.begin(&["run"], &env);
    eventually("every site holds its lock", || (keys_like(&world, "lock") == 2_000).then_some(()));
    let before = sidecar.peak_kib();
    for path in ["/metrics", "/api/status", "/readyz"] {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut unread: Vec<TcpStream> = (0..150).map(|_| open(&sidecar, &ask)).collect();
        unread.iter_mut().for_each(|stream| assert!(head(stream).starts_with("HTTP/1.1 200 OK")));
        let asked = now();
        assert_eq!(sidecar.get("/healthz").status, 200);
        let (health, peak) = (asked.elapsed(), sidecar.peak_kib());
        measured(
            &format!("150 unread {path}"),
            format!("{before} KiB before, {peak} KiB at most, /healthz {health:.1?}"),
        );
        assert!(peak < before + 32 * 1024, "{path}: {before} KiB grew to {peak} KiB");
    }
    sidecar.stop().expect(0);
}

/// A connection to Redis on which words are written and lines are read.
struct Raw {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Raw {
    fn connect(world: &World) -> Self {
        let stream = UnixStream::connect(world.redis.folder().join("redis.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, read: Vec::new() }
    }

    fn write(&mut self, commands: &[u8]) {
        self.stream.write_all(commands).unwrap();
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).unwrap();
            }
            let mut piece = [0; 4096];
            let length = self.stream.read(&mut piece).unwrap();
            assert_ne!(length, 0, "Redis has closed the connection");
            self.read.extend_from_slice(&piece[..length]);
        }
    }
}

/// A command in Redis' protocol.
fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        write!(text, "${}\r\n{word}\r\n", word.len()).unwrap();
    }
    text.into_bytes()
}

/// How often Redis has run a command.
fn calls(world: &World, command: &str) -> usize {
    let statistics: String = world.ask(&["INFO", "commandstats"]);
    let head = format!("cmdstat_{command}:calls=");
    let line = statistics.lines().find_map(|line| line.strip_prefix(&head));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

/// How many sites have this companion of the token's key.
fn keys_like(world: &World, companion: &str) -> usize {
    world.ask::<Vec<String>>(&["KEYS", &format!("{{*}}:{companion}")]).len()
}

/// Raises the limit of open files of this process as far as is needed and allowed; returns the new limit.
fn files_at_most(wanted: u64) -> u64 {
    let of_us = std::process::id().to_string();
    let limits = || {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        (numbers.next().unwrap(), numbers.next().unwrap_or(u64::MAX))
    };
    let (soft, hard) = limits();
    if soft < wanted {
        let raised = format!("--nofile={}:", wanted.min(hard));
        let status = Command::new("prlimit").args(["--pid", &of_us, &raised]).status().unwrap();
        assert!(status.success());
    }
    limits().0
}

fn open(sidecar: &Running, text: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Or the system may buffer megabytes for a client that does not read.
    socket.set_recv_buffer_size(1 << 16).unwrap();
    socket.connect(&sidecar.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The server may close before all of it is written.
    let _cut_off = stream.write_all(text.as_bytes());
    stream
}

/// The head of an answer.
fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// What comes until the server closes, a reset included.
fn rest(mut stream: TcpStream) -> String {
    let (began, mut bytes, mut piece) = (now(), Vec::new(), vec![0; 1 << 16]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
        assert!(began.elapsed() < DEADLINE, "it is never closed");
    }
    String::from_utf8(bytes).unwrap()
}
