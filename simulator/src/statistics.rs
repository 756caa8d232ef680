//! Counters of requests, pages and tokens.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

/// How many arrivals, user agents and fingerprints are kept.
const KEPT: usize = 64;

/// Counters since the start or the last reset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Statistics {
    /// Requests to FlareSolverr.
    pub solves: Solves,
    /// Requests to the API.
    pub api: ApiCalls,
    /// How often a page was opened, by a solve or by a real browser.
    pub pages: u64,
    /// Requests to `/shop/secret`, which stands for a service that no page of the shop should reach.
    pub secrets: u64,
    /// Requests in absolute form, as a browser sends them to its proxy; refused ones too.
    pub proxied: u64,
    /// Tokens made, including those that the API refuses.
    pub minted: u64,
    /// Counts resets, so that a solve that began before one is not counted after it.
    #[serde(skip)]
    pub(crate) epoch: u64,
}

/// Requests to `/v1`. A solve is a valid `request.get` or `request.post`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Solves {
    /// Solves that arrived.
    pub started: u64,
    /// Solves that have not ended, including those that wait for a worker and those whose client has disconnected.
    pub running: u64,
    /// The highest value of `running`.
    pub max_running: u64,
    /// Solves that ended, with success or not.
    pub done: u64,
    /// When the latest 64 solves arrived: nanoseconds since the epoch.
    pub arrivals_ns: VecDeque<i64>,
    /// Requests by command, valid or not.
    pub commands: BTreeMap<String, u64>,
    /// Open sessions.
    pub sessions: usize,
    /// The latest valid JSON body.
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
        add_latest(&mut self.user_agents, user_agent.to_owned());
        if let Some(fingerprint) = fingerprint {
            add_latest(&mut self.fingerprints, fingerprint);
        }
    }

    pub(crate) fn finish(&mut self, status: u16) {
        *self.answered.entry(status).or_default() += 1;
    }
}

fn add_latest(seen: &mut VecDeque<String>, entry: String) {
    seen.retain(|other| *other != entry);
    seen.push_back(entry);
    shorten(seen);
}

fn shorten<T>(list: &mut VecDeque<T>) {
    while list.len() > KEPT {
        list.pop_front();
    }
}
