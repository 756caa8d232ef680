//! Waits for what an outside process does and gives no event for.

use std::time::{Duration, Instant};

/// Far longer than anything here takes, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How often is looked.
const PACE: Duration = Duration::from_millis(10);

/// The time on a clock that only goes forward.
pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test measures real processes in real time")]
    Instant::now()
}

/// Looks until there is something; panics with `what` after the deadline.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "did not come about within {} s: {what}", DEADLINE.as_secs());
        std::thread::sleep(PACE);
    }
}
