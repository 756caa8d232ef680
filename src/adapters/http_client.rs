//! The one place that builds HTTP clients and reads answers.
//!
//! - Redirects are not followed: a token, a cookie or a password must not travel to where it was not sent.
//! - No connection is kept for later: requests are hours apart, and one that meets a connection gone stale fails
//!   without saying whether it was worked on. Nothing is sent twice either, for the same reason.
//! - An answer is read up to a bound, and everything ends by a deadline.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode, redirect, retry};
use url::{Host, Url};

use super::excerpt::excerpt;

/// What we call ourselves where nobody says otherwise.
pub(crate) const USER_AGENT: &str = concat!("token-sidecar/", env!("CARGO_PKG_VERSION"));

const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a client cannot be built from its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("the URL of {0} is no http:// or https:// address")]
    Url(&'static str),
    /// A header has a name or a value that HTTP does not allow.
    #[error("the header `{0}` has characters that a header cannot have")]
    Header(String),
    /// The method is none.
    #[error("`{0}` is no HTTP method")]
    Method(String),
    /// There is no trust to build TLS on.
    #[error("no TLS for {host}: {cause}; are CA certificates installed (package ca-certificates, or SSL_CERT_FILE)?")]
    Tls {
        /// The host that was to be reached.
        host: String,
        /// What is amiss.
        cause: String,
    },
}

/// How a host is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    /// Straight: a neighbour, whatever `HTTP_PROXY` says.
    Direct,
    /// Through `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` where they are set, except for this machine itself.
    Environment,
}

/// An answer, read up to a bound.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) ending: Ending,
}

/// How the body of an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of it is there.
    Whole,
    /// It went on beyond the bound.
    Cut,
    /// The connection ended in its midst; the reason.
    Broken(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection: the request was never sent.
    Unreachable(String),
    /// The connection ended before an answer came, or what came is no HTTP.
    Dropped(String),
    /// The deadline is over: the other side may still be at work.
    Late,
}

/// Reads an address for a request.
pub(crate) fn address(text: &str, what: &'static str) -> Result<Url, ClientError> {
    let url = Url::parse(text.trim()).map_err(|_| ClientError::Url(what))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(ClientError::Url(what));
    }
    Ok(url)
}

/// Host and port of an address, for messages: never its user, password, path or query.
pub(crate) fn peer(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// A client for one address. It keeps nothing of the address: those that are reached alike share one, since each has
/// its own trust, which thousands of sites would pay for.
pub(crate) fn client(url: &Url, route: Route) -> Result<Client, ClientError> {
    static CLIENTS: Mutex<BTreeMap<(Route, bool), Client>> = Mutex::new(BTreeMap::new());
    let route = if is_here(url) { Route::Direct } else { route };
    let is_plain = url.scheme() == "http";
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(client) = clients.get(&(route, is_plain)) {
        return Ok(client.clone());
    }
    let client = build(route, is_plain).map_err(|e| ClientError::Tls { host: peer(url), cause: deepest(&e) })?;
    clients.insert((route, is_plain), client.clone());
    Ok(client)
}

fn build(route: Route, is_plain: bool) -> reqwest::Result<Client> {
    // Somebody may have installed one before: any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0);
    if route == Route::Direct {
        builder = builder.no_proxy();
    }
    if is_plain {
        // Plain HTTP must work in an image without CA certificates too.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Reads headers as they are configured.
pub(crate) fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, ClientError> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let refused = || ClientError::Header(excerpt(name, 60));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| refused())?;
        value.set_sensitive(true);
        map.append(key, value);
    }
    Ok(map)
}

/// Sends a request and reads at most `bound` bytes of what it is answered, all before the deadline.
pub(crate) async fn exchange(request: RequestBuilder, bound: usize, deadline: Duration) -> Result<Answer, Fault> {
    tokio::time::timeout(deadline, read(request, bound)).await.unwrap_or(Err(Fault::Late))
}

async fn read(request: RequestBuilder, bound: usize) -> Result<Answer, Fault> {
    let mut response = request.send().await.map_err(|e| fault(&e))?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    let ending = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > bound => {
                body.extend_from_slice(&chunk[..bound - body.len()]);
                break Ending::Cut;
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break Ending::Whole,
            Err(e) => break Ending::Broken(cause(&e)),
        }
    };
    Ok(Answer { status, headers, body, ending })
}

fn fault(error: &reqwest::Error) -> Fault {
    if error.is_connect() { Fault::Unreachable(cause(error)) } else { Fault::Dropped(cause(error)) }
}

/// What went wrong, in words that do not depend on the libraries where that can be had.
fn cause(error: &reqwest::Error) -> String {
    if error.is_dns() {
        return "the name does not resolve".to_owned();
    }
    if error.is_timeout() {
        return format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
    }
    let mut source = error.source();
    while let Some(inner) = source {
        let known = inner.downcast_ref::<io::Error>().and_then(|e| match e.kind() {
            io::ErrorKind::ConnectionRefused => Some("connection refused"),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some("connection reset"),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some("no route to it"),
            io::ErrorKind::UnexpectedEof => Some("connection closed"),
            _ => None,
        });
        if let Some(words) = known {
            return words.to_owned();
        }
        source = inner.source();
    }
    deepest(error)
}

fn deepest(error: &reqwest::Error) -> String {
    let Some(mut inner) = error.source() else { return "the request cannot be sent".to_owned() };
    while let Some(source) = inner.source() {
        inner = source;
    }
    excerpt(&inner.to_string(), 120)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_and_names_its_peer_without_a_password() {
        for text in ["", "localhost:8191", "ftp://host/", "redis://host", "http://", "/v1"] {
            assert_eq!(address(text, "it"), Err(ClientError::Url("it")), "{text}");
        }
        let url = address(" https://user:secret@solver.test/v1?key=hidden ", "it").unwrap();
        assert_eq!(peer(&url), "solver.test:443");
    }

    #[test]
    fn headers_that_cannot_be_sent_are_named_without_their_value() {
        let pair = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
        assert_eq!(headers(&pair("x", "a\nb")), Err(ClientError::Header("x".into())));
        assert_eq!(headers(&pair("x y", "secret")), Err(ClientError::Header("x y".into())));
        assert_eq!(format!("{:?}", headers(&pair("x", "secret")).unwrap()), r#"{"x": Sensitive}"#);
    }

    #[test]
    fn a_client_for_a_neighbour_needs_no_ca_certificates() {
        for url in ["http://127.0.0.1:8191/v1", "http://flaresolverr:8191/v1"] {
            assert!(client(&address(url, "it").unwrap(), Route::Direct).is_ok());
        }
    }
}
