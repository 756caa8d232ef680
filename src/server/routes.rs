//! All routes.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};

use super::context::Context;
use super::problem::Problem;
use super::{api, events, health, history, metrics, page};

pub(super) fn router(context: Arc<Context>) -> Router {
    let mut router = Router::new()
        .route("/", get(page::show))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show))
        .route("/api/status", get(api::status))
        .route("/api/history", get(history::one))
        .route("/api/histories", get(history::many))
        .route("/api/events", get(events::follow));
    if context.admin_token.is_some() {
        router = router.route("/api/sites/{site}/refresh", post(api::refresh));
    }
    router
        .fallback(async || Problem::not_found("there is no such page"))
        .method_not_allowed_fallback(async || {
            Problem(StatusCode::METHOD_NOT_ALLOWED, "this page does not take that method".into())
        })
        .layer(map_response(harden))
        .with_state(context)
}

/// Forbids caching and framing an answer, reading it as another type, and sending a `Referer` from it.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}
