//! A plain request whose answer contains the token. It needs no browser and takes milliseconds instead of many seconds. What
//! is stored can be a part of it, so that it renews the token as the site's own pages do.

mod request;

use std::collections::BTreeSet;

use reqwest::StatusCode;
use token_sidecar_client::excerpt::{excerpt, without};

use super::set_cookie;
use crate::config::{HttpConfig, ProxyConfig, Template, TokenPlace};
use crate::domain::extract::{Cookie, RawToken, Solution};
use crate::domain::product::{ProductRule, Wanted};
use crate::domain::stored::StoredToken;
use crate::domain::verdict::Pace;
use crate::http::{self, Answer, Client, ClientError, RequestError, Route};
use crate::refresh::ports::SourceError;

/// Far more than an answer with a token has.
const MAX_ANSWER: usize = 1 << 20;

pub struct HttpSource {
    client: Client,
    config: HttpConfig,
    wanted: Wanted,
    uses_stored: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpSourceError {
    /// Nothing is stored for a placeholder, or what cannot stand in its place. No request was sent.
    #[error("{place} cannot be filled in: {reason}")]
    Unfilled { place: String, reason: String },
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer of this peer has no token.
    #[error("{peer}: {problem}")]
    Answer { peer: String, problem: String },
}

impl From<HttpSourceError> for SourceError {
    fn from(error: HttpSourceError) -> Self {
        Self { message: format!("http: {error}"), pace: Pace::Ordinary }
    }
}

impl HttpSource {
    /// Builds the source. `product` names the cookies that the answer is to set.
    pub fn new(config: &HttpConfig, product: &ProductRule) -> Result<Self, ClientError> {
        let wanted = product.wanted();
        let client = Client::new(&config.page, Route::of_site(config.proxy.as_ref()))?;
        let body = config.body.as_ref().map(|body| &body.text);
        let mut templates = std::iter::once(&config.url).chain(config.headers.values()).chain(body);
        let uses_stored = templates.any(Template::uses_stored);
        Ok(Self { client, config: config.clone(), wanted, uses_stored })
    }

    pub(super) fn proxy(&self) -> Option<&ProxyConfig> {
        self.config.proxy.as_ref()
    }

    /// Whether the request has the stored token or cookies in it.
    pub const fn uses_stored(&self) -> bool {
        self.uses_stored
    }

    /// Whether the request can be filled in. It is not sent: that may use up what is stored.
    pub fn check(&self, stored: Option<&StoredToken>) -> Result<(), HttpSourceError> {
        request::request(&self.config, stored).map(drop)
    }

    /// Sends the request and takes the token from the answer. Where the stored token or cookies are in the request, the
    /// cookies of the answer are merged into the stored ones.
    pub async fn fetch(&self, stored: Option<&StoredToken>) -> Result<Solution, HttpSourceError> {
        let (request, user_agent) = request::request(&self.config, stored)?;
        let answer = self.client.exchange(request, MAX_ANSWER, self.config.timeout).await?;
        let solution = self.read(&answer);
        let mut solution =
            solution.map_err(|problem| HttpSourceError::Answer { peer: http::peer(&self.config.page), problem })?;
        if let Some(stored) = stored.filter(|_| self.uses_stored) {
            self.merge(&mut solution.cookies, stored);
        }
        Ok(Solution { user_agent, ..solution })
    }

    /// Adds the stored cookies that the answer neither replaces nor removes. They have names alone, so any cookie of a name
    /// counts. That of a token is left out: it holds the old one.
    fn merge(&self, cookies: &mut Vec<Cookie>, stored: &StoredToken) {
        // An error names the place of a cookie, and the server may have put there what it was sent.
        let secrets = || std::iter::once(stored.token.expose()).chain(stored.cookies.iter().map(|(_, value)| value));
        for cookie in cookies.iter_mut() {
            cookie.path = without(&cookie.path, secrets());
        }
        let came: BTreeSet<String> = cookies.iter().map(|cookie| cookie.name.clone()).collect();
        let is_kept = |name: &str| !came.contains(name) && !self.wanted.holds_token(name);
        let ends_at = stored.token.claims().expires_at.filter(|_| matches!(self.wanted, Wanted::All(_)));
        let kept = stored.cookies.iter().filter(|(name, _)| is_kept(name));
        cookies.extend(kept.map(|(name, value)| Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            domain: String::new(),
            path: String::new(),
            // Each cookie of a jar lives at least as long as the jar.
            expires_at: ends_at,
        }));
    }

    fn read(&self, answer: &Answer) -> Result<Solution, String> {
        let place = &self.config.token;
        let cookies = set_cookie::cookies(&answer.headers, &self.config.page);
        let has_wanted = self.wanted.is_met(cookies.iter()) || self.wanted.is_open() && !cookies.is_empty();
        // A server may set its cookie in a redirect, which then need not be followed.
        let is_redirect_with_cookie = *place == TokenPlace::Cookie && answer.status.is_redirection() && has_wanted;
        if !answer.status.is_success() && !is_redirect_with_cookie {
            return Err(refusal(answer));
        }
        let bare = match place {
            // Which of several are absent is seen once the stored ones are added.
            TokenPlace::Cookie if has_wanted || matches!(self.wanted, Wanted::All(_)) && !cookies.is_empty() => None,
            TokenPlace::Cookie => {
                return Err(format!("the answer sets no {}{}", self.wanted, page(answer)));
            }
            TokenPlace::Header(name) => {
                let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
                Some(value.ok_or_else(|| format!("the answer has no header `{name}`{}", page(answer)))?.to_owned())
            }
            TokenPlace::Json(pointer) => Some(text_at(answer, pointer)?),
        };
        // Cookies are matched by host and path; the query may be secret.
        let mut url = self.config.page.clone();
        url.set_query(None);
        Ok(Solution { cookies, bare: bare.map(RawToken), url: url.into(), user_agent: None })
    }
}

fn text_at(answer: &Answer, pointer: &str) -> Result<String, String> {
    answer.complete.as_ref().map_err(ToString::to_string)?;
    let json: serde_json::Value =
        serde_json::from_slice(&answer.body).map_err(|_| format!("the answer is no JSON{}", page(answer)))?;
    let text = json.pointer(pointer).and_then(serde_json::Value::as_str);
    text.map(str::to_owned).ok_or_else(|| format!("the answer has no text at `{}`", excerpt(pointer, 80)))
}

/// Why an answer is not a success.
fn refusal(answer: &Answer) -> String {
    let code = answer.status.as_u16();
    match answer.status {
        StatusCode::UNAUTHORIZED => format!("HTTP {code}: the request needs credentials, or others"),
        StatusCode::FORBIDDEN => format!("HTTP {code}: blocked{}", page(answer)),
        StatusCode::TOO_MANY_REQUESTS => format!("HTTP {code}: too many requests"),
        status if status.is_redirection() => format!("HTTP {code}: a redirect, and none is followed"),
        status if status.is_server_error() => format!("HTTP {code}: the server is in trouble"),
        _ => format!("HTTP {code}{}", page(answer)),
    }
}

/// A note if the answer is a web page, such as a challenge.
fn page(answer: &Answer) -> &'static str {
    if answer.body.trim_ascii_start().first() == Some(&b'<') { ", but a web page: perhaps a challenge" } else { "" }
}
