//! Sessions: browsers that stay, each with its cookies.

use std::time::Duration;

use axum::response::Response;
use serde_json::Value;
use tokio::time::Instant;

use crate::clock;
use crate::cookie::Jar;
use crate::world::{State, World};

use super::answer::Call;
use super::request::Command;

/// The sessions that are open, the oldest first.
#[derive(Default)]
pub(crate) struct Sessions(Vec<Session>);

struct Session {
    id: Value,
    jar: Jar,
    since: Instant,
}

impl Sessions {
    /// The cookies of a session, which is created where there is none, and anew where it is older than the TTL.
    pub(super) fn jar(&mut self, id: &Value, ttl: Option<Duration>) -> Jar {
        if let Some(ttl) = ttl {
            self.0.retain(|session| session.id != *id || session.since.elapsed() <= ttl);
        }
        self.create(id);
        self.0.iter().find(|session| session.id == *id).map(|session| session.jar.clone()).unwrap_or_default()
    }

    /// Keeps what a solve left in the session, if it is still there.
    pub(super) fn keep(&mut self, id: &Value, jar: Jar) {
        if let Some(session) = self.0.iter_mut().find(|session| session.id == *id) {
            session.jar = jar;
        }
    }

    /// Whether there was none of this id.
    fn create(&mut self, id: &Value) -> bool {
        let fresh = !self.0.iter().any(|session| session.id == *id);
        if fresh {
            self.0.push(Session { id: id.clone(), jar: Jar::default(), since: clock::instant() });
        }
        fresh
    }

    fn destroy(&mut self, id: &Value) -> bool {
        let before = self.0.len();
        self.0.retain(|session| session.id != *id);
        self.0.len() < before
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// `sessions.create`, `sessions.destroy`, `sessions.list`.
pub(super) fn manage(world: &World, call: Call, command: Command) -> Response {
    let mut state = world.state();
    let response = match command {
        Command::Create { session } => {
            let id = session.unwrap_or_else(|| unnamed(&mut state));
            let message = match state.sessions.create(&id) {
                true => "Session created successfully.",
                false => "Session already exists.",
            };
            call.created(message, id)
        }
        Command::Destroy { session } => match session.is_some_and(|id| state.sessions.destroy(&id)) {
            true => call.done("The session has been removed."),
            false => call.failed("The session doesn't exist."),
        },
        Command::List | Command::Open(_) => {
            call.listed(state.sessions.0.iter().map(|session| session.id.clone()).collect())
        }
    };
    let open = state.sessions.count();
    world.statistics.send_modify(|all| all.solves.sessions = open);
    response
}

/// A name like a UUID.
fn unnamed(state: &mut State) -> Value {
    let word = state.mint.word();
    [&word[..8], &word[8..12], &word[12..16], &word[16..20], &word[20..32]].join("-").into()
}
