//! One attempt to get a new token: solve → extract → verify, source after source.

use std::time::Duration;

use jiff::Timestamp;

use super::commit::Claim;
use super::observation::{Observation, Observer, Step};
use super::ports::{Clock, Jitter, Probe, Source};
use super::site::{Ports, SiteContext};
use crate::domain::extract::{self, Bare, Candidate, ExtractError, Solution};
use crate::domain::lifetime::time_to_live;
use crate::domain::site::Verify;
use crate::domain::verdict::{Failure, Pace, Timings, Verdict};
use token_sidecar_client::wire::{Stage, Trigger};

/// How often a candidate is verified while the API's verdict is unclear.
const VERIFICATIONS: u32 = 3;

/// The source name under which a configured token is stored.
const BOOTSTRAP: &str = "bootstrap";

#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) candidate: Candidate,
    pub(super) source: String,
    pub(super) trigger: Trigger,
    pub(super) ttl: Duration,
    pub(super) expires_at: Option<Timestamp>,
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
    /// Try the next source.
    Source(Failure),
    /// End the attempt: another source would fail in the same way.
    End(Failure),
}

impl<P: Ports> SiteContext<P> {
    /// Tries the sources in order until one returns a token that may be stored.
    pub(super) async fn attempt(&self, claim: &Claim<'_>) -> Result<Box<Found>, AttemptError> {
        let mut timings = Timings::default();
        let mut failures: Vec<Failure> = Vec::new();
        let mut tried: Vec<&str> = Vec::with_capacity(self.sources.len());

        if let Some(found) = self.bootstrapped(claim, &mut timings).await {
            return Ok(found);
        }
        for source in &self.sources {
            tried.push(source.name());
            match self.try_source(source, claim, &mut timings).await {
                Ok((candidate, ttl)) => {
                    let expires_at = candidate.token.claims().expires_at;
                    let source = source.name().to_owned();
                    let trigger = claim.trigger;
                    return Ok(Box::new(Found { candidate, source, trigger, ttl, expires_at, timings }));
                }
                Err(Next::Source(failure)) => {
                    tracing::info!(
                        site = %self.id, source = source.name(), stage = %failure.stage, error = %failure.error,
                        "a source brought no token",
                    );
                    failures.push(failure);
                }
                Err(Next::End(failure)) => {
                    failures.push(failure);
                    break;
                }
            }
        }
        Err(AttemptError { failure: summary(failures), source: tried.join(","), timings })
    }

    /// The configured token, if it works.
    async fn bootstrapped(&self, claim: &Claim<'_>, timings: &mut Timings) -> Option<Box<Found>> {
        if !claim.offers_bootstrap {
            return None;
        }
        let bare = Bare(self.bootstrap.as_ref()?.expose().to_owned());
        let solution = Solution { bare: Some(bare), ..Solution::default() };
        match Box::pin(self.prove(&solution, claim, timings)).await {
            Ok((candidate, ttl)) => {
                let expires_at = candidate.token.claims().expires_at;
                let (source, timings) = (BOOTSTRAP.to_owned(), *timings);
                let trigger = Trigger::Bootstrap;
                Some(Box::new(Found { candidate, source, trigger, ttl, expires_at, timings }))
            }
            Err(Next::Source(failure) | Next::End(failure)) => {
                tracing::warn!(site = %self.id, error = %failure.error, "the configured token is not adopted");
                None
            }
        }
    }

    async fn try_source(
        &self,
        source: &P::Source,
        claim: &Claim<'_>,
        timings: &mut Timings,
    ) -> Result<(Candidate, Duration), Next> {
        self.observer.observe(Observation::Entered(Step::Solve));
        let began = self.clock.now();
        let answer = source.solve().await;
        let took = self.clock.now().saturating_sub(began);
        timings.solve += took;
        self.observer.observe(Observation::Timed(Step::Solve, took));
        match answer {
            Ok(solution) => Box::pin(self.prove(&solution, claim, timings)).await,
            Err(error) => Err(Next::Source(Failure { stage: Stage::Solve, error: error.message, pace: error.pace })),
        }
    }

    /// Extracts the candidate from an answer and verifies it.
    async fn prove(
        &self,
        solution: &Solution,
        claim: &Claim<'_>,
        timings: &mut Timings,
    ) -> Result<(Candidate, Duration), Next> {
        self.observer.observe(Observation::Entered(Step::Extract));
        let began = self.clock.now();
        let now = claim.state.clock().now(began);
        let extracted =
            extract::candidate(solution, &self.cookie, &self.page, claim.state.rejected(), now).and_then(|c| {
                let ttl = time_to_live(c.token.claims(), self.policy.token_ttl, now).ok_or(ExtractError::Expired)?;
                Ok((c, ttl))
            });
        let took = self.clock.now().saturating_sub(began);
        timings.extract += took;
        self.observer.observe(Observation::Timed(Step::Extract, took));
        let (candidate, ttl) = extracted.map_err(|error| {
            Next::Source(Failure { stage: Stage::Extract, error: error.to_string(), pace: Pace::Ordinary })
        })?;

        self.observer.observe(Observation::Entered(Step::Verify));
        let began = self.clock.now();
        let verdict = self.verify(&candidate).await;
        let took = self.clock.now().saturating_sub(began);
        timings.verify += took;
        self.observer.observe(Observation::Timed(Step::Verify, took));
        let failure = |error| Failure { stage: Stage::Verify, error, pace: Pace::Ordinary };
        match verdict {
            Verdict::Accepted => Ok((candidate, ttl)),
            Verdict::Refused(error) => Err(Next::Source(failure(format!("the API refused a fresh token: {error}")))),
            Verdict::Blocked(error) => {
                Err(Next::Source(failure(format!("the API blocked us, which says nothing about the token: {error}"))))
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
    let pace = if failures.iter().any(|f| f.pace == Pace::Long) { Pace::Long } else { Pace::Ordinary };
    let stage = failures.last().map_or(Stage::Solve, |f| f.stage);
    let mut errors: Vec<String> = failures.into_iter().map(|f| f.error).collect();
    errors.dedup();
    Failure { stage, error: errors.join("; then "), pace }
}
