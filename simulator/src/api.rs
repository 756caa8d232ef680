//! The part of the shop's API that has to do with tokens.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderMap, USER_AGENT};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::connection::ClientConnection;
use crate::cookie;
use crate::faults::{Faults, RequestKind};
use crate::http;
use crate::shared_state::SharedState;
use crate::shop;
use crate::token::fingerprint;

/// Serves every request under `/web/api`: the protection at the edge first, then the API.
///
/// The body is read, though not used, because hyper notices the end of a connection only then.
pub(crate) async fn call(
    State(state): State<Arc<SharedState>>,
    connection: ClientConnection,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    _body: Bytes,
) -> Response {
    let fingerprint = token(&headers).map(fingerprint);
    let user_agent = http::header(&headers, &USER_AGENT);
    state.statistics.send_modify(|all| all.api.start(user_agent, fingerprint.clone()));
    let (faults, hang) = state.take_faults(RequestKind::Api);
    tokio::time::sleep(faults.api_delay).await;
    if faults.api_hang {
        hang.until_released().await;
    }
    if faults.api_reset {
        connection.close().await;
    }
    let response = match (edge(&state, &faults, &headers), &method, uri.path()) {
        (Some(refusal), _, _) => refusal,
        (None, &Method::GET, "/web/api/v2/search/product") => search(&state, fingerprint.as_deref()),
        // It needs a login, which no token of the page has.
        (None, &Method::GET, "/web/api/v2/profile") => message(StatusCode::UNAUTHORIZED),
        (None, &Method::POST, "/web/api/v1/auth/anonymous") => anonymous(&state),
        _ => message(StatusCode::NOT_FOUND),
    };
    state.statistics.send_modify(|all| all.api.finish(response.status().as_u16()));
    response
}

/// The protection in front of the API: its own response, if it does not let the request pass.
fn edge(state: &SharedState, faults: &Faults, headers: &HeaderMap) -> Option<Response> {
    if faults.api_status.is_some() || faults.api_body.is_some() {
        let status = StatusCode::from_u16(faults.api_status.unwrap_or(200)).unwrap_or(StatusCode::BAD_GATEWAY);
        return Some(match &faults.api_body {
            Some(body) => http::raw(status, body.clone()),
            None if status == StatusCode::FORBIDDEN => blocked(),
            None => message(status),
        });
    }
    if faults.require_user_agent {
        let visitors = &state.lock().visitors;
        let visitor = cookie::sent(http::header(headers, &COOKIE), shop::VISITOR);
        let user_agent = visitor.and_then(|id| visitors.get(id));
        if user_agent.is_none_or(|user_agent| user_agent != http::header(headers, &USER_AGENT)) {
            return Some(blocked());
        }
    }
    None
}

fn search(state: &SharedState, fingerprint: Option<&str>) -> Response {
    match fingerprint {
        Some(fingerprint) if state.accepts(fingerprint) => {
            let data = json!({"type": "searchProductResult", "id": "1", "attributes": {}});
            Json(json!({"data": data, "included": []})).into_response()
        }
        _ => message(StatusCode::UNAUTHORIZED),
    }
}

fn anonymous(state: &SharedState) -> Response {
    let minted = state.mint();
    let token: Value = json!({
        "accessToken": format!("Bearer {}", minted.token),
        "expAccessToken": minted.expires_at,
    });
    (StatusCode::CREATED, Json(json!({"token": token}))).into_response()
}

/// The token of a request: that of `Authorization`, or of the cookie where a parser sends the cookies alone.
fn token(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(AUTHORIZATION) {
        return http::header(headers, &AUTHORIZATION).strip_prefix("Bearer ");
    }
    cookie::sent(http::header(headers, &COOKIE), shop::TOKEN)?.strip_prefix("Bearer%20")
}

fn blocked() -> Response {
    let html = "<html><head><title>DDoS-Guard</title></head><body><h1>403 Forbidden</h1></body></html>";
    (StatusCode::FORBIDDEN, Html(html)).into_response()
}

fn message(status: StatusCode) -> Response {
    (status, Json(json!({"message": status.canonical_reason().unwrap_or("Error")}))).into_response()
}
