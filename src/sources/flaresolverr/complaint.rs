//! What goes wrong with a server, told in one line that says what to do.

use reqwest::StatusCode;
use token_sidecar_client::excerpt::excerpt;

use super::wire::Reply;
use crate::domain::verdict::Pace;
use crate::http::Fault;
use crate::refresh::ports::SourceError;

/// The longest text of a server that is shown.
const SHOWN: usize = 300;

/// Why a command has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) error: SourceError,
    pub(super) state: State,
}

/// What a failed command says of the session it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its browser is dead. The server does not notice and keeps it until it is destroyed.
    SessionDead,
    /// There is none of that name.
    SessionUnknown,
    /// Nothing.
    Unknown,
}

impl Complaint {
    fn new(message: &str) -> Self {
        let message = format!("FlareSolverr: {message}");
        Self { error: SourceError { message, pace: Pace::Ordinary }, state: State::Unknown }
    }

    /// There was no answer within `waited`.
    pub(super) fn of_fault(fault: &Fault, peer: &str, waited: u64) -> Self {
        Self::new(&match fault {
            Fault::Unreachable(cause) => format!("not reachable at {peer}: {cause}; is it running?"),
            Fault::Dropped(cause) => format!("no answer from {peer}: {cause}; has it crashed or restarted?"),
            Fault::Late => format!("no answer from {peer} within {waited} s; is it overloaded?"),
        })
    }

    /// The answer began and was not to be had whole.
    pub(super) fn of_rest(what: &str, peer: &str) -> Self {
        Self::new(&format!("the answer of {peer} {what}"))
    }

    /// Every server is busy with others of our solves.
    pub(super) fn busy(waited: u64) -> Self {
        Self::new(&format!("no turn within {waited} s: other solves are under way (see `concurrency`)"))
    }

    /// The answer is a success without what was asked for.
    pub(super) fn without(what: &str) -> Self {
        Self::new(&format!("the answer has no {what}; is this FlareSolverr's v1 API?"))
    }

    /// The answer is no success.
    pub(super) fn of_answer(status: StatusCode, reply: Option<&Reply>) -> Self {
        let code = status.as_u16();
        let said = reply.and_then(|reply| reply.message.as_deref());
        Self::new(&match (code, said) {
            (300..=399, _) => format!("HTTP {code}, a redirect, and none is followed; is FLARESOLVERR_URL right?"),
            (401 | 403, _) => format!("HTTP {code}: user and password are missing or wrong in FLARESOLVERR_URL"),
            (404 | 405, _) => format!("HTTP {code}: is FLARESOLVERR_URL right? it should end in /v1"),
            // Byparr's way to say it.
            (408, Some(said)) => format!("timeout: {}", excerpt(said, SHOWN)),
            (408, None) => "timeout".to_owned(),
            (_, Some(said)) => return Self::of_text(said),
            (_, None) if reply.is_some() => format!("HTTP {code} without a reason"),
            (_, None) => format!("HTTP {code} and no JSON; is FLARESOLVERR_URL right? it should end in /v1"),
        })
    }

    fn of_text(said: &str) -> Self {
        let line = excerpt(said, SHOWN);
        let mut text = line.as_str();
        for head in ["Error:", "Error solving the challenge.", "Message:", "unknown error:"] {
            text = text.strip_prefix(head).map_or(text, str::trim_start);
        }
        let text = text.split("; For documentation").next().unwrap_or(text).trim_end_matches(['.', ' ']);
        let has = |part: &str| text.contains(part);
        if let Some(seconds) = timeout(text) {
            return Self::new(&format!("timeout after {seconds} s"));
        }
        if has("Cloudflare has blocked this request") {
            let mut blocked = Self::new("the site has blocked this address; a proxy or another address may help");
            blocked.error.pace = Pace::Long;
            return blocked;
        }
        if has("invalid session id") {
            let mut dead = Self::new("its browser has died (invalid session id)");
            dead.state = State::SessionDead;
            return dead;
        }
        if has("session doesn't exist") {
            let mut unknown = Self::new("the session does not exist");
            unknown.state = State::SessionUnknown;
            return unknown;
        }
        if has("session not created") || has("chrome not reachable") {
            return Self::new(&format!("its browser does not start; has it memory enough? ({text})"));
        }
        if has("net::ERR_PROXY") || has("net::ERR_TUNNEL") {
            return Self::new(&format!("its browser cannot use the proxy ({text})"));
        }
        if has("net::ERR_") {
            return Self::new(&format!("its browser cannot open the page ({text})"));
        }
        Self::new(&match text {
            "" => "an error without a reason".to_owned(),
            _ if line.contains("Error solving the challenge") => format!("the solve failed ({text})"),
            _ => text.to_owned(),
        })
    }
}

/// An answer that says that it is one.
pub(super) fn success(status: StatusCode, reply: Option<Reply>) -> Result<Reply, Complaint> {
    match reply {
        Some(reply) if status.is_success() && reply.status.as_deref() == Some("ok") => Ok(reply),
        reply => Err(Complaint::of_answer(status, reply.as_ref())),
    }
}

/// The seconds of `Timeout after 60.0 seconds`, as people write them.
fn timeout(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("Timeout after ")?;
    let number: f64 = rest.split(' ').next()?.parse().ok()?;
    (number.is_finite() && (0.0..1e9).contains(&number)).then(|| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(message: &str) -> Complaint {
        let reply = Reply { message: Some(message.to_owned()), ..Reply::default() };
        Complaint::of_answer(StatusCode::INTERNAL_SERVER_ERROR, Some(&reply))
    }

    #[test]
    fn texts_of_the_server_become_one_line_that_says_what_to_do() {
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
            assert_eq!(said(text).error.message, format!("FlareSolverr: {line}"), "{text}");
        }
    }

    #[test]
    fn a_ban_is_paced_long_and_a_dead_session_is_known_as_such() {
        let ban =
            said("Error: Error solving the challenge. Cloudflare has blocked this request. Probably your IP is banned");
        assert_eq!(ban.error.pace, Pace::Long);
        let dead =
            said("Error: Error solving the challenge. Message: invalid session id; For documentation on this error, …");
        assert_eq!((dead.state, dead.error.pace), (State::SessionDead, Pace::Ordinary));
        assert_eq!(said("Error: The session doesn't exist.").state, State::SessionUnknown);
    }

    #[test]
    fn statuses_speak_where_the_server_does_not() {
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
            let message = Complaint::of_answer(status, reply.as_ref()).error.message;
            assert!(message.contains(part), "{message}");
        }
    }

    proptest! {
        #[test]
        fn every_message_is_one_short_line(text in "\\PC*|[\\x00-\\x7f]{0,600}") {
            let message = said(&text).error.message;
            prop_assert!(message.chars().count() <= 400 && !message.contains(char::is_control), "{}", message);
        }
    }
}
