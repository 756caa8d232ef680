//! How long a token is kept, and when it is renewed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use token_sidecar_client::wire::Claims;

/// The longest time between the end of the key and the end of the token.
const MAX_MARGIN: Duration = Duration::from_secs(60);
/// A renewal starts at least this long before the end, where the token's life allows it.
const MIN_LEAD: Duration = Duration::from_secs(60);
/// A shorter TTL counts as expired.
const MIN_TTL: Duration = Duration::from_secs(1);

/// The TTL of the token's key: the smaller of `token_ttl` and the time until `exp` minus a margin. The margin is a
/// tenth of the token's life, 60 s at most. `None` where the TTL is under a second: the token counts as expired.
pub fn time_to_live(claims: Claims, token_ttl: Duration, now: Timestamp) -> Option<Duration> {
    let Some(expires_at) = claims.expires_at else { return Some(token_ttl) };
    let left = between(now, expires_at);
    let life = claims.issued_at.map_or(left, |issued| between(issued, expires_at));
    let margin = (life / 10).min(MAX_MARGIN);
    let ttl = left.saturating_sub(margin).min(token_ttl);
    (ttl >= MIN_TTL).then_some(ttl)
}

/// When to renew what was stored at `stored_at` and ends at `ends_at`: ahead by a tenth of that time, at least 60 s, at
/// most half of it.
pub fn renew_at(stored_at: Timestamp, ends_at: Timestamp) -> Timestamp {
    let left = between(stored_at, ends_at);
    let lead = (left / 10).max(MIN_LEAD).min(left / 2);
    later(stored_at, left.saturating_sub(lead))
}

/// When to renew what ends at `ends_at` where the time of storing is not known: 60 s ahead.
pub fn renew_at_latest(ends_at: Timestamp) -> Timestamp {
    earlier(ends_at, MIN_LEAD)
}

/// The time from `from` to `to`; zero where `to` is earlier.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// `at` minus a span, limited to the least timestamp.
pub fn earlier(at: Timestamp, span: Duration) -> Timestamp {
    at.checked_sub(span).unwrap_or(Timestamp::MIN)
}

/// `at` plus a span, limited to the greatest timestamp.
pub fn later(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    at.saturating_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ttl(exp: Option<i64>, iat: Option<i64>, now: i64) -> Option<Duration> {
        let claims = Claims { expires_at: exp.map(at), issued_at: iat.map(at), ..Claims::default() };
        time_to_live(claims, DAY, at(now))
    }

    #[test]
    fn the_time_to_live_is_the_smaller_of_the_setting_and_the_remaining_life() {
        let secs = |s| Some(Duration::from_secs(s));
        for (exp, iat, now, expected, why) in [
            (None, None, 0, secs(86_400), "an opaque token gets the configured TTL"),
            (Some(168_000), Some(0), 0, secs(86_400), "an anonymous token lives longer than the setting"),
            (Some(3_600), Some(0), 0, secs(3_540), "a user's token ends 60 s early"),
            (Some(100), Some(0), 0, secs(90), "a short life keeps a tenth"),
            (Some(100), Some(0), 89, secs(1), "the last second"),
            (Some(100), Some(0), 90, None, "under a second is expired"),
            (Some(100), Some(0), 200, None, "expired long ago"),
            (Some(100), None, 0, secs(90), "without iat, what is left counts as the life"),
            (Some(100), Some(500), 0, secs(100), "an iat after exp gives no margin"),
        ] {
            assert_eq!(ttl(exp, iat, now), expected, "{why}");
        }
    }

    #[test]
    fn renewal_is_a_tenth_ahead_at_least_a_minute_at_most_half() {
        for (left, expected) in [(86_400, 77_760), (600, 540), (300, 240), (120, 60), (60, 30), (2, 1), (0, 0)] {
            assert_eq!(renew_at(at(1000), at(1000 + left)), at(1000 + expected), "left {left} s");
        }
    }

    proptest! {
        #[test]
        fn a_key_never_outlives_its_token(exp in 0i64..1 << 37, iat in 0i64..1 << 37, now in 0i64..1 << 37) {
            if let Some(ttl) = ttl(Some(exp), Some(iat), now) {
                prop_assert!(later(at(now), ttl) <= at(exp));
                prop_assert!(ttl <= DAY);
            }
        }

        #[test]
        fn renewal_lies_within_the_life(stored in 0i64..1 << 32, left in 0i64..1 << 32) {
            let renewal = renew_at(at(stored), at(stored + left));
            prop_assert!(renewal >= at(stored + left / 2) && renewal <= at(stored + left));
        }
    }
}
