//! Everything at once: three sidecars, a real Redis, parsers, and faults one after the other, while laws are checked.
//!
//! `make chaos ARGS='--seconds 600 --seed 7'` chooses how long, and which faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "chaos/faults.rs"]
mod faults;
#[path = "chaos/parsers.rs"]
mod parsers;
mod process;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::faults::Replica;
use crate::parsers::{Parser, Python, Tally, pause};
use crate::process::patience::now;
use crate::process::{World, eventually, keys};
use crate::support::contract;
use crate::support::measured::measured;

/// What a sidecar may take in a debug build, in KiB.
const MEMORY: u64 = 64 << 10;
/// So many faults follow one another.
const BURST: u64 = 6;
const PARSERS: usize = 4;
const REPLICAS: usize = 3;

/// What was broken, and what it takes to know.
#[derive(Default)]
pub(crate) struct Laws {
    broken: Mutex<Vec<String>>,
    /// The tokens that the parsers have read.
    secrets: Mutex<BTreeSet<String>>,
    /// What the sidecars have written, and all events.
    written: Mutex<String>,
    version: AtomicU64,
    refreshed: AtomicU64,
}

impl Laws {
    pub(crate) fn broken(&self, what: String) {
        self.broken.lock().unwrap().push(what);
    }

    pub(crate) fn secret(&self, token: &str) {
        self.secrets.lock().unwrap().insert(token.to_owned());
    }

    pub(crate) fn output(&self, text: String) {
        if text.contains("panicked") {
            self.broken(format!("a sidecar panicked:\n{text}"));
        }
        self.written.lock().unwrap().push_str(&text);
    }

    pub(crate) fn memory(&self, kib: u64) {
        if kib > MEMORY {
            self.broken(format!("a sidecar takes {kib} KiB"));
        }
    }

    fn event(&self, payload: &[u8]) {
        let event: Value = serde_json::from_slice(payload).unwrap_or_default();
        if let Err(error) = contract::event(&event) {
            self.broken(error);
        }
        self.written.lock().unwrap().push_str(&event.to_string());
        if event["cause"] == "refreshed" && event["event"] == "token:updated" {
            let version = event["version"].as_u64().unwrap_or_default();
            let before = self.version.fetch_max(version, Ordering::Relaxed);
            if version <= before {
                self.broken(format!("version {version} follows {before}"));
            }
            parsers::count(&self.refreshed);
        }
    }

    /// Receives all events, whatever happens to Redis.
    fn watch(&self, redis_url: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let _lost = self.session(redis_url, stop);
            pause(10);
        }
    }

    fn session(&self, redis_url: &str, stop: &AtomicBool) -> redis::RedisResult<()> {
        let mut connection = redis::Client::open(redis_url)?.get_connection()?;
        let mut events = connection.as_pubsub();
        events.subscribe(&[keys::UPDATED, keys::FAILED])?;
        events.set_read_timeout(Some(Duration::from_secs(1)))?;
        while !stop.load(Ordering::Relaxed) {
            match events.get_message() {
                Ok(message) => self.event(message.get_payload_bytes()),
                Err(error) if error.is_timeout() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the caller chooses the run")]
fn chosen(variable: &str, otherwise: impl FnOnce() -> u64) -> u64 {
    std::env::var(variable).ok().map_or_else(otherwise, |text| text.parse().unwrap())
}

/// Waits until every report is answered.
fn answered(world: &World, tally: &Tally) {
    let began = now();
    while tally.waiting.load(Ordering::Relaxed) > 0 {
        pause(10);
        if began.elapsed() > parsers::PATIENCE {
            let meta = world.redis.try_words::<redis::Value>(&["HGETALL", keys::META]);
            let lock = world.redis.try_words::<redis::Value>(&["PTTL", keys::LOCK]);
            panic!("a report is not answered: {tally:?}, meta {meta:?}, the lock ends in {lock:?} ms");
        }
    }
}

#[test]
fn no_fault_loses_a_report_or_breaks_a_law() {
    let seed = chosen("CHAOS_SEED", || fastrand::u64(..1_000_000));
    let span = Duration::from_secs(chosen("CHAOS_SECONDS", || 60));
    measured("seed", seed);
    let mut rng = Rng::with_seed(seed);
    let mut world = World::start();
    let (laws, tally, stop) = (Arc::new(Laws::default()), Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let mut replicas: Vec<Replica> = (0..REPLICAS).map(|_| Replica::start(&world, &mut rng)).collect();
    let url = format!("redis://127.0.0.1:{}", world.redis.port());
    let watcher = {
        let (laws, stop, url) = (Arc::clone(&laws), Arc::clone(&stop), url.clone());
        std::thread::spawn(move || laws.watch(&url, &stop))
    };
    let mut python = Python::start(&url, &world.simulator.api_url());
    let mut progress = vec![Arc::clone(&python.accepted)];
    let mut threads = vec![watcher];
    for _ in 0..PARSERS {
        let accepted = Arc::new(AtomicU64::default());
        progress.push(Arc::clone(&accepted));
        let (redis_url, api) = (url.clone(), world.simulator.address());
        let parser = Parser { redis_url, api, tally: Arc::clone(&tally), laws: Arc::clone(&laws), accepted };
        threads.push(parser.start(Arc::clone(&stop)));
    }

    let (began, mut faults, mut revocations) = (now(), BTreeMap::<_, u64>::new(), 0);
    while began.elapsed() < span {
        *faults.entry(faults::one(&mut world, &mut replicas, &laws, &mut rng)).or_default() += 1;
        if rng.u32(..3) > 0 {
            world.simulator.revoke_all();
            revocations += 1;
        }
        pause(rng.u64(50..1_000));
        if faults.values().sum::<u64>().is_multiple_of(BURST) {
            // Nothing more goes wrong, and no other trigger comes to answer what was lost.
            answered(&world, &tally);
        }
        if !python.runs() {
            laws.broken("the parser in Python has ended".to_owned());
        }
        assert!(laws.broken.lock().unwrap().is_empty(), "seed {seed}, {faults:?}: {:#?}", laws.broken.lock().unwrap());
    }

    // All is well again: a token that works reaches every parser.
    world.heal();
    world.simulator.revoke_all();
    faults::force(&world);
    let before: Vec<u64> = progress.iter().map(|accepted| accepted.load(Ordering::Relaxed)).collect();
    for (accepted, before) in progress.iter().zip(before) {
        // One more may have been under way when the tokens were revoked.
        eventually("every parser goes on", || (accepted.load(Ordering::Relaxed) > before + 1).then_some(()));
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    for replica in &mut replicas {
        replica.end(&laws, "TERM");
    }

    let (faults_total, solves) = (faults.values().sum::<u64>(), world.solves());
    // Each of these may cost a solve, and retries where it fails; nothing else does.
    if solves > 3 * (faults_total + revocations + 10) {
        laws.broken(format!("{solves} solves for {faults_total} faults and {revocations} revocations"));
    }
    let written = laws.written.lock().unwrap();
    for secret in laws.secrets.lock().unwrap().iter().filter(|token| token.len() > 20) {
        if written.contains(secret.as_str()) {
            laws.broken("a token was logged or published".to_owned());
        }
    }
    drop(written);
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    measured("faults", format!("{faults_total}: {faults:?}"));
    measured("refreshes", format!("{} by {solves} solves, {revocations} revocations", of(&laws.refreshed)));
    measured(
        "reports",
        format!(
            "{}, answered: {} updated, {} failed; {} cut off; the slowest after {} ms",
            of(&tally.reports),
            of(&tally.updated),
            of(&tally.failed),
            of(&tally.cut_off),
            of(&tally.slowest_ms)
        ),
    );
    measured("calls that the API accepted", of(&tally.accepted) + of(&python.accepted));
    let broken = laws.broken.lock().unwrap();
    assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
}
