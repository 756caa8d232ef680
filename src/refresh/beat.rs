//! When what recurs is done: at instants that a whole process shares, so that it wakes up once for all of it.

use std::time::Duration;

/// Tokio keeps what ends seconds ahead in slots of 4,096 ms and then of 64 ms, and wakes up to look into each: what ends
/// with both costs one look.
const SLOT: Duration = Duration::from_millis(64);
const SLOTS: u32 = 3 * 64;
/// How many sites look at once: all of thousands would need more room at that moment than at any other.
const SITES_A_SLOT: usize = 64;

/// How far apart two beats are.
pub const BEAT: Duration = SLOT.saturating_mul(SLOTS);

/// A beat, by its place between two of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat(u8);

impl Beat {
    /// The beat of the process itself.
    pub const FIRST: Self = Self(0);

    /// The beat of a site, by its number in the process. The first ones have that of the process.
    #[must_use]
    pub fn of(number: usize) -> Self {
        Self(u8::try_from(number / SITES_A_SLOT % SLOTS as usize).unwrap_or_default())
    }

    /// When it is next, after this reading of the clock.
    #[must_use]
    pub fn after(self, now: Duration) -> Duration {
        let place = SLOT * u32::from(self.0);
        let since = (now + BEAT - place).as_nanos() % BEAT.as_nanos();
        now + BEAT - Duration::from_nanos(u64::try_from(since).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_lies_ahead_and_within_a_beat() {
        let ms = Duration::from_millis;
        for (now, then) in
            [(ms(0), BEAT), (ms(1), BEAT), (BEAT - ms(1), BEAT), (BEAT, 2 * BEAT), (BEAT + ms(1), 2 * BEAT)]
        {
            assert_eq!(Beat::FIRST.after(now), then, "{now:?}");
        }
        assert_eq!(Beat(2).after(ms(128)), BEAT + ms(128));
        assert_eq!(Beat(2).after(3 * BEAT), 3 * BEAT + ms(128));
    }

    #[test]
    fn few_sites_beat_with_the_process_and_thousands_are_spread() {
        assert!((0..SITES_A_SLOT).all(|n| Beat::of(n) == Beat::FIRST));
        for slot in 0..SLOTS as usize {
            let at_once = (0..SITES_A_SLOT * SLOTS as usize).filter(|n| Beat::of(*n) == Beat(slot as u8));
            assert_eq!(at_once.count(), SITES_A_SLOT, "{slot}");
        }
    }
}
