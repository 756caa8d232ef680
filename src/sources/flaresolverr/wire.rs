//! Answers of the v1 API, read leniently.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::FlaresolverrError;
use crate::domain::extract::{Cookie, Solution};

/// More cookies than any browser keeps per site.
const MAX_COOKIES: usize = 1_000;

/// Longer than any browser's cookie, and room for a token of 8 KiB.
const MAX_COOKIE_BYTES: usize = 32 * 1024;

/// An answer. A field of an unexpected type counts as absent, here and below.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Reply {
    /// `ok` or `error`.
    #[serde(deserialize_with = "lenient")]
    pub(super) status: Option<String>,
    /// The error's text, in whichever of the three fields has it.
    #[serde(deserialize_with = "lenient")]
    pub(super) message: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) error: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) detail: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) version: Option<String>,
    /// Only in the answer to `GET /`.
    #[serde(deserialize_with = "lenient")]
    pub(super) user_agent: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(super) solution: Option<Page>,
    /// Only in the answer to `sessions.list`.
    #[serde(deserialize_with = "lenient_ids")]
    pub(super) sessions: Vec<String>,
}

/// A page that was opened. Its `status` is 200 and its `headers` are empty whatever the site answered.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Page {
    #[serde(deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    user_agent: Option<String>,
    #[serde(deserialize_with = "lenient_list")]
    cookies: Option<Vec<Cookie>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCookie {
    #[serde(deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    value: Option<String>,
    #[serde(deserialize_with = "lenient")]
    domain: Option<String>,
    #[serde(deserialize_with = "lenient")]
    path: Option<String>,
    #[serde(deserialize_with = "lenient")]
    expiry: Option<f64>,
    /// The same in Byparr's answers.
    #[serde(deserialize_with = "lenient")]
    expires: Option<f64>,
}

impl Reply {
    /// `None` if the body is not a JSON object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let mut reply: Self = parse(String::from_utf8_lossy(body).trim_start())?;
        let texts = [reply.message.take(), reply.error.take(), reply.detail.take()];
        reply.message = texts.into_iter().flatten().find(|text| !text.trim().is_empty());
        Some(reply)
    }

    /// The answer of the source to a `request.get`.
    pub(super) fn into_solution(self) -> Result<Solution, FlaresolverrError> {
        let Page { url, user_agent, cookies } = self.solution.ok_or(FlaresolverrError::Lacks("solution"))?;
        let cookies = cookies.ok_or(FlaresolverrError::Lacks("list of cookies"))?;
        let user_agent = user_agent.filter(|name| !name.trim().is_empty());
        Ok(Solution { cookies, bare: None, url: url.unwrap_or_default(), user_agent })
    }
}

impl WireCookie {
    /// `None` if a header cannot carry the cookie.
    fn into_cookie(self) -> Option<Cookie> {
        let (name, value) = (self.name?, self.value?);
        let is_sendable = !name.is_empty()
            && name.len() + value.len() <= MAX_COOKIE_BYTES
            && !name.chars().any(|c| c.is_control() || c == '=' || c == ';')
            && !value.chars().any(|c| c.is_control() || c == ';');
        let expires_at = [self.expiry, self.expires].into_iter().flatten().find_map(moment);
        let (domain, path) = (self.domain.unwrap_or_default(), self.path.unwrap_or_default());
        is_sendable.then_some(Cookie { name, value, domain, path, expires_at })
    }
}

/// Parses a string, a number or an object. Refuses an array, from which serde would also read a struct.
fn parse<T: DeserializeOwned>(json: &str) -> Option<T> {
    if json.starts_with('[') { None } else { serde_json::from_str(json).ok() }
}

fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|json| parse(json.get()))
}

fn lenient_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?;
    let ids: Vec<serde_json::Value> = serde_json::from_str(json.get()).unwrap_or_default();
    Ok(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
}

/// A list of cookies, of which at most [`MAX_COOKIES`] are kept.
fn lenient_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Cookie>>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?;
    Ok((&mut serde_json::Deserializer::from_str(json.get())).deserialize_seq(CookieList).ok())
}

struct CookieList;

impl<'de> Visitor<'de> for CookieList {
    type Value = Vec<Cookie>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of cookies")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut cookies = Vec::new();
        while let Some(item) = items.next_element::<&RawValue>()? {
            if cookies.len() < MAX_COOKIES {
                cookies.extend(parse(item.get()).and_then(WireCookie::into_cookie));
            }
        }
        Ok(cookies)
    }
}

/// Seconds since the epoch; 0 and below mean a session cookie (-1 with Playwright).
fn moment(seconds: f64) -> Option<Timestamp> {
    if seconds <= 0.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a float-to-int cast saturates, and the range is checked next")]
    let whole = seconds.floor() as i64;
    Timestamp::from_second(whole).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cookies(json: &str) -> Option<Vec<(String, Option<i64>)>> {
        let reply = Reply::read(format!(r#"{{"solution":{{"cookies":{json}}}}}"#).as_bytes()).unwrap();
        let list = reply.into_solution().ok()?.cookies;
        Some(list.into_iter().map(|c| (c.name, c.expires_at.map(Timestamp::as_second))).collect())
    }

    #[test]
    fn cookies_of_every_server_are_read() {
        let named = |name: &str, end| Some(vec![(name.to_owned(), end)]);
        for (json, read) in [
            (
                r#"[{"name":"a","value":"b","domain":"d","path":"/","expiry":1795331911}]"#,
                named("a", Some(1_795_331_911)),
            ),
            (r#"[{"name":"a","value":"b","expires":1795331911.93}]"#, named("a", Some(1_795_331_911))),
            (r#"[{"name":"a","value":"b","expires":-1}]"#, named("a", None)),
            (r#"[{"name":"a","value":"b","expires":-1.0,"expiry":7}]"#, named("a", Some(7))),
            (r#"[{"name":"a","value":"b","expiry":1e300}]"#, named("a", None)),
            (r#"[{"name":"a","value":"b","expiry":"soon","domain":7,"path":null}]"#, named("a", None)),
            (r#"[7,null,"x",[],{},{"name":"a"},{"name":1,"value":"b"},{"name":"a","value":""}]"#, named("a", None)),
            (
                r#"[{"name":"","value":"b"},{"name":"a;b","value":"b"},{"name":"a","value":"b\r\nSet: c"}]"#,
                Some(vec![]),
            ),
            ("[]", Some(vec![])),
            ("{}", None),
            ("null", None),
        ] {
            assert_eq!(cookies(json), read, "{json}");
        }
    }

    #[test]
    fn a_flood_of_cookies_is_cut() {
        let flood = vec![r#"{"name":"a","value":"b"}"#; 5_000].join(",");
        assert_eq!(cookies(&format!("[{flood}]")).unwrap().len(), MAX_COOKIES);
        let long = format!(r#"[{{"name":"a","value":"{}"}}]"#, "x".repeat(MAX_COOKIE_BYTES));
        assert_eq!(cookies(&long), Some(vec![]));
    }

    #[test]
    fn what_is_no_object_is_no_reply() {
        for body in ["", "null", "7", "[]", "\"x\"", "<html>", "{", r#"{"a":}"#, "\u{0}", &"[".repeat(100_000)] {
            assert!(Reply::read(body.as_bytes()).is_none(), "{}", &body[..body.len().min(20)]);
        }
        for key in ["x", "status", "solution"] {
            let deep = format!(r#"{{"{key}":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
            assert!(Reply::read(deep.as_bytes()).is_some_and(|r| r.status.is_none() && r.solution.is_none()));
        }
        assert!(Reply::read("\u{feff}{}".as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Reply::read(&body);
        }

        #[test]
        fn no_type_of_any_field_panics(a in "null|7|-1|1\\.5|true|\"x\"|\\[\\]|\\{\\}|\\[\\{\\}\\]", b in "null|7|1e308|\"x\"|\\[7\\]|\\{\\}") {
            let body = format!(r#"{{"status":{a},"message":{b},"version":{a},"solution":{{"url":{a},"userAgent":{b},"cookies":[{{"name":{a},"value":{b},"expiry":{b},"domain":{a}}},{a}]}},"error":{a}}}"#);
            prop_assert!(Reply::read(body.as_bytes()).is_some());
        }
    }
}
