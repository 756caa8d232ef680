//! What the processes of one test need: a Redis, a simulator, settings.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use redis::FromRedisValue;
use simulator::{Faults, Settings, Simulator, Statistics};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Events;
use super::keys;
use super::patience::{DEADLINE, eventually};
use super::sidecar::{PROGRAM, Ran, Running};
use crate::support::contract;
use crate::support::redis_server::RedisServer;

/// A Redis, a simulator, and a working folder.
pub(crate) struct World {
    pub(crate) redis: RedisServer,
    pub(crate) simulator: Arc<Simulator>,
    pub(crate) folder: TempDir,
    /// The simulator's thread ends when this is dropped.
    _end: oneshot::Sender<()>,
}

/// Variables of a process in addition to [`World::environment`].
pub(crate) type Env<'a> = [(&'a str, &'a str)];

impl World {
    pub(crate) fn start() -> Self {
        Self::with(RedisServer::start(), Settings::default())
    }

    pub(crate) fn with(redis: RedisServer, settings: Settings) -> Self {
        let (send, started) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        // A thread of its own, so that it answers while the test waits.
        std::thread::spawn(move || {
            runtime().block_on(async {
                send.send(Arc::new(Simulator::start(settings).unwrap())).unwrap();
                let _until_the_world_ends = ended.await;
            });
        });
        let simulator = started.recv().unwrap();
        Self { redis, simulator, folder: TempDir::new().unwrap(), _end: end }
    }

    /// The variables that every process gets. There is no schedule unless a test sets one.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("REDIS_URL", self.redis.url()),
            ("FLARESOLVERR_URL", self.simulator.flaresolverr_url()),
            ("CHITAI_GOROD_SITE_URL", self.simulator.shop_url()),
            ("CHITAI_GOROD_API_URL", self.simulator.api_url()),
            ("SIDECAR_SCHEDULE", "off".to_owned()),
            ("SIDECAR_LISTEN", "127.0.0.1:0".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// A command to start.
    pub(crate) fn command(&self, args: &[&str], env: &Env<'_>) -> Command {
        self.command_under(&[], args, env)
    }

    /// The same, to be started by another program that replaces itself with it.
    pub(crate) fn command_under(&self, starter: &[&str], args: &[&str], env: &Env<'_>) -> Command {
        let mut words = starter.iter().chain(&[PROGRAM]).chain(args);
        let mut command = Command::new(words.next().unwrap());
        let mut environment = self.environment();
        for (name, value) in env {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        command.args(words).env_clear().envs(environment).current_dir(self.folder.path());
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn call(&self, args: &[&str]) -> Ran {
        self.call_with(args, &[])
    }

    /// What `status --json` prints is checked against the contract.
    #[track_caller]
    pub(crate) fn call_with(&self, args: &[&str], env: &Env<'_>) -> Ran {
        let ran = self.begin(args, env).end();
        if args.contains(&"status") && args.contains(&"--json") && !ran.stdout.is_empty() {
            let printed = serde_json::from_str(&ran.stdout).unwrap();
            contract::conforms("status.schema.json", &printed).unwrap_or_else(|error| panic!("{error}"));
        }
        ran
    }

    /// Starts a command and lets it run.
    pub(crate) fn begin(&self, args: &[&str], env: &Env<'_>) -> Running {
        Running::start(&mut self.command(args, env))
    }

    /// A sidecar that is subscribed to triggers.
    pub(crate) fn sidecar(&self, env: &Env<'_>) -> Running {
        self.begin(&["run"], env).listening()
    }

    /// A sidecar that has stored its first token, and the events from then on.
    pub(crate) fn ready_sidecar(&self, env: &Env<'_>) -> (Running, Events) {
        let events = self.events();
        let sidecar = self.sidecar(env);
        events.refreshed();
        (sidecar, events)
    }

    pub(crate) fn events(&self) -> Events {
        Events::of(&self.redis)
    }

    /// `PUBLISH chitai_gorod:token:invalid`; returns the number of receivers.
    pub(crate) fn publish(&self, payload: impl redis::ToRedisArgs) -> i64 {
        let mut command = redis::cmd("PUBLISH");
        command.arg(keys::INVALID).arg(payload);
        command.query(&mut self.redis.connection()).unwrap()
    }

    /// Waits until this many sidecars are subscribed.
    pub(crate) fn until_subscribed(&self, sidecars: i64) {
        eventually("the sidecars are subscribed", || {
            let subscribers: (String, i64) = self.ask(&["PUBSUB", "NUMSUB", keys::INVALID]);
            (subscribers.1 == sidecars).then_some(())
        });
    }

    /// The current token.
    pub(crate) fn token(&self) -> Option<String> {
        self.redis.ask_words(&["GET", keys::TOKEN])
    }

    /// A field of the site's meta.
    pub(crate) fn meta(&self, field: &str) -> Option<String> {
        self.redis.ask_words(&["HGET", keys::META, field])
    }

    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.redis.ask_words(words)
    }

    /// The history, oldest first, as maps of its fields.
    pub(crate) fn history(&self) -> Vec<BTreeMap<String, String>> {
        let entries: Vec<(String, BTreeMap<String, String>)> =
            self.redis.ask_words(&["XRANGE", keys::HISTORY, "-", "+"]);
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    /// Ends every fault; hanging solves go on.
    pub(crate) fn heal(&self) {
        self.simulator.clear_faults();
    }

    pub(crate) fn faults(&self, faults: Faults) {
        self.simulator.faults(faults);
    }

    pub(crate) fn solves(&self) -> u64 {
        self.simulator.statistics().solves.started
    }

    /// Waits until the simulator's statistics satisfy this.
    pub(crate) fn when(&self, what: &str, so: impl FnMut(&Statistics) -> bool) -> Statistics {
        let waiting = async { timeout(DEADLINE, self.simulator.when(so)).await };
        runtime()
            .block_on(waiting)
            .unwrap_or_else(|_| panic!("did not come about: {what}: {:?}", self.simulator.statistics()))
    }

    /// Waits until this many solves have started.
    pub(crate) fn solve_started(&self, count: u64) {
        self.when("a solve starts", |all| all.solves.started >= count);
    }

    /// Waits until this many solves have ended.
    pub(crate) fn solve_done(&self, count: u64) {
        self.when("a solve ends", |all| all.solves.done >= count);
    }

    /// A file in the working folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `sidecar.toml` with the site `second` beside the built-in one, and these settings of it.
    pub(crate) fn write_second_site(&self, settings: &str) {
        let (page, api) = (self.simulator.shop_url(), self.simulator.api_url());
        let site = format!("[sites.second]\npage_url = {page:?}\napi_url = {api:?}\ncookie = \"access-token\"");
        let probe = "[sites.second.probe]\nurl = \"{api}/search/product?phrase=x\"";
        let more = "cookie_prefix = \"Bearer \"\nschedule = \"off\"";
        self.write("sidecar.toml", &format!("{site}\n{more}\n{settings}\n{probe}\n"));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
