//! One attempt with a source: whom it asks, in which order, and how long each may take.

use std::time::Duration;

use super::breaker::Standing;

/// The shortest time in which a solver can be expected to answer.
pub const LEAST: Duration = Duration::from_secs(1);

/// The turns of one attempt. The solvers are named by their places in the settings.
#[derive(Debug)]
pub struct Round {
    order: Vec<usize>,
    asked: usize,
    /// So many come before those that are left alone.
    first: usize,
    /// The time that they share, and when it is over: it begins with the first turn.
    whole: Option<Duration>,
    end: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// The solver.
    pub place: usize,
    /// How long it may take; less than [`LEAST`] where no time is left, `None` where it has a deadline of its own.
    pub share: Option<Duration>,
}

impl Round {
    /// An attempt with a source that asks one server.
    pub fn of_one() -> Self {
        Self { order: vec![0], asked: 0, first: 1, whole: None, end: None }
    }

    /// An attempt with so many solvers, which share the time `whole`. Of those that stand alike, `preferred` is asked
    /// first. Those that are left alone are asked where all others fail, with the time that these have left.
    pub fn of_several(
        solvers: usize,
        preferred: Option<usize>,
        whole: Duration,
        standing: impl Fn(usize) -> Standing,
    ) -> Self {
        let mut order: Vec<(Standing, bool, usize)> =
            (0..solvers).map(|solver| (standing(solver), Some(solver) != preferred, solver)).collect();
        order.sort_unstable();
        let first = order.iter().filter(|(standing, ..)| *standing != Standing::LeftAlone).count();
        let order = order.into_iter().map(|(.., solver)| solver).collect();
        Self { asked: 0, first, order, whole: Some(whole), end: None }
    }

    /// Whether all have been asked.
    pub fn is_over(&self) -> bool {
        self.asked == self.order.len()
    }

    /// The next turn. Each solver has what is left of the time, divided by the solvers that are left.
    pub fn next(&mut self, now: Duration) -> Option<Turn> {
        let place = *self.order.get(self.asked)?;
        let last = if self.asked < self.first { self.first } else { self.order.len() };
        let solvers = u32::try_from(last - self.asked).unwrap_or(u32::MAX);
        self.asked += 1;
        let end = self.whole.map(|whole| *self.end.get_or_insert(now + whole));
        let share = end.map(|end| match end.saturating_sub(now) {
            left if left < LEAST => left,
            left => (left / solvers).max(LEAST),
        });
        Some(Turn { place, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Duration = at(60);

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Whom it asks at these seconds, and how long each may take.
    fn turns(mut round: Round, seconds: &[u64]) -> Vec<(usize, u64)> {
        let turns = seconds.iter().map_while(|second| round.next(at(*second)));
        turns.map(|turn| (turn.place, turn.share.unwrap_or_default().as_secs())).collect()
    }

    fn of_three(preferred: Option<usize>, is_left_alone: impl Fn(usize) -> bool) -> Round {
        let standing = |solver| if is_left_alone(solver) { Standing::LeftAlone } else { Standing::InTurn };
        Round::of_several(3, preferred, WHOLE, standing)
    }

    #[test]
    fn each_solver_has_its_share_of_what_is_left_and_the_last_one_all() {
        let round = |seconds: [u64; 3]| turns(of_three(None, |_| false), &seconds);
        assert_eq!(round([0, 0, 30]), [(0, 20), (1, 30), (2, 30)], "a refused connection costs nothing");
        assert_eq!(round([0, 58, 59]), [(0, 20), (1, 1), (2, 1)]);
        assert_eq!(round([0, 20, 60]), [(0, 20), (1, 20), (2, 0)], "no time is left");
    }

    #[test]
    fn an_attempt_asks_each_solver_once() {
        let mut one = Round::of_one();
        assert_eq!((one.next(at(0)), one.next(at(0))), (Some(Turn::default()), None));
        assert_eq!(turns(of_three(None, |_| false), &[0; 9]).len(), 3);
    }

    #[test]
    fn the_one_whose_token_proved_good_last_comes_first() {
        assert_eq!(turns(of_three(Some(2), |_| false), &[0; 3]), [(2, 20), (0, 30), (1, 60)]);
    }

    #[test]
    fn one_whose_trial_is_due_comes_before_the_preferred_one() {
        let standing = |solver| [Standing::InTurn, Standing::LeftAlone, Standing::OnTrial][solver];
        assert_eq!(turns(Round::of_several(3, Some(0), WHOLE, standing), &[0, 30, 60]), [(2, 30), (0, 30), (1, 0)]);
    }

    #[test]
    fn a_solver_that_is_left_alone_has_the_time_that_the_others_leave() {
        assert_eq!(turns(of_three(None, |solver| solver == 0), &[0, 0, 0]), [(1, 30), (2, 60), (0, 60)]);
        assert_eq!(turns(of_three(Some(0), |solver| solver == 0), &[0, 30, 60]), [(1, 30), (2, 30), (0, 0)]);
        assert_eq!(turns(of_three(None, |_| true), &[0; 3]), [(0, 20), (1, 30), (2, 60)]);
    }
}
