//! The paths that are served.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post};
use tokio::net::TcpListener;

use crate::connection::{ClientConnection, ClosableListener};
use crate::shared_state::SharedState;
use crate::{api, control, proxy, shop, solver};

/// As much as FlareSolverr reads of a body (bottle's `MEMFILE_MAX`).
const BODY_LIMIT: usize = 102_400;

/// Serves until the simulator stops.
pub(crate) async fn serve(listener: TcpListener, state: Arc<SharedState>) {
    let stop = state.stop.clone();
    let listener = ClosableListener { listener, stop: stop.clone() };
    let service = routes(state).into_make_service_with_connect_info::<ClientConnection>();
    if let Some(Err(error)) = stop.run_until_cancelled(async { axum::serve(listener, service).await }).await {
        tracing::error!(%error, "the HTTP server has failed");
    }
}

fn routes(state: Arc<SharedState>) -> Router {
    Router::new()
        .route("/", get(solver::index))
        .route("/health", get(solver::health))
        .route("/v1", post(solver::v1))
        .route("/shop", get(shop::get))
        .route("/shop/", get(shop::get))
        .route("/shop/{*page}", get(shop::get))
        .route("/web/api/{*path}", any(api::call))
        .route("/control/statistics", get(control::statistics))
        .route("/control/faults", get(control::faults).put(control::set_faults).delete(control::clear_faults))
        .route("/control/revoke", post(control::revoke))
        .route("/control/mint", post(control::mint))
        .route("/control/reset", post(control::reset))
        .fallback(solver::not_found)
        .method_not_allowed_fallback(solver::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(Arc::clone(&state), proxy::check))
        .with_state(state)
}
