//! The faults, one after the other.

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use simulator::{Faults, Garbage, RecordedError};

use crate::Laws;
use crate::parsers::pause;
use crate::process::{Running, World, keys};
use crate::support::preload;
use crate::support::proxy::{Network, Proxy};

/// A sidecar behind a network of its own. Between its kill and its next start there is none.
pub(crate) struct Replica {
    proxy: Proxy,
    clock: PathBuf,
    running: Option<Running>,
}

impl Replica {
    pub(crate) fn start(world: &World, rng: &mut Rng) -> Self {
        let clock = preload::library("chaos/offset.c", world.folder.path());
        let mut replica = Self { proxy: Proxy::before(world.redis.port()), clock, running: None };
        replica.begin(world, rng);
        replica
    }

    /// Starts it, with a wall clock that may be hours or days off.
    fn begin(&mut self, world: &World, rng: &mut Rng) {
        let offset = rng.choice([0, 0, 0, 3_600, -3_600, 86_400]).unwrap().to_string();
        let mut command = world.command(
            &["run"],
            &[
                ("REDIS_URL", &self.proxy.url()),
                ("SIDECAR_DEBOUNCE", "1s"),
                ("SIDECAR_LOCK_TTL", "2s"),
                ("SIDECAR_BACKOFF_INITIAL", "40s"),
                ("SIDECAR_BACKOFF_MAX", "5m"),
                ("SIDECAR_SHUTDOWN_GRACE", "1s"),
                ("SIDECAR_SCHEDULE", "every 1h"),
                ("SIDECAR_ENV_FILE", "shared.env"),
                ("FLARESOLVERR_MAX_TIMEOUT", "5s"),
                ("LD_PRELOAD", self.clock.to_str().unwrap()),
                ("CLOCK_OFFSET", &offset),
            ],
        );
        self.running = Some(Running::start(&mut command));
    }

    /// Ends it, and checks what must always hold.
    pub(crate) fn end(&mut self, laws: &Laws, how: &str) {
        let Some(running) = self.running.take() else { return };
        laws.memory(running.rss_kib());
        let ran = if how == "KILL" { running.kill() } else { running.stop() };
        if how == "TERM" && ran.code != Some(0) {
            laws.broken(format!("SIGTERM ended a sidecar with {:?}", ran.code));
        }
        laws.output(ran.stdout + &ran.stderr);
    }

    fn signal(&self, name: &str) {
        if let Some(running) = &self.running {
            running.signal(name);
        }
    }
}

/// Injects one fault for a while; returns its name.
pub(crate) fn one(world: &mut World, replicas: &mut [Replica], laws: &Laws, rng: &mut Rng) -> &'static str {
    let span = rng.u64(100..2_500);
    let which = rng.usize(..replicas.len());
    match rng.u32(..16) {
        0..=1 => {
            let how = if rng.bool() { "KILL" } else { "TERM" };
            replicas[which].end(laws, how);
            pause(span);
            replicas[which].begin(world, rng);
            how
        }
        2 => {
            replicas[which].signal("STOP");
            pause(span);
            replicas[which].signal("CONT");
            "STOP"
        }
        3..=5 => {
            let slow = Network::Slow(Duration::from_millis(200));
            let network = rng.choice([
                Network::Cut,
                Network::Reset,
                Network::Silent,
                Network::NoReplies,
                Network::NoCommands,
                slow,
            ]);
            replicas[which].proxy.is(network.unwrap());
            pause(span);
            replicas[which].proxy.is(Network::Fine);
            "network"
        }
        6 => {
            replicas[which].proxy.forget();
            "forgotten connections"
        }
        7 => {
            if rng.bool() {
                world.redis.restart_empty();
            } else {
                world.redis.restart_with_data();
            }
            "Redis restarted"
        }
        8 => {
            world.redis.freeze();
            pause(span);
            world.redis.thaw();
            "Redis frozen"
        }
        9..=10 => {
            stored(world, rng);
            "keys"
        }
        11..=13 => {
            world.faults(broken(rng));
            pause(span);
            world.heal();
            // As an operator does after a repair; else the back-off lasts longer than a report may wait.
            if rng.u32(..3) == 0 {
                force(world);
            }
            "solver and API"
        }
        14 => {
            let channel = rng.choice([keys::INVALID, "chitai_gorod:token:canary"]).unwrap();
            let mut flood = redis::pipe();
            for n in 0..2_000 {
                flood.cmd("PUBLISH").arg(channel).arg(format!("{{\"fingerprint\":\"{n:016x}\"}}")).ignore();
            }
            let _: redis::RedisResult<()> = flood.query(&mut world.redis.connection());
            "flood"
        }
        _ => {
            let kind = rng.choice(["pubsub", "normal"]).unwrap();
            let _: redis::RedisResult<i64> = world.redis.try_words(&["CLIENT", "KILL", "TYPE", kind]);
            "CLIENT KILL"
        }
    }
}

/// A forced report, where Redis takes it.
pub(crate) fn force(world: &World) {
    let _: redis::RedisResult<i64> = world.redis.try_words(&["PUBLISH", keys::INVALID, r#"{"force": true}"#]);
}

/// Another program, or an operator, changes what is stored.
fn stored(world: &World, rng: &mut Rng) {
    let minted = world.simulator.mint().token;
    let commands: [&[&str]; 10] = [
        &["DEL", keys::TOKEN],
        &["SET", keys::TOKEN, &minted],
        &["SET", keys::TOKEN, "no token at all"],
        &["DEL", keys::META],
        &["HSET", keys::META, "failures", "3", "retry_at", "9000-01-01T00:00:00Z"],
        &["HSET", keys::META, "version", "never"],
        &["SET", keys::LOCK, "another"],
        &["SET", keys::LOCK, "another", "PX", "3000"],
        &["FLUSHALL"],
        &["SCRIPT", "FLUSH"],
    ];
    let _: redis::Value = world.ask(rng.choice(commands).unwrap());
}

fn broken(rng: &mut Rng) -> Faults {
    match rng.u32(..6) {
        0 => Faults { solve_hang: true, ..Faults::default() },
        1 => Faults { solve_reset: true, ..Faults::default() },
        2 => Faults { solve_error: Some(RecordedError::Timeout.into()), ..Faults::default() },
        3 => Faults { solve_garbage: Some(Garbage::Truncated), ..Faults::default() },
        4 => Faults { api_status: rng.choice([403, 429, 503]), ..Faults::default() },
        _ => Faults { api_reset: true, ..Faults::default() },
    }
}
