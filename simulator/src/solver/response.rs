//! Responses of `/v1`, with the fields, order and headers of the recorded ones.

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

/// Makes the responses to one request.
#[derive(Clone, Copy)]
pub(super) struct Responder {
    pub(super) version: FlareSolverrVersion,
    pub(super) started: Timestamp,
}

/// The body of the response to any command.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseBody<'a> {
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

/// The status is always 200, and the headers are always empty.
#[derive(Serialize)]
pub(super) struct Solution {
    pub(super) url: String,
    pub(super) status: u16,
    pub(super) cookies: Vec<Value>,
    #[serde(rename = "userAgent")]
    pub(super) user_agent: String,
    pub(super) turnstile_token: Option<String>,
    #[serde(flatten)]
    pub(super) page: Option<PageFields>,
}

/// Left out with `returnOnlyCookies`.
#[derive(Serialize)]
pub(super) struct PageFields {
    pub(super) headers: Map<String, Value>,
    pub(super) response: String,
}

impl Responder {
    fn body<'a>(&self, status: &'a str, message: &'a str) -> ResponseBody<'a> {
        ResponseBody {
            status,
            message,
            session: None,
            sessions: None,
            solution: None,
            start_timestamp: self.started.as_millisecond(),
            end_timestamp: clock::now().as_millisecond(),
            version: self.version.as_str(),
        }
    }

    pub(super) fn failed(&self, message: &str) -> Response {
        json(StatusCode::INTERNAL_SERVER_ERROR, &self.body("error", &format!("Error: {message}")))
    }

    pub(super) fn done(&self, message: &str) -> Response {
        json(StatusCode::OK, &self.body("ok", message))
    }

    pub(super) fn created(&self, message: &str, session: Value) -> Response {
        json(StatusCode::OK, &ResponseBody { session: Some(session), ..self.body("ok", message) })
    }

    pub(super) fn listed(&self, sessions: Vec<Value>) -> Response {
        json(StatusCode::OK, &ResponseBody { sessions: Some(sessions), ..self.body("ok", "") })
    }

    pub(super) fn solved(&self, message: &str, mut solution: Solution, garbage: Option<Garbage>) -> Response {
        if let (Some(Garbage::Huge(mib)), Some(page)) = (garbage, &mut solution.page) {
            page.response = "x".repeat(usize::from(mib.min(1024)) << 20);
        }
        let body = ResponseBody { solution: Some(solution), ..self.body("ok", message) };
        let text = serde_json::to_string(&body).unwrap_or_default();
        match garbage {
            None | Some(Garbage::Huge(_)) => respond(StatusCode::OK, "application/json", text),
            Some(Garbage::NotJson) => {
                let html = "<html><head><title>502 Bad Gateway</title></head><body></body></html>";
                respond(StatusCode::OK, "text/html", html.to_owned())
            }
            Some(Garbage::Empty) => respond(StatusCode::OK, "application/json", String::new()),
            Some(Garbage::Truncated) => respond(StatusCode::OK, "application/json", text[..text.len() / 2].to_owned()),
            Some(Garbage::WrongTypes) => respond(StatusCode::OK, "application/json", WRONG_TYPES.to_owned()),
            Some(Garbage::Deep) => {
                let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
                respond(StatusCode::OK, "application/json", format!("{{\"status\":\"ok\",\"solution\":{open}{close}}}"))
            }
        }
    }
}

const WRONG_TYPES: &str = r#"{"status":"ok","message":7,"solution":{"url":null,"status":"200","cookies":{"access-token":"x"},"userAgent":["x"],"headers":[],"response":false},"startTimestamp":"then","endTimestamp":null,"version":3.5}"#;

/// A JSON response with the headers of waitress, FlareSolverr's server.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    respond(status, "application/json", serde_json::to_string(body).unwrap_or_default())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, content_type), (SERVER, "waitress")], Body::from(body)).into_response()
}

/// The message of a recorded failure without its "Error: "; none for a time-out, whose message depends on the request.
pub(super) fn recorded_message(error: RecordedError) -> Option<String> {
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
