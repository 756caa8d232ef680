//! The simulator as an HTTP proxy that forwards every request to itself.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http;
use crate::shared_state::SharedState;

/// Counts a request in absolute form, and refuses it where the fault `proxy_login` asks for another login.
pub(crate) async fn check(State(state): State<Arc<SharedState>>, request: Request, next: Next) -> Response {
    if request.uri().authority().is_some() {
        state.statistics.send_modify(|all| all.proxied += 1);
        let login = http::header(request.headers(), &PROXY_AUTHORIZATION);
        if state.faults().proxy_login.is_some_and(|right| login != format!("Basic {}", STANDARD.encode(right))) {
            let ask = [(PROXY_AUTHENTICATE, "Basic realm=\"simulator\"")];
            return (StatusCode::PROXY_AUTHENTICATION_REQUIRED, ask).into_response();
        }
    }
    next.run(request).await
}
