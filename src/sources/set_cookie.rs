//! `Set-Cookie`, parsed as browsers do (RFC 6265, sections 5.2 and 5.3).

use jiff::{Span, Timestamp};
use reqwest::header::{HeaderMap, SET_COOKIE};
use url::Url;

use crate::domain::extract::Cookie;
use crate::http;

/// The cookies that an answer sets.
pub fn cookies(headers: &HeaderMap, url: &Url) -> Vec<Cookie> {
    // `Max-Age` counts from the answer's `Date`, so no clock is needed here.
    let now = http::date(headers);
    let lines = headers.get_all(SET_COOKIE).iter();
    lines.filter_map(|value| cookie(std::str::from_utf8(value.as_bytes()).ok()?, url, now)).collect()
}

fn cookie(line: &str, url: &Url, now: Option<Timestamp>) -> Option<Cookie> {
    let mut parts = line.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || line.contains(char::is_control) {
        return None;
    }
    let host = url.host_str().unwrap_or_default();
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        domain: host.to_owned(),
        path: default_path(url.path()).to_owned(),
        expires_at: None,
    };
    let mut ends_by_age = false;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "domain" if !value.is_empty() => cookie.domain = covering(value, host)?,
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "max-age" => {
                let Ok(seconds) = value.parse::<i64>() else { continue };
                ends_by_age = true;
                cookie.expires_at = end(seconds, now);
            }
            "expires" if !ends_by_age => cookie.expires_at = http::parse_date(value),
            _ => {}
        }
    }
    Some(cookie)
}

/// The domain, if the host belongs to it; a cookie for another domain is refused.
fn covering(domain: &str, host: &str) -> Option<String> {
    let domain = domain.trim_start_matches('.').to_ascii_lowercase();
    let covers = host == domain || host.strip_suffix(&domain).is_some_and(|head| head.ends_with('.'));
    (covers && !domain.is_empty()).then(|| format!(".{domain}"))
}

fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

fn end(age: i64, now: Option<Timestamp>) -> Option<Timestamp> {
    if age <= 0 {
        return Some(Timestamp::UNIX_EPOCH);
    }
    now?.checked_add(Span::new().try_seconds(age).ok()?).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_taken_as_a_browser_takes_it() {
        let url = Url::parse("https://api.shop.test/v1/auth/anonymous").unwrap();
        let now = Timestamp::from_second(1_795_331_911).ok();
        let taken = |line: &str| {
            cookie(line, &url, now).map(|c| {
                format!("{}={} {}{} {:?}", c.name, c.value, c.domain, c.path, c.expires_at.map(Timestamp::as_second))
            })
        };
        for (line, shown) in [
            ("a=b", Some("a=b api.shop.test/v1/auth None")),
            ("a=b=c; Path=/; Secure; HttpOnly; SameSite=Lax", Some("a=b=c api.shop.test/ None")),
            ("a=b; domain=.Shop.test; path=/x", Some("a=b .shop.test/x None")),
            ("a=b; Max-Age=60; Path=/", Some("a=b api.shop.test/ Some(1795331971)")),
            ("a=b; Max-Age=0; Path=/", Some("a=b api.shop.test/ Some(0)")),
            ("a=b; Max-Age=9223372036854775807; Path=/", Some("a=b api.shop.test/ None")),
            (
                "a=b; Max-Age=60; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/",
                Some("a=b api.shop.test/ Some(1795331971)"),
            ),
            ("a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/", Some("a=b api.shop.test/ Some(1792567680)")),
            ("a=b; Expires=Wed, 21-Oct-2026 07:28:00 GMT; Path=/", Some("a=b api.shop.test/ Some(1792567680)")),
            ("a=b; Expires=soon; Path=x; Domain=", Some("a=b api.shop.test/v1/auth None")),
            ("a=; Path=/", Some("a= api.shop.test/ None")),
            ("a=b; Domain=other.test", None),
            ("a=b; Domain=notshop.test", None),
            ("=b", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(taken(line).as_deref(), shown, "{line}");
        }
    }
}
