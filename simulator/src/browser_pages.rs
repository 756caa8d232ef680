//! Pages for real browsers alone: other places for the token, and what a hostile or broken page does to a browser.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::header::{
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, USER_AGENT,
};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio_stream::StreamExt as _;

use crate::cookie::Cookie;
use crate::faults::Faults;
use crate::http;
use crate::shared_state::SharedState;
use crate::shop::{after_load, html, respond, set_by_script, token_cookies, token_life, visitor_cookies};

const EDGE_DELAY: Duration = Duration::from_millis(300);
const DOWNLOAD_BYTES: usize = 1 << 20;
const HUGE_BYTES: usize = 1 << 30;
const CHUNK_BYTES: usize = 1 << 16;

#[derive(Deserialize)]
struct Parameters {
    /// The delay of the page's script from its load.
    ms: Option<u64>,
    /// Where `/shop/redirect`, `/shop/fetch`, `/shop/part` and `/shop/advance` go to.
    #[serde(default)]
    to: String,
    /// The status of `/shop/status`, and whether it sets the token's cookie (1) or not (0).
    code: Option<u16>,
    #[serde(default)]
    token: u8,
    /// Whether `/shop/fetch` sets the token's cookie only after its requests have ended (1) or at once (0).
    #[serde(default)]
    late: u8,
    /// What runs the script of `/shop/part`: a `frame` of another site, a `worker`, a `shared` or a `service` worker.
    #[serde(default)]
    kind: String,
}

/// `GET` of a page under `/shop` that is not one of the simulated FlareSolverr's.
pub(crate) async fn get(state: &SharedState, uri: &Uri, headers: &HeaderMap) -> Response {
    let Ok(Query(parameters)) = Query::<Parameters>::try_from_uri(uri) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let name = uri.path().trim_start_matches("/shop/");
    if name == "secret" {
        state.statistics.send_modify(|all| all.secrets += 1);
        return page(vec![], "secret");
    }
    let faults = state.faults();
    let response = token_page(name, state, &faults, &parameters, headers).or_else(|| tokenless_page(name, &parameters));
    if let Some(response) = response {
        state.statistics.send_modify(|all| all.pages += 1);
        return response;
    }
    if name == "hang" {
        state.statistics.send_modify(|all| all.pages += 1);
        return std::future::pending().await;
    }
    respond(StatusCode::NOT_FOUND, html("404", "HTTP 404"), &[])
}

/// The pages that have a token, in whatever place.
fn token_page(
    name: &str,
    state: &SharedState,
    faults: &Faults,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Option<Response> {
    let delay = parameters.ms.map(Duration::from_millis);
    let cookies = || token_cookies(state, faults);
    let set = || set_by_script(&cookies());
    let token = || state.mint_for(token_life(state, faults)).token;
    let script = |statements: String| page(vec![], &after_load(&statements, delay.unwrap_or_default()));
    Some(match name {
        "opened" => page(cookies(), ""),
        "local" | "session" => script(format!(
            "{name}Storage.setItem('token','{0}');\
             {name}Storage.setItem('auth',JSON.stringify({{user:{{'a/b':{{token:'Bearer {0}'}}}}}}))",
            token()
        )),
        "request" => script(format!(
            "fetch('/web/api/v2/search/product?phrase=1',{{headers:{{Authorization:'Bearer {}'}}}})",
            token()
        )),
        "part" => page(vec![], part(&parameters.kind)?),
        "part-frame" => page(vec![], "<script src=\"/shop/part.js\"></script>"),
        "part.js" => ([(CONTENT_TYPE, "text/javascript")], part_script(&token())).into_response(),
        "edge-late" => {
            let user_agent = http::header(headers, &USER_AGENT);
            let late: Vec<_> = visitor_cookies(state, user_agent)
                .into_iter()
                .map(|cookie| Cookie { http_only: false, ..cookie })
                .collect();
            page(cookies(), &after_load(&set_by_script(&late), delay.unwrap_or(EDGE_DELAY)))
        }
        "never-loaded" => page(vec![], &format!("<script>{}</script><img src=\"/shop/hang\">", set())),
        "alert" => page(
            vec![],
            &format!(
                "<script>addEventListener('beforeunload',function(event){{event.preventDefault()}});\
                 alert('1');confirm('2');prompt('3');{}</script>",
                set()
            ),
        ),
        "popup" => page(
            vec![],
            &format!("<script>for(var i=0;i<50;i++)open('/shop/plain?popup='+i,'_blank');{}</script>", set()),
        ),
        "download-frame" => page(cookies(), "<iframe src=\"/shop/download\"></iframe>"),
        "fetch" if parameters.late == 0 => page(cookies(), &fetch_script("")),
        "fetch" => page(vec![], &fetch_script(&set())),
        "agent" => {
            let hints = http::header(headers, &HeaderName::from_static("sec-ch-ua"));
            let hints = Cookie::new("hints", utf8_percent_encode(hints, NON_ALPHANUMERIC).to_string());
            let script = format!(
                "<script>document.cookie='agent='+encodeURIComponent(navigator.userAgent)+'; Path=/';\
                 document.cookie='webdriver='+navigator.webdriver+'; Path=/';{}</script>",
                set()
            );
            page(vec![hints], &script)
        }
        "status" => {
            let code = parameters.code.filter(|code| (200..600).contains(code))?;
            let cookies = if parameters.token == 0 { vec![] } else { cookies() };
            respond(StatusCode::from_u16(code).ok()?, html(&code.to_string(), ""), &cookies)
        }
        _ => return None,
    })
}

/// The pages without a token; a browser's work on some of them has no end.
fn tokenless_page(name: &str, parameters: &Parameters) -> Option<Response> {
    Some(match name {
        "redirect" => (StatusCode::FOUND, [(LOCATION, parameters.to.as_str())]).into_response(),
        "advance" => page(
            vec![],
            "<script>var rules=document.createElement('script');rules.type='speculationrules';\
             var to=new URLSearchParams(location.search).get('to');\
             rules.textContent=JSON.stringify({prefetch:[{source:'list',urls:[to],eagerness:'immediate'}]});\
             document.body.append(rules)</script>",
        ),
        "loop" => (StatusCode::FOUND, [(LOCATION, "/shop/loop")]).into_response(),
        "spin" => page(vec![], "<script>for(;;);</script>"),
        "workers" => page(vec![], "<script>for(var i=0;i<300;i++)new Worker('data:,')</script>"),
        "memory" => page(vec![], "<script>for(var kept=[];;)kept.push(new Array(1e6).fill(.5))</script>"),
        "half" => {
            let whole = html("Books", &"book ".repeat(1000));
            let half = Bytes::copy_from_slice(&whole.as_bytes()[..whole.len() / 2]);
            let stream = tokio_stream::once(Ok::<_, Infallible>(half)).chain(tokio_stream::pending());
            let headers = [(CONTENT_TYPE, "text/html".to_owned()), (CONTENT_LENGTH, whole.len().to_string())];
            (headers, Body::from_stream(stream)).into_response()
        }
        "huge" => {
            // Hidden, as a browser would take minutes to lay it out.
            let head = Bytes::from_static(b"<div hidden>");
            let chunk = Bytes::from("book\n".repeat(CHUNK_BYTES / 5 + 1)).slice(..CHUNK_BYTES);
            let chunks = std::iter::once(head).chain(std::iter::repeat_n(chunk, HUGE_BYTES / CHUNK_BYTES));
            let stream = tokio_stream::iter(chunks.map(Ok::<_, Infallible>));
            ([(CONTENT_TYPE, "text/html")], Body::from_stream(stream)).into_response()
        }
        "download" => {
            let headers = [
                (CONTENT_TYPE, "application/octet-stream"),
                (CONTENT_DISPOSITION, "attachment; filename=\"books.bin\""),
            ];
            (headers, vec![0; DOWNLOAD_BYTES]).into_response()
        }
        _ => return None,
    })
}

fn page(cookies: Vec<Cookie>, body: &str) -> Response {
    respond(StatusCode::OK, html("Books", body), &cookies)
}

/// Leaves the request for the token to a part of the page that a browser runs apart from it.
fn part(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "frame" => {
            "<script>var frame=document.createElement('iframe');\
             frame.src='http://localhost:'+location.port+'/shop/part-frame'+location.search;\
             document.body.append(frame)</script>"
        }
        "worker" => "<script>new Worker('/shop/part.js'+location.search)</script>",
        "shared" => "<script>new SharedWorker('/shop/part.js'+location.search)</script>",
        "service" => "<script>navigator.serviceWorker.register('/shop/part.js'+location.search)</script>",
        _ => return None,
    })
}

/// A script that reads the parameter `to` of its address to the end, then requests the API with the token.
fn part_script(token: &str) -> String {
    "fetch(new URLSearchParams(self.location.search).get('to'),{mode:'no-cors'})\
     .then(function(answer){return answer.arrayBuffer()}).catch(function(){})\
     .then(function(){fetch('/web/api/v2/search/product?phrase=1',{headers:{Authorization:'Bearer TOKEN'}})})"
        .replace("TOKEN", token)
}

/// A script that requests the parameter `to` in four ways, notes in the cookie `fetched` whether `fetch` could, and runs
/// `then` when all four have ended.
fn fetch_script(then: &str) -> String {
    "<script>var to=new URLSearchParams(location.search).get('to'),left=4;\
     function done(){if(--left==0){THEN}}\
     function note(outcome){document.cookie='fetched='+outcome+'; Path=/';done()}\
     fetch(to,{mode:'no-cors'}).then(function(){note('ok')},function(){note('failed')});\
     var image=new Image();image.onload=image.onerror=done;image.src=to;\
     var frame=document.createElement('iframe');frame.onload=done;frame.src=to;document.body.append(frame);\
     try{var socket=new WebSocket(to.replace(/^http/,'ws'));socket.onopen=function(){socket.close()};\
     socket.onclose=done}catch(error){done()}</script>"
        .replace("THEN", then)
}
