//! A site's state as the scripts reply it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue, ParsingError, Value};
use token_sidecar_client::wire::{Cookies, Fingerprint, Product, Stage, Trigger};

use crate::domain::extract::user_agent;
use crate::domain::lifetime::later;
use crate::domain::snapshot::{Current, Failing, Provenance, Refresh, Snapshot};

/// Reads the reply of `state()` in prelude.lua. Nothing that another program put into the keys makes it fail.
impl FromRedisValue for Snapshot {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        let reply = State(HashMap::from_redis_value(reply)?);
        let at = Timestamp::from_millisecond(reply.integer("at")).unwrap_or_default();
        let attempts = u32::try_from(reply.integer("attempts")).unwrap_or_default();
        Ok(Self {
            at,
            etag: reply.text("etag").unwrap_or_default().to_owned(),
            version: u64::try_from(reply.integer("version")).unwrap_or_default(),
            current: reply.current(at),
            lock: reply.ttl("lock_ttl"),
            failing: (attempts > 0).then(|| Box::new(reply.failing(attempts, at))),
        })
    }
}

/// The values of a reply by their names.
struct State(HashMap<String, Value>);

impl State {
    /// A value that is text and not empty.
    fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    fn integer(&self, name: &str) -> i64 {
        match self.0.get(name) {
            Some(Value::Int(number)) => *number,
            _ => 0,
        }
    }

    /// What PTTL has replied; a key in its last millisecond has 0 left.
    fn ttl(&self, name: &str) -> Option<Duration> {
        u64::try_from(self.integer(name)).ok().map(Duration::from_millis)
    }

    fn current(&self, at: Timestamp) -> Option<Current> {
        let token = self.product().read(self.text("token")?).ok()?;
        let is_ours = self.text("fingerprint").and_then(Fingerprint::parse) == Some(token.fingerprint());
        let refresh = if is_ours { self.refresh() } else { None };
        let token = match token.product() {
            Product::Token => token,
            // Their end stands beside them.
            Product::Cookies => {
                let end = self.text("expires_at").and_then(|at| at.parse().ok());
                token.ending(end.filter(|_| refresh.is_some()))
            }
        };
        Some(Current {
            token,
            cookies: self.text("cookies").map(Cookies::from_json).unwrap_or_default(),
            key_ends_at: self.ttl("token_ttl").map(|ttl| later(at, ttl)),
            provenance: refresh.map_or(Provenance::Foreign, Provenance::Sidecar),
        })
    }

    fn product(&self) -> Product {
        if self.text("product") == Some(Product::Cookies.into_str()) { Product::Cookies } else { Product::Token }
    }

    fn refresh(&self) -> Option<Refresh> {
        Some(Refresh {
            at: Timestamp::from_millisecond(self.text("refreshed_ms")?.parse().ok()?).ok()?,
            trigger: self.text("trigger")?.parse().ok()?,
            source: self.text("source")?.to_owned(),
            user_agent: self.text("user_agent").and_then(user_agent),
        })
    }

    fn failing(&self, attempts: u32, at: Timestamp) -> Failing {
        Failing {
            attempts,
            // A time that cannot be read counts as past.
            retry_at: self.text("retry_at").and_then(|at| at.parse().ok()).unwrap_or(at),
            trigger: self.text("retry_trigger").and_then(|label| label.parse().ok()).unwrap_or(Trigger::Invalid),
            stage: self.text("retry_stage").and_then(|label| label.parse().ok()).unwrap_or(Stage::Solve),
            error: self.text("last_error").unwrap_or_default().to_owned(),
        }
    }
}
