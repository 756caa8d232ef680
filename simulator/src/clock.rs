//! The one place that asks what time it is.

use jiff::Timestamp;
use tokio::time::Instant;

/// The wall clock: token lives, timestamps of answers, arrival times.
#[expect(clippy::disallowed_methods, reason = "the simulator's one legal place")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// The same in nanoseconds since the epoch, until the year 2262.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// A clock that never jumps: when a page's script ran, how old a session is.
#[expect(clippy::disallowed_methods, reason = "the simulator's one legal place")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
