//! A site's state as the scripts reply it.

use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue, ParsingError, Value};
use token_sidecar_client::wire::{Cookies, Fingerprint, Stage, Token, Trigger};

use crate::domain::lifetime::later;
use crate::domain::snapshot::{Current, Failing, Provenance, Refresh, Snapshot};
use crate::refresh::ports::Claimed;

/// The reply of `state()` in state.lua.
pub(super) type State = (i64, String, Option<Vec<u8>>, Option<Vec<u8>>, i64, i64, u64, u32, Vec<Option<Vec<u8>>>);

/// Reads a state. Nothing that somebody else put into the keys makes it fail.
pub(super) fn read((at, etag, token, cookies, token_ttl, lock_ttl, version, failures, meta): State) -> Snapshot {
    let at = instant(at);
    let field = |n: usize| meta.get(n).and_then(Option::as_deref).and_then(text).filter(|v| !v.is_empty());
    let token = token.as_deref().and_then(text).and_then(|text| Token::parse(text).ok());
    let ours = |token: &Token| field(0).and_then(Fingerprint::parse) == Some(token.fingerprint());
    let refresh = || {
        Some(Refresh {
            at: Timestamp::from_millisecond(field(1)?.parse().ok()?).ok()?,
            trigger: Trigger::parse(field(2)?)?,
            source: field(3)?.to_owned(),
            user_agent: field(4).map(str::to_owned),
        })
    };
    let current = token.map(|token| Current {
        key_ends_at: positive(token_ttl).map(|ttl| later(at, ttl)),
        provenance: ours(&token).then(refresh).flatten().map_or(Provenance::Foreign, Provenance::Sidecar),
        cookies: cookies.as_deref().and_then(text).map(Cookies::from_json).unwrap_or_default(),
        token,
    });
    let failing = (failures > 0).then(|| Failing {
        attempts: failures,
        // An end that cannot be read has passed.
        retry_at: field(5).and_then(|at| at.parse().ok()).unwrap_or(at),
        trigger: field(6).and_then(Trigger::parse).unwrap_or(Trigger::Invalid),
        stage: field(7).map_or(Stage::Solve, Stage::parse),
        error: field(8).unwrap_or_default().to_owned(),
    });
    Snapshot { at, etag, version, current, lock: positive(lock_ttl), failing: failing.map(Box::new) }
}

/// The reply of claim.lua.
impl FromRedisValue for Claimed {
    fn from_redis_value(reply: Value) -> Result<Self, ParsingError> {
        Ok(match reply {
            Value::Int(at) => Self::Taken(instant(at)),
            state => Self::Changed(Box::new(read(State::from_redis_value(state)?))),
        })
    }
}

fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}

/// What is text is read; anything else is nothing.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn positive(ms: i64) -> Option<Duration> {
    // 0 is a key in its last millisecond.
    u64::try_from(ms).ok().map(Duration::from_millis)
}
