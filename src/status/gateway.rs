//! What the gateway counts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use strum::VariantArray;

use super::metrics::Times;
use super::registry::{Entry, MonotonicClock, lock};

/// What the gateway did with a request for a site, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum GatewayOutcome {
    /// Sent on at once; the answer is the API's.
    Sent,
    /// It waited for a first token, or for one that did not come.
    Waited,
    /// It was sent again with a newer token after a 401.
    Replayed,
    /// The API's 401 was passed on.
    Refused,
}

/// The status of an answer, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub(super) enum AnswerClass {
    #[strum(to_string = "2xx")]
    Success,
    #[strum(to_string = "3xx")]
    Redirection,
    #[strum(to_string = "401")]
    Unauthorized,
    #[strum(to_string = "403")]
    Forbidden,
    #[strum(to_string = "429")]
    TooMany,
    #[strum(to_string = "4xx")]
    ClientError,
    #[strum(to_string = "5xx")]
    ServerError,
}

/// What is counted of a site. Each number stands at the place of its label.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GatewayCounts {
    pub(super) outcomes: [u64; GatewayOutcome::VARIANTS.len()],
    pub(super) answers: [u64; AnswerClass::VARIANTS.len()],
}

/// Counts the requests of one site.
#[derive(Clone)]
pub struct GatewayObserver {
    pub(super) clock: MonotonicClock,
    pub(super) entry: Arc<Entry>,
    pub(super) times: Arc<Mutex<Times>>,
}

impl GatewayObserver {
    /// An answer has begun; `added` is how much longer that took than the API itself.
    pub(crate) fn answered(&self, status: u16, outcome: GatewayOutcome, added: Duration) {
        if let Some(counts) = &mut lock(&self.entry.state).1.gateway {
            counts.outcomes[outcome as usize] += 1;
            counts.answers[AnswerClass::of(status) as usize] += 1;
        }
        // Such an answer follows a 401 of the API.
        if matches!(outcome, GatewayOutcome::Replayed | GatewayOutcome::Refused) {
            lock(&self.entry.reports).count(self.now());
        }
        lock(&self.times).observe(added);
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// An estimate of the store's clock; `None` before the site was read for the first time.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        lock(&self.entry.state).0.time_at(self.now())
    }
}

impl AnswerClass {
    const fn of(status: u16) -> Self {
        match status {
            ..300 => Self::Success,
            300..400 => Self::Redirection,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            429 => Self::TooMany,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}
