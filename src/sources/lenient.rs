//! JSON of other programs, read leniently: what has an unexpected type counts as absent.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::extract::Cookie;

/// More cookies than any browser keeps per site.
const MAX_COOKIES: usize = 1_000;

/// Longer than any browser's cookie, and room for a token of 8 KiB.
const MAX_COOKIE_BYTES: usize = 32 * 1024;

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
pub(super) fn parse<T: DeserializeOwned>(json: &str) -> Option<T> {
    if json.starts_with('[') { None } else { serde_json::from_str(json).ok() }
}

pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|json| parse(json.get()))
}

/// A list of cookies, of which at most [`MAX_COOKIES`] are kept.
pub(super) fn cookies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Cookie>>, D::Error> {
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

    fn read(json: &str) -> Option<Vec<(String, Option<i64>)>> {
        let list = cookies(&mut serde_json::Deserializer::from_str(json)).unwrap()?;
        Some(list.into_iter().map(|c| (c.name, c.expires_at.map(Timestamp::as_second))).collect())
    }

    #[test]
    fn cookies_of_every_server_are_read() {
        let named = |name: &str, end| Some(vec![(name.to_owned(), end)]);
        for (json, expected) in [
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
            assert_eq!(read(json), expected, "{json}");
        }
    }

    #[test]
    fn a_flood_of_cookies_is_cut() {
        let flood = vec![r#"{"name":"a","value":"b"}"#; 5_000].join(",");
        assert_eq!(read(&format!("[{flood}]")).unwrap().len(), MAX_COOKIES);
        let long = format!(r#"[{{"name":"a","value":"{}"}}]"#, "x".repeat(MAX_COOKIE_BYTES));
        assert_eq!(read(&long), Some(vec![]));
    }
}
