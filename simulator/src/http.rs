//! What the handlers of all paths need of HTTP.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};

/// A header as text; empty where it is missing.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A response whose type is JSON if the body starts with `{`, else HTML.
pub(crate) fn raw(status: StatusCode, body: String) -> Response {
    let kind = if body.starts_with('{') { "application/json" } else { "text/html" };
    (status, [(CONTENT_TYPE, kind)], body).into_response()
}
