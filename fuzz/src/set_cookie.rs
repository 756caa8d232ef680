//! The headers `Date` and `Set-Cookie` of a response, one a line.

use reqwest::header::{DATE, HeaderMap, HeaderValue, SET_COOKIE};
use token_sidecar::sources::set_cookie::cookies;
use url::Url;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::seeds::texts(&[
        "Date: Wed, 21 Oct 2026 07:28:00 GMT\na=b; Max-Age=60; Path=/\nc=d; Expires=Wed, 21-Oct-2026 07:28:00 GMT",
        "a=b=c; Path=/x; Secure; HttpOnly; SameSite=Lax; Domain=.Shop.test",
        "a=b; Max-Age=9223372036854775807\na=; Max-Age=-1; domain=other.test\n=b\n;;=;",
    ])
}

pub(crate) fn check(data: &[u8]) {
    let url = Url::parse("https://api.shop.test/v1/auth/anonymous").unwrap();
    let mut headers = HeaderMap::new();
    for line in data.split(|b| *b == b'\n') {
        let (name, value) = line.strip_prefix(b"Date: ").map_or((SET_COOKIE, line), |date| (DATE, date));
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        headers.append(name, value);
    }
    let taken = cookies(&headers, &url);
    assert!(taken.len() <= headers.get_all(SET_COOKIE).iter().count());
    for cookie in taken {
        assert!(!cookie.name.is_empty() && !cookie.name.contains(['=', ';']), "{cookie:?}");
        assert!(!cookie.value.contains(';'), "{cookie:?}");
        assert!(![&cookie.name, &cookie.value, &cookie.path].into_iter().any(|t| t.contains(char::is_control)));
        // A server may set cookies for its own domain and parent domains only.
        let domain = cookie.domain.trim_start_matches('.');
        assert!(["api.shop.test", "shop.test", "test"].contains(&domain), "{cookie:?}");
        assert!(cookie.path.starts_with('/'), "{cookie:?}");
    }
}
