//! The shop of a story: the results of its solvers, and the answers of its API.

use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Shop {
    tokens: BTreeMap<String, Token>,
    made: u64,
    pub(crate) mood: Mood,
    /// Since when the API answers correctly.
    pub(crate) mood_since: Duration,
    /// One or two.
    pub(crate) solvers: Vec<Solver>,
}

/// A solver, as it is at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Solver {
    pub(crate) brings: Brings,
    /// How long its solves take.
    pub(crate) takes: Duration,
}

/// A token that the shop has made.
#[derive(Debug, Clone, Copy)]
struct Token {
    works: bool,
    proof: Proof,
}

/// What is known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// When the solve began that returned it; `None` for other tokens.
    pub(crate) solve_began: Option<Duration>,
    /// Whether the API has ever accepted it.
    pub(crate) accepted: bool,
}

/// How the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    /// 403 to every request.
    Blocks,
    /// 5xx.
    Fails,
    /// No answer for half a minute.
    Hangs,
}

/// The result of a solver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brings {
    /// A token that works.
    Fresh,
    /// A token that the API refuses.
    Dead,
    /// The last token again.
    Same,
    /// No token.
    Down,
    /// A ban: no token, and a long back-off.
    Banned,
    /// Its connections are refused or broken.
    Gone,
    /// It does not answer: it hangs, or its connections are half open.
    Silence,
}

impl Solver {
    /// One that works.
    pub(crate) const FINE: Self = Self { brings: Brings::Fresh, takes: Duration::from_secs(5) };
}

impl Shop {
    pub(crate) fn new(solvers: usize) -> Self {
        Self {
            tokens: BTreeMap::new(),
            made: 0,
            mood: Mood::Honest,
            mood_since: Duration::ZERO,
            solvers: vec![Solver::FINE; solvers],
        }
    }

    /// Makes a token; `None` for one that no solve returns.
    pub(crate) fn make(&mut self, works: bool, solve_began: Option<Duration>) -> String {
        self.made += 1;
        let token = format!("token-{}", self.made);
        self.tokens.insert(token.clone(), Token { works, proof: Proof { solve_began, accepted: false } });
        token
    }

    /// The last token, as if from a solve that began at this time. Another sidecar may hold it already, accepted.
    pub(crate) fn same_again(&mut self, solve_began: Duration) -> String {
        let token = format!("token-{}", self.made);
        if let Some(known) = self.tokens.get_mut(&token) {
            known.proof.solve_began = Some(solve_began);
        }
        token
    }

    /// Every token answers 401 from now on.
    pub(crate) fn revoke(&mut self) {
        for token in self.tokens.values_mut() {
            token.works = false;
        }
    }

    pub(crate) fn works(&self, token: &str) -> bool {
        self.tokens.get(token).is_some_and(|t| t.works)
    }

    /// The answer of a correct API.
    pub(crate) fn accepts(&mut self, token: &str) -> bool {
        let Some(known) = self.tokens.get_mut(token).filter(|t| t.works) else { return false };
        known.proof.accepted = true;
        true
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.keys().map(String::as_str)
    }

    pub(crate) fn proof(&self, token: &str) -> Proof {
        self.tokens[token].proof
    }
}
