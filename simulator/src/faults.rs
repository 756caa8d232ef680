//! Faults: the document of `/control/faults`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The faults to inject; by default none.
///
/// In JSON every field is optional, unknown fields are refused, and times are whole milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Only the next N requests that the other fields concern (solves, API calls) fail; then all faults are cleared.
    /// Visits by real browsers are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,

    /// How long a solve takes before it opens the page. Like the start of a browser, `maxTimeout` does not limit it.
    #[serde(with = "millis", skip_serializing_if = "Duration::is_zero")]
    pub solve_delay: Duration,
    /// The solve fails after `solve_delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solve_error: Option<SolveError>,
    /// The solve succeeds, but its response is not what FlareSolverr would send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solve_garbage: Option<Garbage>,
    /// The solve hangs, and occupies a worker, until faults are set or cleared; then it goes on.
    #[serde(skip_serializing_if = "is_false")]
    pub solve_hang: bool,
    /// The connection is closed without a response, as when FlareSolverr is killed.
    #[serde(skip_serializing_if = "is_false")]
    pub solve_reset: bool,

    /// Which page `/shop` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<PageMode>,
    /// Replaces the delay of `/shop`: until the server answers, the script sets the cookie, or the challenge is passed.
    #[serde(with = "millis", skip_serializing_if = "Duration::is_zero")]
    pub page_delay: Duration,
    /// What the page sets as the token's cookie.
    #[serde(skip_serializing_if = "CookieKind::is_normal")]
    pub cookie: CookieKind,
    /// Replaces the life of the page's tokens, in whole seconds.
    #[serde(with = "millis", skip_serializing_if = "Duration::is_zero")]
    pub token_life: Duration,

    /// How long an API call takes.
    #[serde(with = "millis", skip_serializing_if = "Duration::is_zero")]
    pub api_delay: Duration,
    /// API calls hang until faults are set or cleared.
    #[serde(skip_serializing_if = "is_false")]
    pub api_hang: bool,
    /// The connection of an API call is closed without a response.
    #[serde(skip_serializing_if = "is_false")]
    pub api_reset: bool,
    /// Every API call is answered with this status: 403 with the HTML of a protection at the edge, else JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_status: Option<u16>,
    /// The body that goes with `api_status` (200 where that is not set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_body: Option<String>,
    /// The API answers 403 unless a browser's `__ddg1_` cookie comes with the user agent that got it.
    #[serde(skip_serializing_if = "is_false")]
    pub require_user_agent: bool,

    /// As an HTTP proxy the simulator answers 407 unless a request comes with this `user:password`. `remaining` does
    /// not count such requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_login: Option<String>,
}

/// How a solve fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`solve_error` is one of \"timeout\", \"blocked\", \"session\", \"browser\", \"crash\", \"dns\", \
                 \"refused\", \"proxy\", or an object {\"status\": 502, \"body\": \"…\"}"
)]
pub enum SolveError {
    /// As a FlareSolverr 3.5.0 answered when it was recorded.
    Recorded(RecordedError),
    /// As a proxy in front of it, or another program with its API, might answer.
    Raw {
        /// HTTP status.
        status: u16,
        /// Sent as JSON if it starts with `{`, else as HTML.
        body: String,
    },
}

impl From<RecordedError> for SolveError {
    fn from(error: RecordedError) -> Self {
        Self::Recorded(error)
    }
}

/// Failures that were recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordedError {
    /// "Timeout after N seconds.", N being the request's `maxTimeout`.
    Timeout,
    /// "Cloudflare has blocked this request."
    Blocked,
    /// "invalid session id": the session's browser is dead.
    Session,
    /// The browser does not start.
    Browser,
    /// The browser was killed during the solve.
    Crash,
    /// The page's name does not resolve.
    Dns,
    /// The connection to the page is refused.
    Refused,
    /// The proxy cannot be reached.
    Proxy,
}

/// An invalid response with status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// An HTML page.
    NotJson,
    /// No body.
    Empty,
    /// The first half of the real response.
    Truncated,
    /// The right names with values of the wrong types.
    WrongTypes,
    /// Arrays nested 100,000 deep.
    Deep,
    /// The real response with a page of N MiB (1,024 at most).
    Huge(u16),
}

/// How the page sets the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageMode {
    /// By `Set-Cookie`.
    SetCookie,
    /// By a script, after a delay from the page's load (1 s by default).
    Late,
    /// By `Set-Cookie`, after a challenge "Just a moment..." (3 s by default) that sets `cf_clearance` and reloads.
    Challenge,
    /// Not at all.
    Plain,
    /// Not at all: "Access denied", which FlareSolverr reports as a block.
    Denied,
}

/// What the page sets as the token's cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CookieKind {
    /// `access-token=Bearer%20<JWT>`, live.
    #[default]
    Normal,
    /// No such cookie.
    Absent,
    /// The cookie, without a value.
    Empty,
    /// A value with characters that are not allowed in a token.
    Malformed,
    /// A token that expired an hour ago.
    Expired,
    /// A well-formed token that the API refuses.
    Dead,
    /// A live token that is not a JWT.
    Opaque,
    /// A live token of 9 KiB. Real browsers drop such a cookie.
    Oversized,
    /// The token that was set last, live or not.
    Repeated,
    /// A live token in the older cookie `bearer_token`.
    BearerToken,
    /// A live token for `/shop`, and two cookies of the same name with refused tokens, for `/` and the parent domain.
    Duplicate,
}

impl CookieKind {
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// Faults concern one kind of request; `remaining` counts only these.
#[derive(Clone, Copy)]
pub(crate) enum RequestKind {
    Solve,
    Api,
}

impl Faults {
    /// The faults for the next request of this kind, which counts against `remaining`.
    pub(crate) fn take(&mut self, kind: RequestKind) -> Self {
        if self.remaining == Some(0) {
            *self = Self::default();
        }
        let taken = self.of(kind);
        if taken != Self::default()
            && let Some(remaining) = self.remaining
        {
            match remaining.saturating_sub(1) {
                0 => *self = Self::default(),
                left => self.remaining = Some(left),
            }
        }
        taken
    }

    fn of(&self, kind: RequestKind) -> Self {
        match kind {
            RequestKind::Api => Self {
                api_delay: self.api_delay,
                api_hang: self.api_hang,
                api_reset: self.api_reset,
                api_status: self.api_status,
                api_body: self.api_body.clone(),
                require_user_agent: self.require_user_agent,
                ..Self::default()
            },
            RequestKind::Solve => Self {
                remaining: None,
                api_delay: Duration::ZERO,
                api_hang: false,
                api_reset: false,
                api_status: None,
                api_body: None,
                require_user_agent: false,
                proxy_login: None,
                ..self.clone()
            },
        }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

mod millis {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn an_unknown_fault_is_refused_with_the_names_of_the_known() {
        let error = serde_json::from_str::<Faults>(r#"{"solve_dealy": 5}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `solve_dealy`") && error.contains("solve_delay"), "{error}");
    }

    #[test]
    fn an_unknown_error_is_refused_with_the_names_of_the_known() {
        let error = serde_json::from_str::<Faults>(r#"{"solve_error": "tmeout"}"#).unwrap_err().to_string();
        assert!(error.contains("\"timeout\""), "{error}");
    }

    #[test]
    fn remaining_counts_only_what_the_faults_hit() {
        let mut faults = Faults { api_status: Some(503), api_body: None, remaining: Some(2), ..Faults::default() };
        for _ in 0..3 {
            assert_eq!(faults.take(RequestKind::Solve), Faults::default());
        }
        assert_eq!(faults.take(RequestKind::Api).api_status, Some(503));
        assert_eq!(faults.take(RequestKind::Api).api_status, Some(503));
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn a_document_comes_out_as_it_went_in() {
        let document = r#"{"remaining":2,"solve_delay":1500,"solve_error":{"status":502,"body":"x"},"solve_garbage":{"huge":3},"page":"late","page_delay":400,"cookie":"bearer_token"}"#;
        let faults: Faults = serde_json::from_str(document).unwrap();
        assert_eq!(serde_json::to_string(&faults).unwrap(), document);
    }
}
