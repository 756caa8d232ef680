//! What has happened so far.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

/// How many of the latest arrivals, user agents and fingerprints are kept.
const KEPT: usize = 64;

/// Counters since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Statistics {
    /// What the FlareSolverr look-alike was asked for.
    pub solves: Solves,
    /// What the API was asked for.
    pub api: ApiCalls,
    /// How often the page was opened, by a solve or by a real browser.
    pub pages: u64,
    /// How many tokens were made, dead ones among them.
    pub minted: u64,
    /// Counts the resets, so that what began before one does not count after it.
    #[serde(skip)]
    pub(crate) epoch: u64,
}

/// Requests to `/v1`. A solve is a valid `request.get` or `request.post`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Solves {
    /// Solves that arrived.
    pub started: u64,
    /// Solves that have not ended, those that wait for a worker and those whose client has left among them.
    pub running: u64,
    /// The greatest value that `running` has had.
    pub max_running: u64,
    /// Solves that ended, however they did.
    pub done: u64,
    /// When the latest 64 solves arrived: nanoseconds since the epoch.
    pub arrivals_ns: VecDeque<i64>,
    /// Requests by command, valid or not.
    pub commands: BTreeMap<String, u64>,
    /// Sessions that are open.
    pub sessions: usize,
    /// The latest valid JSON body, as it was sent.
    pub last_request: Value,
}

/// Requests to `/web/api`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ApiCalls {
    /// Calls that arrived.
    pub started: u64,
    /// Calls that were answered, by HTTP status.
    pub answered: BTreeMap<u16, u64>,
    /// The latest 64 user agents, each once.
    pub user_agents: VecDeque<String>,
    /// Fingerprints of the latest 64 tokens, each once, whether they were accepted or not.
    pub fingerprints: VecDeque<String>,
}

impl Solves {
    pub(crate) fn start(&mut self, now_ns: i64) {
        self.started += 1;
        self.running += 1;
        self.max_running = self.max_running.max(self.running);
        self.arrivals_ns.push_back(now_ns);
        shorten(&mut self.arrivals_ns);
    }

    pub(crate) fn finish(&mut self) {
        self.running -= 1;
        self.done += 1;
    }
}

impl ApiCalls {
    pub(crate) fn start(&mut self, user_agent: &str, fingerprint: Option<String>) {
        self.started += 1;
        note(&mut self.user_agents, user_agent.to_owned());
        if let Some(fingerprint) = fingerprint {
            note(&mut self.fingerprints, fingerprint);
        }
    }

    pub(crate) fn finish(&mut self, status: u16) {
        *self.answered.entry(status).or_default() += 1;
    }
}

/// Puts what was seen last, last.
fn note(seen: &mut VecDeque<String>, entry: String) {
    seen.retain(|other| *other != entry);
    seen.push_back(entry);
    shorten(seen);
}

fn shorten<T>(list: &mut VecDeque<T>) {
    while list.len() > KEPT {
        list.pop_front();
    }
}
