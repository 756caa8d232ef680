//! The shop's pages, for real browsers and for the simulated one.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{COOKIE, HeaderMap, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};

use crate::browser_pages;
use crate::cookie::{self, Cookie};
use crate::faults::{CookieKind, Faults, PageMode};
use crate::http;
use crate::shared_state::SharedState;

/// Set when a challenge is passed.
pub(crate) const CLEARANCE: &str = "cf_clearance";
const CLEARANCE_SECONDS: i64 = 1800;

/// Holds the token.
pub(crate) const TOKEN: &str = "access-token";

/// Identifies a browser to the protection at the edge.
pub(crate) const VISITOR: &str = "__ddg1_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShopPage {
    pub(crate) mode: PageMode,
    /// Until the server answers, the script sets the cookie, or the challenge is passed.
    pub(crate) delay: Duration,
}

pub(crate) struct PageContent {
    pub(crate) status: StatusCode,
    pub(crate) html: String,
    /// Set by the response.
    pub(crate) cookies: Vec<Cookie>,
    /// Set by the page's script after the page's delay.
    pub(crate) late: Vec<Cookie>,
}

impl ShopPage {
    /// The page of this address, whose query may set the delay by `ms=`; none where the shop has no such page.
    pub(crate) fn at(uri: &Uri, faults: &Faults) -> Option<Self> {
        let (mode, delay) = match uri.path() {
            "/shop" | "/shop/" => (faults.page.unwrap_or(PageMode::SetCookie), faults.page_delay),
            "/shop/late" => (PageMode::Late, Duration::ZERO),
            "/shop/challenge" => (PageMode::Challenge, Duration::ZERO),
            "/shop/plain" => (PageMode::Plain, Duration::ZERO),
            "/shop/denied" => (PageMode::Denied, Duration::ZERO),
            _ => return None,
        };
        let requested =
            uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok()));
        let delay = match (requested, mode) {
            (Some(ms), _) => Duration::from_millis(ms),
            (None, _) if !delay.is_zero() => delay,
            (None, PageMode::Late) => Duration::from_secs(1),
            (None, PageMode::Challenge) => Duration::from_secs(3),
            (None, PageMode::SetCookie | PageMode::Plain | PageMode::Denied) => Duration::ZERO,
        };
        Some(Self { mode, delay })
    }

    /// How long the server takes to respond.
    pub(crate) fn response_delay(self) -> Duration {
        match self.mode {
            PageMode::SetCookie | PageMode::Plain | PageMode::Denied => self.delay,
            PageMode::Late | PageMode::Challenge => Duration::ZERO,
        }
    }

    /// What a browser gets. `cleared`: it has passed the challenge.
    pub(crate) fn open(self, state: &SharedState, user_agent: &str, cleared: bool, faults: &Faults) -> PageContent {
        state.statistics.send_modify(|all| all.pages += 1);
        let mut content =
            PageContent { status: StatusCode::OK, html: html("Books", ""), cookies: vec![], late: vec![] };
        match self.mode {
            PageMode::Plain => {}
            PageMode::Denied => {
                content.status = StatusCode::FORBIDDEN;
                content.html = html("Access denied", "");
            }
            PageMode::Challenge if !cleared => {
                content.status = StatusCode::FORBIDDEN;
                content.late = vec![clearance()];
                content.html = html("Just a moment...", &script(&content.late, "location.reload()", self.delay));
            }
            PageMode::SetCookie | PageMode::Challenge => {
                content.cookies = visitor_cookies(state, user_agent);
                content.cookies.extend(token_cookies(state, faults));
            }
            PageMode::Late => {
                content.cookies = visitor_cookies(state, user_agent);
                content.late = token_cookies(state, faults);
                content.html = html("Books", &script(&content.late, "", self.delay));
            }
        }
        content
    }
}

/// `GET /shop…` by a real browser.
pub(crate) async fn get(State(state): State<Arc<SharedState>>, uri: Uri, headers: HeaderMap) -> Response {
    let faults = state.faults();
    let Some(page) = ShopPage::at(&uri, &faults) else {
        return browser_pages::get(&state, &uri, &headers).await;
    };
    tokio::time::sleep(page.response_delay()).await;
    let cleared = cookie::sent(http::header(&headers, &COOKIE), CLEARANCE).is_some();
    let content = page.open(&state, http::header(&headers, &USER_AGENT), cleared, &faults);
    respond(content.status, content.html, &content.cookies)
}

/// A page that sets these cookies.
pub(crate) fn respond(status: StatusCode, html: String, cookies: &[Cookie]) -> Response {
    let mut response = (status, Html(html)).into_response();
    for cookie in cookies {
        if let Ok(header) = HeaderValue::try_from(cookie.header()) {
            response.headers_mut().append(SET_COOKIE, header);
        }
    }
    response
}

fn clearance() -> Cookie {
    let expires_at = crate::clock::now().as_second() + CLEARANCE_SECONDS;
    Cookie { expires_at: Some(expires_at), ..Cookie::new(CLEARANCE, "ok") }
}

/// The cookies of an anonymous visitor: the one that identifies the browser, and an empty `refresh-token`.
pub(crate) fn visitor_cookies(state: &SharedState, user_agent: &str) -> Vec<Cookie> {
    let mut state = state.lock();
    let mut id = state.tokens.random_hex();
    id.truncate(20);
    state.visitors.insert(id.clone(), user_agent.to_owned());
    vec![Cookie { http_only: true, ..Cookie::new(VISITOR, id) }, Cookie::new("refresh-token", "")]
}

/// The token's cookie, or what the fault replaces it by.
pub(crate) fn token_cookies(state: &SharedState, faults: &Faults) -> Vec<Cookie> {
    let life = token_life(state, faults);
    let make = |name: &str, kind: CookieKind| {
        let minted = state.mint_kind(kind, life);
        let cookie = Cookie::new(name, format!("Bearer%20{}", minted.token));
        Cookie { expires_at: Some(minted.expires_at.max(crate::clock::now().as_second() + 3600)), ..cookie }
    };
    let name = TOKEN;
    match faults.cookie {
        CookieKind::Absent => vec![],
        CookieKind::Empty => vec![Cookie::new(name, "")],
        CookieKind::Malformed => vec![Cookie::new(name, "Bearer%20%7Bnot%20a%20token%7D")],
        CookieKind::BearerToken => vec![make("bearer_token", CookieKind::Normal)],
        CookieKind::Duplicate => vec![
            make(name, CookieKind::Dead),
            Cookie { path: "/shop", ..make(name, CookieKind::Normal) },
            Cookie { domain: Some(".test".to_owned()), ..make(name, CookieKind::Dead) },
        ],
        kind => vec![make(name, kind)],
    }
}

/// How long a page's token is valid.
pub(crate) fn token_life(state: &SharedState, faults: &Faults) -> Duration {
    if faults.token_life.is_zero() { state.settings.token_life } else { faults.token_life }
}

pub(crate) fn html(title: &str, body: &str) -> String {
    format!(
        "<html><head><meta charset=\"utf-8\"><title>{title}</title><link rel=\"icon\" href=\"data:,\"></head>\
         <body><h1>{title}</h1>{body}</body></html>"
    )
}

/// A script that sets the cookies after a delay from the page's load, then runs `then`.
fn script(cookies: &[Cookie], then: &str, delay: Duration) -> String {
    after_load(&format!("{}{then}", set_by_script(cookies)), delay)
}

/// The statements of a script that set the cookies.
pub(crate) fn set_by_script(cookies: &[Cookie]) -> String {
    cookies.iter().map(|cookie| format!("document.cookie='{}';", cookie.header())).collect()
}

/// A script that runs the statements after a delay from the page's load.
pub(crate) fn after_load(statements: &str, delay: Duration) -> String {
    let ms = delay.as_millis();
    format!("<script>addEventListener('load',function(){{setTimeout(function(){{{statements}}},{ms})}})</script>")
}
