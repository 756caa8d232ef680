//! `/control/…`: faults, tokens and statistics.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock;
use crate::faults::Faults;
use crate::shared_state::SharedState;
use crate::statistics::Statistics;
use crate::token::Minted;

type Shared = State<Arc<SharedState>>;

#[derive(Serialize)]
pub(crate) struct StatisticsResponse {
    /// When the statistics were read.
    now_ns: i64,
    #[serde(flatten)]
    statistics: Statistics,
}

pub(crate) async fn statistics(State(state): Shared) -> Json<StatisticsResponse> {
    Json(StatisticsResponse { now_ns: clock::now_ns(), statistics: state.statistics.borrow().clone() })
}

pub(crate) async fn faults(State(state): Shared) -> Json<Faults> {
    Json(state.faults())
}

pub(crate) async fn set_faults(State(state): Shared, body: Bytes) -> Result<Json<Faults>, InvalidBody> {
    state.set_faults(read(&body)?);
    Ok(Json(state.faults()))
}

pub(crate) async fn clear_faults(State(state): Shared) -> StatusCode {
    state.set_faults(Faults::default());
    StatusCode::NO_CONTENT
}

/// Without a fingerprint all tokens are revoked.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RevokeRequest {
    fingerprint: Option<String>,
}

pub(crate) async fn revoke(State(state): Shared, body: Bytes) -> Result<Json<Value>, InvalidBody> {
    let request: RevokeRequest = read(&body)?;
    Ok(Json(json!({"revoked": state.revoke(request.fingerprint.as_deref())})))
}

/// The life in milliseconds; without it, that of the settings.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MintRequest {
    life: Option<u64>,
}

pub(crate) async fn mint(State(state): Shared, body: Bytes) -> Result<Json<Minted>, InvalidBody> {
    let request: MintRequest = read(&body)?;
    Ok(Json(request.life.map_or_else(|| state.mint(), |ms| state.mint_for(Duration::from_millis(ms)))))
}

pub(crate) async fn reset(State(state): Shared) -> StatusCode {
    state.reset();
    StatusCode::NO_CONTENT
}

pub(crate) struct InvalidBody(serde_json::Error);

impl IntoResponse for InvalidBody {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({"error": self.0.to_string()}))).into_response()
    }
}

/// Reads a JSON body without regard to its `Content-Type`, since curl sends every body as a form. An empty body is the
/// default value.
fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, InvalidBody> {
    if body.is_empty() { Ok(T::default()) } else { serde_json::from_slice(body).map_err(InvalidBody) }
}
