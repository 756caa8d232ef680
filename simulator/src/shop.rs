//! The shop's page, for real browsers and for the solver's.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{COOKIE, HeaderMap, SET_COOKIE, USER_AGENT};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};

use crate::cookie::{self, Cookie};
use crate::faults::{CookieKind, Faults, PageMode};
use crate::server;
use crate::world::World;

/// The cookie that says that a challenge is over, and how long it holds.
pub(crate) const CLEARANCE: &str = "cf_clearance";
const CLEARANCE_SECONDS: i64 = 1800;

/// The cookie by which the protection at the edge knows a browser.
pub(crate) const VISITOR: &str = "__ddg1_";

/// A page of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) mode: PageMode,
    /// Until the server answers, the script sets the cookie, or the challenge is over.
    pub(crate) delay: Duration,
}

/// What a browser gets of a page.
pub(crate) struct Sheet {
    pub(crate) status: StatusCode,
    pub(crate) html: String,
    /// Set with the answer.
    pub(crate) cookies: Vec<Cookie>,
    /// Set by the page's script, after the page's delay.
    pub(crate) late: Vec<Cookie>,
}

impl Page {
    /// The page at this address, `?ms=` of which may give the delay; none where the shop has no such page.
    pub(crate) fn at(uri: &Uri, faults: &Faults) -> Option<Self> {
        let (mode, delay) = match uri.path() {
            "/shop" | "/shop/" => (faults.page.unwrap_or(PageMode::SetCookie), faults.page_delay),
            "/shop/late" => (PageMode::Late, Duration::ZERO),
            "/shop/challenge" => (PageMode::Challenge, Duration::ZERO),
            "/shop/plain" => (PageMode::Plain, Duration::ZERO),
            "/shop/denied" => (PageMode::Denied, Duration::ZERO),
            _ => return None,
        };
        let asked =
            uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("ms=")?.parse().ok()));
        let delay = match (asked, mode) {
            (Some(ms), _) => Duration::from_millis(ms),
            (None, _) if !delay.is_zero() => delay,
            (None, PageMode::Late) => Duration::from_secs(1),
            (None, PageMode::Challenge) => Duration::from_secs(3),
            (None, PageMode::SetCookie | PageMode::Plain | PageMode::Denied) => Duration::ZERO,
        };
        Some(Self { mode, delay })
    }

    /// How long the server takes to answer.
    pub(crate) fn answers_after(self) -> Duration {
        match self.mode {
            PageMode::SetCookie | PageMode::Plain | PageMode::Denied => self.delay,
            PageMode::Late | PageMode::Challenge => Duration::ZERO,
        }
    }

    /// What a browser gets; `cleared` if it has passed the challenge.
    pub(crate) fn open(self, world: &World, user_agent: &str, cleared: bool, faults: &Faults) -> Sheet {
        world.statistics.send_modify(|all| all.pages += 1);
        let mut sheet = Sheet { status: StatusCode::OK, html: page("Books", ""), cookies: vec![], late: vec![] };
        match self.mode {
            PageMode::Plain => {}
            PageMode::Denied => {
                sheet.status = StatusCode::FORBIDDEN;
                sheet.html = page("Access denied", "");
            }
            PageMode::Challenge if !cleared => {
                sheet.status = StatusCode::FORBIDDEN;
                sheet.late = vec![clearance()];
                sheet.html = page("Just a moment...", &script(&sheet.late, "location.reload()", self.delay));
            }
            PageMode::SetCookie | PageMode::Challenge => {
                sheet.cookies = visitor(world, user_agent);
                sheet.cookies.extend(token(world, faults));
            }
            PageMode::Late => {
                sheet.cookies = visitor(world, user_agent);
                sheet.late = token(world, faults);
                sheet.html = page("Books", &script(&sheet.late, "", self.delay));
            }
        }
        sheet
    }
}

/// `GET /shop…` of a real browser.
pub(crate) async fn get(State(world): State<Arc<World>>, uri: Uri, headers: HeaderMap) -> Response {
    let faults = world.faults();
    let Some(shown) = Page::at(&uri, &faults) else {
        return (StatusCode::NOT_FOUND, Html(page("404", "HTTP 404"))).into_response();
    };
    tokio::time::sleep(shown.answers_after()).await;
    let cleared = cookie::sent(server::text(&headers, &COOKIE), CLEARANCE).is_some();
    let sheet = shown.open(&world, server::text(&headers, &USER_AGENT), cleared, &faults);
    let mut response = (sheet.status, Html(sheet.html)).into_response();
    for cookie in &sheet.cookies {
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

/// The cookies of an anonymous visitor: one that the edge knows again, and the empty `refresh-token`.
fn visitor(world: &World, user_agent: &str) -> Vec<Cookie> {
    let mut state = world.state();
    let mut id = state.mint.word();
    id.truncate(20);
    state.visitors.insert(id.clone(), user_agent.to_owned());
    vec![Cookie { http_only: true, ..Cookie::new(VISITOR, id) }, Cookie::new("refresh-token", "")]
}

/// The token's cookie, or what the fault makes of it.
fn token(world: &World, faults: &Faults) -> Vec<Cookie> {
    let life = if faults.token_life.is_zero() { world.settings.token_life } else { faults.token_life };
    let make = |name: &str, kind: CookieKind| {
        let minted = world.make(kind, life);
        let cookie = Cookie::new(name, format!("Bearer%20{}", minted.token));
        Cookie { expires_at: Some(minted.expires_at.max(crate::clock::now().as_second() + 3600)), ..cookie }
    };
    let name = "access-token";
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

fn page(title: &str, body: &str) -> String {
    format!(
        "<html><head><meta charset=\"utf-8\"><title>{title}</title><link rel=\"icon\" href=\"data:,\"></head>\
         <body><h1>{title}</h1>{body}</body></html>"
    )
}

/// A script that sets the cookies a while after the page has loaded, and then does something more.
fn script(cookies: &[Cookie], then: &str, delay: Duration) -> String {
    let set: String = cookies.iter().map(|cookie| format!("document.cookie='{}';", cookie.header())).collect();
    let ms = delay.as_millis();
    format!("<script>addEventListener('load',function(){{setTimeout(function(){{{set}{then}}},{ms})}})</script>")
}
