//! What many samples of one thing say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Samples, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) samples: usize,
    pub(crate) least: f64,
    pub(crate) median: f64,
    /// 99 of 100 are at most this.
    pub(crate) p99: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |share: usize| {
            let index = (samples.len() * share).div_ceil(100).clamp(1, samples.len().max(1)) - 1;
            samples.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
        };
        Self { samples: samples.len(), least: at(0), median: at(50), p99: at(99), most: at(100) }
    }
}
