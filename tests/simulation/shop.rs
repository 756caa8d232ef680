//! The shop of a story: what its solver brings, and what its API takes.

use std::collections::BTreeMap;
use std::time::Duration;

/// The shop.
#[derive(Debug)]
pub(crate) struct Shop {
    tokens: BTreeMap<String, Token>,
    made: u64,
    pub(crate) mood: Mood,
    /// Since when the API has been honest.
    pub(crate) mood_since: Duration,
    pub(crate) solver: Solver,
    pub(crate) solve_takes: Duration,
}

/// A token that was ever to be had.
#[derive(Debug, Clone, Copy)]
struct Token {
    works: bool,
    proof: Proof,
}

/// What speaks for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// When the solve began that brought it; `None` where no solve did.
    pub(crate) solve_began: Option<Duration>,
    /// Whether the API has ever accepted it.
    pub(crate) accepted: bool,
}

/// How the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    /// 403 for everybody.
    Blocks,
    /// 5xx.
    Fails,
    /// No answer for half a minute.
    Hangs,
}

/// What the solver brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Solver {
    /// A token that works.
    Fresh,
    /// One that the API refuses.
    Dead,
    /// The last one again.
    Same,
    /// No token.
    Down,
    /// No token, and a reason to wait long.
    Banned,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self {
            tokens: BTreeMap::new(),
            made: 0,
            mood: Mood::Honest,
            mood_since: Duration::ZERO,
            solver: Solver::Fresh,
            solve_takes: Duration::from_secs(5),
        }
    }

    /// A further token; `None` where no solve brings it.
    pub(crate) fn make(&mut self, works: bool, solve_began: Option<Duration>) -> String {
        self.made += 1;
        let token = format!("token-{}", self.made);
        self.tokens.insert(token.clone(), Token { works, proof: Proof { solve_began, accepted: false } });
        token
    }

    /// The token made last, as of a solve that began just then.
    pub(crate) fn same_again(&mut self, solve_began: Duration) -> String {
        let token = format!("token-{}", self.made);
        if let Some(known) = self.tokens.get_mut(&token) {
            known.proof = Proof { solve_began: Some(solve_began), accepted: false };
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

    /// Asks an honest API.
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
