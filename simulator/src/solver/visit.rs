//! A solve: what the browser does with a page, at the times at which FlareSolverr does it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use serde_json::{Map, Value};

use crate::clock;
use crate::cookie::{Cookie, Jar};
use crate::faults::{Faults, PageMode, RecordedError, SolveError};
use crate::server;
use crate::settings::FlareSolverrVersion;
use crate::shop;
use crate::world::{Hang, World};

use super::answer::{self, Answer, Call, Page, Solution};
use super::request::{Order, Wait};

/// What a page costs of `maxTimeout` at least: 500 ms were recorded to be too few. It is not waited for.
const PAGE_TIME: Duration = Duration::from_millis(600);

/// One solve, and what goes wrong with it.
pub(super) struct Browser {
    pub(super) world: Arc<World>,
    pub(super) call: Call,
    pub(super) order: Order,
    pub(super) faults: Faults,
    pub(super) hang: Hang,
}

/// What came of a page.
struct Found {
    message: &'static str,
    solution: Solution,
}

impl Browser {
    pub(super) async fn solve(self) -> Answer {
        let Self { world, call, order, faults, hang } = self;
        tokio::time::sleep(faults.solve_delay).await;
        if faults.solve_hang {
            hang.until_released().await;
        }
        if faults.solve_reset {
            return Answer::Cut;
        }
        let found = match &faults.solve_error {
            Some(SolveError::Raw { status, body }) => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
                return Answer::Sent(server::raw(status, body.clone()));
            }
            Some(SolveError::Recorded(error)) => Err(recorded(*error, &order)),
            None => visit(&world, &order, &faults).await,
        };
        Answer::Sent(match found {
            Ok(found) => call.solved(found.message, found.solution, faults.solve_garbage),
            Err(message) => call.failed(&message),
        })
    }
}

/// Opens the page and reads it, in a session's browser or in one of its own.
async fn visit(world: &World, order: &Order, faults: &Faults) -> Result<Found, String> {
    let mut jar = match &order.session {
        Some(id) => in_session(world, |sessions| sessions.jar(id, order.session_ttl)),
        None => Jar::default(),
    };
    jar.navigate();
    let found = open(world, order, faults, &mut jar).await;
    if let Some(id) = &order.session {
        in_session(world, |sessions| sessions.keep(id, jar));
    }
    found
}

async fn open(world: &World, order: &Order, faults: &Faults, jar: &mut Jar) -> Result<Found, String> {
    let url = order.url.as_str().ok_or_else(|| solving("Message: invalid argument: 'url' must be a string"))?;
    let mut budget = Budget { left: order.max_timeout.saturating_sub(PAGE_TIME), order };
    if budget.left.is_zero() {
        return Err(budget.spent().await);
    }
    let Some(uri) = address(url)? else {
        return Ok(found(world, order, "about:blank".to_owned(), vec![], "<html><head></head><body></body></html>"));
    };
    let host = uri.host().unwrap_or_default().to_owned();
    let page = shop::Page::at(&uri, faults).ok_or_else(|| recorded(RecordedError::Dns, order))?;
    for (name, value) in &order.cookies {
        jar.put(&host, Cookie::new(name, value), clock::instant());
    }

    budget.spend(page.answers_after()).await?;
    let user_agent = &world.settings.user_agent;
    let challenged = page.mode == PageMode::Challenge && !jar.has(&host, shop::CLEARANCE);
    let mut sheet = page.open(world, user_agent, !challenged, faults);
    if page.mode == PageMode::Denied {
        return Err(recorded(RecordedError::Blocked, order));
    }
    if challenged {
        budget.spend(page.delay).await?;
        for cookie in sheet.late {
            jar.put(&host, cookie, clock::instant());
        }
        sheet = page.open(world, user_agent, true, faults);
    }
    let opened = clock::instant();
    for cookie in sheet.cookies {
        jar.put(&host, cookie, opened);
    }
    for cookie in sheet.late {
        jar.put(&host, cookie, opened + page.delay);
    }

    let wait = match order.wait {
        _ if order.only_cookies => Duration::ZERO,
        Wait::Time(wait) => wait,
        Wait::Wrong(kind) => {
            return Err(solving(&format!("'>' not supported between instances of '{kind}' and 'int'")));
        }
    };
    budget.spend(wait).await?;
    let read = match world.settings.version {
        FlareSolverrVersion::V3_5_0 => opened,
        FlareSolverrVersion::V3_5_2 => opened + wait,
    };
    let cookies = jar.report(&host, uri.path(), read);
    let mut found = found(world, order, url.to_owned(), cookies, &sheet.html);
    if challenged {
        found.message = "Challenge solved!";
    }
    Ok(found)
}

fn found(world: &World, order: &Order, url: String, cookies: Vec<Value>, html: &str) -> Found {
    let page = Page { headers: Map::new(), response: html.to_owned() };
    Found {
        message: "Challenge not detected!",
        solution: Solution {
            url,
            status: 200,
            cookies,
            user_agent: world.settings.user_agent.clone(),
            turnstile_token: None,
            page: (!order.only_cookies).then_some(page),
        },
    }
}

/// The address of a page; none where Chromium shows a page of its own.
fn address(url: &str) -> Result<Option<Uri>, String> {
    if url.is_empty() {
        return Err(solving("Message: invalid argument"));
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Ok(None);
    }
    url.parse().map(Some).map_err(|_| solving("Message: invalid argument"))
}

/// What is left of `maxTimeout`.
struct Budget<'a> {
    left: Duration,
    order: &'a Order,
}

impl Budget<'_> {
    /// Waits; where that is longer than what is left, only so long, and that is the end of the solve.
    async fn spend(&mut self, time: Duration) -> Result<(), String> {
        let Some(left) = self.left.checked_sub(time) else {
            return Err(self.spent().await);
        };
        self.left = left;
        tokio::time::sleep(time).await;
        Ok(())
    }

    async fn spent(&self) -> String {
        tokio::time::sleep(self.left).await;
        recorded(RecordedError::Timeout, self.order)
    }
}

fn recorded(error: RecordedError, order: &Order) -> String {
    answer::recorded(error)
        .unwrap_or_else(|| solving(&format!("Timeout after {:?} seconds.", order.max_timeout.as_secs_f64())))
}

fn solving(message: &str) -> String {
    format!("Error solving the challenge. {message}")
}

fn in_session<T>(world: &World, act: impl FnOnce(&mut super::Sessions) -> T) -> T {
    let mut state = world.state();
    let result = act(&mut state.sessions);
    let open = state.sessions.count();
    world.statistics.send_modify(|all| all.solves.sessions = open);
    result
}
