//! Parsers: some follow the contract without a package, one uses the Python client.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use redis::{Connection, PubSub, RedisResult};
use serde_json::Value;
use token_sidecar_client::wire::Fingerprint;

use crate::Laws;
use crate::process::patience::now;
use crate::process::{http, keys};

/// How long a report may stay unanswered. A subscription that is silent is noticed after 20 s at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What all parsers have done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Calls that the API accepted.
    pub(crate) accepted: AtomicU64,
    /// Reports that a sidecar has received.
    pub(crate) reports: AtomicU64,
    pub(crate) updated: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Reports whose parser lost its connection, and begins again.
    pub(crate) cut_off: AtomicU64,
    /// Reports that are not answered yet.
    pub(crate) waiting: AtomicU64,
    /// The longest time to an answer, in milliseconds.
    pub(crate) slowest_ms: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A parser in this process.
pub(crate) struct Parser {
    pub(crate) redis_url: String,
    pub(crate) api: SocketAddr,
    pub(crate) tally: Arc<Tally>,
    pub(crate) laws: Arc<Laws>,
    /// Calls that the API accepted.
    pub(crate) accepted: Arc<AtomicU64>,
}

impl Parser {
    pub(crate) fn start(self, stop: Arc<AtomicBool>) -> JoinHandle<()> {
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // Its connection is lost with Redis, and is opened again.
                let _lost = self.parse(&stop);
                pause(20);
            }
        })
    }

    fn parse(&self, stop: &AtomicBool) -> RedisResult<()> {
        let client = redis::Client::open(self.redis_url.as_str())?;
        let connect = || -> RedisResult<Connection> {
            let connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
            connection.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(connection)
        };
        let mut connection = connect()?;
        while !stop.load(Ordering::Relaxed) {
            let token: Option<String> = redis::cmd("GET").arg(keys::TOKEN).query(&mut connection)?;
            match token.as_ref().map(|token| self.call(token)) {
                Some(200) => {
                    count(&self.tally.accepted);
                    count(&self.accepted);
                    pause(20);
                }
                None | Some(401) => self.report(&mut connection, connect()?, token.as_deref())?,
                Some(_) => pause(50),
            }
        }
        Ok(())
    }

    /// The status of a call to the API; 0 where it does not answer.
    fn call(&self, token: &str) -> u16 {
        self.laws.secret(token);
        let path = "/web/api/v2/search/product?phrase=redis";
        http::try_get(self.api, path, &format!("Authorization: Bearer {token}\r\n")).unwrap_or(0)
    }

    /// Steps 3 and 4 of the contract.
    fn report(&self, commands: &mut Connection, mut events: Connection, token: Option<&str>) -> RedisResult<()> {
        let fingerprint = token.map(|token| Fingerprint::of(token).to_string());
        let mut events = events.as_pubsub();
        events.subscribe(&[keys::UPDATED, keys::FAILED])?;
        events.set_read_timeout(Some(Duration::from_secs(1)))?;
        let current: Option<String> = redis::cmd("GET").arg(keys::TOKEN).query(commands)?;
        if current.as_deref() != token {
            return Ok(());
        }
        let report = fingerprint.as_ref().map_or("now".to_owned(), |f| format!(r#"{{"fingerprint":"{f}"}}"#));
        let receivers: i64 = redis::cmd("PUBLISH").arg(keys::INVALID).arg(report).query(commands)?;
        if receivers == 0 {
            pause(100);
            return Ok(());
        }
        count(&self.tally.reports);
        count(&self.tally.waiting);
        let answered = self.answer(&mut events, fingerprint.as_deref());
        self.tally.waiting.fetch_sub(1, Ordering::Relaxed);
        if !answered? {
            pause(200);
        }
        Ok(())
    }

    /// Waits for the answer to a report: whether there is a new token.
    fn answer(&self, events: &mut PubSub<'_>, fingerprint: Option<&str>) -> RedisResult<bool> {
        let began = now();
        while began.elapsed() < PATIENCE {
            let message = match events.get_message() {
                Ok(message) => message,
                Err(error) if error.is_timeout() => continue,
                Err(error) => {
                    count(&self.tally.cut_off);
                    return Err(error);
                }
            };
            let event: Value = serde_json::from_slice(message.get_payload_bytes()).unwrap_or_default();
            let is_update = event["event"] == "token:updated";
            if is_update && fingerprint.is_some_and(|reported| event["fingerprint"] == *reported) {
                continue;
            }
            count(if is_update { &self.tally.updated } else { &self.tally.failed });
            self.tally.slowest_ms.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
            return Ok(is_update);
        }
        self.laws.broken(format!("a report of {fingerprint:?} was not answered within {PATIENCE:?}"));
        Ok(false)
    }
}

/// A parser in Python; it is killed when this is dropped.
pub(crate) struct Python {
    child: Child,
    pub(crate) accepted: Arc<AtomicU64>,
}

impl Python {
    pub(crate) fn start(redis_url: &str, api_url: &str) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let built = Command::new("clients/python/check").arg("build").current_dir(root).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let bin = String::from_utf8(built.stdout).unwrap();
        let mut child = Command::new(format!("{}/python", bin.trim()))
            .args(["-u", "tests/chaos/parser.py"])
            .current_dir(root)
            .env("REDIS_URL", redis_url)
            .env("API_URL", api_url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let accepted = Arc::new(AtomicU64::new(0));
        let (lines, counter) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&accepted));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|_| count(&counter)));
        Self { child, accepted }
    }

    /// Whether it still runs: it ends with an error where a wait was not answered.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pace of a loop, not a wait for anything.
pub(crate) fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}
