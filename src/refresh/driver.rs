//! One task a site: waits for something to be pending, decides, acts, and waits again.

mod announcement;
mod claim;
mod once;
mod pulse;
mod question;
mod refusal;

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::wire::{Fingerprint, Trigger};
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

pub use self::once::Once;
pub use self::pulse::Seen;
use self::pulse::{Woken, first_look};
use super::attempt::Start;
use super::commit::{Claim, Ended, Work};
use super::observation::{DecisionKind, Observation, Observer};
use super::ports::{ClaimId, Clock, StoreError};
use super::site::{Site, World};
use crate::domain::decide::{Decision, decide};
use crate::domain::inbox::{Arrival, Fingerprints, Inbox, Outcome};
use crate::domain::snapshot::Failing;

/// Added to the rest of a lock that is followed, so that it has ended when it is looked at.
const FOLLOW_SLACK: Duration = Duration::from_millis(20);

/// Drives one site until it is stopped.
pub struct Driver<W: World> {
    site: Box<Site<W>>,
    seen: Seen,
    /// The greatest version this process has ever seen.
    floor: u64,
    /// The tokens that were reported as refused since the last refresh, whosever it was.
    refused: Fingerprints,
    /// The next tick of the schedule.
    tick: Option<Timestamp>,
    /// No announcement before this reading of the clock.
    quiet_until: Duration,
    /// The next look at the key, by the clock.
    heartbeat: Duration,
    /// A failure that the store could not note.
    unrecorded: Option<Box<Failing>>,
    /// A claim that was given up without an answer: the lock may be its.
    unanswered: Option<Box<ClaimId>>,
    /// How often in a row the store has failed a turn.
    errors: u32,
    /// What the sinks hold.
    sunk: Option<Fingerprint>,
}

/// When to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Begin nothing new.
    pub graceful: CancellationToken,
    /// Give up what is under way.
    pub now: CancellationToken,
}

impl<W: World> Driver<W> {
    fn new(site: Box<Site<W>>, seen: Seen) -> Self {
        Self {
            floor: seen.snapshot.version,
            refused: Fingerprints::default(),
            tick: None,
            quiet_until: Duration::ZERO,
            heartbeat: site.beat.after(site.clock.now()),
            unrecorded: None,
            unanswered: None,
            errors: 0,
            sunk: None,
            site,
            seen,
        }
    }

    /// Runs a site from its first state, which is looked for where there is none yet: asks the question of start-up,
    /// then serves triggers until it is stopped.
    ///
    /// All that it holds and all that it does now and then is in boxes: a site at rest keeps room for its rest alone.
    pub fn run(site: impl Into<Box<Site<W>>>, seen: Option<Box<Seen>>, stop: Stop) -> impl Future<Output = ()> + Send {
        let site = site.into();
        async move {
            let Some(mut driver) = Box::pin(Self::begun(site, seen, &stop)).await else { return };
            while !stop.graceful.is_cancelled() {
                driver.step(&stop).await;
            }
        }
    }

    async fn begun(site: Box<Site<W>>, seen: Option<Box<Seen>>, stop: &Stop) -> Option<Box<Self>> {
        site.mailbox.post(Arrival::Startup);
        let seen = first_look(&site, seen, stop).await?;
        let mut driver = Box::new(Self::new(site, *seen));
        let Seen { snapshot, read_at } = driver.seen.clone();
        driver.tick = driver.site.policy.schedule.next_after(snapshot.at);
        driver.learn(snapshot).await;
        // It may have been read a while ago, for thousands of sites at once.
        driver.seen.read_at = read_at;
        Some(driver)
    }

    /// One turn; where the store fails it, a pause that grows until a turn succeeds: a store may answer
    /// some questions and fail others.
    async fn step(&mut self, stop: &Stop) {
        match self.turn(stop).await {
            Ok(()) => self.errors = 0,
            Err(error) => Box::pin(self.endure(error, stop)).await,
        }
    }

    /// One decision and what follows from it.
    async fn turn(&mut self, stop: &Stop) -> Result<(), StoreError> {
        if self.site.mailbox.take_hint(self.seen.snapshot.version) {
            Box::pin(self.look()).await?;
        } else if self.clock_now() >= self.heartbeat {
            Box::pin(self.beat()).await?;
        }
        if self.is_due() {
            Box::pin(self.post_what_is_due()).await?;
        }
        let joined = self.site.mailbox.take_joined();
        if joined > 0 {
            self.site.observer.observe(Observation::Decided { decision: DecisionKind::Join, folded: joined });
        }
        let inbox = Box::new(self.site.mailbox.take());
        let decision = decide(&self.seen.snapshot, &inbox, &self.site.policy, self.now());
        self.note_refused(&inbox);
        match decision {
            Decision::Nothing => {
                self.decided(DecisionKind::Nothing, &inbox);
                Box::pin(self.wait(stop, None)).await;
            }
            Decision::Defer(due) => {
                self.site.mailbox.restore(*inbox);
                Box::pin(self.wait(stop, Some(due))).await;
            }
            Decision::Follow(rest) => Box::pin(self.follow(rest, *inbox, stop)).await?,
            Decision::Backoff => {
                Box::pin(self.announce(*inbox, self.failed_again(), DecisionKind::Backoff, stop)).await?
            }
            Decision::Repeat => {
                Box::pin(self.announce(*inbox, self.updated_again(), DecisionKind::Repeat, stop)).await?
            }
            Decision::Verify(trigger) => Box::pin(self.question(trigger, *inbox, stop)).await?,
            Decision::Solve(trigger) => Box::pin(self.solve(trigger, inbox, stop)).await?,
        }
        Ok(())
    }

    /// Claims and runs a refresh, unless the state has changed meanwhile.
    async fn solve(&mut self, trigger: Trigger, inbox: Box<Inbox>, stop: &Stop) -> Result<(), StoreError> {
        let Some(id) = Box::pin(self.claim(trigger, &inbox)).await? else { return Ok(()) };
        self.decided(DecisionKind::Solve, &inbox);
        if (inbox.bare || inbox.forced.is_some()) && inbox.reported.is_empty() {
            // Whoever asks without naming a token has nothing against any: what others said before was answered.
            self.refused = Fingerprints::default();
        }
        let offers = inbox.forced.is_none() && self.seen.snapshot.current.is_none();
        let (folded, note) = (inbox.folded, inbox.note.clone());
        self.site.mailbox.restore(inbox.counted());
        let start = Start { offers_bootstrap: offers, ..self.start(trigger) };
        let claim = Claim { id: id.clone(), start, floor: self.floor, note };
        let begun = async {
            // By then a connection next door stands, and the request is on its way.
            yield_now().await;
            tracing::info!(
                site = %self.site.id, %trigger, folded,
                reason = claim.note.reason.as_deref().unwrap_or_default(),
                source = claim.note.source.as_deref().unwrap_or_default(),
                "refresh begins",
            );
            pending::<Infallible>().await
        };
        // Said once it is under way: the solver need not wait for a line to be written.
        let ended = tokio::select! {
            biased;
            ended = Box::pin(self.site.refresh(&claim, Work::Attempt, &stop.now)) => ended,
            never = begun => match never {},
        };
        if offers {
            self.site.bootstrap = None;
        }
        Box::pin(self.release(&id, ended)).await
    }

    /// Waits for the outcome of whoever holds the lock.
    async fn follow(&mut self, rest: Duration, inbox: Inbox, stop: &Stop) -> Result<(), StoreError> {
        if let Some(claim) = self.unanswered.take() {
            // It may have arrived after all, and nobody works under it.
            self.site.mailbox.restore(inbox);
            self.site.mailbox.hint();
            self.site.vacate(&claim).await;
            return Ok(());
        }
        self.decided(DecisionKind::Follow, &inbox);
        let inbox = inbox.counted();
        let before = (self.seen.snapshot.version, self.seen.snapshot.attempts());
        let until = self.clock_now() + rest.min(self.site.policy.lock_ttl) + FOLLOW_SLACK;
        loop {
            let left = until.saturating_sub(self.clock_now());
            match self.sleep(stop, left).await {
                Woken::Stopped => return Ok(()),
                Woken::Changed if !self.site.mailbox.take_hint(before.0) => {}
                Woken::Changed | Woken::Due => break,
            }
        }
        self.look().await.inspect_err(|_| self.site.mailbox.restore(inbox.clone()))?;
        let snapshot = &self.seen.snapshot;
        let mut inbox = inbox;
        if snapshot.version > before.0
            && let Some(fingerprint) = snapshot.fingerprint()
        {
            inbox.settle(Outcome::Refreshed(fingerprint));
        } else if snapshot.attempts() > before.1 {
            inbox.settle(Outcome::Failed);
        }
        self.site.mailbox.restore(inbox);
        Ok(())
    }

    /// Takes in how a refresh ended.
    async fn conclude(&mut self, ended: Ended) -> Result<(), StoreError> {
        match ended {
            Ended::Refreshed(snapshot) => {
                self.learn(*snapshot).await;
                tracing::info!(
                    site = %self.site.id, version = self.seen.snapshot.version,
                    fingerprint = self.seen.snapshot.fingerprint().map(tracing::field::display),
                    "token updated",
                );
            }
            Ended::Superseded(snapshot) => {
                tracing::info!(site = %self.site.id, "another replica was faster: its outcome counts");
                self.unrecorded = None;
                self.learn(*snapshot).await;
            }
            Ended::Failed(snapshot) => {
                self.unrecorded = None;
                self.learn(*snapshot).await;
            }
            Ended::Unrecorded(failing) => self.tell_unrecorded(failing).await?,
            Ended::Abandoned => {}
        }
        Ok(())
    }

    /// Remembers which reports name the token that stands: it is no candidate any more.
    fn note_refused(&mut self, inbox: &Inbox) {
        if let Some(current) = self.seen.snapshot.fingerprint()
            && inbox.reported.contains(current)
        {
            self.refused.insert(current);
        }
    }

    fn start(&self, trigger: Trigger) -> Start<'_> {
        let offers_bootstrap = false;
        Start {
            trigger,
            snapshot: &self.seen.snapshot,
            time: self.seen.time(),
            refused: &self.refused,
            offers_bootstrap,
        }
    }

    fn decided(&self, decision: DecisionKind, inbox: &Inbox) {
        if inbox.folded > 0 {
            self.site.observer.observe(Observation::Decided { decision, folded: inbox.folded });
        }
    }
}
