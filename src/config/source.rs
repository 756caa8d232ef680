//! Where tokens come from.

use std::time::Duration;

use secrecy::SecretString;

use super::reader::{Read, Reader};
use super::redaction;
use super::template::Places;
use super::value::{self, Parsed};

/// The longest that a solve, an answer or a wait may be given.
const PATIENCE: Duration = Duration::from_secs(600);
/// The least that a solve may be given.
const SOLVE: Duration = Duration::from_secs(1);
/// The least that an answer may be given.
const ANSWER: Duration = Duration::from_millis(100);

/// A source, by its kind.
#[derive(Debug, Clone)]
pub enum SourceConfig {
    /// A browser behind FlareSolverr's v1 API.
    Flaresolverr(FlaresolverrConfig),
    /// A plain request.
    Http(HttpConfig),
}

impl SourceConfig {
    /// The name that stands in messages, keys and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Flaresolverr(_) => "flaresolverr",
            Self::Http(_) => "http",
        }
    }
}

/// A browser behind FlareSolverr's v1 API. Its `Debug` hides what may be secret.
#[derive(Clone)]
pub struct FlaresolverrConfig {
    /// The API's URL, `/v1` included; may hold credentials.
    pub url: SecretString,
    /// The page to open.
    pub page: String,
    /// `maxTimeout` of a solve.
    pub max_timeout: Duration,
    /// How long to wait for a cookie that the page's script sets late; `None` for not at all.
    pub wait: Option<Duration>,
    /// The cookies that end the wait: the site's token cookie and its fallbacks.
    pub wanted: Vec<String>,
    /// A session to use; none is best unless the site needs one.
    pub session: Option<String>,
    /// A proxy for the browser.
    pub proxy: Option<ProxyConfig>,
    /// Whether images, style sheets and fonts are left out (`disableMedia`).
    pub disable_media: bool,
    /// How many solves this server may have at once, over all sites of this process.
    pub concurrency: usize,
}

/// A proxy for the browser.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Its URL.
    pub url: String,
    /// Its user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<SecretString>,
}

/// A plain request whose answer has the token. Its `Debug` hides what may be secret.
#[derive(Clone)]
pub struct HttpConfig {
    /// The whole URL.
    pub url: String,
    /// `GET`, `POST`, …
    pub method: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body, with the `Content-Type` among the headers.
    pub body: Option<String>,
    /// Where the token is in the answer.
    pub token: TokenPlace,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// Where the token is in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// At this JSON pointer (RFC 6901), for instance `/token/accessToken`.
    Json(String),
    /// In a cookie of `Set-Cookie`: the site's token cookie or its fallbacks.
    Cookie,
    /// In this header.
    Header(String),
}

impl std::fmt::Debug for FlaresolverrConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let page = redaction::address(&self.page);
        f.debug_struct("FlaresolverrConfig").field("url", &self.url).field("page", &page).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let url = redaction::address(&self.url);
        f.debug_struct("HttpConfig").field("url", &url).field("headers", &headers).finish_non_exhaustive()
    }
}

/// Reads what all sites share of FlareSolverr, so that it is right even where each site has its own.
pub(super) fn read_shared(reader: &mut Reader) -> Read<()> {
    let server = Server::read(reader, "flaresolverr");
    let proxy = ProxyConfig::read(reader, "flaresolverr.proxy");
    server.and(proxy).map(|_| ())
}

/// What is to be said of a FlareSolverr itself.
struct Server {
    url: String,
    max_timeout: Duration,
    concurrency: usize,
    disable_media: bool,
}

impl Server {
    fn read(reader: &mut Reader, table: &str) -> Read<Self> {
        let url = reader.required(&format!("{table}.url"), value::solver_address);
        let max_timeout = reader.required(&format!("{table}.max_timeout"), value::span(SOLVE..=PATIENCE));
        let concurrency = reader.required(&format!("{table}.concurrency"), value::count(1..=64));
        let disable_media = reader.required(&format!("{table}.disable_media"), value::switch);
        Ok(Self { url: url?, max_timeout: max_timeout?, concurrency: concurrency?, disable_media: disable_media? })
    }
}

impl FlaresolverrConfig {
    /// Reads a site's part; what it does not say is as for all sites.
    pub(super) fn read(reader: &mut Reader, site: &str, page: String, wanted: Vec<String>) -> Read<Self> {
        let table = format!("sites.{site}.flaresolverr");
        let server = Server::read(reader, &table);
        let wait = reader.required(&format!("{table}.wait"), value::span(Duration::ZERO..=PATIENCE));
        let session = reader.optional(&format!("{table}.session"), value::text);
        // A proxy is taken as a whole: one site's password must not reach another's proxy.
        let own = format!("{table}.proxy");
        let proxy = if reader.has(&own) { &own } else { "flaresolverr.proxy" };
        let proxy = ProxyConfig::read(reader, proxy);
        let (server, wait, session, proxy) = (server?, wait?, session?, proxy?);
        if proxy.is_some() && session.is_some() {
            let reason = "FlareSolverr ignores a request's proxy in a session; give the session its proxy";
            reader.warn(format!("{table}: {reason}"));
        }
        Ok(Self {
            url: SecretString::from(server.url),
            page,
            max_timeout: server.max_timeout,
            wait: (!wait.is_zero()).then_some(wait),
            wanted,
            session,
            proxy,
            disable_media: server.disable_media,
            concurrency: server.concurrency,
        })
    }
}

impl ProxyConfig {
    fn read(reader: &mut Reader, table: &str) -> Read<Option<Self>> {
        let url = reader.optional(&format!("{table}.url"), value::proxy_address);
        let username = reader.optional(&format!("{table}.username"), value::text);
        let password = reader.optional(&format!("{table}.password"), value::secret);
        match (url?, username?, password?) {
            (Some(url), username, password) => Ok(Some(Self { url, username, password })),
            (None, None, None) => Ok(None),
            _ => Err(reader.missing(&format!("{table}.url"), "user and password are of no use without it")),
        }
    }
}

impl HttpConfig {
    /// Reads a site's part; `None` where it has none.
    pub(super) fn read(reader: &mut Reader, site: &str, places: &Places) -> Read<Option<Self>> {
        let table = format!("sites.{site}.http");
        let url = reader.optional(&format!("{table}.url"), |text| value::address(&places.address(text)?));
        let method = reader.optional(
            &format!("{table}.method"),
            value::choice(&[("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH")]),
        );
        let headers = read_headers(reader, &format!("{table}.headers"), places);
        let body = reader.optional(&format!("{table}.body"), value::verbatim);
        let token = reader.required(&format!("{table}.token"), TokenPlace::parse);
        let timeout = reader.required(&format!("{table}.timeout"), value::span(ANSWER..=PATIENCE));
        let (url, method, mut headers, body) = (url?, method?, headers?, body?);
        let (token, timeout) = (token?, timeout?);
        let Some(url) = url else { return Ok(None) };
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let method = method.unwrap_or(if body.is_some() { "POST" } else { "GET" }).to_owned();
        Ok(Some(Self { url, method, headers, body, token, timeout }))
    }
}

impl TokenPlace {
    fn parse(text: &str) -> Parsed<Self> {
        let place = match text.trim().split_once(':') {
            None if text.trim() == "cookie" => Some(Self::Cookie),
            Some(("json", pointer)) if pointer.starts_with('/') => Some(Self::Json(pointer.to_owned())),
            Some(("header", name)) => value::name(name.trim()).ok().map(Self::Header),
            _ => None,
        };
        place.ok_or_else(|| "expected json:/pointer/to/it, cookie or header:NAME".to_owned())
    }
}

/// Reads a table of headers; those that come out empty are not sent.
pub(super) fn read_headers(reader: &mut Reader, table: &str, places: &Places) -> Read<Vec<(String, String)>> {
    let mut headers = Vec::new();
    let mut fault = None;
    for name in reader.names_below(table) {
        let header = reader.optional(&format!("{table}.{name}"), |text| {
            value::name(&name).map_err(|reason| format!("{reason} to the left of ="))?;
            value::header(&places.header(text)?)
        });
        match header {
            Ok(Some(text)) if !text.is_empty() => headers.push((name.to_ascii_lowercase(), text)),
            Ok(_) => {}
            Err(faulty) => fault = Some(faulty),
        }
    }
    fault.map_or(Ok(headers), Err)
}
