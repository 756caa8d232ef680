//! When a scheduled refresh is due: at the same instants for every replica of a site.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use jiff::Timestamp;
use token_sidecar_client::wire::Fingerprint;

use super::duration;
use super::lifetime::later;

/// The due times of a site. Clones share the parsed crontab.
#[derive(Debug, Clone)]
pub struct Schedule {
    rule: Rule,
    /// Added to each instant of the rule: spreads many sites over time.
    offset: Duration,
    text: Arc<str>,
}

#[derive(Debug, Clone)]
enum Rule {
    Off,
    /// At multiples of this span since the epoch.
    Every(Duration),
    Cron(Arc<Cron>),
}

/// A crontab and its last answer: a search is slow, and every reading of the state needs one.
#[derive(Debug)]
struct Cron {
    tab: Crontab,
    /// No instant of the crontab lies between these two; the second is an instant of it.
    gap: Mutex<Option<(Timestamp, Timestamp)>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// What follows `every` is not a time span.
    #[error("after `every` a time of at least 1s is expected, such as `every 3h`: {0}")]
    Every(String),
    /// Not a crontab expression, or not a known time zone.
    #[error("expected a crontab expression such as `0 */3 * * *`, `every 3h` or `off`: {0}")]
    Cron(String),
    #[error("this date never comes")]
    Never,
}

impl Schedule {
    /// Parses `off`, `every 3h`, or the five fields of a crontab, which are times in the IANA `zone`.
    pub fn parse(text: &str, zone: &str) -> Result<Self, ScheduleError> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let rule = if text.eq_ignore_ascii_case("off") {
            Rule::Off
        } else if let Some(span) = text.strip_prefix("every ") {
            let span = duration::parse(span).map_err(|e| ScheduleError::Every(e.to_string()))?;
            if span < Duration::from_secs(1) {
                return Err(ScheduleError::Every(format!("{} is shorter", duration::text(span))));
            }
            Rule::Every(span)
        } else {
            let zone = zone.trim_start_matches(':');
            let is_whole = text.split(' ').count() > 5 || zone.is_empty() || is_utc(zone);
            let zoned = if is_whole { text.clone() } else { format!("{text} {zone}") };
            let mut options = ParseOptions::default();
            options.fallback_timezone_option = FallbackTimezoneOption::UTC;
            let cron = cronexpr::parse_crontab_with(&zoned, options);
            let cron = cron.map_err(|e| ScheduleError::Cron(one_line(&e.to_string())))?;
            cron.find_next(Timestamp::UNIX_EPOCH).map_err(|_| ScheduleError::Never)?;
            Rule::Cron(Arc::new(Cron { tab: cron, gap: Mutex::default() }))
        };
        Ok(Self { rule, offset: Duration::ZERO, text: text.into() })
    }

    /// The same instants, each delayed by a share of `jitter` that is derived from the site's name alone: all replicas
    /// of a site agree, and many sites do not tick at once.
    #[must_use]
    pub fn spread(mut self, site: &str, jitter: Duration) -> Self {
        let spread = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
        if spread > 0 {
            let share = u64::from_str_radix(&Fingerprint::of(site).to_string(), 16).unwrap_or(0) % spread;
            self.offset = Duration::from_millis(share);
        }
        self
    }

    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let earlier = now.checked_sub(self.offset).ok()?;
        let instant = match &self.rule {
            Rule::Off => return None,
            Rule::Every(span) => {
                let span = i64::try_from(span.as_millis()).ok()?;
                let count = earlier.as_millisecond().div_euclid(span).checked_add(1)?;
                Timestamp::from_millisecond(count.checked_mul(span)?).ok()?
            }
            Rule::Cron(cron) => cron.next_after(earlier)?,
        };
        Some(later(instant, self.offset))
    }
}

impl Cron {
    fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let mut gap = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, next)) = *gap
            && (from..next).contains(&now)
        {
            return Some(next);
        }
        let next = self.tab.find_next(now).ok()?.timestamp();
        *gap = Some((now, next));
        Some(next)
    }
}

/// Whether a zone is UTC by its name: no time zone database is needed then, and loading the system's costs 100 KiB.
#[must_use]
pub fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Etc/UTC")
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, now: &str) -> String {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        schedule.next_after(now.parse().unwrap()).map_or("never".to_owned(), |t| t.to_string())
    }

    #[test]
    fn ticks_come_at_the_instants_of_the_rule() {
        for (schedule, zone, now, expected) in [
            ("0 */3 * * *", "Europe/Moscow", "2026-11-22T07:13:05Z", "2026-11-22T09:00:00Z"),
            ("0 */3 * * *", "UTC", "2026-11-22T09:00:00Z", "2026-11-22T12:00:00Z"),
            ("0 4 * * *", "Etc/UTC", "2026-11-22T00:00:00Z", "2026-11-22T04:00:00Z"),
            ("0 4 * * *", "", "2026-11-22T00:00:00Z", "2026-11-22T04:00:00Z"),
            ("0 4 * * *", ":Asia/Yekaterinburg", "2026-11-22T00:00:00Z", "2026-11-22T23:00:00Z"),
            ("30 2 * * * Europe/Berlin", "UTC", "2026-11-22T00:00:00Z", "2026-11-22T01:30:00Z"),
            ("every 3h", "", "2026-11-22T07:13:05Z", "2026-11-22T09:00:00Z"),
            ("every 90s", "", "1970-01-01T00:01:30Z", "1970-01-01T00:03:00Z"),
            ("off", "", "2026-11-22T07:13:05Z", "never"),
        ] {
            assert_eq!(next(schedule, zone, now), expected, "{schedule} in {zone}");
        }
    }

    #[test]
    fn unusable_schedules_are_refused() {
        for (schedule, zone) in [
            ("", "UTC"),
            ("tomorrow", "UTC"),
            ("every", "UTC"),
            ("every 0s", "UTC"),
            ("every 3 moons", "UTC"),
            ("61 * * * *", "UTC"),
            ("0 0 0 0 0", "UTC"),
            ("0 0 30 2 *", "UTC"),
            ("* * * * *", "Mars/Olympus"),
            ("* * * * * * *", "UTC"),
        ] {
            assert!(Schedule::parse(schedule, zone).is_err(), "{schedule} in {zone}");
        }
    }

    #[test]
    fn jitter_is_the_same_for_all_replicas_of_a_site_and_differs_between_sites() {
        let now = "2026-11-22T07:13:05Z".parse().unwrap();
        let tick = |site| {
            let schedule = Schedule::parse("every 3h", "UTC").unwrap();
            schedule.spread(site, Duration::from_secs(300)).next_after(now).unwrap()
        };
        let base: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
        assert_eq!(tick("chitai_gorod"), tick("chitai_gorod"));
        assert_ne!(tick("chitai_gorod"), tick("wildberries"));
        assert!(tick("chitai_gorod") >= base && tick("chitai_gorod") < later(base, Duration::from_secs(300)));
    }

    #[test]
    fn a_tick_with_jitter_is_not_missed_between_the_instant_and_its_offset() {
        let schedule = Schedule::parse("every 3h", "UTC").unwrap().spread("x", Duration::from_secs(300));
        let tick = schedule.next_after("2026-11-22T07:00:00Z".parse().unwrap()).unwrap();
        let just_before = tick.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(schedule.next_after(just_before), Some(tick));
        assert!(schedule.next_after(tick).unwrap() > tick);
    }

    #[test]
    fn the_last_answer_of_a_crontab_does_not_change_the_next() {
        let kept = Schedule::parse("*/20 3-5 * * *", "Europe/Moscow").unwrap();
        let minutes = [0, 19, 20, 60, 21, 500, 499, 20, 0, 1_439];
        for minute in minutes {
            let now = later("2026-11-22T00:00:00Z".parse().unwrap(), Duration::from_secs(60 * minute));
            let fresh = Schedule::parse("*/20 3-5 * * *", "Europe/Moscow").unwrap();
            assert_eq!(kept.next_after(now), fresh.next_after(now), "{now}");
        }
    }
}
