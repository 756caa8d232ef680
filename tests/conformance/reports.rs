//! Counts the reports that are published by MONITOR: a subscriber would count in the answer of `PUBLISH`.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};

use redis::{Client, Value};

use crate::process::{DEADLINE, eventually, keys};
use crate::support::contract;
use crate::support::redis_server::RedisServer;

/// What has been published on `S:token:invalid`, by any client.
pub(crate) struct Reports {
    shown: Arc<Mutex<Shown>>,
    /// Receives something each time that MONITOR begins.
    began: Receiver<()>,
}

/// What MONITOR has shown so far.
#[derive(Default)]
struct Shown {
    reports: Vec<Result<serde_json::Value, String>>,
    /// The number of the latest marker.
    marker: u64,
}

impl Reports {
    pub(crate) fn of(server: &RedisServer) -> Self {
        let shown = Arc::default();
        let (send, began) = channel();
        let (noted, client) = (Arc::downgrade(&shown), Client::open(server.socket_url()).unwrap());
        std::thread::spawn(move || listen(&client, &noted, &send));
        let reports = Self { shown, began };
        reports.begin();
        reports
    }

    /// Waits until MONITOR runs: at first, and after each restart.
    pub(crate) fn begin(&self) {
        self.began.recv_timeout(DEADLINE).unwrap();
    }

    /// All until now: MONITOR shows commands in the order in which they run, and the last is a marker of ours.
    pub(crate) fn all(&self, server: &RedisServer) -> Vec<serde_json::Value> {
        let marker = self.shown.lock().unwrap().marker + 1;
        let _: String = server.ask(&format!("ECHO {marker}"));
        eventually("MONITOR shows the marker", || (self.shown.lock().unwrap().marker == marker).then_some(()));
        let shown = self.shown.lock().unwrap();
        shown.reports.iter().map(|report| report.clone().unwrap_or_else(|error| panic!("{error}"))).collect()
    }
}

/// Notes what MONITOR shows, again after each end of Redis, until the `Reports` are dropped.
fn listen(client: &Client, noted: &Weak<Mutex<Shown>>, began: &Sender<()>) {
    while noted.strong_count() > 0 {
        let monitoring = client.get_connection().and_then(|mut connection| {
            redis::cmd("MONITOR").exec(&mut connection)?;
            Ok(connection)
        });
        let Ok(mut connection) = monitoring else {
            std::thread::yield_now();
            continue;
        };
        let _ended = began.send(());
        while let (Ok(line), Some(shown)) = (connection.recv_response(), noted.upgrade()) {
            let (Value::SimpleString(line) | Value::VerbatimString { text: line, .. }) = line else { continue };
            let mut shown = shown.lock().unwrap();
            shown.reports.extend(report(&line));
            if let Some((_, number)) = line.split_once("\"ECHO\" \"") {
                shown.marker = number.trim_end_matches('"').parse().unwrap();
            }
        }
    }
}

/// The report in a line such as `1.2 [0 127.0.0.1:1] "PUBLISH" "S:token:invalid" "{\"reason\": …}"`.
fn report(line: &str) -> Option<Result<serde_json::Value, String>> {
    let (_, payload) = line.split_once(&format!("\"PUBLISH\" \"{}\" ", keys::INVALID))?;
    // Redis quotes as JSON does, except for bytes that no client sends.
    let read = serde_json::from_str::<String>(payload).and_then(|text| serde_json::from_str(&text));
    let report: Result<serde_json::Value, String> = read.map_err(|error| format!("no report: {payload}: {error}"));
    Some(report.and_then(|report| contract::conforms("token-invalid.schema.json", &report).map(|()| report)))
}
