//! The one place that builds HTTP clients and reads answers.
//!
//! - Redirects are not followed: a token, a cookie or a password must not travel to where it was not sent.
//! - No connection is kept for later: requests are hours apart, and one that meets a connection gone stale fails
//!   without saying whether it was worked on. Nothing is sent twice either, for the same reason.
//! - An answer is read up to a bound, and everything ends by a deadline.

mod plain;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body, Bytes};
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, StatusCode, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use token_sidecar_client::excerpt::excerpt;
use url::{Host, Url};

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

/// User and password, which never travel in an address.
#[derive(Debug)]
pub(crate) struct Login {
    user: String,
    password: SecretString,
}

impl Login {
    /// Takes them out of an address.
    pub(crate) fn take(url: &mut Url) -> Option<Self> {
        if url.username().is_empty() && url.password().is_none() {
            return None;
        }
        let plain = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let login = Self { user: plain(url.username()), password: plain(url.password().unwrap_or_default()).into() };
        // Neither fails for an address with a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Some(login)
    }

    /// The value of `Authorization`.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        let pair = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password()));
        let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The password, to be taken out of what is shown.
    pub(crate) fn password(&self) -> &str {
        self.password.expose_secret()
    }
}

/// What requests are sent by.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    /// To a neighbour, without TLS and without a proxy.
    Plain,
    /// To wherever else.
    Any(reqwest::Client),
}

impl Client {
    /// A client for one address. It keeps nothing of the address: those that are reached alike share one, since each has
    /// its own trust, which thousands of sites would pay for.
    pub(crate) fn new(url: &Url, route: Route) -> Result<Self, ClientError> {
        static CLIENTS: Mutex<BTreeMap<(Route, bool), reqwest::Client>> = Mutex::new(BTreeMap::new());
        let route = if is_here(url) { Route::Direct } else { route };
        let is_plain = url.scheme() == "http";
        if is_plain && route == Route::Direct {
            return Ok(Self::Plain);
        }
        let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&(route, is_plain)) {
            return Ok(Self::Any(client.clone()));
        }
        let client = build(route, is_plain)
            .map_err(|e| ClientError::Tls { host: peer(url), cause: e.source().map_or_else(String::new, deepest) })?;
        clients.insert((route, is_plain), client.clone());
        Ok(Self::Any(client))
    }

    /// Sends a request and reads at most `bound` bytes of what it is answered, all before the deadline.
    pub(crate) async fn exchange(&self, request: Request, bound: usize, deadline: Duration) -> Result<Answer, Fault> {
        // In a box: thousands of tasks keep room for a request, and few have one under way.
        let answer = Box::pin(async {
            match self {
                Self::Plain => plain::exchange(request, bound).await,
                Self::Any(client) => {
                    let response = client.execute(request).await.map_err(|e| fault(&e))?;
                    Ok(read(response.into(), bound).await)
                }
            }
        });
        tokio::time::timeout(deadline, answer).await.unwrap_or(Err(Fault::Late))
    }
}

fn build(route: Route, is_plain: bool) -> reqwest::Result<reqwest::Client> {
    // Somebody may have installed one before: any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0);
    if route == Route::Direct {
        builder = builder.no_proxy();
    }
    if is_plain {
        // Plain HTTP through a proxy must work in an image without CA certificates too.
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

async fn read<B>(response: Response<B>, bound: usize) -> Answer
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    let (head, mut rest) = response.into_parts();
    let mut body = Vec::new();
    let ending = loop {
        let Some(frame) = rest.frame().await else { break Ending::Whole };
        match frame.map(|frame| frame.into_data().unwrap_or_default()) {
            Ok(data) if body.len() + data.len() > bound => {
                body.extend_from_slice(&data[..bound - body.len()]);
                break Ending::Cut;
            }
            Ok(data) => body.extend_from_slice(&data),
            Err(e) => break Ending::Broken(cause(&e)),
        }
    };
    Answer { status: head.status, headers: head.headers, body, ending }
}

fn fault(error: &reqwest::Error) -> Fault {
    let cause = if error.is_dns() {
        UNKNOWN_NAME.to_owned()
    } else if error.is_timeout() {
        no_connection()
    } else {
        // Its own words have the address in them.
        error.source().map_or_else(|| "the request cannot be sent".to_owned(), cause)
    };
    if error.is_connect() { Fault::Unreachable(cause) } else { Fault::Dropped(cause) }
}

const UNKNOWN_NAME: &str = "the name does not resolve";

fn no_connection() -> String {
    format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())
}

/// What went wrong, in words that do not depend on the libraries where that can be had.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut source = Some(error);
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

fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
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
    fn a_neighbour_is_reached_without_a_proxy_and_without_tls() {
        for url in ["http://127.0.0.1:8191/v1", "http://flaresolverr:8191/v1"] {
            assert!(matches!(Client::new(&address(url, "it").unwrap(), Route::Direct), Ok(Client::Plain)), "{url}");
        }
        let shop = address("http://shop.test/", "it").unwrap();
        assert!(matches!(Client::new(&shop, Route::Environment), Ok(Client::Any(_))), "it may have to go by a proxy");
    }

    #[test]
    fn user_and_password_leave_the_address_and_are_never_shown() {
        let mut url = address("http://m%40e:s%2Fecret@127.0.0.1:8191/v1", "it").unwrap();
        let login = Login::take(&mut url).unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:8191/v1");
        assert_eq!((login.user.as_str(), login.password()), ("m@e", "s/ecret"));
        assert_eq!(login.header().unwrap(), "Basic bUBlOnMvZWNyZXQ=");
        assert!(!format!("{login:?} {:?}", login.header()).contains("s/ecret"));
        assert!(Login::take(&mut url).is_none());
    }
}
