//! The shop's API, as far as tokens go.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, COOKIE, HeaderMap, USER_AGENT};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::cookie;
use crate::faults::{Faults, Role};
use crate::server::{self, Line};
use crate::shop;
use crate::token::fingerprint;
use crate::world::World;

/// Every request under `/web/api`: the edge first, then what is behind it.
///
/// The body is read although nothing is done with it: only then does hyper notice that a connection ends.
pub(crate) async fn call(
    State(world): State<Arc<World>>,
    line: Line,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    _read: Bytes,
) -> Response {
    let fingerprint = bearer(&headers).map(fingerprint);
    let user_agent = server::text(&headers, &USER_AGENT);
    world.statistics.send_modify(|all| all.api.start(user_agent, fingerprint.clone()));
    let (faults, hang) = world.take_faults(Role::Api);
    tokio::time::sleep(faults.api_delay).await;
    if faults.api_hang {
        hang.until_released().await;
    }
    if faults.api_reset {
        line.cut().await;
    }
    let response = match (edge(&world, &faults, &headers), &method, uri.path()) {
        (Some(refusal), _, _) => refusal,
        (None, &Method::GET, "/web/api/v2/search/product") => search(&world, fingerprint.as_deref()),
        (None, &Method::POST, "/web/api/v1/auth/anonymous") => anonymous(&world),
        _ => message(StatusCode::NOT_FOUND),
    };
    world.statistics.send_modify(|all| all.api.finish(response.status().as_u16()));
    response
}

/// What is in front of the API: lets a request pass, or answers itself.
fn edge(world: &World, faults: &Faults, headers: &HeaderMap) -> Option<Response> {
    if faults.api_status.is_some() || faults.api_body.is_some() {
        let status = StatusCode::from_u16(faults.api_status.unwrap_or(200)).unwrap_or(StatusCode::BAD_GATEWAY);
        return Some(match &faults.api_body {
            Some(body) => server::raw(status, body.clone()),
            None if status == StatusCode::FORBIDDEN => blocked(),
            None => message(status),
        });
    }
    if faults.require_user_agent {
        let state = world.state();
        let visitor = cookie::sent(server::text(headers, &COOKIE), shop::VISITOR);
        let user_agent = visitor.and_then(|id| state.visitors.get(id));
        if user_agent.is_none_or(|user_agent| user_agent != server::text(headers, &USER_AGENT)) {
            return Some(blocked());
        }
    }
    None
}

fn search(world: &World, fingerprint: Option<&str>) -> Response {
    match fingerprint {
        Some(fingerprint) if world.accepts(fingerprint) => {
            let data = json!({"type": "searchProductResult", "id": "1", "attributes": {}});
            Json(json!({"data": data, "included": []})).into_response()
        }
        _ => message(StatusCode::UNAUTHORIZED),
    }
}

fn anonymous(world: &World) -> Response {
    let minted = world.mint();
    let token: Value = json!({
        "accessToken": format!("Bearer {}", minted.token),
        "expAccessToken": minted.expires_at,
    });
    (StatusCode::CREATED, Json(json!({"token": token}))).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    server::text(headers, &AUTHORIZATION).strip_prefix("Bearer ")
}

fn blocked() -> Response {
    let html = "<html><head><title>DDoS-Guard</title></head><body><h1>403 Forbidden</h1></body></html>";
    (StatusCode::FORBIDDEN, Html(html)).into_response()
}

fn message(status: StatusCode) -> Response {
    (status, Json(json!({"message": status.canonical_reason().unwrap_or("Error")}))).into_response()
}
