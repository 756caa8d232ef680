//! A client as a process that speaks the protocol: a JSON object a line, calls in, answers out.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use token_sidecar_client::wire::Product;

use crate::process::patience::now;
use crate::process::{DEADLINE, eventually, keys};
use crate::{Client, adapter};

/// A running client.
pub(crate) struct Child {
    process: Process,
    calls: Option<ChildStdin>,
    lines: Receiver<(Value, Instant)>,
    /// When a call was sent.
    sent: HashMap<u64, Instant>,
    /// What has come and was not taken yet.
    kept: Vec<(Value, Instant)>,
}

impl Child {
    pub(crate) fn start(client: &Client, redis_url: &str, product: Product) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        set_up(client);
        let mut command = match client.command {
            [adapter::ITSELF] => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.arg(adapter::ITSELF);
                command
            }
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            [] => panic!("{} has no command", client.name),
        };
        command
            .current_dir(root)
            .env("REDIS_URL", redis_url)
            .env("SITE", keys::SITE)
            .env("PRODUCT", product.into_str());
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", client.command[0]));
        let calls = process.stdin.take();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send((line, now())).is_err() {
                    return;
                }
            }
        });
        Self { process, calls, lines, sent: HashMap::new(), kept: Vec::new() }
    }

    pub(crate) fn call(&mut self, line: &Value) {
        self.sent.insert(line["id"].as_u64().unwrap(), now());
        let mut calls = self.calls.as_ref().unwrap();
        calls.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The answer to a call, and how long it took.
    pub(crate) fn answer(&mut self, id: u64) -> (Value, Duration) {
        let (answer, at) = self.next(&format!("an answer to call {id}"), |line| {
            line["id"] == id && (line.get("ok").is_some() || line.get("error").is_some())
        });
        (answer, at.duration_since(self.sent[&id]))
    }

    /// An update that is received on behalf of a call.
    pub(crate) fn update(&mut self, id: u64, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        self.next(what, |line| line["id"] == id && line.get("update").is_some_and(&so)).0["update"].clone()
    }

    fn next(&mut self, what: &str, so: impl Fn(&Value) -> bool) -> (Value, Instant) {
        if let Some(place) = self.kept.iter().position(|(line, _)| so(line)) {
            return self.kept.remove(place);
        }
        let began = now();
        loop {
            let left = (DEADLINE * 2).saturating_sub(began.elapsed());
            let Ok((line, at)) = self.lines.recv_timeout(left) else {
                panic!("did not come: {what}; what came beside: {:?}", self.kept)
            };
            assert!(line.is_object(), "no line of the protocol: {line}");
            if so(&line) {
                return (line, at);
            }
            self.kept.push((line, at));
        }
    }

    /// Closes its input, as no call comes any more: it ends by itself.
    pub(crate) fn end(mut self) {
        drop(self.calls.take());
        let status = eventually("the end of the client", || self.process.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "it ends with 0 when its stdin does");
    }
}

/// Installs what a client needs, once for all scenarios.
fn set_up(client: &Client) {
    static DONE: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let mut done = DONE.lock().unwrap();
    let [program, arguments @ ..] = client.set_up else { return };
    if done.contains(client.name) {
        return;
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::null());
    let status = command.status().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{:?} ended with {status}: try `scripts/setup test`", client.set_up);
    done.insert(client.name);
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _ = self.process.wait();
    }
}
