//! Finds the cookie that holds the token in a source's answer.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use token_sidecar_client::wire::{Cookies, Token, TokenError};
use url::Url;

use super::pending::Fingerprints;

/// A cookie as a browser holds it; the value is raw, still percent-encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    /// `.shop.test` for a domain and its subdomains, `www.shop.test` for one host; empty where unknown.
    pub domain: String,
    /// The path prefix for which the cookie is sent; empty where unknown.
    pub path: String,
    /// When the browser deletes it; `None` for a session cookie.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({} of {}{})", self.name, self.domain, self.path)
    }
}

/// A source's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Solution {
    pub cookies: Vec<Cookie>,
    /// The token, where the source returns it without a cookie; with or without `Bearer `.
    pub bare: Option<Bare>,
    pub url: String,
    pub user_agent: Option<String>,
}

/// A value that may be a token. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Bare(pub String);

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bare(…)")
    }
}

/// Where a site keeps its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieRule {
    /// The name of the cookie that holds the token. The cookies key always has this cookie.
    pub name: String,
    /// Further cookie names, tried in this order.
    pub fallbacks: Vec<String>,
    /// What precedes the token in the decoded cookie, for instance `Bearer `.
    pub prefix: String,
}

/// A token that may become the current one, with the cookies and the user agent of its answer.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub token: Token,
    /// Cookie name → raw value; the token is among them.
    pub cookies: Cookies,
    pub user_agent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The answer has cookies, but none under a configured name.
    #[error("no cookie `{wanted}` among the {count} of the answer")]
    Absent { wanted: String, count: usize },
    #[error("the token of the answer is malformed: {0}")]
    Malformed(#[from] TokenError),
    /// It expires within a second.
    #[error("the token of the answer has expired")]
    Expired,
    /// It is a token that was reported as refused.
    #[error("the answer has the token {0}, which was reported as refused")]
    Reported(token_sidecar_client::wire::Fingerprint),
}

/// Finds the token in an answer. `refused` are the tokens that were reported. The caller checks whether the token has
/// expired.
pub fn candidate(
    solution: &Solution,
    rule: &CookieRule,
    page: &str,
    refused: &Fingerprints,
    now: Timestamp,
) -> Result<Candidate, ExtractError> {
    let page = LazyCell::new(|| Url::parse(&solution.url).or_else(|_| Url::parse(page)).ok());
    let live: Vec<&Cookie> =
        solution.cookies.iter().filter(|c| !c.value.is_empty() && c.expires_at.is_none_or(|end| now < end)).collect();
    let mut cookies = best_of(&live, || page.as_ref());
    let (place, raw) = match &solution.bare {
        Some(bare) => (None, bare.0.clone()),
        None => std::iter::once(&rule.name)
            .chain(&rule.fallbacks)
            .find_map(|name| Some((Some(name), decoded(cookies.get(name)?))))
            .ok_or_else(|| ExtractError::Absent { wanted: rule.name.clone(), count: solution.cookies.len() })?,
    };
    let token = Token::parse(raw.strip_prefix(rule.prefix.as_str()).unwrap_or(&raw))?;
    if refused.contains(token.fingerprint()) {
        return Err(ExtractError::Reported(token.fingerprint()));
    }
    if place != Some(&rule.name) {
        rule.add(&token, &mut cookies);
    }
    Ok(Candidate { token, cookies, user_agent: solution.user_agent.clone() })
}

impl CookieRule {
    /// Puts the token among the cookies under the configured name, encoded as a browser would send it.
    pub fn add(&self, token: &Token, cookies: &mut Cookies) {
        let held = cookies.get(&self.name).map(decoded);
        let holds =
            held.and_then(|value| Token::parse(value.strip_prefix(self.prefix.as_str()).unwrap_or(&value)).ok());
        if holds.as_ref() != Some(token) {
            let value = format!("{}{}", self.prefix, token.expose());
            cookies.insert(&self.name, utf8_percent_encode(&value, COOKIE_VALUE).to_string());
        }
    }
}

/// For each name the cookie that fits the page best. `page` is called only where a name occurs twice.
fn best_of<'a>(cookies: &[&Cookie], page: impl Fn() -> Option<&'a Url>) -> Cookies {
    let mut best: BTreeMap<&str, &Cookie> = BTreeMap::new();
    for cookie in cookies {
        let held = best.entry(&cookie.name).or_insert(cookie);
        if !std::ptr::eq(*held, *cookie) && Fit::of(held, page()) < Fit::of(cookie, page()) {
            *held = cookie;
        }
    }
    best.into_iter().map(|(name, cookie)| (name.to_owned(), cookie.value.clone())).collect()
}

fn decoded(raw: &str) -> String {
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}

/// What JavaScript's `encodeURIComponent` escapes: a shop's script writes its cookies with it.
const COOKIE_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// How well a cookie fits a page: by its domain first, then by its path; a longer match is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    domain: Match,
    path: Match,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Foreign,
    Unknown,
    Covers(usize),
    Exact,
}

impl Fit {
    fn of(cookie: &Cookie, page: Option<&Url>) -> Self {
        let host = page.and_then(Url::host_str).unwrap_or_default();
        let path = page.map_or("/", Url::path);
        Self { domain: domain_match(&cookie.domain, host), path: path_match(&cookie.path, path) }
    }
}

fn domain_match(domain: &str, host: &str) -> Match {
    let bare = domain.trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    if bare.is_empty() {
        Match::Unknown
    } else if bare == host {
        // A host-only cookie is written without the dot.
        if domain.starts_with('.') { Match::Covers(bare.len()) } else { Match::Exact }
    } else if host.strip_suffix(&bare).is_some_and(|head| head.ends_with('.')) {
        Match::Covers(bare.len())
    } else {
        Match::Foreign
    }
}

fn path_match(cookie: &str, page: &str) -> Match {
    let covers = || {
        page.strip_prefix(cookie).is_some_and(|rest| cookie.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    };
    if cookie.is_empty() {
        Match::Unknown
    } else if covers() {
        Match::Covers(cookie.len())
    } else {
        Match::Foreign
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use token_sidecar_client::wire::Fingerprint;

    const PAGE: &str = "https://www.shop.test/";

    fn rule() -> CookieRule {
        CookieRule { name: "access-token".into(), fallbacks: vec!["bearer_token".into()], prefix: "Bearer ".into() }
    }

    fn cookie(name: &str, value: &str, domain: &str, path: &str) -> Cookie {
        Cookie { name: name.into(), value: value.into(), domain: domain.into(), path: path.into(), expires_at: None }
    }

    fn found(cookies: Vec<Cookie>) -> Result<Candidate, ExtractError> {
        let solution = Solution { cookies, url: PAGE.into(), ..Solution::default() };
        candidate(&solution, &rule(), PAGE, &Fingerprints::default(), Timestamp::UNIX_EPOCH)
    }

    fn token_of(cookies: Vec<Cookie>) -> String {
        found(cookies).unwrap().token.expose().to_owned()
    }

    #[test]
    fn the_token_is_decoded_and_the_cookies_stay_raw() {
        let candidate = found(vec![
            cookie("refresh-token", "", "www.shop.test", "/"),
            cookie("access-token", "Bearer%20abc.def", "www.shop.test", "/"),
            cookie("__ddg1_", "x%2Fy", ".shop.test", "/"),
        ])
        .unwrap();
        assert_eq!(candidate.token.expose(), "abc.def");
        assert_eq!(candidate.cookies.to_json(), r#"{"__ddg1_":"x%2Fy","access-token":"Bearer%20abc.def"}"#);
        assert_eq!(candidate.cookies.header(), "__ddg1_=x%2Fy; access-token=Bearer%20abc.def");
    }

    #[test]
    fn of_several_cookies_with_the_name_the_one_that_fits_the_page_best_counts() {
        let exact = cookie("access-token", "exact", "www.shop.test", "/");
        let parent = cookie("access-token", "parent", ".shop.test", "/");
        let foreign = cookie("access-token", "foreign", "cdn.other.test", "/");
        let narrow = cookie("access-token", "narrow", "www.shop.test", "/cart");
        let unknown = cookie("access-token", "unknown", "", "");
        for (cookies, expected) in [
            (vec![&parent, &exact, &foreign], "exact"),
            (vec![&exact, &parent], "exact"),
            (vec![&foreign, &parent, &unknown], "parent"),
            (vec![&narrow, &exact], "exact"),
            (vec![&foreign, &unknown], "unknown"),
            (vec![&foreign], "foreign"),
        ] {
            assert_eq!(token_of(cookies.into_iter().cloned().collect()), expected);
        }
    }

    #[test]
    fn a_fallback_name_counts_where_the_name_is_missing_and_the_site_name_is_added() {
        let candidate = found(vec![cookie("bearer_token", "abc", "www.shop.test", "/")]).unwrap();
        assert_eq!(candidate.cookies.get("access-token"), Some("Bearer%20abc"));
        let both = vec![cookie("bearer_token", "abc", "", ""), cookie("access-token", "def", "", "")];
        assert_eq!(token_of(both), "def");
    }

    #[test]
    fn a_bare_token_is_put_among_the_cookies_as_a_browser_would_have_it() {
        let solution = Solution { bare: Some(Bare("Bearer a.b/c+d==".into())), ..Solution::default() };
        let found = candidate(&solution, &rule(), PAGE, &Fingerprints::default(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(found.token.expose(), "a.b/c+d==");
        assert_eq!(found.cookies.to_json(), r#"{"access-token":"Bearer%20a.b%2Fc%2Bd%3D%3D"}"#);
    }

    #[test]
    fn an_error_does_not_contain_the_value() {
        assert_eq!(
            found(vec![cookie("x", "y", "", "")]).map(|_| ()),
            Err(ExtractError::Absent { wanted: "access-token".into(), count: 1 })
        );
        for (value, error) in [
            ("Bearer%20", TokenError::Empty),
            ("Bearer%20a%20b", TokenError::Malformed),
            ("%FF%FE", TokenError::Malformed),
            ("a%0AInjected", TokenError::Malformed),
        ] {
            let found = found(vec![cookie("access-token", value, "", "")]).map(|_| ());
            assert_eq!(found, Err(ExtractError::Malformed(error)), "{value}");
        }
    }

    #[test]
    fn empty_and_expired_cookies_are_ignored() {
        let mut old = cookie("access-token", "old", "www.shop.test", "/");
        old.expires_at = Timestamp::from_second(-1).ok();
        assert_eq!(token_of(vec![old, cookie("access-token", "new", ".shop.test", "/")]), "new");
        assert!(found(vec![cookie("access-token", "", "www.shop.test", "/")]).is_err());
    }

    #[test]
    fn the_very_token_that_was_reported_is_no_candidate() {
        let mut refused = Fingerprints::default();
        refused.insert(Fingerprint::of("abc"));
        let solution = Solution { bare: Some(Bare("abc".into())), ..Solution::default() };
        let found = candidate(&solution, &rule(), PAGE, &refused, Timestamp::UNIX_EPOCH).map(|_| ());
        assert_eq!(found, Err(ExtractError::Reported(Fingerprint::of("abc"))));
    }

    #[test]
    fn debug_shows_no_value() {
        let cookie = cookie("access-token", "secret", "www.shop.test", "/");
        let shown = format!("{cookie:?} {:?} {:?}", Bare("secret".into()), found(vec![cookie.clone()]));
        assert!(!shown.contains("secret"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_cookie_panics(name in "\\PC{0,8}", value in "\\PC{0,64}", domain in "\\PC{0,16}", path in "\\PC{0,16}") {
            let _ = found(vec![cookie("access-token", &value, &domain, &path), cookie(&name, &value, &domain, &path)]);
        }
    }
}
