//! The distribution of many samples.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) samples: usize,
    pub(crate) min: f64,
    pub(crate) median: f64,
    /// The 99th percentile.
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Distribution {
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let percentile = |share: usize| {
            let index = (samples.len() * share).div_ceil(100).clamp(1, samples.len().max(1)) - 1;
            samples.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
        };
        Self {
            samples: samples.len(),
            min: percentile(0),
            median: percentile(50),
            p99: percentile(99),
            max: percentile(100),
        }
    }
}
