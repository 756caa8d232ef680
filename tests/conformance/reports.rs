//! Counts the reports that are published, without being one who hears them: `PUBLISH` says how many there are.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};

use redis::{Client, Value};

use crate::process::{DEADLINE, eventually, keys};
use crate::support::contract;
use crate::support::redis_server::RedisServer;

/// What has been published on `S:token:invalid`, by whomever.
pub(crate) struct Reports {
    told: Arc<Mutex<Told>>,
    /// Something came each time that Redis began to tell.
    began: Receiver<()>,
}

/// What Redis has told so far.
#[derive(Default)]
struct Told {
    reports: Vec<Result<serde_json::Value, String>>,
    /// The number of the latest marker.
    marker: u64,
}

impl Reports {
    pub(crate) fn of(server: &RedisServer) -> Self {
        let told = Arc::default();
        let (send, began) = channel();
        let (noted, client) = (Arc::downgrade(&told), Client::open(server.socket_url()).unwrap());
        std::thread::spawn(move || listen(&client, &noted, &send));
        let reports = Self { told, began };
        reports.begin();
        reports
    }

    /// Waits until Redis tells: at first, and after each restart.
    pub(crate) fn begin(&self) {
        self.began.recv_timeout(DEADLINE).unwrap();
    }

    /// All until now: Redis tells of things in the order in which it does them, and the last is a marker of ours.
    pub(crate) fn all(&self, server: &RedisServer) -> Vec<serde_json::Value> {
        let marker = self.told.lock().unwrap().marker + 1;
        let _: String = server.ask(&format!("ECHO {marker}"));
        eventually("Redis tells", || (self.told.lock().unwrap().marker == marker).then_some(()));
        let told = self.told.lock().unwrap();
        told.reports.iter().map(|report| report.clone().unwrap_or_else(|error| panic!("{error}"))).collect()
    }
}

/// Notes what Redis tells, once more after each of its ends, until nobody wants to know.
fn listen(client: &Client, noted: &Weak<Mutex<Told>>, began: &Sender<()>) {
    while noted.strong_count() > 0 {
        let monitoring = client.get_connection().and_then(|mut connection| {
            redis::cmd("MONITOR").exec(&mut connection)?;
            Ok(connection)
        });
        let Ok(mut connection) = monitoring else {
            std::thread::yield_now();
            continue;
        };
        let _nobody_wants_to_know = began.send(());
        while let (Ok(line), Some(told)) = (connection.recv_response(), noted.upgrade()) {
            let (Value::SimpleString(line) | Value::VerbatimString { text: line, .. }) = line else { continue };
            let mut told = told.lock().unwrap();
            told.reports.extend(report(&line));
            if let Some((_, number)) = line.split_once("\"ECHO\" \"") {
                told.marker = number.trim_end_matches('"').parse().unwrap();
            }
        }
    }
}

/// The report in a line such as `1.2 [0 127.0.0.1:1] "PUBLISH" "S:token:invalid" "{\"reason\": …}"`.
fn report(line: &str) -> Option<Result<serde_json::Value, String>> {
    let (_, payload) = line.split_once(&format!("\"PUBLISH\" \"{}\" ", keys::INVALID))?;
    // Redis quotes as JSON does, but for bytes that no client has reason to send.
    let read = serde_json::from_str::<String>(payload).and_then(|text| serde_json::from_str(&text));
    let report: Result<serde_json::Value, String> = read.map_err(|error| format!("no report: {payload}: {error}"));
    Some(report.and_then(|report| contract::conforms("token-invalid.schema.json", &report).map(|()| report)))
}
