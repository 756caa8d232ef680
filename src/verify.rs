//! Verifies a token: one `GET` to the API with the token, its cookies and the user agent it was fetched with. A bot
//! protection in front of the API may check all three together.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Method, Request, StatusCode};
use token_sidecar_client::excerpt::{excerpt, without};
use token_sidecar_client::wire::{Cookies, Token};
use url::Url;

use crate::config::ProbeConfig;
use crate::domain::stored::{SHORTEST_SECRET, secrets};
use crate::domain::verdict::Verdict;
use crate::http::{self, Answer, BodyError, Client, ClientError, RequestError, Route, credentials};
use crate::refresh::ports::Probe;

/// Enough of an answer to distinguish JSON from a web page.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends the token to one URL of the API.
pub struct HttpProbe {
    /// `None` if the API is unknown.
    api: Option<(Client, Url)>,
    headers: HeaderMap,
    timeout: Duration,
}

impl HttpProbe {
    /// # Errors
    /// [`ClientError`] if no CA certificates are installed.
    pub fn new(config: ProbeConfig) -> Result<Self, ClientError> {
        let ProbeConfig { url, headers, timeout, proxy } = config;
        let route = Route::of_site(proxy.as_ref());
        let api = url.map(|url| Ok((Client::new(&url, route)?, url))).transpose()?;
        Ok(Self { api, headers, timeout })
    }

    /// Sends one request. Also returns the `Date` of the answer.
    pub async fn ask(
        &self,
        token: &Token,
        cookies: &Cookies,
        user_agent: Option<&str>,
    ) -> Result<(Verdict, Option<Timestamp>), RequestError> {
        let Some((client, url)) = &self.api else {
            return Ok((Verdict::Unclear("no API is configured".to_owned()), None));
        };
        let mut request = Request::new(Method::GET, url.clone());
        *request.headers_mut() = self.headers(token, cookies, user_agent);
        let answer = client.exchange(request, MAX_ANSWER, self.timeout).await?;
        let date = http::date(&answer.headers);
        Ok((verdict(&answer, |message| self.without_secrets(message, token, cookies)), date))
    }

    fn headers(&self, token: &Token, cookies: &Cookies, user_agent: Option<&str>) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(http::USER_AGENT));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        credentials::set(&mut headers, token, cookies, user_agent);
        headers
    }

    /// The API may quote the request in its message.
    fn without_secrets(&self, message: &str, token: &Token, cookies: &Cookies) -> String {
        let headers =
            self.headers.values().filter(|value| value.is_sensitive()).filter_map(|value| value.to_str().ok());
        without(message, secrets(token, cookies).chain(headers.filter(|value| value.len() >= SHORTEST_SECRET)))
    }
}

impl Probe for HttpProbe {
    async fn verify(&self, token: &Token, cookies: &Cookies, user_agent: Option<&str>) -> Verdict {
        let verdict = self.ask(token, cookies, user_agent).await;
        verdict.map_or_else(|error| Verdict::Unclear(error.to_string()), |(verdict, _)| verdict)
    }
}

fn verdict(answer: &Answer, shown: impl Fn(&str) -> String) -> Verdict {
    let code = answer.status.as_u16();
    match answer.status {
        StatusCode::UNAUTHORIZED => Verdict::Refused(format!("the API answers 401{}", reason(answer, shown))),
        StatusCode::FORBIDDEN => Verdict::Blocked("the API answers 403: blocked before it".to_owned()),
        status if status.is_success() => match body(answer) {
            Body::Json => Verdict::Accepted,
            Body::Page => Verdict::Blocked(format!("the API answers {code} with a web page: blocked before it")),
            Body::Other => Verdict::Unclear(match &answer.complete {
                Err(error @ BodyError::BrokenOff(_)) => error.to_string(),
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

/// The message in the body of an error.
fn reason(answer: &Answer, shown: impl Fn(&str) -> String) -> String {
    let json = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
    let reason = ["message", "error", "detail"].iter().find_map(|key| json.get(key)?.as_str());
    reason.map(|reason| format!(": {}", excerpt(&shown(reason), 120))).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use reqwest::header::AUTHORIZATION;

    use super::*;

    fn answer(status: u16, kind: &'static str, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers, body: body.into(), complete: Ok(()) }
    }

    /// The old design took a 403 for a bad token and discarded one that worked.
    #[test]
    fn defect_6_401_and_403_are_distinguished() {
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
            assert_eq!(verdict(&answer(status, kind, body), str::to_owned).into_str(), word, "{status} {kind} {body}");
        }
    }

    #[test]
    fn a_refusal_shows_the_answer_of_the_api_without_a_secret() {
        let reason = |body: &str| match verdict(&answer(401, "", body), str::to_owned) {
            Verdict::Refused(reason) => reason,
            other => other.into_str().to_owned(),
        };
        assert_eq!(reason(r#"{"message":"Token is expired"}"#), "the API answers 401: Token is expired");
        assert_eq!(reason(r#"{"message":7}"#), "the API answers 401");
        let echoed = reason(r#"{"message":"bad token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"}"#);
        assert_eq!(echoed, "the API answers 401: bad token …");
    }

    /// The old design verified with a user agent of its own: 403 for a token that worked.
    #[test]
    fn defect_5_verification_has_the_user_agent_of_the_solver() {
        let config = |headers: &[(&str, &str)]| ProbeConfig {
            url: "http://127.0.0.1:1/".parse().ok(),
            headers: headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect(),
            timeout: Duration::from_secs(1),
            proxy: None,
        };
        let token = Token::parse("abc").unwrap();
        let sent = |probe: &HttpProbe, agent| {
            let headers = probe.headers(&token, &Cookies::default(), agent);
            assert_eq!(headers[AUTHORIZATION], "Bearer abc");
            headers[USER_AGENT].to_str().unwrap().to_owned()
        };
        let plain = HttpProbe::new(config(&[])).unwrap();
        let named = HttpProbe::new(config(&[("user-agent", "Ours/1"), ("Authorization", "Basic x")])).unwrap();
        assert_eq!(sent(&plain, Some("Mozilla/5.0 Chrome/156")), "Mozilla/5.0 Chrome/156");
        assert_eq!(sent(&named, Some("Mozilla/5.0 Chrome/156")), "Mozilla/5.0 Chrome/156");
        assert_eq!(sent(&named, None), "Ours/1");
        assert_eq!(sent(&plain, Some("bad\nname")), http::USER_AGENT);
    }
}
