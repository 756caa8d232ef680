//! Why a command of FlareSolverr has no result, in one line that says what to do.

use std::time::Duration;

use reqwest::StatusCode;
use token_sidecar_client::excerpt::excerpt;

use super::wire::Reply;
use crate::domain::duration;
use crate::domain::verdict::Pace;
use crate::http::{BodyError, RequestError};
use crate::refresh::ports::SourceError;

/// The longest text of a server that is shown.
const SHOWN: usize = 300;

/// Why a command has no result. Texts of the server are cut and cleaned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlaresolverrError {
    #[error("{0}{question}", question = question(.0))]
    Request(#[source] RequestError),
    #[error(transparent)]
    Body(#[from] BodyError),
    /// No slot became free in this time.
    #[error("no turn within {}: other solves are under way (see `concurrency`)", duration::text(*.0))]
    NoSlot(Duration),
    /// A success that lacks what was asked for.
    #[error("the answer has no {0}; is this FlareSolverr's v1 API?")]
    Lacks(&'static str),
    #[error("the site has blocked this address; a proxy or another address may help")]
    Blocked,
    /// The session's browser has died. The server does not notice, and keeps the session until it is destroyed.
    #[error("its browser has died (invalid session id)")]
    SessionDead,
    #[error("the session does not exist")]
    SessionUnknown,
    /// Its browser does not start.
    #[error("its browser does not start; has it memory enough? ({0})")]
    NoBrowser(String),
    /// It answers, but not as FlareSolverr's API does.
    #[error("{0}")]
    NotTheApi(String),
    /// Byparr would open the page without it.
    #[error("it is a Byparr, which has no `{0}`; this site needs one (or set flaresolverr.kind = \"flaresolverr\")")]
    Unable(&'static str),
    /// It had its share of the attempt's time.
    #[error("no answer within {}, its share of flaresolverr.max_timeout", duration::text(*.0))]
    GivenUp(Duration),
    #[error("no time is left in flaresolverr.max_timeout")]
    NoTime,
    /// Any other failure.
    #[error("{0}")]
    Failed(String),
}

impl FlaresolverrError {
    /// The error of an answer that is not a success.
    pub(super) fn of_answer(status: StatusCode, reply: Option<&Reply>) -> Self {
        let code = status.as_u16();
        Self::NotTheApi(match (code, reply.and_then(|reply| reply.message.as_deref())) {
            (300..=399, _) => format!("HTTP {code}, a redirect, and none is followed; is FLARESOLVERR_URL right?"),
            (401 | 403, _) => format!("HTTP {code}: user and password are missing or wrong in FLARESOLVERR_URL"),
            (404 | 405, _) => format!("HTTP {code}: is FLARESOLVERR_URL right? it should end in /v1"),
            // Byparr's time-out.
            (408, Some(message)) => return Self::Failed(format!("timeout: {}", excerpt(message, SHOWN))),
            (408, None) => return Self::Failed("timeout".to_owned()),
            (_, Some(message)) => return Self::of_message(message),
            (_, None) if reply.is_some() => return Self::Failed(format!("HTTP {code} without a reason")),
            (_, None) => format!("HTTP {code} and no JSON; is FLARESOLVERR_URL right? it should end in /v1"),
        })
    }

    /// Whether the solver is at fault, and not the page; `None` where it was not asked.
    pub(super) const fn is_of_the_solver(&self) -> Option<bool> {
        match self {
            Self::Unable(_) | Self::NoSlot(_) | Self::NoTime => None,
            Self::Request(_) | Self::Body(_) | Self::NotTheApi(_) | Self::NoBrowser(_) | Self::GivenUp(_) => Some(true),
            Self::Lacks(_) | Self::Blocked | Self::SessionDead | Self::SessionUnknown | Self::Failed(_) => Some(false),
        }
    }

    /// The error of the source. `address` is that of the solver where a site has several.
    pub(super) fn of_source(self, address: Option<String>) -> SourceError {
        let pace = if self == Self::Blocked { Pace::LongestBackoff } else { Pace::Ordinary };
        let address = address.map(|address| format!(" at {address}")).unwrap_or_default();
        SourceError { message: format!("FlareSolverr{address}: {self}"), pace }
    }

    /// FlareSolverr has no error codes: errors differ only in their texts.
    fn of_message(message: &str) -> Self {
        let line = excerpt(message, SHOWN);
        let mut text = line.as_str();
        for head in ["Error:", "Error solving the challenge.", "Message:", "unknown error:"] {
            text = text.strip_prefix(head).map_or(text, str::trim_start);
        }
        let text = text.split("; For documentation").next().unwrap_or(text).trim_end_matches(['.', ' ']);
        let has = |part: &str| text.contains(part);
        Self::Failed(if let Some(seconds) = timeout(text) {
            format!("timeout after {seconds} s")
        } else if has("Cloudflare has blocked this request") {
            return Self::Blocked;
        } else if has("invalid session id") {
            return Self::SessionDead;
        } else if has("session doesn't exist") {
            return Self::SessionUnknown;
        } else if has("session not created") || has("chrome not reachable") {
            return Self::NoBrowser(text.to_owned());
        } else if has("net::ERR_PROXY") || has("net::ERR_TUNNEL") {
            format!("its browser cannot use the proxy ({text})")
        } else if has("net::ERR_") {
            format!("its browser cannot open the page ({text})")
        } else if text.is_empty() {
            "an error without a reason".to_owned()
        } else if line.contains("Error solving the challenge") {
            format!("the solve failed ({text})")
        } else {
            text.to_owned()
        })
    }
}

impl From<FlaresolverrError> for SourceError {
    fn from(error: FlaresolverrError) -> Self {
        error.of_source(None)
    }
}

/// A hint on what to check.
const fn question(error: &RequestError) -> &'static str {
    match error {
        RequestError::Unreachable { .. } => "; is it running?",
        RequestError::Dropped { .. } => "; has it crashed or restarted?",
        RequestError::TimedOut { .. } => "; is it overloaded?",
        RequestError::Tls { .. } => "",
    }
}

/// The seconds of `Timeout after 60.0 seconds`, without needless zeros.
fn timeout(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Timeout after ")?;
    let number: f64 = rest.split(' ').next()?.parse().ok()?;
    (number.is_finite() && (0.0..1e9).contains(&number)).then(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failure(message: &str) -> FlaresolverrError {
        let reply = Reply { message: Some(message.to_owned()), ..Reply::default() };
        FlaresolverrError::of_answer(StatusCode::INTERNAL_SERVER_ERROR, Some(&reply))
    }

    #[test]
    fn texts_of_the_server_become_one_line_with_what_to_do() {
        for (text, line) in [
            ("Error: Error solving the challenge. Timeout after 60.0 seconds.", "timeout after 60 s"),
            ("Error: Error solving the challenge. Timeout after 0.5 seconds.", "timeout after 0.5 s"),
            (
                "Error: Error solving the challenge. Message: unknown error: net::ERR_NAME_NOT_RESOLVED\\n  (Session info: chrome=156.0.8078.79)\\nStacktrace:\\n#0 0x... <unknown>",
                "its browser cannot open the page (net::ERR_NAME_NOT_RESOLVED)",
            ),
            (
                "Error: Error solving the challenge. Message: unknown error: net::ERR_PROXY_CONNECTION_FAILED\n  (Session info)",
                "its browser cannot use the proxy (net::ERR_PROXY_CONNECTION_FAILED)",
            ),
            (
                "Error: Error solving the challenge. Message: session not created: cannot connect to chrome at 127.0.0.1:1\\nfrom chrome not reachable",
                "its browser does not start; has it memory enough? (session not created: cannot connect to chrome at 127.0.0.1:1)",
            ),
            ("Error: Request parameter 'cmd' is mandatory.", "Request parameter 'cmd' is mandatory"),
            (
                "Error: Error solving the challenge. 'NoneType' object is not iterable",
                "the solve failed ('NoneType' object is not iterable)",
            ),
            ("Error: ", "an error without a reason"),
            ("cannot use http://me:secret@proxy:1/", "cannot use http://…@proxy:1/"),
        ] {
            assert_eq!(SourceError::from(failure(text)).message, format!("FlareSolverr: {line}"), "{text}");
        }
    }

    #[test]
    fn a_ban_is_paced_long_and_a_dead_session_is_known_as_such() {
        let ban = failure(
            "Error: Error solving the challenge. Cloudflare has blocked this request. Probably your IP is banned",
        );
        assert_eq!(SourceError::from(ban).pace, Pace::LongestBackoff);
        let dead = failure(
            "Error: Error solving the challenge. Message: invalid session id; For documentation on this error, …",
        );
        assert_eq!(dead, FlaresolverrError::SessionDead);
        assert_eq!(SourceError::from(dead).pace, Pace::Ordinary);
        assert_eq!(failure("Error: The session doesn't exist."), FlaresolverrError::SessionUnknown);
    }

    #[test]
    fn statuses_are_named_where_the_server_gives_no_reason() {
        for (status, reply, part) in [
            (404, None, "it should end in /v1"),
            (405, Some(Reply::default()), "it should end in /v1"),
            (401, None, "user and password"),
            (302, None, "none is followed"),
            (
                408,
                Some(Reply { message: Some("Challenge timed out".into()), ..Reply::default() }),
                "timeout: Challenge timed out",
            ),
            (502, None, "HTTP 502 and no JSON"),
            (500, Some(Reply::default()), "HTTP 500 without a reason"),
        ] {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            let message = FlaresolverrError::of_answer(status, reply.as_ref()).to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    proptest! {
        #[test]
        fn every_message_is_one_short_line(text in "\\PC*|[\\x00-\\x7f]{0,600}") {
            let message = SourceError::from(failure(&text)).message;
            prop_assert!(message.chars().count() <= 400 && !message.contains(char::is_control), "{}", message);
        }
    }
}
