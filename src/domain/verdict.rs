//! The API's verdict on a token, and why an attempt failed.

use std::time::Duration;

use token_sidecar_client::wire::Stage;

/// Its name in lower case is its label in logs.
#[derive(Debug, Clone, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Verdict {
    Accepted,
    /// 401: the token is invalid.
    Refused(String),
    /// 403, or a page where data should be: blocked at the edge, which is no verdict on the token.
    Blocked(String),
    /// 429, 5xx, a time-out: no verdict on the token.
    Unclear(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    /// What happened, without secrets.
    pub error: String,
    /// How soon another attempt makes sense.
    pub pace: Pace,
}

/// How soon another attempt makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Ordinary,
    /// The longest back-off at once: this address is banned.
    LongestBackoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    pub solve: Duration,
    pub extract: Duration,
    pub verify: Duration,
}
