//! What is taken from a source's answer: the token of a cookie, or the cookies themselves.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::wire::{Cookies, Token, whole_second_down};

use super::extract::{Answer, Candidate, CandidateError, Cookie, CookieRule, ExtractError, Solution, candidate};
use super::lifetime::time_to_live;
use super::pending::Fingerprints;

/// What is taken from a source's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProductRule {
    /// The token of a cookie.
    Token(CookieRule),
    /// All cookies, if those of these names are among them.
    Cookies(Vec<String>),
}

/// The cookies that a page is to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// One of these: the site's token cookie and its fallbacks.
    OneOf(Vec<String>),
    /// All of these. Where none is named, it is not known which are still to come.
    All(Vec<String>),
}

impl From<CookieRule> for ProductRule {
    fn from(rule: CookieRule) -> Self {
        Self::Token(rule)
    }
}

impl ProductRule {
    /// The cookies that a page is to set.
    pub fn wanted(&self) -> Wanted {
        match self {
            Self::Token(rule) => Wanted::OneOf(std::iter::once(&rule.name).chain(&rule.fallbacks).cloned().collect()),
            Self::Cookies(names) => Wanted::All(names.clone()),
        }
    }

    /// Finds the candidate in an answer, and its time to live; `refused` are the tokens that were reported.
    pub fn candidate(
        &self,
        solution: &Solution,
        page: &str,
        refused: &Fingerprints,
        token_ttl: Duration,
        now: Timestamp,
    ) -> Result<(Candidate, Duration), ExtractError> {
        match self {
            Self::Token(rule) => candidate(solution, rule, page, refused, token_ttl, now),
            Self::Cookies(names) => jar(solution, names, page, refused, token_ttl, now),
        }
    }

    /// Why a stored token that another program wrote does not count, where that can be seen.
    pub fn fault(&self, stored: &Cookies) -> Option<String> {
        let Self::Cookies(names) = self else { return None };
        let absent = absent(names, stored);
        (!absent.is_empty()).then(|| format!("no cookie `{}` among those that are stored", absent.join("`, `")))
    }

    /// The cookies of a token that another program stored, with the token among them.
    pub fn completed(&self, token: &Token, mut cookies: Cookies) -> Cookies {
        if let Self::Token(rule) = self {
            rule.add(token, &mut cookies);
        }
        cookies
    }
}

impl Wanted {
    /// Whether all that is wanted is there. Without names that is never certain.
    pub fn is_met<'a>(&self, cookies: impl Iterator<Item = &'a Cookie> + Clone) -> bool {
        let is_there = |name: &String| cookies.clone().any(|cookie| cookie.name == *name && !cookie.value.is_empty());
        match self {
            Self::OneOf(names) => names.iter().any(is_there),
            Self::All(names) => !names.is_empty() && names.iter().all(is_there),
        }
    }

    /// Whether this cookie holds the token.
    pub fn holds_token(&self, cookie: &str) -> bool {
        matches!(self, Self::OneOf(names) if names.iter().any(|name| name == cookie))
    }

    /// Whether any cookies will do.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::All(names) if names.is_empty())
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(names) => write!(f, "cookie `{}`", names.join("` or `")),
            Self::All(names) if names.is_empty() => f.write_str("cookies"),
            Self::All(names) => write!(f, "cookie `{}`", names.join("` and `")),
        }
    }
}

/// The cookies of an answer as the product. They end with the first of the named ones; where none is named, with the last of
/// them all, since it is not known which of them count.
fn jar(
    solution: &Solution,
    names: &[String],
    page: &str,
    refused: &Fingerprints,
    token_ttl: Duration,
    now: Timestamp,
) -> Result<(Candidate, Duration), ExtractError> {
    let answer = Answer::of(solution, page, now);
    let (live, cookies) = (answer.live(), answer.cookies());
    let absent = absent(names, &cookies);
    for name in &absent {
        if let Some(ended) = answer.named(name).find_map(|cookie| cookie.expires_at) {
            return Err(ExtractError::Ended { name: name.clone(), ended, now: whole_second_down(now) });
        }
    }
    if !absent.is_empty() {
        return Err(ExtractError::Absent { wanted: absent.join("`, `"), count: solution.cookies.len() });
    }
    if cookies.is_empty() {
        return Err(ExtractError::NoCookies);
    }
    let end_of = |name: &String| live.get(name.as_str()).and_then(|cookie| cookie.expires_at);
    let expires_at = if names.is_empty() {
        let ends: Option<Vec<_>> = live.values().map(|cookie| cookie.expires_at).collect();
        ends.and_then(|ends| ends.into_iter().max())
    } else {
        names.iter().filter_map(end_of).min()
    };
    let token = Token::of_cookies(&cookies.to_json()).map_err(|error| ExtractError::UnusableJar(error.into()))?;
    let token = token.ending(expires_at);
    if refused.contains(token.fingerprint()) {
        return Err(ExtractError::UnusableJar(CandidateError::Reported(token.fingerprint())));
    }
    let ttl = time_to_live(token.claims(), token_ttl, now);
    let ttl = ttl.ok_or(ExtractError::UnusableJar(CandidateError::Expired))?;
    Ok((Candidate { token, cookies, user_agent: answer.user_agent() }, ttl))
}

fn absent(names: &[String], cookies: &Cookies) -> Vec<String> {
    names.iter().filter(|name| cookies.get(name).is_none_or(str::is_empty)).cloned().collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use token_sidecar_client::wire::{Fingerprint, MAX_COOKIES_BYTES};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const PAGE: &str = "https://www.shop.test/";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_331_911 + second).unwrap()
    }

    fn cookie(name: &str, value: &str, ends: Option<i64>) -> Cookie {
        let (name, value, expires_at) = (name.to_owned(), value.to_owned(), ends.map(at));
        Cookie { name, value, domain: "www.shop.test".to_owned(), path: "/".to_owned(), expires_at }
    }

    fn taken(names: &[&str], cookies: Vec<Cookie>) -> Result<(Candidate, Duration), ExtractError> {
        let rule = ProductRule::Cookies(names.iter().map(|name| (*name).to_owned()).collect());
        let mut refused = Fingerprints::default();
        refused.insert(Fingerprint::of(r#"{"a":"reported"}"#));
        let solution = Solution { cookies, url: PAGE.to_owned(), ..Solution::default() };
        rule.candidate(&solution, PAGE, &refused, DAY, at(0))
    }

    #[test]
    fn the_same_cookies_are_the_same_text_whatever_their_order() {
        let (one, other) = (cookie("b", "%2F\"", None), cookie("a", "1", None));
        let mut foreign = cookie("a", "of a frame", None);
        foreign.domain = "ads.test".to_owned();
        for cookies in [vec![one.clone(), other.clone(), foreign.clone()], vec![foreign, other, one]] {
            let (candidate, _) = taken(&[], cookies).unwrap();
            assert_eq!(candidate.token.expose(), r#"{"a":"1","b":"%2F\""}"#);
            assert_eq!(candidate.cookies.to_json(), candidate.token.expose());
        }
    }

    #[test]
    fn the_jar_ends_with_the_first_that_is_named_or_else_with_the_last() {
        let jar = || {
            vec![
                cookie("short", "1", Some(1_000)),
                cookie("long", "1", Some(90_000)),
                cookie("longer", "1", Some(99_000)),
            ]
        };
        let with_session = || [jar(), vec![cookie("session", "1", None)]].concat();
        for (names, cookies, ends, ttl) in [
            (&["long", "short"][..], jar(), Some(1_000), 940),
            (&["long"], jar(), Some(90_000), 86_400),
            (&["session"], with_session(), None, 86_400),
            (&["session", "short"], with_session(), Some(1_000), 940),
            (&[], jar(), Some(99_000), 86_400),
            (&[], with_session(), None, 86_400),
            (&[], vec![cookie("short", "1", Some(1_000))], Some(1_000), 940),
        ] {
            let (candidate, time) = taken(names, cookies).unwrap();
            assert_eq!((candidate.token.claims().expires_at, time.as_secs()), (ends.map(at), ttl), "{names:?}");
        }
    }

    #[test]
    fn a_jar_that_cannot_be_taken_is_refused_with_its_reason() {
        let big = "b".repeat(MAX_COOKIES_BYTES);
        for (names, cookies, error) in [
            (&[][..], vec![], "the answer has no cookies"),
            (&[], vec![cookie("a", "", None)], "the answer has no cookies"),
            (
                &["a", "b", "c"],
                vec![cookie("b", "1", None), cookie("c", "", None), cookie("d", "secret", None)],
                "no cookie `a`, `c` among the 3 of the answer",
            ),
            (
                &["a"],
                vec![cookie("a", "secret", Some(-1)), cookie("b", "1", None)],
                "the cookie `a` ended at 2026-11-22T07:18:30Z by Redis' clock (2026-11-22T07:18:31Z); is that clock right?",
            ),
            (&["a"], vec![cookie("a", "secret", Some(1))], "the jar of the answer has expired"),
            (
                &[],
                vec![cookie("a", "reported", None)],
                "the jar of the answer is 4854b42f382d9706, which was reported as refused",
            ),
            (
                &[],
                vec![cookie("a", &big, None)],
                "the jar of the answer is malformed: the cookies are longer than 65536 bytes",
            ),
        ] {
            assert_eq!(taken(names, cookies).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_foreign_jar_counts_where_it_has_what_must_be_there() {
        let rule = ProductRule::Cookies(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(rule.fault(&Cookies::from_json(r#"{"a":"1","b":"2","c":"3"}"#)), None);
        let fault = rule.fault(&Cookies::from_json(r#"{"a":"","c":"secret"}"#));
        assert_eq!(fault.as_deref(), Some("no cookie `a`, `b` among those that are stored"));
        assert_eq!(ProductRule::Token(CookieRule::default()).fault(&Cookies::default()), None);
    }

    #[test]
    fn what_a_page_is_to_set_is_one_of_the_token_cookies_or_all_of_the_named() {
        let cookies = [cookie("a", "1", None), cookie("b", "", None), cookie("c", "1", None)];
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (wanted, is_met, text) in [
            (Wanted::OneOf(names(&["x", "a"])), true, "cookie `x` or `a`"),
            (Wanted::OneOf(names(&["x", "b"])), false, "cookie `x` or `b`"),
            (Wanted::All(names(&["a", "c"])), true, "cookie `a` and `c`"),
            (Wanted::All(names(&["a", "b"])), false, "cookie `a` and `b`"),
            (Wanted::All(names(&[])), false, "cookies"),
        ] {
            assert_eq!((wanted.is_met(cookies.iter()), wanted.to_string().as_str()), (is_met, text));
        }
    }
}
