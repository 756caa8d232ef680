//! FlareSolverr's sessions: browsers that stay open, each with its cookies.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::clock;
use crate::cookie::Jar;

/// The open sessions, oldest first.
#[derive(Default)]
pub(crate) struct Sessions(Vec<Session>);

struct Session {
    id: Value,
    jar: Jar,
    created: Instant,
}

impl Sessions {
    /// The cookies of a session, which is created where it does not exist, and again where it is older than the TTL.
    pub(crate) fn jar(&mut self, id: &Value, ttl: Option<Duration>) -> Jar {
        if let Some(ttl) = ttl {
            self.0.retain(|session| session.id != *id || session.created.elapsed() <= ttl);
        }
        self.create(id);
        self.0.iter().find(|session| session.id == *id).map(|session| session.jar.clone()).unwrap_or_default()
    }

    /// Stores the cookies of a session, if it still exists.
    pub(crate) fn store(&mut self, id: &Value, jar: Jar) {
        if let Some(session) = self.0.iter_mut().find(|session| session.id == *id) {
            session.jar = jar;
        }
    }

    /// Whether the session is new.
    pub(crate) fn create(&mut self, id: &Value) -> bool {
        let is_new = !self.0.iter().any(|session| session.id == *id);
        if is_new {
            self.0.push(Session { id: id.clone(), jar: Jar::default(), created: clock::instant() });
        }
        is_new
    }

    /// Whether the session existed.
    pub(crate) fn destroy(&mut self, id: &Value) -> bool {
        let before = self.0.len();
        self.0.retain(|session| session.id != *id);
        self.0.len() < before
    }

    pub(crate) fn ids(&self) -> Vec<Value> {
        self.0.iter().map(|session| session.id.clone()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}
