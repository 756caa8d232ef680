//! The simulator's only access to clocks.

use jiff::Timestamp;
use tokio::time::Instant;

/// The wall clock, for token lives, timestamps and arrival times.
#[expect(clippy::disallowed_methods, reason = "this module is the simulator's access to clocks")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Nanoseconds since the epoch, until the year 2262.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// The monotonic clock, for scripts of pages and the age of sessions.
#[expect(clippy::disallowed_methods, reason = "this module is the simulator's access to clocks")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
