//! Where tokens come from.

use std::time::Duration;

use secrecy::SecretString;

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

/// A browser behind FlareSolverr's v1 API.
#[derive(Debug, Clone)]
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

/// A plain request whose answer has the token.
#[derive(Debug, Clone)]
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
