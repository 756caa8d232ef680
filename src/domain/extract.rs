//! Finds the cookie that holds the token in a source's answer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use token_sidecar_client::excerpt::excerpt;
use token_sidecar_client::wire::{Cookies, Fingerprint, Token, TokenError, whole_second_down};
use url::Url;

use super::lifetime::time_to_live;
use super::pending::Fingerprints;

/// The longest user agent; browsers' have some 200 characters.
const MAX_USER_AGENT: usize = 512;

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

impl Cookie {
    /// Whether a browser sends it to this host, as far as its domain tells.
    pub fn is_sent_to(&self, host: &str) -> bool {
        domain_match(&self.domain, host) != Match::Foreign
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie({} of {}{})", self.name, self.domain, self.path)
    }
}

/// A source's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Solution {
    pub cookies: Vec<Cookie>,
    /// The token, where the source returns it without a cookie; with or without `Bearer `.
    pub bare: Option<RawToken>,
    pub url: String,
    pub user_agent: Option<String>,
}

/// A value that may be a token. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct RawToken(pub String);

impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawToken(…)")
    }
}

/// Where a site keeps its token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CookieRule {
    /// The name of the cookie that holds the token. The cookies key always has this cookie.
    pub name: String,
    /// Further cookie names, tried in this order.
    pub fallbacks: Vec<String>,
    /// What precedes the token in the decoded cookie, for instance `Bearer `.
    pub prefix: String,
    pub charset: Charset,
}

/// Which characters a token of the site may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Charset {
    /// Those of a `b64token` of RFC 6750.
    #[default]
    B64token,
    /// All that a [`Token`] may have.
    Visible,
}

/// A token that may become the current one, with the cookies and the user agent of its answer.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub token: Token,
    /// Cookie name → raw value; the token is among them, or is these cookies.
    pub cookies: Cookies,
    pub user_agent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The answer has cookies, but none under a configured name.
    #[error("no cookie `{wanted}` among the {count} of the answer")]
    Absent { wanted: String, count: usize },
    /// Where the answer has candidates, and why none of them is taken.
    #[error("{}", list(.0))]
    Unusable(Vec<(String, CandidateError)>),
    /// The cookies are the product, and there are none that a browser would still have.
    #[error("the answer has no cookies")]
    NoCookies,
    /// The cookies are the product, and this one, which must be there, has ended.
    #[error("the cookie `{name}` ended at {ended} by Redis' clock ({now}); is that clock right?")]
    Ended { name: String, ended: Timestamp, now: Timestamp },
    /// The cookies are the product, and as such they are not taken.
    #[error("the jar of the answer {0}")]
    UnusableJar(CandidateError),
}

/// Why a value is not taken as the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    #[error("is malformed: {0}")]
    Malformed(#[from] TokenError),
    #[error("is no b64token (RFC 6750); `token_charset = \"visible\"` allows more characters")]
    Charset,
    /// It expires within a second.
    #[error("has expired")]
    Expired,
    #[error("is {0}, which was reported as refused")]
    Reported(Fingerprint),
    /// The browser still has the cookie, so its clock differs.
    #[error("is in a cookie that ended at {ended} by Redis' clock ({now}); is that clock right?")]
    Ended { ended: Timestamp, now: Timestamp },
}

fn list(unusable: &[(String, CandidateError)]) -> String {
    let each = unusable.iter().map(|(place, error)| format!("the token of {place} {error}"));
    each.collect::<Vec<_>>().join("; ")
}

/// Finds the token in an answer, and its time to live. The first usable one is taken: that of the first name, and of
/// several cookies with one name that which fits the page best. `refused` are the tokens that were reported.
pub fn candidate(
    solution: &Solution,
    rule: &CookieRule,
    page: &str,
    refused: &Fingerprints,
    token_ttl: Duration,
    now: Timestamp,
) -> Result<(Candidate, Duration), ExtractError> {
    let usable = |raw: &str| {
        let token = rule.token(raw)?;
        if refused.contains(token.fingerprint()) {
            return Err(CandidateError::Reported(token.fingerprint()));
        }
        let ttl = time_to_live(token.claims(), token_ttl, now).ok_or(CandidateError::Expired)?;
        Ok((token, ttl))
    };
    let answer = Answer::of(solution, page, now);
    let (mut cookies, user_agent) = (answer.cookies(), answer.user_agent());
    let found = |token, cookies, ttl| Ok((Candidate { token, cookies, user_agent }, ttl));

    if let Some(bare) = &solution.bare {
        let (token, ttl) =
            usable(&bare.0).map_err(|error| ExtractError::Unusable(vec![("the answer".to_owned(), error)]))?;
        rule.add(&token, &mut cookies);
        return found(token, cookies, ttl);
    }
    let mut unusable = Vec::new();
    for name in std::iter::once(&rule.name).chain(&rule.fallbacks) {
        for cookie in answer.named(name) {
            let outcome = match cookie.expires_at {
                Some(ended) if ended <= now => Err(CandidateError::Ended { ended, now: whole_second_down(now) }),
                _ => usable(&cookie.value),
            };
            match outcome {
                Ok((token, ttl)) => {
                    cookies.insert(name, cookie.value.clone());
                    rule.add(&token, &mut cookies);
                    return found(token, cookies, ttl);
                }
                Err(error) => {
                    let place = excerpt(&format!("{}{}", cookie.domain, cookie.path), 60);
                    let place = format!("the cookie `{name}`{}{place}", if place.is_empty() { "" } else { " of " });
                    unusable.push((place, error));
                }
            }
        }
    }
    // A solver may send a thousand.
    unusable.truncate(4);
    Err(if unusable.is_empty() {
        ExtractError::Absent { wanted: rule.name.clone(), count: solution.cookies.len() }
    } else {
        ExtractError::Unusable(unusable)
    })
}

/// The cookies of an answer that a browser has, those that fit the page best first.
pub(super) struct Answer<'a> {
    held: Vec<&'a Cookie>,
    user_agent: Option<&'a str>,
    now: Timestamp,
}

impl<'a> Answer<'a> {
    pub(super) fn of(solution: &'a Solution, page: &str, now: Timestamp) -> Self {
        let page = Url::parse(&solution.url).or_else(|_| Url::parse(page)).ok();
        // A server deletes a cookie by an end in 1970.
        let is_deleted = |cookie: &Cookie| cookie.expires_at.is_some_and(|end| end.as_second() < 86_400);
        let mut held: Vec<_> = solution.cookies.iter().filter(|c| !c.value.is_empty() && !is_deleted(c)).collect();
        held.sort_by_cached_key(|cookie| Reverse(fit(cookie, page.as_ref())));
        Self { held, user_agent: solution.user_agent.as_deref(), now }
    }

    /// Those of this name.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &'a Cookie> {
        self.held.iter().copied().filter(move |cookie| cookie.name == name)
    }

    /// The best of each name that has not ended.
    pub(super) fn live(&self) -> BTreeMap<&'a str, &'a Cookie> {
        let best_last = self.held.iter().rev().filter(|cookie| cookie.expires_at.is_none_or(|end| self.now < end));
        best_last.map(|cookie| (cookie.name.as_str(), *cookie)).collect()
    }

    pub(super) fn cookies(&self) -> Cookies {
        self.live().into_values().map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect()
    }

    pub(super) fn user_agent(&self) -> Option<String> {
        self.user_agent.and_then(user_agent)
    }
}

impl CookieRule {
    /// The token in the raw value of a cookie. Some servers put the value into quotes, or write a blank as a plus.
    pub(super) fn token(&self, raw: &str) -> Result<Token, CandidateError> {
        let decoded = decoded(raw);
        let value = decoded.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(&decoded);
        let prefixes = ["Bearer+", &self.prefix.replace(' ', "+"), &self.prefix];
        let bare = prefixes.into_iter().find_map(|prefix| value.strip_prefix(prefix).filter(|_| !prefix.is_empty()));
        let token = Token::parse(bare.unwrap_or(value))?;
        match self.charset {
            Charset::B64token if !token.is_b64token() => Err(CandidateError::Charset),
            _ => Ok(token),
        }
    }

    /// Puts the token among the cookies under the configured name, encoded as a browser would send it.
    pub fn add(&self, token: &Token, cookies: &mut Cookies) {
        let held = cookies.get(&self.name).and_then(|raw| self.token(raw).ok());
        if held.as_ref() != Some(token) {
            let value = format!("{}{}", self.prefix, token.expose());
            cookies.insert(&self.name, utf8_percent_encode(&value, COOKIE_VALUE).to_string());
        }
    }
}

/// A user agent that a header can carry; nothing else is taken for one.
pub fn user_agent(text: &str) -> Option<String> {
    let text = text.trim();
    let is_sendable = text.len() <= MAX_USER_AGENT && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    (is_sendable && !text.is_empty()).then(|| text.to_owned())
}

pub(super) fn decoded(raw: &str) -> String {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Foreign,
    Unknown,
    Covers(usize),
    Exact,
}

/// How well a cookie fits a page: by its domain first, then by its path; a longer match is better.
fn fit(cookie: &Cookie, page: Option<&Url>) -> (Match, Match) {
    let host = page.and_then(Url::host_str).unwrap_or_default();
    (domain_match(&cookie.domain, host), path_match(&cookie.path, page.map_or("/", Url::path)))
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

    const DAY: Duration = Duration::from_secs(86_400);
    const PAGE: &str = "https://www.shop.test/";

    fn rule() -> CookieRule {
        let fallbacks = vec!["bearer_token".into()];
        CookieRule { name: "access-token".into(), fallbacks, prefix: "Bearer ".into(), ..CookieRule::default() }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_795_331_911).unwrap()
    }

    fn cookie(name: &str, value: &str, domain: &str, path: &str) -> Cookie {
        Cookie { name: name.into(), value: value.into(), domain: domain.into(), path: path.into(), expires_at: None }
    }

    fn found(cookies: Vec<Cookie>) -> Result<Candidate, ExtractError> {
        taken(&Solution { cookies, url: PAGE.into(), ..Solution::default() }, &rule())
    }

    fn taken(solution: &Solution, rule: &CookieRule) -> Result<Candidate, ExtractError> {
        let mut refused = Fingerprints::default();
        refused.insert(Fingerprint::of("reported"));
        candidate(solution, rule, PAGE, &refused, DAY, now()).map(|(candidate, _)| candidate)
    }

    fn message(cookies: Vec<Cookie>) -> String {
        found(cookies).unwrap_err().to_string()
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
    fn a_cookie_is_sent_to_the_hosts_of_its_domain() {
        for (domain, is_sent) in [
            ("www.shop.test", true),
            (".shop.test", true),
            ("shop.test", true),
            ("", true),
            ("ads.shop.test", false),
            (".other.test", false),
            ("op.test", false),
        ] {
            assert_eq!(cookie("a", "b", domain, "/").is_sent_to("www.shop.test"), is_sent, "{domain}");
        }
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
        let solution = Solution { bare: Some(RawToken("Bearer a.b/c+d==".into())), ..Solution::default() };
        let found = taken(&solution, &rule()).unwrap();
        assert_eq!(found.token.expose(), "a.b/c+d==");
        assert_eq!(found.cookies.to_json(), r#"{"access-token":"Bearer%20a.b%2Fc%2Bd%3D%3D"}"#);
    }

    #[test]
    fn a_value_in_quotes_or_with_a_plus_for_its_blank_is_read() {
        for value in [
            r#""Bearer abc.def""#,
            r#""Bearer%20abc.def""#,
            "%22Bearer%20abc.def%22",
            "%22abc.def%22",
            "Bearer+abc.def",
            r#""Bearer+abc.def""#,
            "Bearer%2Babc.def",
        ] {
            let found = found(vec![cookie("access-token", value, "www.shop.test", "/")]).unwrap();
            assert_eq!(found.token.expose(), "abc.def", "{value}");
            assert_eq!(found.cookies.get("access-token"), Some(value), "the raw value stays");
        }
        assert_eq!(token_of(vec![cookie("access-token", "Bearer+a+b", "", "")]), "a+b");
        assert!(message(vec![cookie("access-token", r#"""abc"""#, "", "")]).contains("malformed"));
    }

    #[test]
    fn an_unusable_candidate_hides_no_usable_one() {
        let good = cookie("access-token", "good", ".shop.test", "/");
        let fallback = cookie("bearer_token", "good", "", "");
        let mut ended = cookie("access-token", "ended", "www.shop.test", "/");
        ended.expires_at = Some(now());
        let expired = "e30.eyJleHAiOjF9.c2ln";
        for bad in ["Bearer%20", "a b", "reported", expired, "12|abc", "\u{7f}"]
            .map(|value| cookie("access-token", value, "www.shop.test", "/"))
            .into_iter()
            .chain([ended])
        {
            let found = found(vec![bad.clone(), good.clone()]).unwrap();
            assert_eq!(
                (found.token.expose(), found.cookies.get("access-token")),
                ("good", Some("good")),
                "{}",
                bad.value
            );
            let found = self::found(vec![bad.clone(), fallback.clone()]).unwrap();
            assert_eq!(found.token.expose(), "good", "{}", bad.value);
            assert_eq!(found.cookies.get("access-token"), Some("Bearer%20good"), "{}", bad.value);
        }
    }

    #[test]
    fn an_error_names_each_candidate_and_why_it_is_not_taken() {
        assert_eq!(message(vec![cookie("x", "y", "", "")]), "no cookie `access-token` among the 1 of the answer");
        assert_eq!(
            message(vec![
                cookie("bearer_token", "reported", "", ""),
                cookie("access-token", "a%20b", ".shop.test", "/"),
                cookie("access-token", "Bearer%20", "www.shop.test", "/"),
            ]),
            "the token of the cookie `access-token` of www.shop.test/ is malformed: the value is empty; \
             the token of the cookie `access-token` of .shop.test/ is malformed: the value has a character that a \
             bearer token cannot have; the token of the cookie `bearer_token` is 8e752bb9817c0632, which was reported as refused"
        );
        let expired = Solution { bare: Some(RawToken("e30.eyJleHAiOjF9.c2ln".into())), ..Solution::default() };
        assert_eq!(taken(&expired, &rule()).unwrap_err().to_string(), "the token of the answer has expired");
    }

    #[test]
    fn empty_and_deleted_cookies_are_no_candidates() {
        let mut deleted = cookie("access-token", "old", "www.shop.test", "/");
        deleted.expires_at = Some(Timestamp::UNIX_EPOCH);
        let empty = cookie("access-token", "", "www.shop.test", "/");
        assert!(message(vec![deleted, empty]).starts_with("no cookie `access-token`"));
    }

    #[test]
    fn a_cookie_that_has_ended_by_redis_clock_is_named_with_the_clock() {
        let mut ended = cookie("access-token", "secret", "www.shop.test", "/");
        ended.expires_at = Some(now());
        assert_eq!(
            message(vec![ended]),
            "the token of the cookie `access-token` of www.shop.test/ is in a cookie that ended at 2026-11-22T07:18:31Z \
             by Redis' clock (2026-11-22T07:18:31Z); is that clock right?"
        );
    }

    #[test]
    fn a_token_that_is_no_b64token_is_taken_where_the_site_allows_it() {
        let solution = Solution {
            cookies: vec![cookie("access-token", "Bearer%2012%7Cabc", "www.shop.test", "/")],
            ..Solution::default()
        };
        let refused = taken(&solution, &rule()).unwrap_err().to_string();
        assert!(refused.contains("token_charset"), "{refused}");
        let visible = CookieRule { charset: Charset::Visible, ..rule() };
        assert_eq!(taken(&solution, &visible).unwrap().token.expose(), "12|abc");
        let bare = Solution { bare: Some(RawToken("12|abc".into())), ..Solution::default() };
        assert_eq!(taken(&bare, &visible).unwrap().cookies.get("access-token"), Some("Bearer%2012%7Cabc"));
    }

    #[test]
    fn a_user_agent_that_no_header_carries_is_absent() {
        for (agent, read) in [
            (" Mozilla/5.0 (X11) Chrome/156 ", Some("Mozilla/5.0 (X11) Chrome/156")),
            ("", None),
            ("a\r\nX: y", None),
            ("a\u{1b}[31m", None),
            ("a\0", None),
            ("Браузер", None),
            (&"x".repeat(513), None),
        ] {
            let mut solution = Solution { bare: Some(RawToken("abc".into())), ..Solution::default() };
            solution.user_agent = Some(agent.to_owned());
            assert_eq!(taken(&solution, &rule()).unwrap().user_agent.as_deref(), read, "{agent:?}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let cookie = cookie("access-token", "secret", "www.shop.test", "/");
        let shown = format!("{cookie:?} {:?} {:?}", RawToken("secret".into()), found(vec![cookie.clone()]));
        assert!(!shown.contains("secret"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_cookie_panics(name in "\\PC{0,8}", value in "\\PC{0,64}", domain in "\\PC{0,16}", path in "\\PC{0,16}") {
            let _ = found(vec![cookie("access-token", &value, &domain, &path), cookie(&name, &value, &domain, &path)]);
        }
    }
}
