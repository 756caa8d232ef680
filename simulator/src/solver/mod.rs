//! The simulated FlareSolverr: API v1 as version 3.5.0 was recorded.
//!
//! `request` reads requests as Python would, `visit` does what the browser does, `response` writes the responses.

mod request;
mod response;
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
use crate::connection::ClientConnection;
use crate::faults::RequestKind;
use crate::http;
use crate::shared_state::SharedState;
use crate::token::TokenSource;

use request::Command;
use response::Responder;
use visit::{Solve, Solved};

type Shared = State<Arc<SharedState>>;

/// `GET /`
pub(crate) async fn index(State(state): Shared) -> Response {
    let _worker = state.workers.acquire().await;
    response::json(
        StatusCode::OK,
        &json!({
            "msg": "FlareSolverr is ready!",
            "version": state.settings.version.as_str(),
            "userAgent": state.settings.user_agent,
        }),
    )
}

/// `GET /health`. It needs a worker too, so it stalls while four solves run.
pub(crate) async fn health(State(state): Shared) -> Response {
    let _worker = state.workers.acquire().await;
    response::json(StatusCode::OK, &json!({"status": "ok"}))
}

pub(crate) async fn not_found(uri: Uri) -> Response {
    let error = format!("Not found: '{}'", uri.path());
    response::json(StatusCode::NOT_FOUND, &json!({"error": error, "status_code": 404}))
}

pub(crate) async fn method_not_allowed() -> Response {
    let error = json!({"error": "Method not allowed.", "status_code": 405});
    response::json(StatusCode::METHOD_NOT_ALLOWED, &error)
}

/// `POST /v1`
pub(crate) async fn v1(
    State(state): Shared,
    connection: ClientConnection,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = body.map_err(|_| "(413, 'Request entity too large')".to_owned());
    let body = match body.and_then(|body| request::body(http::header(&headers, &CONTENT_TYPE), &body)) {
        Ok(body) => body,
        Err(error) => return response::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": error})),
    };
    let responder = Responder { version: state.settings.version, started: clock::now() };
    let command = request::command(&body);
    state.statistics.send_modify(|all| {
        if let Some(name) = body.get("cmd").and_then(Value::as_str).filter(|name| request::COMMANDS.contains(name)) {
            *all.solves.commands.entry(name.to_owned()).or_default() += 1;
        }
        all.solves.last_request = Value::Object(body);
    });
    match command {
        Err(message) => responder.failed(&message),
        Ok(Command::Open(request)) => {
            let running = RunningSolve::start(&state);
            let (faults, hang) = state.take_faults(RequestKind::Solve);
            let solve = Solve { state: Arc::clone(&state), responder, request, faults, hang };
            let workers = Arc::clone(&state);
            let solved = state.run_to_end(async move {
                let _running = running;
                let _worker = workers.workers.acquire().await;
                solve.run().await
            });
            match solved.await {
                Solved::Response(response) => response,
                Solved::Reset => connection.close().await,
            }
        }
        Ok(command) => {
            let _worker = state.workers.acquire().await;
            manage_sessions(&state, responder, command)
        }
    }
}

/// `sessions.create`, `sessions.destroy`, `sessions.list`.
fn manage_sessions(state: &SharedState, responder: Responder, command: Command) -> Response {
    let mut locked = state.lock();
    let response = match command {
        Command::Create { session } => {
            let id = session.unwrap_or_else(|| random_uuid(&mut locked.tokens));
            let message = match locked.sessions.create(&id) {
                true => "Session created successfully.",
                false => "Session already exists.",
            };
            responder.created(message, id)
        }
        Command::Destroy { session } => match session.is_some_and(|id| locked.sessions.destroy(&id)) {
            true => responder.done("The session has been removed."),
            false => responder.failed("The session doesn't exist."),
        },
        Command::List | Command::Open(_) => responder.listed(locked.sessions.ids()),
    };
    let open = locked.sessions.count();
    state.statistics.send_modify(|all| all.solves.sessions = open);
    response
}

fn random_uuid(tokens: &mut TokenSource) -> Value {
    let hex = tokens.random_hex();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-").into()
}

/// Counts a solve as running until it is dropped.
struct RunningSolve {
    state: Arc<SharedState>,
    epoch: u64,
}

impl RunningSolve {
    fn start(state: &Arc<SharedState>) -> Self {
        let mut epoch = 0;
        state.statistics.send_modify(|all| {
            all.solves.start(clock::now_ns());
            epoch = all.epoch;
        });
        Self { state: Arc::clone(state), epoch }
    }
}

impl Drop for RunningSolve {
    fn drop(&mut self) {
        self.state.statistics.send_if_modified(|all| {
            let is_counted = all.epoch == self.epoch;
            if is_counted {
                all.solves.finish();
            }
            is_counted
        });
    }
}
