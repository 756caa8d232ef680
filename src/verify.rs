//! The API's word on a token: one `GET` with the token, all its cookies and the user agent it was fetched with, as
//! what stands in front of the API looks at them together.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Method, Request, StatusCode};
use token_sidecar_client::excerpt::{excerpt, without};
use token_sidecar_client::wire::{Cookies, Token};
use url::Url;

use crate::config::ProbeConfig;
use crate::domain::verdict::Verdict;
use crate::http::{self, Answer, Client, ClientError, Ending, Fault, Login, Route};
use crate::refresh::ports::Probe;

/// Enough to see what kind of an answer it is.
const READ: usize = 64 * 1024;

/// A shorter value of a cookie or a header is taken for none that anybody hides.
const SHORTEST_SECRET: usize = 8;

/// Asks one URL of the API.
pub struct HttpProbe {
    client: Client,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
}

impl HttpProbe {
    /// Builds the probe.
    ///
    /// # Errors
    /// [`ClientError`] where the URL or a header is none, or TLS has no certificates to trust.
    pub fn new(config: &ProbeConfig) -> Result<Self, ClientError> {
        let mut url = http::address(&config.url, "the API")?;
        // There is one `Authorization`, and it is the token's.
        Login::take(&mut url);
        let headers = http::headers(&config.headers)?;
        let client = Client::new(&url, Route::Environment)?;
        Ok(Self { client, url, headers, timeout: config.timeout })
    }

    fn headers(&self, token: &Token, cookies: &Cookies, user_agent: Option<&str>) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(http::USER_AGENT));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        let mut set = |name, value: HeaderValue| headers.insert(name, value);
        // A token has no character that a header cannot have.
        if let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) {
            bearer.set_sensitive(true);
            set(AUTHORIZATION, bearer);
        }
        if let Some(mut jar) = jar(cookies) {
            jar.set_sensitive(true);
            set(COOKIE, jar);
        }
        if let Some(name) = user_agent.and_then(|name| HeaderValue::from_str(name.trim()).ok()) {
            set(USER_AGENT, name);
        }
        headers
    }

    /// An API may say back what it was sent.
    fn without_secrets(&self, said: &str, token: &Token, cookies: &Cookies) -> String {
        let jar = cookies.header();
        let cookies = jar.split("; ").filter_map(|pair| Some(pair.split_once('=')?.1));
        let headers =
            self.headers.values().filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
        let long = cookies.chain(headers).filter(|value| value.len() >= SHORTEST_SECRET);
        without(said, std::iter::once(token.expose()).chain(long))
    }

    fn fault(&self, fault: &Fault) -> Verdict {
        let peer = http::peer(&self.url);
        Verdict::Unclear(match fault {
            Fault::Unreachable(cause) => format!("the API is not reachable at {peer}: {cause}"),
            Fault::Dropped(cause) => format!("no answer of the API: {cause}"),
            Fault::Late => format!("no answer of the API within {:?}", self.timeout),
        })
    }
}

impl Probe for HttpProbe {
    async fn verify(&self, token: &Token, cookies: &Cookies, user_agent: Option<&str>) -> Verdict {
        let mut request = Request::new(Method::GET, self.url.clone());
        *request.headers_mut() = self.headers(token, cookies, user_agent);
        match self.client.exchange(request, READ, self.timeout).await {
            Ok(answer) => verdict(&answer, |said| self.without_secrets(said, token, cookies)),
            Err(fault) => self.fault(&fault),
        }
    }
}

impl fmt::Debug for HttpProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpProbe({})", http::peer(&self.url))
    }
}

/// All cookies that a header can carry: one that it cannot must not keep the others from being sent.
fn jar(cookies: &Cookies) -> Option<HeaderValue> {
    let header = cookies.header();
    let jar = HeaderValue::from_str(&header).or_else(|_| {
        let is_sendable = |pair: &&str| HeaderValue::from_str(pair).is_ok();
        HeaderValue::from_str(&header.split("; ").filter(is_sendable).collect::<Vec<_>>().join("; "))
    });
    jar.ok().filter(|jar| !jar.is_empty())
}

fn verdict(answer: &Answer, shown: impl Fn(&str) -> String) -> Verdict {
    let code = answer.status.as_u16();
    match answer.status {
        StatusCode::UNAUTHORIZED => Verdict::Refused(format!("the API answers 401{}", reason(answer, shown))),
        StatusCode::FORBIDDEN => Verdict::Blocked("the API answers 403: blocked before it".to_owned()),
        status if status.is_success() => match body(answer) {
            Body::Json => Verdict::Accepted,
            Body::Page => Verdict::Blocked(format!("the API answers {code} with a web page: blocked before it")),
            Body::Other => Verdict::Unclear(match &answer.ending {
                Ending::Broken(cause) => format!("the answer of the API broke off: {cause}"),
                _ => format!("the API answers {code} without JSON"),
            }),
        },
        _ => Verdict::Unclear(format!("the API answers {code}")),
    }
}

enum Body {
    Json,
    Page,
    Other,
}

fn body(answer: &Answer) -> Body {
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = answer.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&answer.body).trim_ascii_start();
    match text.first() {
        Some(b'<') => Body::Page,
        Some(b'{' | b'[') => Body::Json,
        Some(_) if kind.to_ascii_lowercase().contains("json") => Body::Json,
        Some(_) if kind.to_ascii_lowercase().contains("html") => Body::Page,
        _ => Body::Other,
    }
}

/// `message` of an error, as the shop's API has it.
fn reason(answer: &Answer, shown: impl Fn(&str) -> String) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
    let said = ["message", "error", "detail"].iter().find_map(|key| json.get(key)?.as_str());
    said.map(|said| format!(": {}", excerpt(&shown(said), 120))).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn answer(status: u16, kind: &'static str, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers, body: body.into(), ending: Ending::Whole }
    }

    /// The old design took a 403 for a bad token and threw away one that worked.
    #[test]
    fn defect_6_401_and_403_are_told_apart() {
        for (status, kind, body, word) in [
            (200, "application/json", r#"{"data":{}}"#, "accepted"),
            (200, "application/vnd.api+json; charset=utf-8", "\u{feff} [1]", "accepted"),
            (200, "text/plain", "  {\"cut off", "accepted"),
            (201, "application/json", "null", "accepted"),
            (401, "application/json", r#"{"message":"expired"}"#, "refused"),
            (401, "text/html", "<html>", "refused"),
            (403, "application/json", r#"{"message":"no"}"#, "blocked"),
            (403, "text/html", "<html>", "blocked"),
            (200, "text/html", "<!DOCTYPE html>", "blocked"),
            (200, "application/json", "\n<html>", "blocked"),
            (200, "text/html", "one moment, please", "blocked"),
            (200, "text/plain", "ok", "unclear"),
            (200, "application/json", "", "unclear"),
            (204, "", "", "unclear"),
            (301, "text/html", "<html>", "unclear"),
            (404, "application/json", "{}", "unclear"),
            (429, "text/html", "<html>", "unclear"),
            (500, "application/json", "{}", "unclear"),
            (503, "text/html", "<html>", "unclear"),
        ] {
            assert_eq!(verdict(&answer(status, kind, body), str::to_owned).as_str(), word, "{status} {kind} {body}");
        }
    }

    #[test]
    fn a_refusal_tells_what_the_api_says_without_a_secret() {
        let said = |body: &str| match verdict(&answer(401, "", body), str::to_owned) {
            Verdict::Refused(reason) => reason,
            other => other.as_str().to_owned(),
        };
        assert_eq!(said(r#"{"message":"Token is expired"}"#), "the API answers 401: Token is expired");
        assert_eq!(said(r#"{"message":7}"#), "the API answers 401");
        let echoed = said(r#"{"message":"bad token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"}"#);
        assert_eq!(echoed, "the API answers 401: bad token …");
    }

    #[test]
    fn a_cookie_that_no_header_can_carry_is_left_out() {
        let cookies = Cookies::from_json(r#"{"a":"1","b":"x\r\ny: z","c":"3\u0000","d":"ключ","e":"4"}"#);
        assert_eq!(jar(&cookies).unwrap().as_bytes(), "a=1; d=ключ; e=4".as_bytes());
        assert!(jar(&Cookies::default()).is_none());
        assert!(jar(&Cookies::from_json(r#"{"a":"\n"}"#)).is_none());
    }

    /// The old design verified with a user agent of its own: 403 for a token that worked.
    #[test]
    fn defect_5_verification_has_the_user_agent_of_the_solver() {
        let config = |headers: &[(&str, &str)]| ProbeConfig {
            url: "http://127.0.0.1:1/".into(),
            headers: headers.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            timeout: Duration::from_secs(1),
        };
        let token = Token::parse("abc").unwrap();
        let sent = |probe: &HttpProbe, agent| {
            let headers = probe.headers(&token, &Cookies::default(), agent);
            assert_eq!(headers[AUTHORIZATION], "Bearer abc");
            headers[USER_AGENT].to_str().unwrap().to_owned()
        };
        let plain = HttpProbe::new(&config(&[])).unwrap();
        let named = HttpProbe::new(&config(&[("user-agent", "Ours/1"), ("Authorization", "Basic x")])).unwrap();
        assert_eq!(sent(&plain, Some("Mozilla/5.0 Chrome/156")), "Mozilla/5.0 Chrome/156");
        assert_eq!(sent(&named, Some("Mozilla/5.0 Chrome/156")), "Mozilla/5.0 Chrome/156");
        assert_eq!(sent(&named, None), "Ours/1");
        assert_eq!(sent(&plain, Some("bad\nname")), http::USER_AGENT);
    }
}
