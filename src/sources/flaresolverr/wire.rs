//! The v1 API on the wire: commands as they are sent, answers as leniently as they can be read.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::loose::{FromLoose, Loose};
use crate::domain::extract::{Cookie, Solution};

/// More cookies than any browser keeps of a site are not read.
const MAX_COOKIES: usize = 1_000;

/// Longer than any browser's cookie, and room for a token of 8 KiB.
const MAX_COOKIE_BYTES: usize = 32 * 1024;

/// A command. Fields that are `None` are not sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Command<'a> {
    pub(super) cmd: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<&'a str>,
    /// Milliseconds. The server takes 0 and a missing one for a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) proxy: Option<Proxy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wait_in_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) return_only_cookies: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disable_media: Option<bool>,
}

impl<'a> Command<'a> {
    /// A command on a session.
    pub(super) const fn on_session(cmd: &'static str, session: &'a str) -> Self {
        Self {
            cmd,
            url: None,
            max_timeout: None,
            session: Some(session),
            proxy: None,
            wait_in_seconds: None,
            return_only_cookies: None,
            disable_media: None,
        }
    }
}

/// A proxy for the browser.
#[derive(Serialize)]
pub(super) struct Proxy<'a> {
    pub(super) url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<&'a str>,
}

/// An answer, as far as it says something.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// `ok` or `error`.
    pub(super) status: Option<String>,
    /// What went wrong, wherever the server puts it.
    pub(super) message: Option<String>,
    /// The server's version.
    pub(super) version: Option<String>,
    /// The browser's name for itself, in the answer to `GET /`.
    pub(super) user_agent: Option<String>,
    /// The page that was opened.
    pub(super) solution: Option<Page>,
}

/// A page that was opened.
#[derive(Debug, Default)]
pub(super) struct Page {
    url: Option<String>,
    user_agent: Option<String>,
    /// `None` where the answer has no list of cookies.
    pub(super) cookies: Option<Vec<Cookie>>,
}

impl Reply {
    /// Reads an answer; `None` where it is no JSON object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        serde_json::from_slice::<Loose<Option<Self>>>(body).ok()?.0
    }
}

impl Page {
    /// What the flow makes of it: `None` without a list of cookies.
    pub(super) fn into_solution(self) -> Option<Solution> {
        let cookies = self.cookies?;
        let url = self.url.unwrap_or_default();
        Some(Solution { cookies, bare: None, url, user_agent: self.user_agent.filter(|name| !name.trim().is_empty()) })
    }
}

impl FromLoose for Option<Reply> {
    fn object<'de, A: MapAccess<'de>>(mut fields: A) -> Result<Self, A::Error> {
        let mut reply = Reply::default();
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            match &*key {
                "status" => reply.status = fields.next_value::<Loose<_>>()?.0,
                "message" | "error" | "detail" => {
                    let text = fields.next_value::<Loose<Option<String>>>()?.0;
                    reply.message = reply.message.or(text.filter(|text| !text.trim().is_empty()));
                }
                "version" => reply.version = fields.next_value::<Loose<_>>()?.0,
                "userAgent" => reply.user_agent = fields.next_value::<Loose<_>>()?.0,
                "solution" => reply.solution = fields.next_value::<Loose<_>>()?.0,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(reply))
    }
}

impl FromLoose for Option<Page> {
    fn object<'de, A: MapAccess<'de>>(mut fields: A) -> Result<Self, A::Error> {
        let mut page = Page::default();
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            match &*key {
                "url" => page.url = fields.next_value::<Loose<_>>()?.0,
                "userAgent" => page.user_agent = fields.next_value::<Loose<_>>()?.0,
                "cookies" => page.cookies = fields.next_value::<Loose<_>>()?.0,
                // `status` is 200 and `headers` is empty whatever the page answered: they say nothing.
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(page))
    }
}

impl FromLoose for Option<Vec<Cookie>> {
    fn list<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Self, A::Error> {
        let mut cookies = Vec::new();
        while cookies.len() < MAX_COOKIES {
            let Some(item) = items.next_element::<Loose<Option<Cookie>>>()? else { return Ok(Some(cookies)) };
            cookies.extend(item.0);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(cookies))
    }
}

impl FromLoose for Option<Cookie> {
    fn object<'de, A: MapAccess<'de>>(mut fields: A) -> Result<Self, A::Error> {
        let (mut name, mut value, mut domain, mut path) = (None::<String>, None::<String>, None, None);
        let mut expires_at = None;
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            match &*key {
                "name" => name = fields.next_value::<Loose<_>>()?.0,
                "value" => value = fields.next_value::<Loose<_>>()?.0,
                "domain" => domain = fields.next_value::<Loose<_>>()?.0,
                "path" => path = fields.next_value::<Loose<_>>()?.0,
                "expiry" | "expires" => {
                    expires_at = expires_at.or(fields.next_value::<Loose<Option<f64>>>()?.0.and_then(moment));
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let (Some(name), Some(value)) = (name, value) else { return Ok(None) };
        let sendable = !name.is_empty()
            && name.len() + value.len() <= MAX_COOKIE_BYTES
            && !name.chars().any(|c| c.is_control() || c == '=' || c == ';')
            && !value.chars().any(|c| c.is_control() || c == ';');
        let cookie =
            Cookie { name, value, domain: domain.unwrap_or_default(), path: path.unwrap_or_default(), expires_at };
        Ok(sendable.then_some(cookie))
    }
}

/// Seconds since the epoch; what is not above 0 stands for a session cookie (-1 with Playwright).
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
        let list = reply.solution.unwrap().into_solution()?.cookies;
        Some(list.into_iter().map(|c| (c.name, c.expires_at.map(Timestamp::as_second))).collect())
    }

    #[test]
    fn a_command_says_what_was_asked_and_no_more() {
        let mut get = Command::on_session("request.get", "s");
        get.url = Some("http://shop.test/");
        get.max_timeout = Some(60_000);
        get.return_only_cookies = Some(true);
        get.proxy = Some(Proxy { url: "http://proxy:3128", username: Some("u"), password: None });
        assert_eq!(
            serde_json::to_string(&get).unwrap(),
            r#"{"cmd":"request.get","url":"http://shop.test/","maxTimeout":60000,"session":"s","proxy":{"url":"http://proxy:3128","username":"u"},"returnOnlyCookies":true}"#
        );
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
