//! What shows the API that a request is that of the browser that fetched the token.

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, USER_AGENT};
use token_sidecar_client::wire::{Cookies, Token};

/// Sets the token, its cookies where it has any, and the user agent where it is known. Cookies that are the product need
/// no token.
pub(crate) fn set(headers: &mut HeaderMap, token: &Token, cookies: &Cookies, user_agent: Option<&str>) {
    // A token consists of characters that a header may have.
    let bearer = token.bearer().and_then(|bare| HeaderValue::from_str(&format!("Bearer {bare}")).ok());
    if let Some(mut bearer) = bearer {
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    if let Some(mut jar) = jar(cookies) {
        jar.set_sensitive(true);
        headers.insert(COOKIE, jar);
    }
    if let Some(name) = user_agent.and_then(|name| HeaderValue::from_str(name.trim()).ok()) {
        headers.insert(USER_AGENT, name);
    }
}

/// The cookies as a header, without those that a header cannot carry.
pub(crate) fn jar(cookies: &Cookies) -> Option<HeaderValue> {
    let header = cookies.header();
    let jar = HeaderValue::from_str(&header).or_else(|_| {
        let is_sendable = |pair: &&str| HeaderValue::from_str(pair).is_ok();
        HeaderValue::from_str(&header.split("; ").filter(is_sendable).collect::<Vec<_>>().join("; "))
    });
    jar.ok().filter(|jar| !jar.is_empty())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn cookies_that_are_the_product_are_sent_without_a_token() {
        let json = r#"{"a":"1"}"#;
        let mut headers = HeaderMap::new();
        set(&mut headers, &Token::of_cookies(json).unwrap(), &Cookies::from_json(json), Some("Firefox"));
        assert_eq!((headers.get(AUTHORIZATION), headers[COOKIE].as_bytes()), (None, &b"a=1"[..]));
        assert_eq!(headers[USER_AGENT], "Firefox");
    }

    #[test]
    fn a_cookie_that_no_header_can_carry_is_left_out() {
        let cookies = Cookies::from_json(r#"{"a":"1","b":"x\r\ny: z","c":"3\u0000","d":"ключ","e":"4"}"#);
        assert_eq!(jar(&cookies).unwrap().as_bytes(), "a=1; d=ключ; e=4".as_bytes());
        assert!(jar(&Cookies::default()).is_none());
        assert!(jar(&Cookies::from_json(r#"{"a":"\n"}"#)).is_none());
    }
}
