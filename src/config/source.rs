//! Where tokens come from.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, TRANSFER_ENCODING};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::IgnoredAny;
use token_sidecar_client::wire::{Fingerprint, SiteId};
use url::Url;

use super::browser::BrowserConfig;
use super::reader::Section;
use super::redaction::{Address, Secrecy, Secret, SecretAddress};
use super::template::{Placeholders, Stored, Template};
use super::value::{
    self, Concurrency, HttpMethod, Parsed, Place, ProxyAddress, SECOND, SiteProxyAddress, SolverAddress, Span,
};
use crate::domain::product::Wanted;

/// The longest solve, answer or wait.
pub(super) const LONGEST: u64 = 600 * SECOND;

#[derive(Clone)]
pub enum SourceConfig {
    Flaresolverr(FlaresolverrConfig),
    Http(HttpConfig),
    Browser(BrowserConfig),
}

/// A browser behind FlareSolverr's v1 API.
#[derive(Clone)]
pub struct FlaresolverrConfig {
    /// In the order in which they are asked; at least one. Each includes `/v1` and may contain credentials.
    pub urls: Vec<SecretString>,
    /// What they are; `None` has them say it.
    pub kind: Option<SolverKind>,
    pub page: String,
    /// The cookies that end the wait.
    pub wanted: Wanted,
    pub max_timeout: Duration,
    /// How long to wait for a cookie that a script of the page sets late; `None` means no wait.
    pub wait: Option<Duration>,
    pub session: Option<String>,
    pub proxy: Option<ProxyConfig>,
    /// Leaves out images, style sheets and fonts (`disableMedia`).
    pub disable_media: bool,
    /// The most solves at once on this server, over all sites of this process.
    pub concurrency: usize,
}

/// The servers that speak FlareSolverr's API differ in what else they can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
pub enum SolverKind {
    #[strum(to_string = "FlareSolverr")]
    Flaresolverr,
    /// It has no proxies, sessions and waits, and ignores what it does not know.
    Byparr,
}

#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// Without user and password.
    pub url: String,
    pub username: Option<String>,
    pub password: Option<SecretString>,
}

/// A plain request whose answer contains the token.
#[derive(Clone)]
pub struct HttpConfig {
    pub url: Template,
    /// The same with its placeholders unfilled, so that it holds nothing that is stored.
    pub page: Url,
    pub method: Method,
    pub headers: HeaderMap<Template>,
    pub body: Option<HttpBody>,
    pub token: TokenPlace,
    pub timeout: Duration,
    pub proxy: Option<ProxyConfig>,
}

#[derive(Clone)]
pub struct HttpBody {
    pub text: Template,
    /// Whether what is filled in is percent-encoded, and not escaped as JSON.
    pub is_form: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// At this JSON pointer (RFC 6901), for instance `/token/accessToken`.
    Json(String),
    /// In a cookie of `Set-Cookie`: the site's token cookie or its fallbacks.
    Cookie,
    Header(HeaderName),
}

/// `[flaresolverr]`, and `[sites.S.flaresolverr]`, which inherits it.
#[derive(Deserialize)]
pub(super) struct FlaresolverrSection {
    url: SecretAddress<Vec<SolverAddress>>,
    kind: Option<SolverKind>,
    max_timeout: Span<SECOND, LONGEST>,
    concurrency: Concurrency,
    disable_media: bool,
    wait: Span<0, LONGEST>,
    session: Option<String>,
    pub(super) proxy: ProxySection,
}

#[derive(Deserialize)]
pub(super) struct ProxySection {
    url: Address<Option<ProxyAddress>>,
    username: Option<String>,
    password: Secret<Option<SecretString>>,
}

/// `[sites.S.proxy]`: the way out for all that is done for a site.
#[derive(Deserialize)]
pub(super) struct SiteProxySection {
    url: SecretAddress<Option<SiteProxyAddress>>,
    username: Option<String>,
    password: Secret<Option<SecretString>>,
}

/// `[sites.S.http]`
#[derive(Deserialize)]
pub(super) struct HttpSection {
    url: SecretAddress<Option<String>>,
    method: Option<HttpMethod>,
    headers: Headers,
    body: Secret<Option<String>>,
    token: Place,
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
        wanted: Wanted,
        of_site: Option<ProxyConfig>,
    ) -> FlaresolverrConfig {
        let (own, way_out) = (self.proxy.build(site), of_site.as_ref().and_then(ProxyConfig::fingerprint));
        if own.as_ref().is_some_and(|own| own.fingerprint() != way_out) {
            let reason = "the token is fetched through flaresolverr.proxy and used by the probe without it";
            site.warn(format!("sites.{id}: {reason}: set proxy.url, the way out for all that is done for the site"));
        }
        let proxy = own.or_else(|| of_site.map(ProxyConfig::for_chromium));
        if proxy.is_some() && self.session.is_some() {
            let reason = "FlareSolverr ignores a request's proxy in a session; give the session its proxy";
            site.warn(format!("sites.{id}.flaresolverr: {reason}"));
        }
        let mut urls: Vec<SecretString> = Vec::new();
        for SolverAddress(url) in self.url.0 {
            if !urls.iter().any(|known| known.expose_secret() == url.expose_secret()) {
                urls.push(url);
            }
        }
        if urls.is_empty() {
            site.missing("flaresolverr.url", "expected one or more addresses such as http://flaresolverr:8191/v1");
        }
        let share = self.max_timeout.0 / u32::try_from(urls.len().max(1)).unwrap_or(u32::MAX);
        if urls.len() > 1 && share < self.wait.0 + Duration::from_secs(1) {
            let reason = "each of several solvers has its share of max_timeout, which must exceed `wait` by a second";
            site.conflict(
                &["flaresolverr.max_timeout", "flaresolverr.wait"],
                format!("sites.{id}.flaresolverr: {reason}"),
            );
        }
        FlaresolverrConfig {
            urls,
            kind: self.kind,
            page,
            wanted,
            max_timeout: self.max_timeout.0,
            wait: Some(self.wait.0).filter(|wait| !wait.is_zero()),
            session: self.session,
            proxy,
            disable_media: self.disable_media,
            concurrency: self.concurrency.0,
        }
    }
}

impl ProxySection {
    pub(super) fn build(self, section: &mut Section) -> Option<ProxyConfig> {
        let proxy = self.url.0.map(|url| ProxyConfig { url: url.0, username: None, password: None });
        with_login(section, "flaresolverr.proxy.url", proxy, self.username, self.password.0)
    }
}

impl SiteProxySection {
    pub(super) fn build(self, site: &mut Section) -> Option<ProxyConfig> {
        with_login(site, "proxy.url", self.url.0.map(|url| url.0), self.username, self.password.0)
    }
}

/// The proxy with this user and password, or else those of its address at `path`.
fn with_login(
    section: &mut Section,
    path: &str,
    proxy: Option<ProxyConfig>,
    username: Option<String>,
    password: Option<SecretString>,
) -> Option<ProxyConfig> {
    let Some(proxy) = proxy else {
        if username.is_some() || password.is_some() {
            section.missing(path, "user and password are of no use without it");
        }
        return None;
    };
    if proxy.username.is_some() && username.is_some() {
        let reason = "it names a user already: leave out the user that is set beside it";
        section.conflict(&[path], format!("{}: {reason}", section.full_path(path)));
    }
    let (username, password) = (username.or(proxy.username), password.or(proxy.password));
    Some(ProxyConfig { username, password, ..proxy })
}

impl ProxyConfig {
    /// Names the proxy to parsers: the fingerprint of its `host:port`, which holds no login. `None` if it has no host.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        const SOCKS: u16 = 1080;
        let url = Url::parse(&self.url).ok()?;
        let port = url.port_or_known_default().unwrap_or(SOCKS);
        Some(Fingerprint::of(&format!("{}:{port}", url.host_str()?.to_lowercase())))
    }

    /// As Chromium names it: its `socks5` always lets the proxy resolve names.
    pub(super) fn for_chromium(self) -> Self {
        Self { url: self.url.replacen("socks5h:", "socks5:", 1), ..self }
    }
}

impl HttpSection {
    /// `None` if the site has no such source.
    pub(super) fn build(
        self,
        site: &mut Section,
        placeholders: &Placeholders,
        proxy: Option<ProxyConfig>,
    ) -> Option<HttpConfig> {
        let header = |template: &str| placeholders.header_for_stored(template);
        let mut headers = named(self.headers, "http.headers", site, header);
        headers.retain(|(_, value)| !value.is_empty());
        let mut headers: HeaderMap<Template> = headers.into_iter().collect();
        let address = placeholders.address_for_stored(&self.url.0?);
        let (url, page) = fill(site, "http.url", Secrecy::SecretAddress, address)?;
        let body = match self.body.0 {
            Some(text) => {
                let json = || Template::text("application/json");
                let content_type = headers.entry(CONTENT_TYPE).or_insert_with(json).sample(Stored::to_string);
                let body = body(&text, &content_type);
                Some(site.check("http.body", Secrecy::Secret, body)?)
            }
            None => None,
        };
        let method = self.method.map_or(if body.is_some() { Method::POST } else { Method::GET }, |method| method.0);
        let (token, timeout) = (self.token.0, self.timeout.0);
        Some(HttpConfig { url, page, method, headers, body, token, timeout, proxy })
    }
}

/// The body of a request of this type. What is filled in must not be able to become more than a value.
fn body(text: &str, content_type: &str) -> Parsed<HttpBody> {
    let text = Template::from(text);
    let content_type = content_type.to_ascii_lowercase();
    let is_form = content_type.starts_with("application/x-www-form-urlencoded");
    if text.uses_stored() && !is_form {
        if !content_type.contains("json") {
            return Err("what is stored can stand in JSON and in a form alone: see its content-type".to_owned());
        }
        let sample = text.sample(|_| "x".to_owned());
        serde_json::from_str::<IgnoredAny>(&sample)
            .map_err(|_| "expected JSON with its placeholders within quotes".to_owned())?;
    }
    Ok(HttpBody { text, is_form })
}

/// Fills in a table of headers and leaves out those that come out empty.
pub(super) fn headers(templates: Headers, table: &str, site: &mut Section, placeholders: &Placeholders) -> HeaderMap {
    let header = |template: &str| placeholders.header(template).and_then(|value| value::header(&value));
    named(templates, table, site, header).into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// These say where a request ends.
const FRAMING: [HeaderName; 3] = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING];

/// Fills in a table of headers.
pub(super) fn named<T>(
    templates: Headers,
    table: &str,
    site: &mut Section,
    value: impl Fn(&str) -> Parsed<T>,
) -> Vec<(HeaderName, T)> {
    let filled = templates.into_iter().filter_map(|(name, template)| {
        let value = value(&template?);
        let header = value::header_name(&name).map_err(|reason| format!("{reason} to the left of ="));
        let header = header.and_then(|name| match FRAMING.contains(&name) {
            true => Err("this header is set by the sidecar".to_owned()),
            false => Ok(name),
        });
        let header = header.and_then(|name| Ok((name, value?)));
        fill(site, &format!("{table}.{name}"), Secrecy::Header, header)
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
