//! The FlareSolverr look-alike: API v1 as 3.5.0 was recorded to answer.
//!
//! `request` reads what Python would have read, `visit` plays the browser, `answer` writes what comes back.

mod answer;
mod request;
mod session;
mod visit;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::clock;
use crate::faults::Role;
use crate::server::{self, Line};
use crate::world::World;

use answer::{Answer, Call};
use request::Command;
pub(crate) use session::Sessions;
use visit::Browser;

type Shared = State<Arc<World>>;

/// `GET /`
pub(crate) async fn index(State(world): Shared) -> Response {
    let _worker = world.workers.acquire().await;
    answer::json(
        StatusCode::OK,
        &json!({
            "msg": "FlareSolverr is ready!",
            "version": world.settings.version.as_str(),
            "userAgent": world.settings.user_agent,
        }),
    )
}

/// `GET /health`: waits for a worker too, so it stalls while four solves run.
pub(crate) async fn health(State(world): Shared) -> Response {
    let _worker = world.workers.acquire().await;
    answer::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// Any other path.
pub(crate) async fn not_found(uri: Uri) -> Response {
    let error = format!("Not found: '{}'", uri.path());
    answer::json(StatusCode::NOT_FOUND, &json!({"error": error, "status_code": 404}))
}

/// Any other method.
pub(crate) async fn method_not_allowed() -> Response {
    let error = json!({"error": "Method not allowed.", "status_code": 405});
    answer::json(StatusCode::METHOD_NOT_ALLOWED, &error)
}

/// `POST /v1`
pub(crate) async fn v1(
    State(world): Shared,
    line: Line,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = body.map_err(|_| "(413, 'Request entity too large')".to_owned());
    let body = match body.and_then(|body| request::body(server::text(&headers, &CONTENT_TYPE), &body)) {
        Ok(body) => body,
        Err(error) => return answer::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": error})),
    };
    let call = Call { version: world.settings.version, since: clock::now() };
    let command = request::command(&body);
    world.statistics.send_modify(|all| {
        if let Some(name) = body.get("cmd").and_then(Value::as_str).filter(|name| request::COMMANDS.contains(name)) {
            *all.solves.commands.entry(name.to_owned()).or_default() += 1;
        }
        all.solves.last_request = Value::Object(body);
    });
    match command {
        Err(message) => call.failed(&message),
        Ok(Command::Open(order)) => {
            let solve = Solve::start(&world);
            let (faults, hang) = world.take_faults(Role::Solve);
            let browser = Browser { world: Arc::clone(&world), call, order, faults, hang };
            let host = Arc::clone(&world);
            let answer = world.finish(async move {
                let _solve = solve;
                let _worker = host.workers.acquire().await;
                browser.solve().await
            });
            match answer.await {
                Answer::Sent(response) => response,
                Answer::Cut => line.cut().await,
            }
        }
        Ok(command) => {
            let _worker = world.workers.acquire().await;
            session::manage(&world, call, command)
        }
    }
}

/// Counts a solve as running until it is dropped.
struct Solve {
    world: Arc<World>,
    epoch: u64,
}

impl Solve {
    fn start(world: &Arc<World>) -> Self {
        let mut epoch = 0;
        world.statistics.send_modify(|all| {
            all.solves.start(clock::now_ns());
            epoch = all.epoch;
        });
        Self { world: Arc::clone(world), epoch }
    }
}

impl Drop for Solve {
    fn drop(&mut self) {
        self.world.statistics.send_if_modified(|all| {
            let counts = all.epoch == self.epoch;
            if counts {
                all.solves.finish();
            }
            counts
        });
    }
}
