//! What the gateway answers by itself: a problem document of RFC 9457.

use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Serialize;
use token_sidecar_client::excerpt::excerpt;
use token_sidecar_client::wire::{Failed, Stage};

use super::address::Refusal;
use super::waiting::NoToken;
use crate::domain::lifetime::between;
use crate::http::RequestError;

/// The longest error that is shown.
const SHOWN: usize = 300;

#[derive(Debug, Serialize)]
pub(super) struct Problem {
    r#type: &'static str,
    title: &'static str,
    #[serde(serialize_with = "number")]
    status: StatusCode,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sites: Vec<String>,
    #[serde(flatten)]
    failure: Option<Box<Failure>>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

/// Why renewing the token fails.
#[derive(Debug, Serialize)]
struct Failure {
    stage: Stage,
    error: String,
    #[serde(serialize_with = "token_sidecar_client::wire::rounded_up")]
    retry_at: Timestamp,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status,
            detail: detail.into(),
            sites: Vec::new(),
            failure: None,
            retry_after: None,
        }
    }

    pub(super) fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn without_host() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "an HTTP/1.1 request needs one Host")
    }

    pub(super) fn unknown_coding() -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "the only transfer coding that is understood is chunked")
    }

    pub(super) fn without_key() -> Self {
        let detail = "the key is missing or wrong: send it as `Proxy-Authorization: Bearer …` or `X-Gateway-Key`";
        Self::new(StatusCode::PROXY_AUTHENTICATION_REQUIRED, detail)
    }

    /// With the names of the sites that there are.
    pub(super) fn unknown_site<'a>(sites: impl Iterator<Item = &'a str>) -> Self {
        let sites = sites.map(str::to_owned).collect();
        let detail = "the first segment of the path must name a site that has an api_url";
        Self { sites, ..Self::new(StatusCode::NOT_FOUND, detail) }
    }

    pub(super) fn broken_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "the body of the request broke off")
    }

    pub(super) fn slow_body(waited: Duration) -> Self {
        let detail = format!("the body of the request has not arrived within {} s", waited.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    pub(super) fn silent_api(waited: Duration) -> Self {
        let detail = format!("the API has not begun its answer within {} s", waited.as_secs());
        Self::new(StatusCode::GATEWAY_TIMEOUT, detail)
    }

    /// What concerns the connection to the API alone: a protocol that was not asked for, or the login of a proxy there.
    pub(super) fn not_for_clients(status: StatusCode) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, format!("the API has answered {status}"))
    }

    pub(super) fn crowded() -> Self {
        let detail = "too many requests wait for a token already";
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// `now` by the store's clock.
    pub(super) fn no_token(reason: &NoToken, now: Option<Timestamp>, is_connected: bool) -> Self {
        match reason {
            NoToken::TimeOver => {
                let cause = if is_connected { "" } else { ": Redis is out of reach" };
                Self::new(StatusCode::GATEWAY_TIMEOUT, format!("no token came within gateway.wait{cause}"))
            }
            NoToken::Stopped => {
                let detail = "the sidecar stops, and there is no token";
                Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
            }
            NoToken::Failed(failed) => Self::failed(failed, now),
        }
    }

    fn failed(failed: &Failed, now: Option<Timestamp>) -> Self {
        // A fraction of a second counts as one: a client must not come too early.
        let wait = now.map(|now| between(now, failed.retry_at)).unwrap_or_default();
        let retry_after = wait.as_secs() + 1;
        let (stage, error, retry_at) = (failed.stage, excerpt(&failed.error, SHOWN), failed.retry_at);
        let detail = format!("no new token: {stage}: {error}");
        Self {
            failure: Some(Box::new(Failure { stage, error, retry_at })),
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn into_response(self) -> Response {
        let (status, retry_after) = (self.status, self.retry_after);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"token-sidecar\""));
        }
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::BAD_REQUEST, refusal.to_string())
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, format!("the API: {error}"))
    }
}

fn number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
