//! What shows the API that a request is that of the browser that fetched the token.

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, USER_AGENT};
use token_sidecar_client::wire::{Cookies, Token};

/// Sets the token, its cookies where it has any, and the user agent where it is known.
pub(crate) fn set(headers: &mut HeaderMap, token: &Token, cookies: &Cookies, user_agent: Option<&str>) {
    // Never fails: a token consists of characters that a header may have.
    if let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {}", token.expose())) {
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
    fn a_cookie_that_no_header_can_carry_is_left_out() {
        let cookies = Cookies::from_json(r#"{"a":"1","b":"x\r\ny: z","c":"3\u0000","d":"ключ","e":"4"}"#);
        assert_eq!(jar(&cookies).unwrap().as_bytes(), "a=1; d=ключ; e=4".as_bytes());
        assert!(jar(&Cookies::default()).is_none());
        assert!(jar(&Cookies::from_json(r#"{"a":"\n"}"#)).is_none());
    }
}
