//! Events of a site, for metrics and the status page.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use token_sidecar_client::wire::Trigger;

use crate::domain::snapshot::Snapshot;

/// Receives what happens to a site, for metrics and the status page. It decides nothing.
pub trait Observer: Send + Sync {
    fn observe(&self, observation: Observation<'_>);
}

#[derive(Debug, Clone)]
pub enum Observation<'a> {
    Looked(&'a Snapshot),
    /// Triggers led to a decision.
    Decided {
        decision: DecisionKind,
        /// How many triggers it answers.
        folded: u64,
    },
    /// Whether triggers wait for an answer.
    Pending(bool),
    Entered(Step),
    /// A step of a refresh has ended.
    Timed(Step, Duration),
    /// A refresh has ended; why it was started.
    Finished(OutcomeKind, Trigger),
    /// The lock was lost while the work went on.
    LeaseLost,
}

/// A decision on triggers, as metrics and logs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum DecisionKind {
    /// A refresh was claimed.
    Solve,
    /// Another replica holds the lock: its outcome is the answer.
    Follow,
    /// A refresh of this process was under way: its outcome was the answer.
    Join,
    /// The failure was announced again.
    Backoff,
    /// The current token was announced again.
    Repeat,
    /// The current token was verified and announced again.
    Verify,
    /// A token that another program stored was adopted.
    Adopt,
    /// No answer was wanted.
    Nothing,
}

/// A step of a refresh that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Step {
    /// The lock was taken.
    Claimed,
    Solve,
    /// The token is extracted from the answer.
    Extract,
    /// The API is asked.
    Verify,
    /// The token is stored.
    Commit,
}

/// How a refresh ended, as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum OutcomeKind {
    Refreshed,
    Failed,
    /// Another replica stored a newer token or took the lock.
    Superseded,
    /// Abandoned at shutdown.
    Abandoned,
}
