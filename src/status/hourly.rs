//! What happened in each of the last hours.

use std::time::Duration;

/// How many hours are kept.
pub(crate) const HOURS: usize = 24;

/// Counts by the hour, where the process has started at the beginning of one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hourly {
    /// The hour that the last number is of.
    hour: u64,
    counts: [u32; HOURS],
}

impl Hourly {
    /// One more, `now` by the monotonic clock.
    pub(super) fn count(&mut self, now: Duration) {
        *self = Self { hour: hour(now).max(self.hour), counts: self.until(now) };
        let last = &mut self.counts[HOURS - 1];
        *last = last.saturating_add(1);
    }

    /// The numbers of the hours until now; the last one is of the hour that runs.
    pub(super) fn until(&self, now: Duration) -> [u32; HOURS] {
        let passed = usize::try_from(hour(now).saturating_sub(self.hour)).unwrap_or(HOURS).min(HOURS);
        let mut counts = [0; HOURS];
        counts[..HOURS - passed].copy_from_slice(&self.counts[passed..]);
        counts
    }
}

const fn hour(now: Duration) -> u64 {
    now.as_secs() / 3600
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_move_with_the_hours_and_end_after_a_day() {
        let at = |hours: u64| Duration::from_secs(hours * 3600 + 1);
        let mut hourly = Hourly::default();
        hourly.count(at(0));
        hourly.count(at(0));
        hourly.count(at(2));
        let last = |now| hourly.until(at(now))[HOURS - 3..].to_vec();
        assert_eq!((last(2), last(3), last(4)), (vec![2, 0, 1], vec![0, 1, 0], vec![1, 0, 0]));
        assert_eq!(hourly.until(at(25)).iter().sum::<u32>(), 1);
        assert_eq!(hourly.until(at(26)), [0; HOURS]);
        assert_eq!(hourly.until(at(1_000)), [0; HOURS]);
        // A reading from before the last one counts with the last one.
        hourly.count(at(1));
        assert_eq!(hourly.until(at(2))[HOURS - 1], 2);
    }
}
