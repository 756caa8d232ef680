//! Durations and schedules. The first bytes choose the zone and the instant, the rest is the text.

use std::time::Duration;

use jiff::Timestamp;
use token_sidecar::domain::duration;
use token_sidecar::domain::schedule::Schedule;

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", ":Asia/Yekaterinburg", "America/St_Johns", ""];

const A_CENTURY: Duration = Duration::from_secs(36_525 * 86_400);

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "10s",
        "250ms",
        "1m30s",
        "1d2h",
        "99999999999999999999",
        "-5s",
        "1us",
        "1h 30us",
        "off",
        "every 3h",
        "every 90s",
        "every 1d",
        "0 */3 * * *",
        "30 2 29 2 *",
        "*/7 1-5,9 L * MON#1",
        "30 2 * * * Europe/Berlin",
        "0 0 30 2 *",
    ];
    texts.iter().enumerate().map(|(n, text)| [&[n as u8, 0x6b, 0, 0, 0], text.as_bytes()].concat()).collect()
}

pub(crate) fn check(data: &[u8]) {
    let [zone, a, b, c, d, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    span(text);
    let now = Timestamp::from_second(i64::from(u32::from_be_bytes([*a, *b, *c, *d]))).unwrap();
    schedule(text, ZONES[usize::from(*zone) % ZONES.len()], now);
}

fn span(text: &str) {
    // No setting accepts a longer one.
    let Some(span) = duration::parse(text).ok().filter(|span| *span < A_CENTURY) else { return };
    let written = duration::text(span);
    let read = duration::parse(&written);
    assert_eq!(read, Ok(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))), "{written}");
}

fn schedule(text: &str, zone: &str, now: Timestamp) {
    let schedule = match Schedule::parse(text, zone) {
        Ok(schedule) => schedule,
        Err(error) => return assert!(!error.to_string().contains('\n'), "not one line: {error}"),
    };
    let written = schedule.to_string();
    let again = Schedule::parse(&written, zone);
    let again = again.unwrap_or_else(|error| panic!("{written:?}: {error}"));
    let tick = schedule.next_after(now);
    assert_eq!(again.next_after(now), tick, "{written}");
    if let Some(tick) = tick {
        assert!(tick > now, "{written}: {tick} is not after {now}");
        assert!(schedule.next_after(tick).is_none_or(|next| next > tick), "{written}");
        assert_eq!(
            schedule.next_after(tick.checked_sub(Duration::from_millis(1)).unwrap()),
            Some(tick),
            "{written}: a tick was missed"
        );
    }
}
