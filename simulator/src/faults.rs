//! What goes wrong: the document of `/control/faults`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that can be made to go wrong. The default is a world in which nothing does.
///
/// As JSON every field is optional, an unknown one is refused, and times are whole milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Only the next N requests of the kind that the other fields name (solves, API calls) are hit; then all faults
    /// clear themselves. A visit by a real browser does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,

    /// How long a solve takes before the page is opened. Like the start of a browser it is not under `maxTimeout`.
    #[serde(with = "millis", skip_serializing_if = "Duration::is_zero")]
    pub solve_delay: Duration,
    /// The solve fails, at once after `solve_delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solve_error: Option<SolveError>,
    /// The solve succeeds but its answer is not what FlareSolverr would send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solve_garbage: Option<Garbage>,
    /// The solve stays where it is, on a worker, until faults are set or cleared, then goes on.
    #[serde(skip_serializing_if = "is_false")]
    pub solve_hang: bool,
    /// The connection is closed without an answer, as when FlareSolverr is killed.
    #[serde(skip_serializing_if = "is_false")]
    pub solve_reset: bool,

    /// What `/shop` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<PageMode>,
    /// How long `/shop` takes, if not as long as it does by itself: until the server answers, the script sets the
    /// cookie, or the challenge is over.
    #[serde(with = "millis", skip_serializing_if = "Duration::is_zero")]
    pub page_delay: Duration,
    /// What the page sets as the token's cookie.
    #[serde(skip_serializing_if = "CookieKind::is_normal")]
    pub cookie: CookieKind,
    /// The life of the page's tokens, if not that of [`Settings`](crate::Settings); whole seconds count.
    #[serde(with = "millis", skip_serializing_if = "Duration::is_zero")]
    pub token_life: Duration,

    /// How long an API call takes.
    #[serde(with = "millis", skip_serializing_if = "Duration::is_zero")]
    pub api_delay: Duration,
    /// API calls are not answered until faults are set or cleared.
    #[serde(skip_serializing_if = "is_false")]
    pub api_hang: bool,
    /// The connection of an API call is closed without an answer.
    #[serde(skip_serializing_if = "is_false")]
    pub api_reset: bool,
    /// Every API call is answered with this status: 403 with the HTML of a protection at the edge, else JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_status: Option<u16>,
    /// The body that goes with `api_status` (200 where that is not set).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_body: Option<String>,
    /// The API answers 403 unless a browser's `__ddg1_` cookie comes with the user agent it was given to.
    #[serde(skip_serializing_if = "is_false")]
    pub require_user_agent: bool,
}

/// How a solve fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "`solve_error` is one of \"timeout\", \"blocked\", \"session\", \"browser\", \"crash\", \"dns\", \
                 \"refused\", \"proxy\", or an object {\"status\": 502, \"body\": \"…\"}"
)]
pub enum SolveError {
    /// As a FlareSolverr 3.5.0 was recorded to answer.
    Recorded(RecordedError),
    /// Whatever a proxy in front of it, or another program with its API, might answer.
    Raw {
        /// HTTP status.
        status: u16,
        /// Body; called JSON if it starts with `{`, else HTML.
        body: String,
    },
}

impl From<RecordedError> for SolveError {
    fn from(error: RecordedError) -> Self {
        Self::Recorded(error)
    }
}

/// Failures of which there are recordings.
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
    /// Nobody listens at the page's address.
    Refused,
    /// The proxy cannot be reached.
    Proxy,
}

/// How an answer with status 200 is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Garbage {
    /// An HTML page.
    NotJson,
    /// No body.
    Empty,
    /// The first half of the real answer.
    Truncated,
    /// The right names with values of the wrong types.
    WrongTypes,
    /// Arrays nested 100,000 deep.
    Deep,
    /// The real answer with a page of N MiB (1,024 at most) in it.
    Huge(u16),
}

/// How the page gives out its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageMode {
    /// By `Set-Cookie`.
    SetCookie,
    /// By a script, a while after the page has loaded (1 s if not said).
    Late,
    /// By `Set-Cookie`, after a "Just a moment..." (3 s if not said) that sets `cf_clearance` and reloads.
    Challenge,
    /// Not at all.
    Plain,
    /// Not at all: "Access denied", which FlareSolverr takes for a block.
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
    /// A value with characters that no token has.
    Malformed,
    /// A token whose `exp` is an hour ago.
    Expired,
    /// A token like any other that the API does not accept.
    Dead,
    /// A live token that is no JWT.
    Opaque,
    /// A live token of 9 KiB. Real browsers drop such a cookie.
    Oversized,
    /// The token that was given out last, dead or alive.
    Repeated,
    /// A live token under the older name `bearer_token`.
    BearerToken,
    /// A live token for `/shop` after two dead ones of the same name, for `/` and for the parent domain.
    Duplicate,
}

impl CookieKind {
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// What a request is, so that `remaining` counts the right ones.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Solve,
    Api,
}

impl Faults {
    /// What applies to the next request of this role; counts it where `remaining` is set.
    pub(crate) fn take(&mut self, role: Role) -> Self {
        if self.remaining == Some(0) {
            *self = Self::default();
        }
        let taken = self.of(role);
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

    /// The faults that hit requests of this role.
    fn of(&self, role: Role) -> Self {
        match role {
            Role::Api => Self {
                api_delay: self.api_delay,
                api_hang: self.api_hang,
                api_reset: self.api_reset,
                api_status: self.api_status,
                api_body: self.api_body.clone(),
                require_user_agent: self.require_user_agent,
                ..Self::default()
            },
            Role::Solve => Self {
                remaining: None,
                api_delay: Duration::ZERO,
                api_hang: false,
                api_reset: false,
                api_status: None,
                api_body: None,
                require_user_agent: false,
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
            assert_eq!(faults.take(Role::Solve), Faults::default());
        }
        assert_eq!(faults.take(Role::Api).api_status, Some(503));
        assert_eq!(faults.take(Role::Api).api_status, Some(503));
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn a_document_comes_out_as_it_went_in() {
        let document = r#"{"remaining":2,"solve_delay":1500,"solve_error":{"status":502,"body":"x"},"solve_garbage":{"huge":3},"page":"late","page_delay":400,"cookie":"bearer_token"}"#;
        let faults: Faults = serde_json::from_str(document).unwrap();
        assert_eq!(serde_json::to_string(&faults).unwrap(), document);
    }
}
