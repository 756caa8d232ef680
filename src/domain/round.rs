//! The order in which the solvers of a site are asked in one attempt, and how long each may take.

use std::time::Duration;

/// The shortest time in which a solver can be expected to answer.
pub const LEAST: Duration = Duration::from_secs(1);

/// One attempt. Solvers are named by their places in the settings.
#[derive(Debug, Default)]
pub struct Round {
    began: Duration,
    order: Vec<usize>,
    /// So many come before those that are left alone.
    first: usize,
    /// The solver whose token proved good last.
    preferred: Option<usize>,
}

/// What comes next in an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This solver, with this time.
    Ask(usize, Duration),
    NoTime,
}

impl Round {
    /// Begins an attempt with so many solvers. Those that are left alone come last: they are asked where all others
    /// fail, with the time that these have left.
    pub fn begin(&mut self, solvers: usize, now: Duration, is_left_alone: impl Fn(usize) -> bool) {
        let mut order: Vec<usize> = self.preferred.into_iter().collect();
        order.extend((0..solvers).filter(|solver| Some(*solver) != self.preferred));
        let (first, last): (Vec<_>, Vec<_>) = order.into_iter().partition(|solver| !is_left_alone(*solver));
        self.first = first.len();
        (self.began, self.order) = (now, [first, last].concat());
    }

    /// The solver at a place of the order. `whole` is the time of the attempt: each solver has what is left, divided by
    /// the solvers that are left.
    pub fn turn(&self, place: usize, whole: Duration, now: Duration) -> Turn {
        let Some(solver) = self.order.get(place).copied() else { return Turn::NoTime };
        let end = if place < self.first { self.first } else { self.order.len() };
        let left = whole.saturating_sub(now.saturating_sub(self.began));
        match left / u32::try_from(end - place).unwrap_or(u32::MAX) {
            _ if left < LEAST => Turn::NoTime,
            share => Turn::Ask(solver, share.max(LEAST)),
        }
    }

    /// The token of the solver at this place has proved good.
    pub fn proved(&mut self, place: usize) {
        self.preferred = self.order.get(place).copied();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Duration = at(60);

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_solver_has_its_share_of_what_is_left_and_the_last_one_all() {
        let mut round = Round::default();
        round.begin(3, at(100), |_| false);
        assert_eq!(round.turn(0, WHOLE, at(100)), Turn::Ask(0, at(20)));
        assert_eq!(round.turn(1, WHOLE, at(100)), Turn::Ask(1, at(30)), "a refused connection costs nothing");
        assert_eq!(round.turn(2, WHOLE, at(130)), Turn::Ask(2, at(30)));
        assert_eq!(round.turn(2, WHOLE, at(159)), Turn::Ask(2, at(1)));
        assert_eq!(round.turn(2, WHOLE, at(160)), Turn::NoTime);
    }

    #[test]
    fn the_one_whose_token_proved_good_comes_first_in_the_next_attempt() {
        let mut round = Round::default();
        round.begin(3, at(0), |_| false);
        round.proved(2);
        round.begin(3, at(0), |_| false);
        let order = [0, 1, 2].map(|place| round.turn(place, WHOLE, at(0)));
        assert_eq!(order, [Turn::Ask(2, at(20)), Turn::Ask(0, at(30)), Turn::Ask(1, at(60))]);
    }

    #[test]
    fn a_solver_that_is_left_alone_has_the_time_that_the_others_leave() {
        let mut round = Round::default();
        round.begin(3, at(0), |solver| solver == 0);
        let order = [0, 1, 2].map(|place| round.turn(place, WHOLE, at(0)));
        assert_eq!(order, [Turn::Ask(1, at(30)), Turn::Ask(2, at(60)), Turn::Ask(0, at(60))]);
        assert_eq!(round.turn(2, WHOLE, at(60)), Turn::NoTime);
        round.begin(2, at(0), |_| true);
        let order = [0, 1].map(|place| round.turn(place, WHOLE, at(0)));
        assert_eq!(order, [Turn::Ask(0, at(30)), Turn::Ask(1, at(60))]);
    }
}
