//! The plain request, filled in with what is stored.

use std::fmt::Display;

use reqwest::Request;
use reqwest::header::{HeaderValue, USER_AGENT};
use url::Url;

use super::HttpSourceError;
use crate::config::{HttpConfig, Stored, percent_encoded};
use crate::domain::stored::StoredToken;
use crate::http::{self, credentials};

/// The request, and the user agent that parsers should give: that of the request, unless it is the sidecar's own name,
/// which stands where no other is known.
///
/// # Errors
/// [`HttpSourceError::Unfilled`] where nothing is stored for a placeholder, or what cannot stand in its place.
pub(super) fn request(
    config: &HttpConfig,
    stored: Option<&StoredToken>,
) -> Result<(Request, Option<String>), HttpSourceError> {
    let value = |what: &Stored| value_of(what, stored);
    let address = config.url.fill(|what| value(what).and_then(|value| in_address(what, &value)));
    let address = address.and_then(|address| Url::parse(&address).map_err(|_| "it is no address".to_owned()));
    let address = address.map_err(|reason| unfilled("http.url", reason))?;
    let mut request = Request::new(config.method.clone(), address);
    let headers = request.headers_mut();
    for (name, template) in &config.headers {
        let filled = template.fill(value).and_then(|value| in_header(&value));
        headers.insert(name, filled.map_err(|reason| unfilled(format_args!("http.headers.{name}"), reason))?);
    }
    if let Some(known) = stored.and_then(|stored| HeaderValue::from_str(stored.user_agent.as_deref()?).ok()) {
        headers.entry(USER_AGENT).or_insert(known);
    }
    let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(http::USER_AGENT));
    if let Some(body) = &config.body {
        let escaped = if body.is_form { percent_encoded } else { in_json };
        let filled = body.text.fill(|what| value(what).map(|value| escaped(&value)));
        *request.body_mut() = Some(filled.map_err(|reason| unfilled("http.body", reason))?.into());
    }
    Ok((request, user_agent))
}

fn unfilled(place: impl Display, reason: String) -> HttpSourceError {
    HttpSourceError::Unfilled { place: place.to_string(), reason }
}

/// What a placeholder stands for, or why there is nothing.
fn value_of(what: &Stored, stored: Option<&StoredToken>) -> Result<String, String> {
    let stored = stored.ok_or_else(|| format!("nothing is stored for {what} yet"))?;
    let value = match what {
        Stored::Token => Some(stored.token.expose().to_owned()),
        Stored::Cookie(name) => stored.cookies.get(name).map(str::to_owned),
        Stored::Cookies => credentials::jar(&stored.cookies).map(|jar| String::from_utf8_lossy(jar.as_bytes()).into()),
    };
    let value = value.filter(|value| !value.is_empty()).ok_or_else(|| format!("nothing is stored for {what}"))?;
    // In the header `Cookie` it would become another cookie.
    if matches!(what, Stored::Cookie(_)) && value.contains(|c: char| c == ';' || c.is_control()) {
        return Err(format!("what is stored for {what} is no cookie"));
    }
    Ok(value)
}

fn in_address(what: &Stored, value: &str) -> Result<String, String> {
    // A segment of dots leads to another path, percent-encoded too.
    if value.bytes().all(|b| b == b'.') {
        return Err(format!("what is stored for {what} cannot stand in an address"));
    }
    Ok(percent_encoded(value))
}

fn in_header(value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value).map_err(|_| "no header can hold what is stored".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// As a JSON text has it, without the quotes around it.
fn in_json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use reqwest::Method;
    use reqwest::header::{COOKIE, HeaderMap};
    use token_sidecar_client::wire::{Cookies, Token};

    use super::*;
    use crate::config::{HttpBody, TokenPlace};

    fn config(url: &str, cookie: &str, body: &str, is_form: bool) -> HttpConfig {
        HttpConfig {
            url: url.into(),
            page: "https://shop.test/".parse().unwrap(),
            method: Method::POST,
            headers: HeaderMap::from_iter([(COOKIE, cookie.into())]),
            body: Some(HttpBody { text: body.into(), is_form }),
            token: TokenPlace::Cookie,
            timeout: Duration::from_secs(1),
            proxy: None,
        }
    }

    fn stored(cookies: &str) -> StoredToken {
        StoredToken {
            token: Token::parse("a/b+c==").unwrap(),
            cookies: Cookies::from_json(cookies),
            version: 1,
            user_agent: None,
            ends_at: None,
        }
    }

    #[test]
    fn what_is_stored_is_escaped_as_its_place_needs() {
        let stored = stored(r#"{"r":"x\"y\\&z=%20","s":"1"}"#);
        let json = config("https://shop.test/{token}/?r={cookie:r}", "{cookies}", r#"{"r":"{cookie:r}"}"#, false);
        let request = request(&json, Some(&stored)).unwrap().0;
        assert_eq!(request.url().as_str(), "https://shop.test/a%2Fb%2Bc%3D%3D/?r=x%22y%5C%26z%3D%2520");
        assert_eq!(request.headers()[COOKIE], r#"r=x"y\&z=%20; s=1"#);
        assert!(request.headers()[COOKIE].is_sensitive());
        let body = |request: &Request| request.body().unwrap().as_bytes().unwrap().to_owned();
        assert_eq!(body(&request), br#"{"r":"x\"y\\&z=%20"}"#);
        let form = config("https://shop.test/", "old={token}", "r={cookie:r}&t={token}", true);
        let request = super::request(&form, Some(&stored)).unwrap().0;
        assert_eq!(body(&request), b"r=x%22y%5C%26z%3D%2520&t=a%2Fb%2Bc%3D%3D");
        assert_eq!(request.headers()[COOKIE], "old=a/b+c==");
    }

    #[test]
    fn what_is_not_stored_or_would_leave_its_place_is_an_error_that_names_the_placeholder() {
        let odd = stored(r#"{"dots":"..","pair":"a; b=c","lines":"a\r\nx: y","empty":""}"#);
        let url = |path: &str| config(&format!("https://shop.test/a/{path}/b"), "", "", false);
        let header = |value: &str| config("https://shop.test/", value, "", false);
        let body = |text: &str| config("https://shop.test/", "", text, false);
        for (config, stored, error) in [
            (url("{token}"), None, "http.url cannot be filled in: nothing is stored for {token} yet"),
            (
                url("{cookie:dots}"),
                Some(&odd),
                "http.url cannot be filled in: what is stored for {cookie:dots} cannot stand",
            ),
            (
                header("r={cookie:r}"),
                Some(&odd),
                "http.headers.cookie cannot be filled in: nothing is stored for {cookie:r}",
            ),
            (
                header("r={cookie:pair}"),
                Some(&odd),
                "http.headers.cookie cannot be filled in: what is stored for {cookie:pair}",
            ),
            (
                header("{cookies}"),
                Some(&stored("{}")),
                "http.headers.cookie cannot be filled in: nothing is stored for {cookies}",
            ),
            (
                body("{cookie:lines}"),
                Some(&odd),
                "http.body cannot be filled in: what is stored for {cookie:lines} is no",
            ),
            (body("{cookie:empty}"), Some(&odd), "http.body cannot be filled in: nothing is stored for {cookie:empty}"),
        ] {
            let refused = request(&config, stored).err().unwrap().to_string();
            assert!(refused.starts_with(error), "{refused}");
        }
    }
}
