//! Answers of the v1 API, read leniently.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::FlaresolverrError;
use crate::domain::extract::{Cookie, Solution};
use crate::sources::lenient::{cookies, lenient, parse};

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
    #[serde(deserialize_with = "cookies")]
    cookies: Option<Vec<Cookie>>,
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

fn lenient_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?;
    let ids: Vec<serde_json::Value> = serde_json::from_str(json.get()).unwrap_or_default();
    Ok(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
