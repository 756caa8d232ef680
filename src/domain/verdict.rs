//! What the API says of a candidate, and why an attempt failed.

use std::time::Duration;

use token_sidecar_client::wire::Stage;

/// The API's word on a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Accepted,
    /// 401: the token is bad.
    Refused(String),
    /// 403, or a page where data should be: stopped at the edge, which says nothing about the token.
    Blocked(String),
    /// 429, 5xx, a time-out: says nothing about the token.
    Unclear(String),
}

impl Verdict {
    /// The word that stands in logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused(_) => "refused",
            Self::Blocked(_) => "blocked",
            Self::Unclear(_) => "unclear",
        }
    }
}

/// Why an attempt ended without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where it ended.
    pub stage: Stage,
    /// What happened, without any secret.
    pub error: String,
    /// How soon another attempt makes sense.
    pub pace: Pace,
}

/// How soon another attempt makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The ordinary back-off.
    Ordinary,
    /// The longest back-off at once: the other side has banned us.
    Long,
}

/// How long each step took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// The source's answer.
    pub solve: Duration,
    /// Finding the token in it.
    pub extract: Duration,
    /// The API's word.
    pub verify: Duration,
}
