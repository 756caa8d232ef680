//! The store's clock between two readings.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::lifetime::later;

/// The store's clock, as last read. Counted from when a question was asked it says what that clock will show
/// when the next one arrives, however long the way is.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreTime {
    /// What it showed.
    pub(super) at: Timestamp,
    /// The reading of our own clock then.
    pub(super) read_at: Duration,
}

impl StoreTime {
    /// An estimate of what it shows at this reading of our own clock.
    pub(super) fn now(self, clock: Duration) -> Timestamp {
        later(self.at, clock.saturating_sub(self.read_at))
    }
}
