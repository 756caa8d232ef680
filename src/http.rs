//! The only HTTP client.
//!
//! - Redirects are not followed: a token, a cookie or a password must not reach a host that it was not meant for.
//! - Connections are not reused, except by the gateway: requests are hours apart, and one on a stale connection fails
//!   without a sign of whether the server has processed it. For the same reason no request is sent twice.
//! - An answer is read up to a size limit, and every exchange has a deadline.
//! - The trusted authorities are the system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.

pub(crate) mod credentials;
mod error;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::{Timestamp, fmt::rfc2822};
use percent_encoding::percent_decode_str;
use reqwest::header::{DATE, HeaderMap, HeaderValue};
use reqwest::{Request, Response, StatusCode, Upgraded, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

pub use self::error::{BodyError, ClientError, RequestError};
use crate::config::ProxyConfig;

/// The default user agent.
pub(crate) const USER_AGENT: &str = concat!("token-sidecar/", env!("CARGO_PKG_VERSION"));

/// Covers name resolution, connection and TLS. If a name has addresses of both families, the other family is tried
/// after 300 ms (Happy Eyeballs, RFC 8305); the addresses of one family share this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a connection of the gateway is kept for the next request: less than common servers keep it.
const KEPT: Duration = Duration::from_secs(4);

/// How many connections to one host are kept.
const MOST_KEPT: usize = 256;

/// How a host is reached.
#[derive(Clone, Copy)]
pub(crate) enum Route<'a> {
    /// Without a proxy, whatever `HTTP_PROXY` says.
    Direct,
    /// Through `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY` if they are set, except for `NO_PROXY` and loopback addresses.
    Environment,
    /// Through this proxy, to whatever address.
    Proxy(&'a ProxyConfig),
}

impl<'a> Route<'a> {
    /// The way out of a site.
    pub(crate) fn of_site(proxy: Option<&'a ProxyConfig>) -> Self {
        proxy.map_or(Self::Environment, Self::Proxy)
    }

    /// What tells it from others.
    fn key(self) -> String {
        match self {
            Self::Direct => String::new(),
            Self::Environment => "environment".to_owned(),
            Self::Proxy(ProxyConfig { url, username, password }) => {
                let password = password.as_ref().map(ExposeSecret::expose_secret);
                format!("{url} {username:?} {password:?}")
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    System,
    /// For `http://`, which must work where no CA certificates are installed.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reuse {
    Never,
    /// For requests that follow one another closely.
    Kept,
}

/// An answer, read up to a size limit.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body is complete.
    pub(crate) complete: Result<(), BodyError>,
}

/// The `Date` of an answer.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    parse_date(headers.get(DATE)?.to_str().ok()?)
}

/// `Wed, 21 Oct 2026 07:28:00 GMT`; older servers write dashes in the date.
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    rfc2822::parse(&text.replace('-', " ")).ok().map(|zoned| zoned.timestamp())
}

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

/// User and password of an address. They are sent as a header; messages show the address without them.
#[derive(Debug)]
pub(crate) struct Login {
    user: String,
    password: SecretString,
}

impl Login {
    /// Removes them from an address.
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

    /// The password, to be removed from what is shown.
    pub(crate) fn password(&self) -> &str {
        self.password.expose_secret()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Client(reqwest::Client);

impl Client {
    /// A client for an address. All addresses of a kind share one, since each client holds a copy of the system's
    /// authorities, about a megabyte.
    pub(crate) fn new(url: &Url, route: Route<'_>) -> Result<Self, ClientError> {
        Self::shared(url, route, Reuse::Never)
    }

    /// The same with connections that are reused.
    pub(crate) fn pooled(url: &Url, route: Route<'_>) -> Result<Self, ClientError> {
        Self::shared(url, route, Reuse::Kept)
    }

    fn shared(url: &Url, route: Route<'_>, reuse: Reuse) -> Result<Self, ClientError> {
        static CLIENTS: Mutex<BTreeMap<(String, Trust, Reuse), reqwest::Client>> = Mutex::new(BTreeMap::new());
        let route = if matches!(route, Route::Environment) && is_loopback(url) { Route::Direct } else { route };
        let trust = if url.scheme() == "https" { Trust::System } else { Trust::Nothing };
        let client = match CLIENTS.lock().unwrap_or_else(PoisonError::into_inner).entry((route.key(), trust, reuse)) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let client =
                    build(route, trust, reuse).map_err(|error| ClientError::no_authorities(&error, peer(url)))?;
                entry.insert(client).clone()
            }
        };
        Ok(Self(client))
    }

    /// Sends a request and reads at most `bound` bytes of the body. Dropping the future closes the connection.
    pub(crate) async fn exchange(
        &self,
        request: Request,
        bound: usize,
        deadline: Duration,
    ) -> Result<Answer, RequestError> {
        let peer = peer(request.url());
        // Boxed: it takes some kilobytes, which each of thousands of waiting tasks would reserve.
        let answer = Box::pin(async {
            let response = self.0.execute(request).await.map_err(|error| RequestError::of(&error, &peer))?;
            Ok(read(response, bound).await)
        });
        within(deadline, answer, &peer).await
    }

    /// Sends a request and returns the head of the answer; the body is to be read.
    pub(crate) async fn open(&self, request: Request) -> Result<Response, RequestError> {
        let peer = peer(request.url());
        self.0.execute(request).await.map_err(|error| RequestError::of(&error, &peer))
    }

    /// Sends a request that asks for another protocol; the connection goes on in it. Else returns the status.
    pub(crate) async fn upgrade(
        &self,
        request: Request,
        deadline: Duration,
    ) -> Result<Result<Upgraded, StatusCode>, RequestError> {
        let peer = peer(request.url());
        let upgraded = Box::pin(async {
            let response = self.0.execute(request).await.map_err(|error| RequestError::of(&error, &peer))?;
            let status = response.status();
            if status != StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Err(status));
            }
            response.upgrade().await.map(Ok).map_err(|error| RequestError::of(&error, &peer))
        });
        within(deadline, upgraded, &peer).await
    }
}

/// What comes of an exchange with `peer`, or that its deadline has passed.
pub(crate) async fn within<T>(
    deadline: Duration,
    exchange: impl Future<Output = Result<T, RequestError>>,
    peer: &str,
) -> Result<T, RequestError> {
    let timed_out = |_| RequestError::TimedOut { peer: peer.to_owned(), waited: deadline };
    tokio::time::timeout(deadline, exchange).await.map_err(timed_out)?
}

fn build(route: Route<'_>, trust: Trust, reuse: Reuse) -> reqwest::Result<reqwest::Client> {
    // The Redis client may have installed a provider already: either works.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        // A solve sends nothing for minutes: keep-alive probes detect a server that no longer exists.
        .tcp_keepalive(Duration::from_secs(15))
        .tcp_keepalive_interval(Duration::from_secs(15))
        .tcp_keepalive_retries(3)
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(match reuse {
            Reuse::Never => 0,
            Reuse::Kept => MOST_KEPT,
        });
    let builder = match route {
        Route::Direct => builder.no_proxy(),
        Route::Environment => builder,
        Route::Proxy(ProxyConfig { url, username, password }) => {
            let proxy = reqwest::Proxy::all(url)?;
            let password = password.as_ref().map_or("", |password| password.expose_secret());
            builder.proxy(match username {
                Some(username) => proxy.basic_auth(username, password),
                None => proxy,
            })
        }
    };
    match trust {
        Trust::System => builder,
        Trust::Nothing => builder.tls_certs_only([]),
    }
    .build()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Reads at most `bound` bytes of the body.
pub(crate) async fn read(mut response: Response, bound: usize) -> Answer {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    let complete = loop {
        match response.chunk().await {
            Ok(Some(data)) if body.len() + data.len() > bound => {
                body.extend_from_slice(&data[..bound - body.len()]);
                break Err(BodyError::TooLarge(bound));
            }
            Ok(Some(data)) => body.extend_from_slice(&data),
            Ok(None) => break Ok(()),
            Err(error) => break Err(BodyError::broken_off(&error)),
        }
    };
    Answer { status, headers, body, complete }
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
