//! A shipped file with the addresses of a test, and the main job with that file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use simulator::fingerprint;

use crate::process::{Events, Ran, Running, World, keys};
use crate::support::redis_server::{OBSERVER, RedisServer, major_version, program};

/// The password of every example.
pub(crate) const PASSWORD: &str = "p@ss:w/rd%#";

/// The path that the examples name.
pub(crate) const PASSWORD_FILE: &str = "/etc/token-sidecar/redis-password";

/// One of the shipped files.
pub(crate) struct Example {
    name: &'static str,
    text: String,
}

impl Example {
    pub(crate) fn of(name: &'static str) -> Self {
        let text = fs::read_to_string(project().join("docs/redis").join(name)).unwrap();
        Self { name, text }
    }

    /// The same with an address replaced; the file must contain the old one.
    pub(crate) fn with(mut self, place: &str, ours: &str) -> Self {
        assert!(self.text.contains(place), "{} does not name {place}", self.name);
        self.text = self.text.replace(place, ours);
        self
    }

    /// The same with the password in a file of this world.
    pub(crate) fn with_password(self, world: &World) -> Self {
        let file = world.write("password", &format!("{PASSWORD}\n"));
        self.with(PASSWORD_FILE, file.to_str().unwrap())
    }

    /// The environment of processes that have this file and no other settings.
    pub(crate) fn install(self, world: &World) -> Configured<'_> {
        let file = world.write(self.name, &self.text);
        Configured { world, file }
    }
}

/// Processes that have the shipped file.
pub(crate) struct Configured<'w> {
    world: &'w World,
    file: PathBuf,
}

impl Configured<'_> {
    pub(crate) fn env(&self) -> [(&str, &str); 3] {
        let file = self.file.to_str().unwrap();
        [("SIDECAR_CONFIG", file), ("REDIS_URL", ""), ("SIDECAR_DEBOUNCE", "0s")]
    }

    pub(crate) fn call(&self, args: &[&str]) -> Ran {
        self.world.call_with(args, &self.env())
    }

    pub(crate) fn begin(&self, args: &[&str]) -> Running {
        self.world.begin(args, &self.env())
    }

    /// A sidecar that has its first token and has answered a trigger, on the server where its keys are; the
    /// commands see the same.
    pub(crate) fn main_job(&self, server: &RedisServer) -> (Running, Events) {
        let events = Events::of(server);
        // The Redis of the world is another server: only the file names this one.
        let sidecar = self.begin(&["run"]).listening();
        events.refreshed();
        publish(server, "now");
        stored(server, &events.refreshed());
        self.all_is_well();
        assert_eq!(denials(server), Vec::<String>::new(), "no command is sent that it may not use");
        assert_eq!(self.world.ask::<i64>(&["DBSIZE"]), 0);
        (sidecar, events)
    }

    /// `doctor` finds nothing wrong, and the token is fresh.
    pub(crate) fn all_is_well(&self) {
        let found = self.call(&["doctor"]).expect(0);
        assert!(found.stdout.lines().all(|line| line.starts_with("ok  ")), "{}", found.stdout);
        self.call(&["status"]).expect(0).prints("chitai_gorod  fresh");
    }
}

/// `PUBLISH chitai_gorod:token:invalid` on this server; returns how many received it there.
pub(crate) fn publish(server: &RedisServer, payload: &str) -> i64 {
    server.ask_words(&["PUBLISH", keys::INVALID, payload])
}

/// The token that an event announces is in the key.
#[track_caller]
pub(crate) fn stored(server: &RedisServer, event: &Value) {
    let token: String = server.ask_words(&["GET", keys::TOKEN]);
    assert_eq!(event["fingerprint"], fingerprint(&token));
}

/// What the shipped user was refused.
pub(crate) fn denials(server: &RedisServer) -> Vec<String> {
    let log: Vec<Vec<redis::Value>> = server.ask("ACL LOG");
    let text = |value: &redis::Value| redis::from_redis_value::<String>(value.clone()).unwrap_or_default();
    let entries = log.iter().map(|entry| entry.iter().map(text).collect::<Vec<_>>().join(" "));
    entries.filter(|entry| entry.contains(" username sidecar ")).collect()
}

/// The shipped users with [`PASSWORD`], and one that the test itself is: the line that loads them.
pub(crate) fn users(world: &World) -> String {
    users_of(world, &program())
}

/// The same for a server that is this program.
pub(crate) fn users_of(world: &World, program: &str) -> String {
    let shipped = fs::read_to_string(project().join("compose/users.acl")).unwrap();
    let shipped = shipped.replace("@SIDECAR@", &format!(">{PASSWORD}")).replace("@PARSER@", ">open");
    let shipped = match major_version(program) {
        ..=7 => shipped,
        _ => shipped.replace("+client|setname", "+client|setname +client|setinfo"),
    };
    let mut lines: Vec<&str> = shipped.lines().filter(|line| line.starts_with("user ")).collect();
    assert_eq!(lines.len(), 3, "no unnamed user, the sidecar and parsers");
    let observer = format!("user {OBSERVER} on >{OBSERVER} ~* &* +@all");
    lines.push(&observer);
    format!("aclfile {}", world.write("users.acl", &(lines.join("\n") + "\n")).display())
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
