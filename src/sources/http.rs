//! A plain request whose answer contains the token. It needs no browser and takes milliseconds instead of many seconds.

use reqwest::header::{HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Request, StatusCode};
use token_sidecar_client::excerpt::excerpt;

use super::set_cookie;
use crate::config::{HttpConfig, ProxyConfig, TokenPlace};
use crate::domain::extract::{CookieRule, RawToken, Solution};
use crate::domain::stored::StoredToken;
use crate::domain::verdict::Pace;
use crate::http::{self, Answer, Client, ClientError, RequestError, Route};
use crate::refresh::ports::SourceError;

/// Far more than an answer with a token has.
const MAX_ANSWER: usize = 1 << 20;

pub struct HttpSource {
    client: Client,
    config: HttpConfig,
    wanted: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpSourceError {
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
    /// Builds the source. `rule` names the cookies that hold the token.
    pub fn new(config: &HttpConfig, rule: &CookieRule) -> Result<Self, ClientError> {
        let wanted = std::iter::once(&rule.name).chain(&rule.fallbacks).cloned().collect();
        let client = Client::new(&config.url, Route::of_site(config.proxy.as_ref()))?;
        Ok(Self { client, config: config.clone(), wanted })
    }

    pub(super) fn proxy(&self) -> Option<&ProxyConfig> {
        self.config.proxy.as_ref()
    }

    /// Sends the request and takes the token from the answer.
    pub async fn fetch(&self, stored: Option<&StoredToken>) -> Result<Solution, HttpSourceError> {
        let mut request = Request::new(self.config.method.clone(), self.config.url.clone());
        let mut headers = self.config.headers.clone();
        let user_agent = user_agent(&mut headers, stored);
        *request.headers_mut() = headers;
        *request.body_mut() = self.config.body.clone().map(Into::into);
        let answer = self.client.exchange(request, MAX_ANSWER, self.config.timeout).await?;
        let solution = self.read(&answer);
        let solution =
            solution.map_err(|problem| HttpSourceError::Answer { peer: http::peer(&self.config.url), problem })?;
        Ok(Solution { user_agent, ..solution })
    }

    fn read(&self, answer: &Answer) -> Result<Solution, String> {
        let place = &self.config.token;
        let cookies = set_cookie::cookies(&answer.headers, &self.config.url);
        let has_wanted = cookies.iter().any(|cookie| !cookie.value.is_empty() && self.wanted.contains(&cookie.name));
        // A server may set its cookie in a redirect, which then need not be followed.
        let is_redirect_with_cookie = *place == TokenPlace::Cookie && answer.status.is_redirection() && has_wanted;
        if !answer.status.is_success() && !is_redirect_with_cookie {
            return Err(refusal(answer));
        }
        let bare = match place {
            TokenPlace::Cookie if has_wanted => None,
            TokenPlace::Cookie => {
                return Err(format!("the answer sets no cookie `{}`{}", self.wanted[0], page(answer)));
            }
            TokenPlace::Header(name) => {
                let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
                Some(value.ok_or_else(|| format!("the answer has no header `{name}`{}", page(answer)))?.to_owned())
            }
            TokenPlace::Json(pointer) => Some(text_at(answer, pointer)?),
        };
        // Cookies are matched by host and path; the query may be secret.
        let mut url = self.config.url.clone();
        url.set_query(None);
        Ok(Solution { cookies, bare: bare.map(RawToken), url: url.into(), user_agent: None })
    }
}

/// Completes the headers of a request by its user agent: the configured one, or else that of the stored token. Where there
/// is neither, the sidecar gives its own name, which is not returned: no parser should call itself so.
fn user_agent(headers: &mut HeaderMap, stored: Option<&StoredToken>) -> Option<String> {
    if let Some(value) = stored.and_then(|stored| HeaderValue::from_str(stored.user_agent.as_deref()?).ok()) {
        headers.entry(USER_AGENT).or_insert(value);
    }
    let named = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(http::USER_AGENT));
    named
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
