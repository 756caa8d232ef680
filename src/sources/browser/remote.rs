//! A browser elsewhere: its DevTools endpoint, over a web socket.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use reqwest::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, UPGRADE};
use reqwest::{Method, Request};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use url::Url;

use super::connection::{Connection, MAX_MESSAGE};
use super::error::BrowserError;
use crate::http::{self, Client, Login, Route};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Far more than the answer to `/json/version` has.
const MAX_ANSWER: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    web_socket_debugger_url: String,
}

/// Connects to the web socket at the address, or to the one that an `http://` or `https://` address names.
pub(super) async fn connect(address: &SecretString) -> Result<Connection, BrowserError> {
    let (mut url, names_socket) = web(address.expose_secret());
    let login = Login::take(&mut url);
    let endpoint = |problem: String| BrowserError::Endpoint { peer: http::peer(&url), problem };
    let client = Client::new(&url, Route::Direct).map_err(|error| endpoint(error.to_string()))?;
    let request = |url: Url| {
        let is_name = url.scheme() == "http" && url.domain().is_some();
        let mut request = Request::new(Method::GET, url);
        if is_name {
            // Against DNS rebinding, Chromium serves no request for another name.
            request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
        }
        if let Some(login) = login.as_ref().and_then(Login::header) {
            request.headers_mut().insert(AUTHORIZATION, login);
        }
        request
    };
    let mut socket = url.clone();
    if names_socket {
        let mut named = url.clone();
        named.set_path(&format!("{}/json/version", url.path().trim_end_matches('/')));
        let answer =
            client.exchange(request(named), MAX_ANSWER, CONNECT_TIMEOUT).await.map_err(BrowserError::Request)?;
        let found = serde_json::from_slice(&answer.body).ok();
        let found = found.and_then(|found: Endpoint| Url::parse(&found.web_socket_debugger_url).ok());
        let status = answer.status.as_u16();
        let found =
            found.ok_or_else(|| endpoint(format!("HTTP {status} to /json/version, and no browser's address")))?;
        // It names itself as it is reached from its own machine.
        socket.set_path(found.path());
    }
    let mut request = request(socket);
    let key = BASE64_STANDARD.encode(fastrand::u128(..).to_be_bytes());
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.insert("sec-websocket-key", key);
    }
    let upgraded = client.upgrade(request, CONNECT_TIMEOUT).await.map_err(BrowserError::Request)?;
    let upgraded = upgraded.map_err(|status| endpoint(format!("HTTP {}, and no web socket", status.as_u16())))?;
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    Ok(Connection::over_socket(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await))
}

/// The address for the HTTP client, and whether it only names the web socket. Every address that came this far is one.
fn web(text: &str) -> (Url, bool) {
    let mut url = Url::parse(text.trim()).unwrap_or_else(|_| unreachable!("the settings hold addresses alone"));
    let scheme = match url.scheme() {
        "ws" => "http",
        "wss" => "https",
        _ => return (url, true),
    };
    // It changes one web scheme for another, which works.
    let _changed = url.set_scheme(scheme);
    (url, false)
}
