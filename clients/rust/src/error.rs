//! Why there is no token.

use std::time::Duration;

use crate::redis::LinkError;
use crate::wire::Failed;

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No sidecar received the report.
    #[error("no sidecar listens on {0}: is one running, on this Redis?")]
    NoSidecar(String),
    /// An attempt ended without a new token.
    #[error("no new token: {} failed (attempt {}): {}; the next try is at {}", .0.stage, .0.attempt, .0.error, .0.retry_at)]
    Failed(Box<Failed>),
    /// There was no outcome in time.
    #[error("no outcome within {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// A setting cannot be used.
    #[error("{0}")]
    Config(String),
    /// Redis is away or refuses.
    #[error("{0}")]
    Redis(LinkError),
}

impl From<LinkError> for ClientError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Config(message) => Self::Config(message),
            error => Self::Redis(error),
        }
    }
}
