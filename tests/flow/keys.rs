//! The keys of the site, in the simulation's model of Redis, which runs the scripts that ship.

use std::time::Duration;

use jiff::Timestamp;

use crate::database::Value;
use crate::engine::{Done, Engine as _, Left, Model};
use crate::reply::Command;

pub(crate) const TOKEN: &str = "shop_token";
pub(crate) const COOKIES: &str = "shop_cookies";
pub(crate) const META: &str = "{shop_token}:meta";
pub(crate) const LOCK: &str = "{shop_token}:lock";
const HISTORY: &str = "{shop_token}:history";

/// The keys, read as they are at the time of the last command.
pub(crate) struct Keys(Model);

impl Keys {
    pub(crate) fn new() -> Self {
        Self(Model::new(None))
    }

    pub(crate) fn execute(&mut self, now: i64, command: &Command) -> Done {
        self.0.execute(now, 0, command)
    }

    /// Lets the keys end that have ended at this time.
    pub(crate) const fn expire(&mut self, now: i64) {
        self.0.database.now = now;
    }

    /// A Redis that restarts empty.
    pub(crate) fn flush(&mut self) {
        self.0.restart(0, Left::Nothing);
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(utf8(text)),
            _ => None,
        }
    }

    /// When a key ends, in ms of the store's clock.
    pub(crate) fn ends(&self, key: &str) -> Option<i64> {
        self.0.database.entry(key.as_bytes())?.ends
    }

    pub(crate) fn meta(&self, field: &str) -> Option<&str> {
        match self.value(META)? {
            Value::Hash(fields) => fields.get(field.as_bytes()).map(|text| utf8(text)),
            _ => None,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.meta("version").map_or(0, |version| version.parse().unwrap())
    }

    /// A field of each entry of the history, the oldest first.
    pub(crate) fn history(&self, field: &str) -> Vec<&str> {
        let Some(Value::Stream(entries, _)) = self.value(HISTORY) else { return Vec::new() };
        let pairs = entries.iter().flat_map(|(_, fields)| fields.chunks(2));
        pairs.filter(|pair| pair[0] == field.as_bytes()).map(|pair| utf8(&pair[1])).collect()
    }

    fn value(&self, key: &str) -> Option<&Value> {
        Some(&self.0.database.entry(key.as_bytes())?.value)
    }
}

fn utf8(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap()
}

/// An instant of the store's clock.
pub(crate) fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// A span in the store's ms.
pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap()
}
