//! Where tokens come from.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use token_sidecar_client::wire::SiteId;

use super::reader::Section;
use super::redaction::{self, Address, Secrecy, Secret, SecretAddress};
use super::template::Placeholders;
use super::value::{self, ByText, Concurrency, Method, Parsed, ProxyAddress, SECOND, SolverAddress, Span};

/// The longest solve, answer or wait.
const LONGEST: u64 = 600 * SECOND;

#[derive(Debug, Clone)]
pub enum SourceConfig {
    Flaresolverr(FlaresolverrConfig),
    Http(HttpConfig),
}

impl SourceConfig {
    /// The name in messages, keys and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Flaresolverr(_) => "flaresolverr",
            Self::Http(_) => "http",
        }
    }
}

/// A browser behind FlareSolverr's v1 API. `Debug` hides what may be secret.
#[derive(Clone)]
pub struct FlaresolverrConfig {
    /// Includes `/v1`; may contain credentials.
    pub url: SecretString,
    pub page: String,
    pub max_timeout: Duration,
    /// How long to wait for a cookie that a script of the page sets late; `None` means no wait.
    pub wait: Option<Duration>,
    /// The cookies that end the wait: the site's token cookie and its fallbacks.
    pub wanted: Vec<String>,
    pub session: Option<String>,
    pub proxy: Option<ProxyConfig>,
    /// Leaves out images, style sheets and fonts (`disableMedia`).
    pub disable_media: bool,
    /// The most solves at once on this server, over all sites of this process.
    pub concurrency: usize,
}

#[derive(Debug, Clone)]
pub struct ProxyConfig {
    pub url: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
}

/// A plain request whose answer contains the token. `Debug` hides what may be secret.
#[derive(Clone)]
pub struct HttpConfig {
    pub url: String,
    pub method: String,
    pub headers: Vec<(String, String)>,
    /// Its `Content-Type` is among the headers.
    pub body: Option<String>,
    pub token: TokenPlace,
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// At this JSON pointer (RFC 6901), for instance `/token/accessToken`.
    Json(String),
    /// In a cookie of `Set-Cookie`: the site's token cookie or its fallbacks.
    Cookie,
    Header(String),
}

impl fmt::Debug for FlaresolverrConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = redaction::address(&self.page);
        f.debug_struct("FlaresolverrConfig").field("url", &self.url).field("page", &page).finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let url = redaction::address(&self.url);
        f.debug_struct("HttpConfig").field("url", &url).field("headers", &headers).finish_non_exhaustive()
    }
}

/// `[flaresolverr]`
#[derive(Deserialize)]
#[expect(dead_code, reason = "read so that it is right even where each site has its own, which falls back on it")]
pub(super) struct SharedFlaresolverrSection {
    url: SecretAddress<SolverAddress>,
    max_timeout: Span<SECOND, LONGEST>,
    concurrency: Concurrency,
    disable_media: bool,
    pub(super) proxy: ProxySection,
}

/// `[sites.S.flaresolverr]`
#[derive(Deserialize)]
pub(super) struct FlaresolverrSection {
    url: SecretAddress<SolverAddress>,
    max_timeout: Span<SECOND, LONGEST>,
    concurrency: Concurrency,
    disable_media: bool,
    wait: Span<0, LONGEST>,
    session: Option<String>,
    proxy: ProxySection,
}

#[derive(Deserialize)]
pub(super) struct ProxySection {
    url: Address<Option<ProxyAddress>>,
    username: Option<String>,
    password: Secret<Option<SecretString>>,
}

/// `[sites.S.http]`
#[derive(Deserialize)]
pub(super) struct HttpSection {
    url: SecretAddress<Option<String>>,
    method: Option<Method>,
    headers: Headers,
    body: Secret<Option<String>>,
    token: TokenPlace,
    timeout: Span<100, LONGEST>,
}

/// Templates by header name.
pub(super) type Headers = BTreeMap<String, Option<String>>;

impl FlaresolverrSection {
    pub(super) fn build(
        self,
        site: &mut Section,
        id: &SiteId,
        page: String,
        wanted: Vec<String>,
    ) -> FlaresolverrConfig {
        let proxy = self.proxy.build(site);
        if proxy.is_some() && self.session.is_some() {
            let reason = "FlareSolverr ignores a request's proxy in a session; give the session its proxy";
            site.warn(format!("sites.{id}.flaresolverr: {reason}"));
        }
        FlaresolverrConfig {
            url: self.url.0.0,
            page,
            max_timeout: self.max_timeout.0,
            wait: Some(self.wait.0).filter(|wait| !wait.is_zero()),
            wanted,
            session: self.session,
            proxy,
            disable_media: self.disable_media,
            concurrency: self.concurrency.0,
        }
    }
}

impl ProxySection {
    pub(super) fn build(self, section: &mut Section) -> Option<ProxyConfig> {
        let (username, password) = (self.username, self.password.0);
        let Some(url) = self.url.0 else {
            if username.is_some() || password.is_some() {
                section.missing("flaresolverr.proxy.url", "user and password are of no use without it");
            }
            return None;
        };
        Some(ProxyConfig { url: url.0, username, password })
    }
}

impl HttpSection {
    /// `None` if the site has no such source.
    pub(super) fn build(self, site: &mut Section, placeholders: &Placeholders) -> Option<HttpConfig> {
        let mut headers = headers(self.headers, "http.headers", site, placeholders);
        let url = self.url.0?;
        let url = placeholders.address(&url).and_then(|url| value::address(&url));
        let url = fill(site, "http.url", Secrecy::SecretAddress, url)?;
        let body = self.body.0;
        if body.is_some() && !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let method = self.method.map_or(if body.is_some() { "POST" } else { "GET" }, |method| method.0).to_owned();
        Some(HttpConfig { url, method, headers, body, token: self.token, timeout: self.timeout.0 })
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

impl<'de> Deserialize<'de> for TokenPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ByText(Self::parse))
    }
}

/// Fills in a table of headers and leaves out those that come out empty.
pub(super) fn headers(
    templates: Headers,
    table: &str,
    site: &mut Section,
    placeholders: &Placeholders,
) -> Vec<(String, String)> {
    let filled = templates.into_iter().filter_map(|(name, template)| {
        let value = placeholders.header(&template?).and_then(|value| value::header(&value));
        let value = value::name(&name).map_err(|reason| format!("{reason} to the left of =")).and(value);
        let value = fill(site, &format!("{table}.{name}"), Secrecy::Header, value)?;
        (!value.is_empty()).then_some((name, value))
    });
    filled.collect()
}

/// The filled-in template; an error is noted.
pub(super) fn fill<T>(site: &mut Section, path: &str, secrecy: Secrecy, filled: Parsed<T>) -> Option<T> {
    match filled {
        // The error in `api_url` is noted already.
        Err(_) if site.is_refused("api_url") => None,
        filled => site.check(path, secrecy, filled),
    }
}
