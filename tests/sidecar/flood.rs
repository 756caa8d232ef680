//! Messages of any content, in any number.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use simulator::Faults;

use crate::process::keys::INVALID;
use crate::process::patience::now;
use crate::process::{Running, World, eventually, keys};
use crate::support::measured::measured;
use crate::support::redis_server::RedisServer;

#[test]
fn hostile_payloads_never_stop_it() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "1h")]);
    let big = |head: &str, fill: &str, tail: &str| {
        let mut text = head.to_owned();
        text.push_str(&fill.repeat(200_000 / fill.len()));
        text.push_str(tail);
        text.into_bytes()
    };
    let payloads: Vec<Vec<u8>> = vec![
        vec![],
        vec![0; 70_000],
        (0..=255).cycle().take(65_537).collect(),
        b"\xff\xfe\xfd".to_vec(),
        b"$(reboot); DROP TABLE users; *3\r\n$3\r\nSET".to_vec(),
        big("", "[", ""),
        big("", "{\"a\":", ""),
        big("{\"fingerprint\":\"", "0", "\"}"),
        big("{\"force\":true,\"reason\":\"", "r", "\"}"),
        b"{\"force\":1e999,\"fingerprint\":{\"a\":[]},\"reason\":[],\"source\":7}".to_vec(),
        b"{\"site\":\"other\",\"key\":\"x\",\"url\":\"http://127.0.0.1:1/\",\"cmd\":\"sessions.destroy\"}".to_vec(),
        "{\"reason\":\"\u{202e}\u{0}\u{7}\"}".as_bytes().to_vec(),
        b"null".to_vec(),
        vec![b'9'; 60_000],
    ];
    for payload in &payloads {
        assert_eq!(world.publish(&payload[..]), 1);
        events.repeated();
    }
    assert_eq!(world.solves(), 1, "one of more than 64 KiB has no details, not even force");
    // What is published on its own channels for events and canaries does nothing either.
    for payload in &payloads {
        for channel in [keys::UPDATED, keys::FAILED, "chitai_gorod:token:canary"] {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg(&payload[..]).query::<i64>(&mut world.redis.connection()).unwrap();
        }
    }
    let forged = "{\"event\":\"token:updated\",\"site\":\"chitai_gorod\",\"cause\":\"refreshed\",\"version\":1}";
    world.ask::<i64>(&["PUBLISH", keys::UPDATED, forged]);
    events.until("the forged one", |event| event["version"] == 1);
    events.forgive();
    world.publish("{\"force\":true}");
    events.until("a refresh", |event| event["cause"] == "refreshed" && event["version"] != 1);
    assert_eq!(sidecar.get("/healthz").status, 200);
    sidecar.stop().expect(0);
}

const MESSAGES: usize = 1_000_000;
/// How many write at once, and how many messages each writes before it reads Redis' replies.
const WRITERS: usize = 4;
const BATCH: usize = 1_000;
/// How many may be in transit: a debug build on a busy machine receives more slowly than Redis sends.
const AHEAD: usize = 100_000;
/// How long a writer that is too far ahead rests.
const PAUSE: Duration = Duration::from_millis(1);
/// How often health is read meanwhile.
const PROBES: Duration = Duration::from_millis(100);

/// How far a flood has come.
#[derive(Default)]
struct Flood {
    written: AtomicUsize,
    received: AtomicUsize,
    is_over: AtomicBool,
}

/// Ends the flood, also where the test fails.
struct Over<'a>(&'a Flood);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Relaxed);
    }
}

#[test]
fn a_million_messages_cost_one_solve_and_no_memory() {
    // Redis drops a subscriber that is far behind: here everything is to be received.
    let redis = RedisServer::start_with(&["client-output-buffer-limit pubsub 0 0 0"]);
    let world = World::with(redis, simulator::Settings::default());
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "1h")]);
    let (before, idle) = (sidecar.rss_kib(), sidecar.cpu());
    // One solve is under way during the first half.
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    world.publish("{\"force\":true}");
    world.solve_started(2);

    let (began, flood) = (now(), Flood::default());
    let slowest = std::thread::scope(|threads| {
        let over = Over(&flood);
        for writer in 0..WRITERS {
            let (world, flood) = (&world, &flood);
            threads.spawn(move || flood.write(world, writer));
        }
        let health = threads.spawn(|| flood.slowest_health(&sidecar));
        for tenth in 1..=10 {
            eventually("another tenth is received", || {
                flood.received.store(received(&sidecar), Relaxed);
                (flood.received.load(Relaxed) > MESSAGES * tenth / 10).then_some(())
            });
            if tenth == 5 {
                world.heal();
            }
        }
        drop(over);
        health.join().unwrap()
    });
    let took = began.elapsed();
    events.refreshed();
    assert_eq!(world.solves(), 2, "one at the start, one for all of it");
    let announced = events.drain().len();
    let asked = now();
    world.publish("{\"force\":true}");
    events.until("a refresh", |event| event["cause"] == "refreshed");
    let answered = asked.elapsed();

    let (after, peak, busy) = (sidecar.rss_kib(), sidecar.peak_kib(), sidecar.cpu() - idle);
    measured("a million messages, all received after", format!("{took:.1?}, {busy:.1?} of them processor time"));
    measured("memory", format!("{before} KiB idle, {after} KiB after, {peak} KiB at most"));
    measured("announcements meanwhile", announced);
    measured("a fresh trigger has its new token after", format!("{answered:.1?}"));
    measured("the slowest answer of /healthz", format!("{slowest:.1?}"));
    assert!(peak < before + 16 * 1024, "{before} KiB grew to {peak} KiB");
    let most = 2 + took.as_millis() / 50;
    assert!(announced as u128 <= most, "{announced} announcements in {took:?}");
    // The rest of the process goes on during the flood.
    assert!(announced >= 10, "{announced} announcements in {took:?}");
    assert!(slowest < Duration::from_secs(3), "/healthz took {slowest:?}");
    assert!(answered < Duration::from_secs(10), "the trigger afterwards took {answered:?}");
    let status = sidecar.get("/api/status").json();
    assert_eq!(status["redis"]["reconnects"], 0, "it was never taken for silent: {status}");
    sidecar.stop().expect(0);
}

impl Flood {
    /// Writes a share of the messages, each batch as one piece.
    fn write(&self, world: &World, writer: usize) {
        let mut stream = UnixStream::connect(world.redis.folder().join("redis.sock")).unwrap();
        let mut replies = [0; 4 * BATCH];
        for batch in 0..MESSAGES / WRITERS / BATCH {
            while self.written.load(Relaxed) > self.received.load(Relaxed) + AHEAD && !self.is_over.load(Relaxed) {
                std::thread::sleep(PAUSE);
            }
            let first = (batch * WRITERS + writer) * BATCH;
            let commands: Vec<u8> = (first..first + BATCH).flat_map(publish).collect();
            stream.write_all(&commands).unwrap();
            stream.read_exact(&mut replies).unwrap();
            assert!(replies.chunks(4).all(|reply| reply == b":1\r\n"), "each is received by the one sidecar");
            self.written.fetch_add(BATCH, Relaxed);
        }
    }

    /// The longest that `/healthz` takes until the flood is over.
    fn slowest_health(&self, sidecar: &Running) -> Duration {
        let mut slowest = Duration::ZERO;
        while !self.is_over.load(Relaxed) {
            let asked = now();
            let health = sidecar.get("/healthz");
            assert_eq!(health.status, 200, "{}", health.body);
            slowest = slowest.max(asked.elapsed());
            std::thread::sleep(PROBES);
        }
        slowest
    }
}

/// How many messages the sidecar has counted; the one that began it is among them.
fn received(sidecar: &Running) -> usize {
    let metrics = sidecar.get("/metrics").body;
    let head = "token_sidecar_messages_total{site=\"chitai_gorod\",payload=";
    let counts = metrics.lines().filter(|line| line.starts_with(head));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum()
}

/// `PUBLISH` of the n-th message: bare ones, garbage, reports of ever new tokens, and one of 64 KiB in a thousand.
fn publish(n: usize) -> Vec<u8> {
    let payload = match n % BATCH {
        0 => vec![b'{'; 64 * 1024],
        place if place % 4 == 1 => Vec::new(),
        place if place % 4 == 2 => vec![0xff, 0, b'"', b'}'],
        _ => format!("{{\"fingerprint\":\"{n:016x}\",\"reason\":\"401\",\"source\":\"flood\"}}").into_bytes(),
    };
    let head = format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{INVALID}\r\n${}\r\n", INVALID.len(), payload.len());
    [head.as_bytes(), &payload, b"\r\n"].concat()
}
