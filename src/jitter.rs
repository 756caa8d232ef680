//! Growing delays with jitter, and random ids.
//!
//! The crate `backoff` is unmaintained (RUSTSEC-2025-0012): it is used only for its delays, and only here.

use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use crate::domain::verdict::Pace;
use crate::refresh::ports::{ClaimId, Jitter};

/// The first pause before a request without a clear answer is repeated.
const PAUSE_INITIAL: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How far a delay may deviate from its mean, as a share of the mean.
const JITTER: f64 = 0.2;

#[derive(Debug, Clone, Copy)]
pub struct Delays {
    initial: Duration,
    max: Duration,
}

impl Delays {
    /// Delays after failures: from `initial`, doubled each time, `max` at most.
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max }
    }
}

impl Jitter for Delays {
    fn backoff(&self, failures: u32, pace: Pace) -> Duration {
        match pace {
            Pace::Ordinary => delay(self.initial, self.max, failures),
            Pace::LongestBackoff => delay(self.max, self.max, 1),
        }
    }

    fn pause(&self, repetition: u32) -> Duration {
        delay(PAUSE_INITIAL, PAUSE_MAX, repetition)
    }

    fn interval(&self, longest: Duration) -> Duration {
        longest.mul_f64(0.75 + fastrand::f64() / 4.0)
    }

    fn random_span(&self, longest: Duration) -> Duration {
        longest.mul_f64(fastrand::f64())
    }

    fn claim_id(&self) -> ClaimId {
        ClaimId(std::iter::repeat_with(|| char::from(b"0123456789abcdef"[fastrand::usize(..16)])).take(32).collect())
    }
}

/// The n-th delay of a doubling series; at most `max`.
fn delay(initial: Duration, max: Duration, n: u32) -> Duration {
    let mean = initial.saturating_mul(1 << n.saturating_sub(1).min(20)).min(max);
    let mut series: ExponentialBackoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(mean)
        .with_max_interval(max)
        .with_randomization_factor(JITTER)
        .with_max_elapsed_time(None)
        .build();
    series.next_backoff().unwrap_or(mean).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_the_first_to_the_longest_with_jitter() {
        let delays = Delays::new(Duration::from_secs(5), Duration::from_secs(600));
        for (failures, mean) in [(1, 5.0), (2, 10.0), (3, 20.0), (7, 320.0), (8, 600.0), (1000, 600.0)] {
            for _ in 0..50 {
                let delay = delays.backoff(failures, Pace::Ordinary).as_secs_f64();
                assert!(delay >= mean * 0.79 && delay <= (mean * 1.21_f64).min(600.0), "{failures}: {delay}");
            }
        }
    }

    #[test]
    fn a_ban_leads_to_the_longest_back_off_at_once() {
        let delays = Delays::new(Duration::from_secs(5), Duration::from_secs(600));
        assert!(delays.backoff(1, Pace::LongestBackoff) >= Duration::from_secs(479));
    }

    #[test]
    fn claim_ids_differ() {
        let delays = Delays::new(Duration::from_secs(5), Duration::from_secs(600));
        assert_ne!(delays.claim_id(), delays.claim_id());
    }
}
