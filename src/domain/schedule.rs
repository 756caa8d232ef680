//! When a scheduled refresh is due: at the same instants for every replica of a site.
//!
//! A crontab is searched in UTC, as if its local times had no daylight saving: a search in a zone with transitions may
//! never end (cronexpr 1.7). What it finds is then mapped to an instant of the zone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions};
use jiff::civil::DateTime;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};
use token_sidecar_client::wire::Fingerprint;

use super::duration;
use super::lifetime::later;

/// No schedule is due after this year.
const LAST_YEAR: i16 = 9_990;

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
    /// In UTC.
    tab: Crontab,
    zone: TimeZone,
    /// Whether the field of the hours is `*`.
    is_hourly: bool,
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
            Rule::Cron(Arc::new(Cron::parse(&text, zone)?))
        };
        Ok(Self { rule, offset: Duration::ZERO, text: text.into() })
    }

    /// The same instants, each delayed by a share of `jitter` that is derived from the site's name alone: all replicas
    /// of a site agree, and many sites do not tick at once.
    pub fn spread(mut self, site: &str, jitter: Duration) -> Self {
        let spread = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
        if spread > 0 {
            self.offset = Duration::from_millis(Fingerprint::of(site).number() % spread);
        }
        self
    }

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
    fn parse(text: &str, zone: &str) -> Result<Self, ScheduleError> {
        let refused = |error: &dyn fmt::Display| ScheduleError::Cron(one_line(&error.to_string()));
        let (fields, zone) = match text.match_indices(' ').nth(4) {
            Some((end, _)) => (&text[..end], &text[end + 1..]),
            None => (text, zone.trim_start_matches(':')),
        };
        let zone = time_zone(zone).ok_or_else(|| refused(&format_args!("`{zone}` is no time zone")))?;
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let tab = cronexpr::parse_crontab_with(fields, options).map_err(|error| refused(&error))?;
        let cron = Self { tab, zone, is_hourly: fields.split(' ').nth(1) == Some("*"), gap: Mutex::default() };
        cron.following(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).ok_or(ScheduleError::Never)?;
        Ok(cron)
    }

    fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let mut gap = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, next)) = *gap
            && (from..next).contains(&now)
        {
            return Some(next);
        }
        let next = if self.is_hourly { self.next_elapsed(now) } else { self.next_local(now) }?;
        *gap = Some((now, next));
        Some(next)
    }

    /// For given hours: each local time counts once. One that a clock change leaves out is due when the clock changes;
    /// of one that comes twice the first counts.
    fn next_local(&self, now: Timestamp) -> Option<Timestamp> {
        let mut local = self.zone.to_datetime(now);
        loop {
            local = self.following(local)?;
            let tick = match self.zone.to_ambiguous_timestamp(local).offset() {
                AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                    offset.to_timestamp(local).ok()?
                }
                AmbiguousOffset::Gap { after, .. } => {
                    self.zone.following(after.to_timestamp(local).ok()?).next()?.timestamp()
                }
            };
            // Not so for a time that comes twice, the second time.
            if tick > now {
                return Some(tick);
            }
        }
    }

    /// For every hour: what the clock shows counts, also an hour that comes twice.
    fn next_elapsed(&self, now: Timestamp) -> Option<Timestamp> {
        let (mut from, mut offset) = (now, self.zone.to_offset(now));
        let mut local = offset.to_datetime(now);
        loop {
            let tick = offset.to_timestamp(self.following(local)?).ok()?;
            match self.zone.following(from).next() {
                Some(change) if change.timestamp() <= tick => {
                    (from, offset) = (change.timestamp(), change.offset());
                    local = offset.to_datetime(from).checked_sub(1.nanosecond()).ok()?;
                }
                _ => return Some(tick),
            }
        }
    }

    /// The next local time of the crontab.
    fn following(&self, local: DateTime) -> Option<DateTime> {
        // The search looks four years ahead, and panics at the end of time.
        if local.year() > LAST_YEAR {
            return None;
        }
        let next = self.tab.find_next(Offset::UTC.to_timestamp(local).ok()?).ok()?;
        Some(next.datetime())
    }
}

/// The zone of this IANA name or POSIX string; UTC if it is empty.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    // No time zone database is needed for UTC, and loading the system's costs 100 KiB.
    if matches!(name, "" | "UTC" | "Etc/UTC") {
        return Some(TimeZone::UTC);
    }
    DateTimeParser::new().parse_time_zone(name).or_else(|_| TimeZone::posix(name)).ok()
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
    use jiff::civil::Weekday;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

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

    /// In Berlin 02:00 becomes 03:00 on 2026-03-29 at 01:00Z, and 03:00 becomes 02:00 on 2026-10-25 at 01:00Z.
    #[test]
    fn a_daily_job_in_the_lost_and_in_the_doubled_hour_runs_once() {
        for (schedule, zone, from, ticks) in [
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]),
            ("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]),
            ("*/20 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]),
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]),
            ("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", ["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"]),
            (
                "15 2 * * *",
                "Australia/Lord_Howe",
                "2026-10-03T00:00:00Z",
                ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"],
            ),
        ] {
            let first = next(schedule, zone, from);
            assert_eq!([&*first, &next(schedule, zone, &first)], ticks, "{schedule} in {zone}");
        }
    }

    #[test]
    fn where_every_hour_counts_the_doubled_hour_counts_twice() {
        for (schedule, zone, from, ticks) in [
            ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"]),
            ("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:10:00Z", ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"]),
            ("5 * * * *", "Europe/Berlin", "2026-03-29T00:01:00Z", ["2026-03-29T00:05:00Z", "2026-03-29T01:05:00Z"]),
            // 02:00 becomes 01:30.
            (
                "0 * * * *",
                "Australia/Lord_Howe",
                "2026-04-04T14:10:00Z",
                ["2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z"],
            ),
        ] {
            let first = next(schedule, zone, from);
            assert_eq!([&*first, &next(schedule, zone, &first)], ticks, "{schedule} in {zone}");
        }
    }

    /// A crontab, and whether it has a local time.
    type Shape = (&'static str, fn(DateTime) -> bool);

    const SHAPES: [Shape; 10] = [
        ("* * * * *", |_| true),
        ("59 23 29 2 *", |t| (t.month(), t.day(), t.hour(), t.minute()) == (2, 29, 23, 59)),
        ("*/7 * * * *", |t| t.minute() % 7 == 0),
        ("0 * * * *", |t| t.minute() == 0),
        ("45 * * * SUN", |t| t.minute() == 45 && t.weekday() == Weekday::Sunday),
        ("0 */3 * * *", |t| t.minute() == 0 && t.hour() % 3 == 0),
        ("30 0-3 * * *", |t| t.minute() == 30 && t.hour() <= 3),
        ("*/20 1,2,23 * * *", |t| t.minute() % 20 == 0 && [1, 2, 23].contains(&t.hour())),
        ("15 2 * * *", |t| (t.hour(), t.minute()) == (2, 15)),
        ("0 0 1 * *", |t| (t.day(), t.hour(), t.minute()) == (1, 0, 0)),
    ];

    /// A change of a zone's clock.
    struct Change {
        zone: &'static str,
        at: Timestamp,
        before: Offset,
        after: Offset,
    }

    impl Change {
        fn local(&self, at: Timestamp) -> DateTime {
            if at < self.at { self.before.to_datetime(at) } else { self.after.to_datetime(at) }
        }

        /// What is due in some hours around the change, found by trying each minute.
        fn due(&self, (text, matches): &Shape) -> Vec<Timestamp> {
            let (was, is) = (self.before.to_datetime(self.at), self.after.to_datetime(self.at));
            let is_hourly = text.split(' ').nth(1) == Some("*");
            let mut lost = (0..).map(|n| was + n.minutes()).take_while(|local| *local < is);
            let is_due_at_once = !is_hourly && lost.any(*matches);
            let is_due = |at: &Timestamp| {
                let local = self.local(*at);
                let is_second = *at >= self.at && local < was;
                (matches(local) && (is_hourly || !is_second)) || (*at == self.at && is_due_at_once)
            };
            (-150..=210).map(|n| self.at + n.minutes()).filter(is_due).collect()
        }
    }

    /// The changes of twenty years in all zones; of those at the same instant and by the same offsets, one.
    fn changes() -> Vec<Change> {
        let [from, to]: [Timestamp; 2] = ["2026-01-01T00:00:00Z", "2046-01-01T00:00:00Z"].map(|t| t.parse().unwrap());
        let mut changes = BTreeMap::new();
        for name in jiff::tz::db().available() {
            let zone = TimeZone::get(name.as_str()).unwrap();
            let mut before = zone.to_offset(from);
            for change in zone.following(from).take_while(|change| change.timestamp() < to) {
                let (at, after) = (change.timestamp(), change.offset());
                if after != before {
                    changes.entry((at, before, after)).or_insert_with(|| name.to_string());
                }
                before = after;
            }
        }
        let leak = |name: String| -> &'static str { name.leak() };
        changes.into_iter().map(|((at, before, after), zone)| Change { zone: leak(zone), at, before, after }).collect()
    }

    #[test]
    fn around_every_change_of_a_clock_in_twenty_years_each_tick_comes_once_and_soon() {
        let changes = changes();
        assert!(changes.len() > 1_000, "{} changes", changes.len());
        for (n, change) in changes.iter().enumerate() {
            // The first three take long; of the others half are enough.
            let (skipped, step) = if n % 20 == 0 { (0, 1) } else { (3 + n % 2, 2) };
            for shape in SHAPES.iter().skip(skipped).step_by(step) {
                let schedule = Schedule::parse(shape.0, change.zone).unwrap();
                let mut now = change.at - 151.minutes();
                let ticks = std::iter::from_fn(|| {
                    now = schedule.next_after(now)?;
                    (now <= change.at + 210.minutes()).then_some(now)
                });
                assert_eq!(
                    ticks.collect::<Vec<_>>(),
                    change.due(shape),
                    "{} in {} at {}",
                    shape.0,
                    change.zone,
                    change.at
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_the_clock_a_tick_is_found_or_there_is_none(
            second in Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(),
            zone in 0..10_000_usize,
            shape in 0..SHAPES.len(),
        ) {
            let zones: Vec<_> = jiff::tz::db().available().collect();
            let schedule = Schedule::parse(SHAPES[shape].0, zones[zone % zones.len()].as_str()).unwrap();
            let now = Timestamp::from_second(second).unwrap();
            prop_assert!(schedule.next_after(now).is_none_or(|next| next > now));
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
