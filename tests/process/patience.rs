//! Polling for what another process does without an event.

use std::time::{Duration, Instant};

/// Far longer than anything here takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is polled.
const PACE: Duration = Duration::from_millis(10);

/// The time on a monotonic clock.
pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test measures real processes in real time")]
    Instant::now()
}

/// Polls until there is a value; panics with `what` after the deadline.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, what, look)
}

/// The same, where more time may pass than elsewhere.
pub(crate) fn eventually_within<T>(bound: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < bound, "did not come about within {} s: {what}", bound.as_secs());
        std::thread::sleep(PACE);
    }
}
