//! Models of what else is outside: sources that solve, the API, a sink, chance, and an observer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use token_sidecar::domain::extract::{Cookie, RawToken, Solution};
use token_sidecar::domain::pending::{Arrival, Note};
use token_sidecar::domain::round::Turn;
use token_sidecar::domain::stored::StoredToken;
use token_sidecar::domain::verdict::{Pace, Verdict};
use token_sidecar::refresh::mailbox::Mailbox;
use token_sidecar::refresh::observation::{DecisionKind, Observation, Observer, OutcomeKind, Step};
use token_sidecar::refresh::ports::{ClaimId, Clock, Jitter, Probe, Solved, Source, SourceError};
use token_sidecar_client::wire::{Cookies, Token};
use tokio::sync::oneshot;

use crate::world::{AGENT, Shared, spawn};

/// What a source does when it is called.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A new token that works.
    Fresh,
    /// A new token that the API refuses.
    Dead,
    /// This token, which works if the API accepts it.
    Token(String),
    /// This page.
    Page(Solution),
    /// A new token that works, without what a protection sets after it; then the whole page.
    Late,
    /// A page without a token; then one with a new token that works.
    Placeholder,
    /// No answer.
    Fails(&'static str, Pace),
}

/// A source: how long it takes and what it answers.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) delay: Duration,
    pub(crate) next: VecDeque<Answer>,
    /// What it answers once the script is over.
    pub(crate) rest: Answer,
    pub(crate) started: u64,
}

/// The solves of all sources together.
#[derive(Debug, Default)]
pub(crate) struct Solves {
    pub(crate) started: u64,
    pub(crate) running: u64,
    pub(crate) most_at_once: u64,
    pub(crate) tokens: u64,
}

/// The API.
#[derive(Debug)]
pub(crate) struct Api {
    /// The tokens that work, with the user agent that they work with; `None` for any.
    pub(crate) live: BTreeMap<String, Option<String>>,
    pub(crate) next: VecDeque<Mood>,
    pub(crate) mood: Mood,
    pub(crate) asked: Vec<String>,
    /// The replica that is refreshed by hand at the moment of the next answer.
    pub(crate) meanwhile: Option<Arc<Mailbox>>,
}

/// How the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    /// 403 for every request.
    Blocks,
    /// 5xx.
    Fails,
    /// No answer for half a minute.
    Hangs,
}

/// What an observer has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Decided(DecisionKind, u64),
    Entered(Step),
    Finished(OutcomeKind),
    LeaseLost,
}

pub(crate) struct ModelSource {
    pub(crate) shared: Shared,
    pub(crate) number: usize,
    pub(crate) name: String,
}

pub(crate) struct ModelProbe(pub(crate) Shared);

pub(crate) struct ModelClock(pub(crate) Shared);

pub(crate) struct ModelObserver(pub(crate) Shared, pub(crate) usize);

/// Jitter from a seed: the same in every run.
pub(crate) struct ModelChance {
    pub(crate) replica: usize,
    pub(crate) state: AtomicU64,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { delay: Duration::from_secs(17), next: VecDeque::new(), rest: Answer::Fresh, started: 0 }
    }
}

impl Source for ModelSource {
    fn name(&self) -> &str {
        &self.name
    }

    /// Goes on to its end though no caller waits any more, as a browser does.
    async fn solve(&self, _: Turn, _: Option<&StoredToken>) -> Result<Solved, SourceError> {
        let delay = {
            let mut state = self.shared.state();
            state.solves.started += 1;
            state.solves.running += 1;
            state.solves.most_at_once = state.solves.most_at_once.max(state.solves.running);
            state.sources[self.number].started += 1;
            state.sources[self.number].delay
        };
        self.shared.ring();
        let (done, answer) = oneshot::channel();
        let (shared, number) = (self.shared.clone(), self.number);
        spawn(async move {
            tokio::time::sleep(delay).await;
            let answer = shared.state().answer(number);
            shared.ring();
            let _ = done.send(answer);
        });
        answer.await.unwrap()
    }
}

impl crate::world::State {
    fn answer(&mut self, number: usize) -> Result<Solved, SourceError> {
        self.solves.running -= 1;
        let script = &mut self.sources[number];
        let answer = script.next.pop_front().unwrap_or_else(|| script.rest.clone());
        let mut new_token = || {
            self.solves.tokens += 1;
            format!("token-{}", self.solves.tokens)
        };
        match answer {
            Answer::Fresh => {
                let token = new_token();
                self.api.live.insert(token.clone(), Some(AGENT.to_owned()));
                Ok(page(&token).into())
            }
            Answer::Placeholder => {
                let token = new_token();
                self.api.live.insert(token.clone(), Some(AGENT.to_owned()));
                let later = async move { Some(page(&token).into()) };
                Ok(Solved { solution: page(""), later: Some(Box::pin(later)) })
            }
            Answer::Late => {
                let token = new_token();
                self.api.live.insert(token.clone(), Some(AGENT.to_owned()));
                let early = Solution { user_agent: None, ..page(&token) };
                Ok(Solved { solution: early, later: Some(Box::pin(async move { Some(page(&token).into()) })) })
            }
            Answer::Dead => Ok(page(&new_token()).into()),
            Answer::Token(token) => Ok(page(&token).into()),
            Answer::Page(solution) => Ok(solution.into()),
            Answer::Fails(message, pace) => Err(SourceError { message: message.to_owned(), pace }),
        }
    }
}

/// A page with a token as a browser has it.
pub(crate) fn page(token: &str) -> Solution {
    let cookie = |name: &str, value: String| Cookie {
        name: name.to_owned(),
        value,
        domain: ".shop.test".to_owned(),
        path: "/".to_owned(),
        expires_at: None,
    };
    Solution {
        cookies: vec![cookie("__ddg1", "x".to_owned()), cookie("access-token", format!("Bearer%20{token}"))],
        bare: None::<RawToken>,
        url: "https://www.shop.test/".to_owned(),
        user_agent: Some(AGENT.to_owned()),
    }
}

impl Probe for ModelProbe {
    async fn verify(&self, token: &Token, _: &Cookies, user_agent: Option<&str>) -> Verdict {
        let mood = {
            let mut state = self.0.state();
            state.api.asked.push(token.expose().to_owned());
            state.api.next.pop_front().unwrap_or(state.api.mood)
        };
        self.0.ring();
        let takes = if mood == Mood::Hangs { Duration::from_secs(30) } else { Duration::from_millis(50) };
        tokio::time::sleep(takes).await;
        if let Some(mailbox) = self.0.state().api.meanwhile.take() {
            mailbox.post(Arrival::Manual(Note::default()));
        }
        match mood {
            Mood::Honest => match self.0.state().api.live.get(token.expose()) {
                Some(agent) if agent.is_none() || agent.as_deref() == user_agent => Verdict::Accepted,
                Some(_) => Verdict::Blocked("403 for this user agent".to_owned()),
                None => Verdict::Refused("401".to_owned()),
            },
            Mood::Blocks => Verdict::Blocked("403".to_owned()),
            Mood::Fails => Verdict::Unclear("502".to_owned()),
            Mood::Hangs => Verdict::Unclear("no answer within 30 s".to_owned()),
        }
    }
}

impl Clock for ModelClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

impl Observer for ModelObserver {
    fn observe(&self, observation: Observation<'_>) {
        let seen = match observation {
            Observation::Decided { decision, folded } => Seen::Decided(decision, folded),
            Observation::Entered(step) => Seen::Entered(step),
            Observation::Finished(outcome, _) => Seen::Finished(outcome),
            Observation::LeaseLost => Seen::LeaseLost,
            Observation::Pending(is_pending) => {
                self.0.state().subscribers[self.1].is_pending = is_pending;
                return;
            }
            Observation::Looked(_) | Observation::Timed(..) => return,
        };
        let at = self.0.elapsed();
        self.0.state().observed.push((at, self.1, seen));
        self.0.ring();
    }
}

impl ModelChance {
    /// A mean and up to a fifth more or less.
    fn spread(&self, mean: Duration) -> Duration {
        let seed = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40;
        mean.mul_f64(0.8 + 0.4 * f64::from(u32::try_from(mixed % 1000).unwrap()) / 1000.0)
    }
}

impl Jitter for ModelChance {
    fn backoff(&self, failures: u32, pace: Pace) -> Duration {
        let longest = Duration::from_secs(600);
        match pace {
            Pace::Ordinary => self.spread(Duration::from_secs(5) * (1 << (failures - 1).min(10))).min(longest),
            Pace::LongestBackoff => longest,
        }
    }

    fn pause(&self, repetition: u32) -> Duration {
        self.spread((Duration::from_millis(100) * (1 << (repetition - 1).min(10))).min(Duration::from_secs(2)))
    }

    fn interval(&self, longest: Duration) -> Duration {
        longest
    }

    fn random_span(&self, longest: Duration) -> Duration {
        longest
    }

    fn claim_id(&self) -> ClaimId {
        let number = self.state.fetch_add(1, Ordering::Relaxed);
        ClaimId(format!("{}-{number:x}", self.replica))
    }
}
