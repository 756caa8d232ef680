//! The extraction of a token from any cookies.

use std::time::Duration;

use jiff::Timestamp;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use percent_encoding::percent_decode_str;
use token_sidecar::domain::extract::{Cookie, CookieRule, ExtractError, RawToken, Solution, candidate};
use token_sidecar::domain::lifetime::{later, time_to_live};
use token_sidecar::domain::pending::Fingerprints;
use token_sidecar_client::wire::{Cookies, Fingerprint, MAX_TOKEN_BYTES, Token};

const PAGE: &str = "https://www.shop.test/a/b";
const TOKEN_TTL: Duration = Duration::from_secs(86_400);
const VALUES: [&str; 8] = [
    "Bearer%20abc.DEF-123",
    "abc",
    "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTUzMzE5MTF9.c2ln",
    "Bearer%20",
    "%42earer abc",
    "",
    "%FF%FE",
    "a%0d%0ab",
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![
        (0..=255).collect(),
        (0..=255).rev().collect(),
        vec![3; 64],
        b"Bearer%20abc access-token www.shop.test".repeat(4),
    ]
}

pub(crate) fn check(data: &[u8]) {
    let mut u = Unstructured::new(data);
    if let Ok((solution, refused)) = solution(&mut u) {
        check_solution(&solution, &refused);
    }
}

fn solution(u: &mut Unstructured<'_>) -> Result<(Solution, Vec<Fingerprint>)> {
    let mut solution = Solution::default();
    if u.ratio(1, 4)? {
        solution.bare = Some(RawToken(value(u)?));
    }
    (*u.choose(&[PAGE, "", "nonsense", "http://[::1]:8/", "https://shop.test/a"])?).clone_into(&mut solution.url);
    let refused = (0..u.int_in_range(0..=2)?).map(|_| Ok(Fingerprint::of(&value(u)?))).collect::<Result<_>>()?;
    for _ in 0..u.int_in_range(0..=6)? {
        let mut choose = |from: &[&str]| -> Result<String> { Ok((*u.choose(from)?).to_owned()) };
        solution.cookies.push(Cookie {
            name: choose(&["access-token", "access-token", "bearer_token", "x", ""])?,
            domain: choose(&["", ".shop.test", "www.shop.test", "shop.test", "other.test", ".", ".TEST"])?,
            path: choose(&["", "/", "/a", "/a/", "/b", "a"])?,
            expires_at: if u.arbitrary()? {
                Timestamp::from_second(u.int_in_range(0..=2_000_000_000)?).ok()
            } else {
                None
            },
            value: value(u)?,
        });
    }
    Ok((solution, refused))
}

fn value(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=30)? {
        0..=9 => String::from_utf8_lossy(u.bytes(u.len().min(24))?).into_owned(),
        10 => "a".repeat(u.int_in_range(MAX_TOKEN_BYTES - 2..=MAX_TOKEN_BYTES + 2)?),
        _ => (*u.choose(&VALUES)?).to_owned(),
    })
}

/// An extracted token is valid, comes from a matching cookie, and is stored under the site's cookie name.
pub(crate) fn check_solution(solution: &Solution, refused: &[Fingerprint]) {
    let rule = CookieRule {
        name: "access-token".to_owned(),
        fallbacks: vec!["bearer_token".to_owned()],
        prefix: "Bearer ".to_owned(),
        ..CookieRule::default()
    };
    let now: Timestamp = "2026-11-22T07:13:05Z".parse().unwrap();
    let mut reported = Fingerprints::default();
    for fingerprint in refused {
        reported.insert(*fingerprint);
    }
    let is_live = |c: &&Cookie| !c.value.is_empty() && c.expires_at.is_none_or(|end| now < end);
    let decoded = |raw: &str| percent_decode_str(raw).decode_utf8_lossy().into_owned();
    let named =
        || solution.cookies.iter().filter(is_live).filter(|c| c.name == rule.name || rule.fallbacks.contains(&c.name));
    let (found, ttl) = match candidate(solution, &rule, PAGE, &reported, TOKEN_TTL, now) {
        Ok(found) => found,
        Err(ExtractError::Absent { count, .. }) => {
            assert_eq!(count, solution.cookies.len());
            return assert!(
                solution.bare.is_none() && named().next().is_none(),
                "a cookie was overlooked: {solution:?}"
            );
        }
        Err(ExtractError::Unusable(unusable)) => {
            return assert!(!unusable.is_empty() && unusable.len() <= 4, "{unusable:?}");
        }
        Err(error) => panic!("an error of cookies as the product: {error}"),
    };
    assert_eq!(Some(ttl), time_to_live(found.token.claims(), TOKEN_TTL, now));
    let token = found.token.expose();
    let body = token.trim_end_matches('=');
    assert!(token.len() <= MAX_TOKEN_BYTES && !body.is_empty(), "{token:?}");
    assert!(body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b)), "not a b64token: {token:?}");
    assert!(!reported.contains(found.token.fingerprint()));
    assert_eq!(found.token.fingerprint(), Fingerprint::of(token));
    match &solution.bare {
        Some(bare) => assert!(decoded(&bare.0).contains(token)),
        None => assert!(named().any(|c| decoded(&c.value).contains(token)), "not from a live cookie: {token}"),
    }
    // A parser that reads the stored cookies finds the token under the site's name.
    let written = found.cookies.to_json();
    assert_eq!(Cookies::from_json(&written), found.cookies);
    let held = decoded(found.cookies.get(&rule.name).unwrap_or_default());
    assert!(held.contains(token), "{held:?}");
    check_life(&found.token, now);
}

/// A key never lives longer than its token.
pub(crate) fn check_life(token: &Token, now: Timestamp) {
    let claims = token.claims();
    let ttl = time_to_live(claims, TOKEN_TTL, now);
    assert!(ttl.is_some() || claims.expires_at.is_some_and(|end| end < later(now, Duration::from_secs(62))));
    if let Some(ttl) = ttl {
        assert!(ttl >= Duration::from_secs(1) && ttl <= TOKEN_TTL);
        assert!(claims.expires_at.is_none_or(|end| later(now, ttl) <= end), "{ttl:?} is beyond {claims:?}");
    }
}
