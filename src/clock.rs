//! The only place that reads the machine's clocks.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::refresh::ports::Clock;

/// The monotonic clock since the process started.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The wall clock, for times that people read and for comparison with Redis' clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn wall() -> Timestamp {
        Timestamp::now()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}
