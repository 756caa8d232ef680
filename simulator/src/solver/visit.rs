//! A solve: what the browser does with a page, with FlareSolverr's timing.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Map, Value};

use crate::clock;
use crate::cookie::{Cookie, Jar};
use crate::faults::{Faults, PageMode, RecordedError, SolveError};
use crate::http;
use crate::sessions::Sessions;
use crate::settings::FlareSolverrVersion;
use crate::shared_state::{Hang, SharedState};
use crate::shop::{self, ShopPage};

use super::request::{PageRequest, Wait};
use super::response::{self, PageFields, Responder, Solution};

/// The least part of `maxTimeout` that a page needs: with 500 ms a recorded solve timed out. The simulator does not wait
/// for it.
const PAGE_TIME: Duration = Duration::from_millis(600);

/// How a solve ends.
pub(super) enum Solved {
    Response(Response),
    /// The connection is to be closed.
    Reset,
}

/// One solve with its faults.
pub(super) struct Solve {
    pub(super) state: Arc<SharedState>,
    pub(super) responder: Responder,
    pub(super) request: PageRequest,
    pub(super) faults: Faults,
    pub(super) hang: Hang,
}

struct Visited {
    message: &'static str,
    solution: Solution,
}

impl Solve {
    pub(super) async fn run(self) -> Solved {
        let Self { state, responder, request, faults, hang } = self;
        tokio::time::sleep(faults.solve_delay).await;
        if faults.solve_hang {
            hang.until_released().await;
        }
        if faults.solve_reset {
            return Solved::Reset;
        }
        let found = match &faults.solve_error {
            Some(SolveError::Raw { status, body }) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
                return Solved::Response(http::raw(status, body.clone()));
            }
            Some(SolveError::Recorded(error)) => Err(failure(*error, &request)),
            None => visit(&state, &request, &faults).await,
        };
        Solved::Response(match found {
            Ok(found) => responder.solved(found.message, found.solution, faults.solve_garbage),
            Err(message) => responder.failed(&message),
        })
    }
}

/// Opens the page and reads it, in a session's browser or a new one.
async fn visit(state: &SharedState, request: &PageRequest, faults: &Faults) -> Result<Visited, String> {
    let mut jar = match &request.session {
        Some(id) => in_session(state, |sessions| sessions.jar(id, request.session_ttl)),
        None => Jar::default(),
    };
    jar.navigate();
    let found = open(state, request, faults, &mut jar).await;
    if let Some(id) = &request.session {
        in_session(state, |sessions| sessions.store(id, jar));
    }
    found
}

async fn open(state: &SharedState, request: &PageRequest, faults: &Faults, jar: &mut Jar) -> Result<Visited, String> {
    let url = request.url.as_str().ok_or_else(|| solve_error("Message: invalid argument: 'url' must be a string"))?;
    let mut budget = Budget { left: request.max_timeout.saturating_sub(PAGE_TIME), request };
    if budget.left.is_zero() {
        return Err(budget.time_out().await);
    }
    let Some(uri) = address(url)? else {
        return Ok(visited(
            state,
            request,
            "about:blank".to_owned(),
            vec![],
            "<html><head></head><body></body></html>",
        ));
    };
    let host = uri.host().unwrap_or_default().to_owned();
    let page = ShopPage::at(&uri, faults).ok_or_else(|| failure(RecordedError::Dns, request))?;
    for (name, value) in &request.cookies {
        jar.add(&host, Cookie::new(name, value), clock::instant());
    }

    budget.spend(page.response_delay()).await?;
    let user_agent = &state.settings.user_agent;
    let challenged = page.mode == PageMode::Challenge && !jar.has(&host, shop::CLEARANCE);
    let mut content = page.open(state, user_agent, !challenged, faults);
    if page.mode == PageMode::Denied {
        return Err(failure(RecordedError::Blocked, request));
    }
    if challenged {
        budget.spend(page.delay).await?;
        for cookie in content.late {
            jar.add(&host, cookie, clock::instant());
        }
        content = page.open(state, user_agent, true, faults);
    }
    let opened = clock::instant();
    for cookie in content.cookies {
        jar.add(&host, cookie, opened);
    }
    for cookie in content.late {
        jar.add(&host, cookie, opened + page.delay);
    }

    let wait = match request.wait {
        _ if request.only_cookies => Duration::ZERO,
        Wait::Time(wait) => wait,
        Wait::WrongType(kind) => {
            return Err(solve_error(&format!("'>' not supported between instances of '{kind}' and 'int'")));
        }
    };
    budget.spend(wait).await?;
    let read = match state.settings.version {
        FlareSolverrVersion::V3_5_0 => opened,
        FlareSolverrVersion::V3_5_2 => opened + wait,
    };
    let cookies = jar.report(&host, uri.path(), read);
    let mut found = visited(state, request, url.to_owned(), cookies, &content.html);
    if challenged {
        found.message = "Challenge solved!";
    }
    Ok(found)
}

fn visited(state: &SharedState, request: &PageRequest, url: String, cookies: Vec<Value>, html: &str) -> Visited {
    let page = PageFields { headers: Map::new(), response: html.to_owned() };
    Visited {
        message: "Challenge not detected!",
        solution: Solution {
            url,
            status: 200,
            cookies,
            user_agent: state.settings.user_agent.clone(),
            turnstile_token: None,
            page: (!request.only_cookies).then_some(page),
        },
    }
}

/// The address of a page; none where Chromium shows a page of its own.
fn address(url: &str) -> Result<Option<Uri>, String> {
    if url.is_empty() {
        return Err(solve_error("Message: invalid argument"));
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Ok(None);
    }
    url.parse().map(Some).map_err(|_| solve_error("Message: invalid argument"))
}

/// What is left of `maxTimeout`.
struct Budget<'a> {
    left: Duration,
    request: &'a PageRequest,
}

impl Budget<'_> {
    /// Waits; where less is left, waits for the rest, and the solve has timed out.
    async fn spend(&mut self, time: Duration) -> Result<(), String> {
        let Some(left) = self.left.checked_sub(time) else {
            return Err(self.time_out().await);
        };
        self.left = left;
        tokio::time::sleep(time).await;
        Ok(())
    }

    async fn time_out(&self) -> String {
        tokio::time::sleep(self.left).await;
        failure(RecordedError::Timeout, self.request)
    }
}

fn failure(error: RecordedError, request: &PageRequest) -> String {
    response::recorded_message(error)
        .unwrap_or_else(|| solve_error(&format!("Timeout after {:?} seconds.", request.max_timeout.as_secs_f64())))
}

fn solve_error(message: &str) -> String {
    format!("Error solving the challenge. {message}")
}

fn in_session<T>(state: &SharedState, act: impl FnOnce(&mut Sessions) -> T) -> T {
    let mut locked = state.lock();
    let result = act(&mut locked.sessions);
    let open = locked.sessions.count();
    state.statistics.send_modify(|all| all.solves.sessions = open);
    result
}
