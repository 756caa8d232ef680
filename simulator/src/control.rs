//! `/control/…`: what goes wrong, which tokens live, what has happened.

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
use crate::statistics::Statistics;
use crate::token::Minted;
use crate::world::World;

type Shared = State<Arc<World>>;

/// The statistics, and the time at which they were so.
#[derive(Serialize)]
pub(crate) struct Report {
    now_ns: i64,
    #[serde(flatten)]
    statistics: Statistics,
}

pub(crate) async fn statistics(State(world): Shared) -> Json<Report> {
    Json(Report { now_ns: clock::now_ns(), statistics: world.statistics.borrow().clone() })
}

pub(crate) async fn faults(State(world): Shared) -> Json<Faults> {
    Json(world.faults())
}

pub(crate) async fn set_faults(State(world): Shared, body: Bytes) -> Result<Json<Faults>, Refusal> {
    world.set_faults(read(&body)?);
    Ok(Json(world.faults()))
}

pub(crate) async fn clear_faults(State(world): Shared) -> StatusCode {
    world.set_faults(Faults::default());
    StatusCode::NO_CONTENT
}

/// Which token to revoke; all where it is not said.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Revocation {
    fingerprint: Option<String>,
}

pub(crate) async fn revoke(State(world): Shared, body: Bytes) -> Result<Json<Value>, Refusal> {
    let revocation: Revocation = read(&body)?;
    Ok(Json(json!({"revoked": world.revoke(revocation.fingerprint.as_deref())})))
}

/// For how many milliseconds a token shall live; as long as the settings say where it is not said.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    life: Option<u64>,
}

pub(crate) async fn mint(State(world): Shared, body: Bytes) -> Result<Json<Minted>, Refusal> {
    let order: Order = read(&body)?;
    Ok(Json(order.life.map_or_else(|| world.mint(), |ms| world.mint_for(Duration::from_millis(ms)))))
}

pub(crate) async fn reset(State(world): Shared) -> StatusCode {
    world.reset();
    StatusCode::NO_CONTENT
}

/// Why a body was not understood.
pub(crate) struct Refusal(serde_json::Error);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({"error": self.0.to_string()}))).into_response()
    }
}

/// Reads a JSON body whatever its `Content-Type` says: curl calls everything a form. An empty one is the default.
fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refusal> {
    if body.is_empty() { Ok(T::default()) } else { serde_json::from_slice(body).map_err(Refusal) }
}
