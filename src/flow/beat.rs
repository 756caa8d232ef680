//! When what recurs is done: at the same instants for the whole process, which then wakes up once for all of it.

use std::time::Duration;

/// How far apart two beats are.
///
/// Tokio keeps what ends seconds ahead in slots of 4,096 ms and of 64 ms, and wakes up to look into each of them first:
/// what ends with a slot costs one such look, anything else two more.
pub const BEAT: Duration = Duration::from_millis(3 * 4_096);

/// The first multiple of `period` after this reading of the clock.
#[must_use]
pub fn next(now: Duration, period: Duration) -> Duration {
    let into = now.as_nanos() % period.as_nanos().max(1);
    now + period - Duration::from_nanos(u64::try_from(into).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_is_a_multiple_that_lies_ahead() {
        let ms = Duration::from_millis;
        for (now, then) in
            [(ms(0), BEAT), (ms(1), BEAT), (BEAT - ms(1), BEAT), (BEAT, 2 * BEAT), (BEAT + ms(1), 2 * BEAT)]
        {
            assert_eq!(next(now, BEAT), then, "{now:?}");
        }
        assert_eq!(next(3 * BEAT, 2 * BEAT), 4 * BEAT);
    }
}
