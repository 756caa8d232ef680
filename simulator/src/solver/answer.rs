//! What comes back from `/v1`, with the names, order and headers of the recorded answers.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, SERVER};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::clock;
use crate::faults::{Garbage, RecordedError};
use crate::settings::FlareSolverrVersion;

/// How a request ends.
pub(super) enum Answer {
    Sent(Response),
    /// The connection is closed.
    Cut,
}

/// One request being worked on.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) version: FlareSolverrVersion,
    pub(super) since: Timestamp,
}

/// The body of every answer to a command.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    status: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    solution: Option<Solution>,
    start_timestamp: i64,
    end_timestamp: i64,
    version: &'a str,
}

/// What a page was found to be. The status is always 200, the headers are always empty.
#[derive(Serialize)]
pub(super) struct Solution {
    pub(super) url: String,
    pub(super) status: u16,
    pub(super) cookies: Vec<Value>,
    #[serde(rename = "userAgent")]
    pub(super) user_agent: String,
    pub(super) turnstile_token: Option<String>,
    #[serde(flatten)]
    pub(super) page: Option<Page>,
}

/// What `returnOnlyCookies` leaves out.
#[derive(Serialize)]
pub(super) struct Page {
    pub(super) headers: Map<String, Value>,
    pub(super) response: String,
}

impl Call {
    fn outcome<'a>(&self, status: &'a str, message: &'a str) -> Outcome<'a> {
        Outcome {
            status,
            message,
            session: None,
            sessions: None,
            solution: None,
            start_timestamp: self.since.as_millisecond(),
            end_timestamp: clock::now().as_millisecond(),
            version: self.version.as_str(),
        }
    }

    pub(super) fn failed(&self, message: &str) -> Response {
        json(StatusCode::INTERNAL_SERVER_ERROR, &self.outcome("error", &format!("Error: {message}")))
    }

    pub(super) fn done(&self, message: &str) -> Response {
        json(StatusCode::OK, &self.outcome("ok", message))
    }

    pub(super) fn created(&self, message: &str, session: Value) -> Response {
        json(StatusCode::OK, &Outcome { session: Some(session), ..self.outcome("ok", message) })
    }

    pub(super) fn listed(&self, sessions: Vec<Value>) -> Response {
        json(StatusCode::OK, &Outcome { sessions: Some(sessions), ..self.outcome("ok", "") })
    }

    pub(super) fn solved(&self, message: &str, mut solution: Solution, garbage: Option<Garbage>) -> Response {
        if let (Some(Garbage::Huge(mib)), Some(page)) = (garbage, &mut solution.page) {
            page.response = "x".repeat(usize::from(mib.min(1024)) << 20);
        }
        let outcome = Outcome { solution: Some(solution), ..self.outcome("ok", message) };
        let text = serde_json::to_string(&outcome).unwrap_or_default();
        match garbage {
            None | Some(Garbage::Huge(_)) => sent(StatusCode::OK, "application/json", text),
            Some(Garbage::NotJson) => {
                let html = "<html><head><title>502 Bad Gateway</title></head><body></body></html>";
                sent(StatusCode::OK, "text/html", html.to_owned())
            }
            Some(Garbage::Empty) => sent(StatusCode::OK, "application/json", String::new()),
            Some(Garbage::Truncated) => sent(StatusCode::OK, "application/json", text[..text.len() / 2].to_owned()),
            Some(Garbage::WrongTypes) => sent(StatusCode::OK, "application/json", WRONG_TYPES.to_owned()),
            Some(Garbage::Deep) => {
                let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
                sent(StatusCode::OK, "application/json", format!("{{\"status\":\"ok\",\"solution\":{open}{close}}}"))
            }
        }
    }
}

const WRONG_TYPES: &str = r#"{"status":"ok","message":7,"solution":{"url":null,"status":"200","cookies":{"access-token":"x"},"userAgent":["x"],"headers":[],"response":false},"startTimestamp":"then","endTimestamp":null,"version":3.5}"#;

/// A JSON answer with waitress' headers.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    sent(status, "application/json", serde_json::to_string(body).unwrap_or_default())
}

fn sent(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, content_type), (SERVER, "waitress")], Body::from(body)).into_response()
}

/// The message of a recorded failure, without its "Error: "; of a time-out there is none to need.
pub(super) fn recorded(error: RecordedError) -> Option<String> {
    let case = match error {
        RecordedError::Timeout => return None,
        RecordedError::Blocked => include_str!("../../recorded/get-denied.json"),
        RecordedError::Session => include_str!("../../recorded/fault-session-browser-dead.json"),
        RecordedError::Browser => include_str!("../../recorded/fault-browser-does-not-start.json"),
        RecordedError::Crash => include_str!("../../recorded/fault-browser-killed-mid-solve.json"),
        RecordedError::Dns => include_str!("../../recorded/get-no-dns.json"),
        RecordedError::Refused => include_str!("../../recorded/get-refused.json"),
        RecordedError::Proxy => include_str!("../../recorded/proxy-refused.json"),
    };
    let case: Value = serde_json::from_str(case).unwrap_or_default();
    case["response"]["message"].as_str()?.strip_prefix("Error: ").map(str::to_owned)
}
