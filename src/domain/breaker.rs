//! Whether a solver is left alone: one that has failed comes after the others of a site for a while.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long after the first failure a solver is left alone; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);

/// A circuit breaker. Times are by one monotonic clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row.
    failures: u32,
    open_until: Duration,
    /// A solve is on its way that decides; at most until then.
    trial_until: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, strum::VariantArray)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum BreakerState {
    /// It is asked in its turn.
    Closed,
    /// It has failed: the others are asked before it.
    Open,
    /// It has failed, and the next solve decides.
    HalfOpen,
}

/// When a solver is asked in an attempt, beside the others of a site; the first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// This attempt is the trial that decides: without it, one that works again would never be asked.
    OnTrial,
    InTurn,
    LeftAlone,
}

/// A solver of a site that has several, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolverStatus {
    /// Host and port.
    pub address: String,
    pub state: BreakerState,
    /// For how many seconds more the others are asked before it.
    pub left_alone_s: Option<u64>,
}

impl Breaker {
    pub fn state(&self, now: Duration) -> BreakerState {
        match self.failures {
            0 => BreakerState::Closed,
            _ if now < self.open_until => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    pub fn standing(&self, now: Duration) -> Standing {
        match (self.failures, self.left_alone(now)) {
            (0, _) => Standing::InTurn,
            (_, Some(_)) => Standing::LeftAlone,
            (_, None) => Standing::OnTrial,
        }
    }

    /// For how long the others are asked before it.
    pub fn left_alone(&self, now: Duration) -> Option<Duration> {
        let until = self.open_until.max(self.trial_until);
        (self.failures > 0 && now < until).then(|| until.saturating_sub(now))
    }

    /// A solve begins that takes at most `longest`. While the solver is left alone, that is no trial.
    pub fn begin(&mut self, now: Duration, longest: Duration) {
        if self.failures > 0 && now >= self.open_until {
            self.trial_until = now + longest;
        }
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A solve that began at `began` has failed. One that was on its way at the last failure adds nothing to it, and
    /// neither does one that began while it was left alone: that had the time that the others left.
    pub fn failed(&mut self, began: Duration, now: Duration) {
        if self.failures > 0 && began < self.open_until {
            return;
        }
        let pause = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        let failures = self.failures.saturating_add(1);
        *self = Self { failures, open_until: now + pause, trial_until: Duration::ZERO };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_solver_that_fails_is_left_alone_for_ever_longer_and_then_tried_by_one_solve() {
        let mut breaker = Breaker::default();
        assert_eq!((breaker.state(at(0)), breaker.left_alone(at(0))), (BreakerState::Closed, None));
        breaker.failed(at(50), at(100));
        breaker.failed(at(60), at(110));
        assert_eq!((breaker.state(at(129)), breaker.left_alone(at(129))), (BreakerState::Open, Some(at(1))));
        assert_eq!((breaker.state(at(130)), breaker.left_alone(at(130))), (BreakerState::HalfOpen, None));
        let standings = [0, 129, 130].map(|second| breaker.standing(at(second)));
        assert_eq!(standings, [Standing::LeftAlone, Standing::LeftAlone, Standing::OnTrial]);
        breaker.begin(at(130), at(60));
        assert_eq!(breaker.left_alone(at(150)), Some(at(40)), "by one solve");
        assert_eq!(breaker.left_alone(at(190)), None, "unless that was abandoned");
        breaker.failed(at(130), at(150));
        assert_eq!(breaker.left_alone(at(150)), Some(at(60)));
        breaker.begin(at(160), at(60));
        breaker.failed(at(160), at(170));
        assert_eq!(breaker.left_alone(at(170)), Some(at(40)), "the time that the others left is no trial");
        for second in (1000..9000).step_by(1000) {
            breaker.failed(at(second), at(second));
        }
        assert_eq!(breaker.left_alone(at(8000)), Some(LONGEST));
        breaker.succeeded();
        breaker.begin(at(8001), at(60));
        assert_eq!((breaker.state(at(8001)), breaker.left_alone(at(8001))), (BreakerState::Closed, None));
    }
}
