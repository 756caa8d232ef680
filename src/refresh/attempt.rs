//! One attempt at a new token: solve → extract → verify, source after source.

use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::wire::{Stage, Trigger};
use tokio::task::yield_now;

use super::observation::{Observation, Observer, Step};
use super::ports::{Chance, Clock, Probe, Source};
use super::site::{Site, World};
use super::store_time::StoreTime;
use crate::domain::extract::{self, Bare, Candidate, ExtractError, Solution};
use crate::domain::inbox::Fingerprints;
use crate::domain::lifetime::time_to_live;
use crate::domain::site::Verify;
use crate::domain::snapshot::Snapshot;
use crate::domain::verdict::{Failure, Pace, Timings, Verdict};

/// How often an answer of the API that says nothing is asked for again.
const VERIFICATIONS: u32 = 3;

/// The name under which a configured token is stored.
const BOOTSTRAP: &str = "bootstrap";

/// What an attempt starts from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    /// What brought it about.
    pub(super) trigger: Trigger,
    /// The state at the claim.
    pub(super) snapshot: &'a Snapshot,
    /// The store's clock at the claim.
    pub(super) time: StoreTime,
    /// The tokens that were reported as refused.
    pub(super) refused: &'a Fingerprints,
    /// Whether the configured token may end it: once, where the store has none and nobody forces a solve.
    pub(super) offers_bootstrap: bool,
}

/// A token that may be stored.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) candidate: Candidate,
    pub(super) source: String,
    pub(super) trigger: Trigger,
    pub(super) ttl: Duration,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) timings: Timings,
}

/// An attempt that brought nothing.
#[derive(Debug, Clone)]
pub(super) struct Missed {
    pub(super) failure: Failure,
    pub(super) source: String,
    pub(super) timings: Timings,
}

/// Whether the next source is worth trying.
enum Next {
    Source(Failure),
    Nobody(Failure),
}

impl<W: World> Site<W> {
    /// Tries one source after the other until one brings a token that may be stored.
    pub(super) async fn attempt(&self, start: &Start<'_>) -> Result<Box<Found>, Missed> {
        let mut timings = Timings::default();
        let mut failures: Vec<Failure> = Vec::new();
        let mut tried: Vec<&str> = Vec::with_capacity(self.sources.len());

        // In boxes, here and below: thousands of sites may wait for a source, and that alone needs room then.
        if let Some(found) = Box::pin(self.bootstrapped(start, &mut timings)).await {
            return Ok(found);
        }
        for source in &self.sources {
            tried.push(source.name());
            match self.try_source(source, start, &mut timings).await {
                Ok((candidate, ttl)) => {
                    let expires_at = candidate.token.claims().expires_at;
                    let source = source.name().to_owned();
                    let trigger = start.trigger;
                    return Ok(Box::new(Found { candidate, source, trigger, ttl, expires_at, timings }));
                }
                Err(Next::Source(failure)) => {
                    // However soon it failed, it is said first that it began.
                    yield_now().await;
                    tracing::info!(
                        site = %self.id, source = source.name(), stage = %failure.stage, error = %failure.error,
                        "a source brought no token",
                    );
                    failures.push(failure);
                }
                Err(Next::Nobody(failure)) => {
                    failures.push(failure);
                    break;
                }
            }
        }
        Err(Missed { failure: summary(failures), source: tried.join(","), timings })
    }

    /// The configured token, if it works.
    async fn bootstrapped(&self, start: &Start<'_>, timings: &mut Timings) -> Option<Box<Found>> {
        if !start.offers_bootstrap {
            return None;
        }
        let bare = Bare(self.bootstrap.as_ref()?.expose().to_owned());
        let solution = Solution { bare: Some(bare), ..Solution::default() };
        match self.prove(&solution, start, timings).await {
            Ok((candidate, ttl)) => {
                let expires_at = candidate.token.claims().expires_at;
                let (source, timings) = (BOOTSTRAP.to_owned(), *timings);
                let trigger = Trigger::Bootstrap;
                Some(Box::new(Found { candidate, source, trigger, ttl, expires_at, timings }))
            }
            Err(Next::Source(failure) | Next::Nobody(failure)) => {
                tracing::warn!(site = %self.id, error = %failure.error, "the configured token is not adopted");
                None
            }
        }
    }

    async fn try_source(
        &self,
        source: &W::Source,
        start: &Start<'_>,
        timings: &mut Timings,
    ) -> Result<(Candidate, Duration), Next> {
        self.observer.observe(Observation::Entered(Step::Solve));
        let began = self.clock.now();
        let answer = source.solve().await;
        let took = self.clock.now().saturating_sub(began);
        timings.solve += took;
        self.observer.observe(Observation::Timed(Step::Solve, took));
        match answer {
            Ok(solution) => Box::pin(self.prove(&solution, start, timings)).await,
            Err(error) => Err(Next::Source(Failure { stage: Stage::Solve, error: error.message, pace: error.pace })),
        }
    }

    /// Extracts the candidate of an answer and asks the API about it.
    async fn prove(
        &self,
        solution: &Solution,
        start: &Start<'_>,
        timings: &mut Timings,
    ) -> Result<(Candidate, Duration), Next> {
        self.observer.observe(Observation::Entered(Step::Extract));
        let began = self.clock.now();
        let now = start.time.now(began);
        let extracted = extract::candidate(solution, &self.cookie, &self.page, start.refused, now).and_then(|c| {
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
            Verdict::Unclear(_) if self.policy.verify == Verify::Tolerant && !start.stands(now) => Ok((candidate, ttl)),
            Verdict::Unclear(error) => {
                Err(Next::Nobody(failure(format!("the API said nothing clear about a fresh token: {error}"))))
            }
        }
    }

    /// The API's word on a candidate; asked again a few times where it says nothing.
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
                    tracing::debug!(site = %self.id, %error, asked, "the API said nothing clear: asking again");
                    self.clock.sleep(self.chance.pause(asked)).await;
                    asked += 1;
                }
                verdict => return verdict,
            }
        }
    }
}

impl Start<'_> {
    /// Whether a token stands that has not ended and that nobody has reported as refused.
    fn stands(&self, now: Timestamp) -> bool {
        self.snapshot
            .current
            .as_ref()
            .is_some_and(|c| !c.has_ended(now) && !self.refused.contains(c.token.fingerprint()))
    }
}

/// One failure for all sources: the last one's stage, every one's words.
fn summary(failures: Vec<Failure>) -> Failure {
    let pace = if failures.iter().any(|f| f.pace == Pace::Long) { Pace::Long } else { Pace::Ordinary };
    let stage = failures.last().map_or(Stage::Solve, |f| f.stage);
    let mut errors: Vec<String> = failures.into_iter().map(|f| f.error).collect();
    errors.dedup();
    Failure { stage, error: errors.join("; then "), pace }
}
