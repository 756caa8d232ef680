//! One attempt to get a new token: solve → extract → verify, source after source.

use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;

use super::commit::Claim;
use super::observation::{Observation, Observer, Step};
use super::ports::{Clock, Jitter, KeyTtl, Probe, Solved, Source, SourceError};
use super::site::{Ports, SiteContext};
use crate::domain::extract::{Candidate, RawToken, Solution};
use crate::domain::site::Verify;
use crate::domain::stored::StoredToken;
use crate::domain::verdict::{Failure, Pace, Timings, Verdict};
use token_sidecar_client::wire::{Fingerprint, Stage, Trigger};

/// How often a candidate is verified while the API's verdict is unclear.
const VERIFICATIONS: u32 = 3;

/// How many later solutions of one page are tried.
const LATER_SOLUTIONS: u32 = 5;

/// The source name under which a configured token is stored.
const BOOTSTRAP: &str = "bootstrap";

#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) candidate: Candidate,
    pub(super) source: String,
    /// The proxy by which the token was fetched, named by its address.
    pub(super) proxy: Option<Fingerprint>,
    pub(super) trigger: Trigger,
    pub(super) ttl: KeyTtl,
    pub(super) timings: Timings,
}

#[derive(Debug, Clone)]
pub(super) struct AttemptError {
    pub(super) failure: Failure,
    pub(super) source: String,
    pub(super) timings: Timings,
}

/// What to do after a failure.
enum Next {
    /// Try a later solution of the same page, or else the next turn.
    Later(Failure),
    /// Try the next turn of the source, or else the next source.
    Source(Failure),
    /// End the attempt: another source would fail in the same way.
    End(Failure),
}

impl<P: Ports> SiteContext<P> {
    /// Tries the sources in order until one returns a token that may be stored.
    pub(super) async fn attempt(&self, claim: &Claim<'_>) -> Result<Box<Found>, AttemptError> {
        let mut timings = Timings::default();
        if let Some(token) = self.bootstrap.as_ref().filter(|_| claim.offers_bootstrap) {
            let bare = Some(RawToken(token.expose().to_owned()));
            let solution = Solution { bare, ..Solution::default() };
            match Box::pin(self.prove(solution, claim, &mut timings)).await {
                Ok((candidate, ttl)) => {
                    let (source, trigger) = (BOOTSTRAP.to_owned(), Trigger::Bootstrap);
                    return Ok(Box::new(Found { candidate, source, proxy: None, trigger, ttl, timings }));
                }
                Err(Next::Later(failure) | Next::Source(failure) | Next::End(failure)) => {
                    tracing::warn!(site = %self.id, error = %failure.error, "the configured token is not adopted");
                }
            }
        }
        // Boxed: thousands of sites that wait for their first token have none.
        let stored = StoredToken::of(claim.state.snapshot()).map(Box::new);
        let (mut failures, mut tried): (Vec<Failure>, Vec<&str>) = (Vec::new(), Vec::new());
        'sources: for source in &self.sources {
            tried.push(source.name());
            let mut round = source.begin();
            while !round.is_over() {
                if !failures.is_empty() && Box::pin(self.has_lost(claim)).await {
                    let error = "the lock was lost: another replica is at work".to_owned();
                    failures.push(Failure { stage: Stage::Solve, error, pace: Pace::Ordinary });
                    break 'sources;
                }
                let Some(turn) = round.next(self.clock.now()) else { break };
                let solving = Box::pin(source.solve(turn, stored.as_deref()));
                let solved = self.timed(Step::Solve, &mut timings.solve, solving).await;
                match Box::pin(self.prove_solved(solved, claim, &mut timings)).await {
                    Ok((candidate, ttl)) => {
                        source.proved(turn);
                        let (source, proxy, trigger) = (source.name().to_owned(), source.proxy(), claim.trigger);
                        return Ok(Box::new(Found { candidate, source, proxy, trigger, ttl, timings }));
                    }
                    Err(Next::Later(failure) | Next::Source(failure)) => {
                        tracing::info!(
                            site = %self.id, source = source.name(), stage = %failure.stage, error = %failure.error,
                            "a source brought no token",
                        );
                        failures.push(failure);
                    }
                    Err(Next::End(failure)) => {
                        failures.push(failure);
                        break 'sources;
                    }
                }
            }
        }
        Err(AttemptError { failure: summary(failures), source: tried.join(","), timings })
    }

    /// Observes a step and adds up how long it takes.
    /// The work is boxed: each of thousands of waiting sites would reserve memory for all of its steps.
    async fn timed<T>(&self, step: Step, total: &mut Duration, work: Pin<Box<impl Future<Output = T>>>) -> T {
        self.observer.observe(Observation::Entered(step));
        let began = self.clock.now();
        let done = work.await;
        let took = self.clock.now().saturating_sub(began);
        *total += took;
        self.observer.observe(Observation::Timed(step, took));
        done
    }

    /// Proves what a source brought. Where that is no usable token, or the API blocks it, what the same page holds later
    /// is tried: a script may replace a placeholder, and a protection may set its cookie after the token.
    async fn prove_solved(
        &self,
        solved: Result<Solved, SourceError>,
        claim: &Claim<'_>,
        timings: &mut Timings,
    ) -> Result<(Candidate, KeyTtl), Next> {
        let Solved { solution, mut later } =
            solved.map_err(|e| Next::Source(Failure { stage: Stage::Solve, error: e.message, pace: e.pace }))?;
        let mut outcome = self.prove(solution, claim, timings).await;
        for _ in 0..LATER_SOLUTIONS {
            let (Err(Next::Later(_)), Some(waiting)) = (&outcome, later.take()) else { break };
            let Some(solved) = self.timed(Step::Solve, &mut timings.solve, Box::pin(waiting)).await else { break };
            later = solved.later;
            outcome = self.prove(solved.solution, claim, timings).await;
        }
        outcome
    }

    /// Extracts the candidate from an answer and verifies it.
    async fn prove(
        &self,
        solution: Solution,
        claim: &Claim<'_>,
        timings: &mut Timings,
    ) -> Result<(Candidate, KeyTtl), Next> {
        let now = claim.state.clock().now(self.clock.now());
        let (rejected, ttl) = (claim.state.rejected(), self.policy.token_ttl);
        let extracting = async { self.product.candidate(&solution, &self.page, rejected, ttl, now) };
        let extracted = self.timed(Step::Extract, &mut timings.extract, Box::pin(extracting)).await;
        let failure = |stage, error| Failure { stage, error, pace: Pace::Ordinary };
        let (candidate, ttl) = extracted.map_err(|e| Next::Later(failure(Stage::Extract, e.to_string())))?;
        let ttl = KeyTtl::New(ttl);
        if candidate.token.claims().has_odd_end {
            tracing::warn!(site = %self.id, "the exp of the token is no time: it counts as absent");
        }

        let verdict = self.timed(Step::Verify, &mut timings.verify, Box::pin(self.verify(&candidate))).await;
        let failure = |error| failure(Stage::Verify, error);
        match verdict {
            Verdict::Accepted => Ok((candidate, ttl)),
            Verdict::Refused(error) => Err(Next::Source(failure(format!("the API refused a fresh token: {error}")))),
            Verdict::Blocked(error) => {
                Err(Next::Later(failure(format!("the API blocked us, which says nothing about the token: {error}"))))
            }
            Verdict::Unclear(_) if self.policy.verify == Verify::Tolerant && !claim.stands(now) => Ok((candidate, ttl)),
            Verdict::Unclear(error) => {
                Err(Next::End(failure(format!("the API said nothing clear about a fresh token: {error}"))))
            }
        }
    }

    /// The API's verdict on a candidate; an unclear one is asked for again a few times.
    async fn verify(&self, candidate: &Candidate) -> Verdict {
        if self.policy.verify == Verify::Off {
            return Verdict::Accepted;
        }
        let mut asked = 1;
        loop {
            let verdict =
                self.probe.verify(&candidate.token, &candidate.cookies, candidate.user_agent.as_deref()).await;
            match verdict {
                Verdict::Unclear(error) if asked < VERIFICATIONS => {
                    tracing::debug!(site = %self.id, %error, asked, "the API gave no clear verdict: asking again");
                    self.clock.sleep(self.jitter.pause(asked)).await;
                    asked += 1;
                }
                verdict => return verdict,
            }
        }
    }
}

impl Claim<'_> {
    /// Whether there is a token that has neither expired nor been reported as refused.
    fn stands(&self, now: Timestamp) -> bool {
        let current = self.state.snapshot().current.as_ref();
        current.is_some_and(|c| !c.has_ended(now) && !self.state.rejected().contains(c.token.fingerprint()))
    }
}

/// One failure for all sources: the stage of the last one and the errors of all.
fn summary(failures: Vec<Failure>) -> Failure {
    let pace =
        if failures.iter().any(|f| f.pace == Pace::LongestBackoff) { Pace::LongestBackoff } else { Pace::Ordinary };
    let stage = failures.last().map_or(Stage::Solve, |f| f.stage);
    let mut errors: Vec<String> = failures.into_iter().map(|f| f.error).collect();
    errors.dedup();
    Failure { stage, error: errors.join("; then "), pace }
}
