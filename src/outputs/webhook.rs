//! One request of a notice: address, headers, signature, and what is said where it fails.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, StatusCode};
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use token_sidecar_client::excerpt::{excerpt, without};
use tokio::time::timeout;
use url::Url;

use super::notices::Sends;
use super::said;
use crate::config::{NoticeConfig, SigningKey};
use crate::domain::duration;
use crate::domain::notice::{Notice, NoticeBody};
use crate::domain::stored::SHORTEST_SECRET;
use crate::domain::template::TemplateError;
use crate::http::{self, Client, ClientError, Login, RequestError, Route};

const TIMEOUT: Duration = Duration::from_secs(10);
/// As much of a refusal as is read and shown.
const ANSWER_BYTES: usize = 4 << 10;
const SHOWN: usize = 120;
/// How long the text of a refusal is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the notices of one table are sent.
pub(super) struct Webhook {
    client: Client,
    url: Url,
    headers: HeaderMap,
    body: NoticeBody,
    key: Option<SigningKey>,
    /// What no error shows, whether or not an answer quotes it.
    secrets: Vec<String>,
}

/// Why a notice has not arrived. Contains no secret.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    #[error("its body, {0}")]
    Body(#[from] TemplateError),
    #[error("{0}")]
    Request(String),
    #[error("the answer is {status}{}", said(.answer))]
    Refused { status: StatusCode, answer: String, retry_after: Option<Duration> },
}

impl NoticeError {
    /// Whether the same notice may arrive later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Body(_) => false,
            Self::Request(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
        }
    }

    /// How long the answer asks to wait.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Body(_) | Self::Request(_) => None,
        }
    }
}

impl Webhook {
    pub(super) fn new(config: &NoticeConfig) -> Result<Self, ClientError> {
        let mut url = http::address(config.url.expose_secret(), "a notice")?;
        let mut secrets = parts(&url);
        let login = Login::take(&mut url);
        let client = Client::new(&url, Route::Environment).map_err(|error| match error {
            ClientError::NoAuthorities { cause, .. } => ClientError::NoAuthorities { peer: config.name.clone(), cause },
            other @ ClientError::Url(_) => other,
        })?;
        let mut headers = config.headers.clone();
        headers.extend(login.iter().filter_map(|login| Some((AUTHORIZATION, login.header()?))));
        let values = headers.values().filter_map(|value| value.to_str().ok());
        let mut words: Vec<&str> = values.flat_map(|value| value.split(' ').chain([value])).collect();
        words.extend(login.iter().map(Login::password));
        secrets.extend(words.into_iter().filter(|word| word.len() >= SHORTEST_SECRET).map(str::to_owned));
        Ok(Self { client, url, headers, body: config.body.clone(), key: config.key.clone(), secrets })
    }

    fn shown(&self, text: &str) -> String {
        without(text, self.secrets.iter().map(String::as_str))
    }
}

impl Sends for Webhook {
    async fn send(&self, notice: &Notice, id: &str, at: Timestamp) -> Result<(), NoticeError> {
        let (body, media_type) = self.body.render(notice, id)?;
        let mut request = Request::new(Method::POST, self.url.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.extend(self.headers.clone());
        if let Some(key) = &self.key {
            headers.extend(signature(key, id, at, &body));
        }
        *request.body_mut() = Some(body.into());
        let answer = http::within(TIMEOUT, self.client.open(request), &http::peer(&self.url)).await;
        let answer = answer.map_err(|error| NoticeError::Request(self.shown(&described(&error))))?;
        // What was taken is not sent again, however its answer goes on.
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = retry_after(answer.headers());
        let text = timeout(ANSWER_TIMEOUT, http::read(answer, ANSWER_BYTES)).await;
        let text = text.map(|answer| String::from_utf8_lossy(&answer.body).into_owned()).unwrap_or_default();
        Err(NoticeError::Refused { status, answer: excerpt(&self.shown(&text), SHOWN), retry_after })
    }
}

/// `Retry-After` in seconds. Its other form, a date, needs clocks that agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// An error without the host, which may be a secret as well.
fn described(error: &RequestError) -> String {
    match error {
        RequestError::Unreachable { cause, .. } => format!("not reachable: {cause}"),
        RequestError::Tls { problem, .. } => format!("no TLS: {problem}"),
        RequestError::Dropped { cause, .. } => format!("no answer: {cause}"),
        RequestError::TimedOut { waited, .. } => format!("no answer within {}", duration::text(*waited)),
    }
}

/// An address and its parts: it is a secret as a whole.
fn parts(url: &Url) -> Vec<String> {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let peer = http::peer(url);
    let (host, path) = (url.host_str().unwrap_or_default(), url.path());
    let mut parts = vec![url.to_string(), format!("{path}{query}"), peer, host.to_owned(), path.to_owned(), query];
    parts.retain(|part| part.len() > 1);
    let segments = url.path_segments().into_iter().flatten().flat_map(|part| part.split(':').chain([part]));
    let values: Vec<_> = url.query_pairs().map(|(_, value)| value).collect();
    let words = segments.chain(values.iter().map(|value| &**value)).chain([url.username()]);
    parts.extend(words.filter(|word| word.len() >= SHORTEST_SECRET).map(str::to_owned));
    parts
}

/// The headers of Standard Webhooks.
fn signature(key: &SigningKey, id: &str, time: Timestamp, body: &str) -> HeaderMap {
    let timestamp = time.as_second().to_string();
    // A key of any length will do.
    let signed = Hmac::<Sha256>::new_from_slice(key.expose_secret()).map(|mut mac| {
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    });
    let header =
        |name: &'static str, value: &str| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?));
    let signature = signed.ok().and_then(|signed| header("webhook-signature", &signed));
    [header("webhook-id", id), header("webhook-timestamp", &timestamp), signature].into_iter().flatten().collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_signed_as_standard_webhooks_has_it() {
        // The example of the specification.
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (time, body) = (Timestamp::from_second(1_614_265_330).unwrap(), "{\"test\": 2432232314}");
        let headers = signature(&key.into(), "msg_p5jXN8AQM9LWM0D4loKWxJek", time, body);
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds() {
        for (value, pause) in [("120", Some(120)), ("Fri, 31 Dec 1999 23:59:59 GMT", None), ("-1", None), ("1.5", None)]
        {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers), pause.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn no_part_of_an_address_is_shown() {
        let url = Url::parse("https://hooks.test/bot123:hunter2-token/send?key=hunter2-key").unwrap();
        let parts = parts(&url);
        let shown = |text: &str| without(text, parts.iter().map(String::as_str));
        for text in ["/bot123:hunter2-token/send", "token hunter2-token", "key=hunter2-key", "at hooks.test:443"] {
            let shown = shown(text);
            assert!(!shown.contains("hunter2") && !shown.contains("hooks"), "{shown}");
        }
    }
}
