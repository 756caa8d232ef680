//! Waits for a token: one subscription and one report for all callers that wait for the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::RETRY_PAUSE;
use crate::error::ClientError;
use crate::redis::LinkError;
use crate::site::Site;
use crate::updates::{Update, Updates};
use crate::wire::{Event, Fingerprint, Report, Token, Updated, UpdatedCause};

/// How long the last read of the key may take once a wait has timed out.
const LAST_READ_TIMEOUT: Duration = Duration::from_secs(1);

/// A report that a sidecar has received and whose outcome is pending.
#[derive(Debug)]
pub struct PendingReport {
    site: Site,
    exchange: Exchange,
}

impl PendingReport {
    pub(crate) async fn send(site: Site, report: Report) -> Result<Self, ClientError> {
        let mut exchange = Exchange::new(&site, report);
        if let Update::Lost(error) = exchange.updates.next().await {
            return Err(error.into());
        }
        exchange.updates.discard_unread();
        site.report(&exchange.report).await?;
        (exchange.was_received, exchange.phase) = (true, Phase::Reported);
        Ok(Self { site, exchange })
    }

    /// The next token that is announced and may answer this report, be it for another one; however long it takes.
    ///
    /// # Errors
    /// [`ClientError::Failed`], and [`ClientError::Redis`] where Redis refuses.
    pub async fn outcome(&mut self) -> Result<Updated, ClientError> {
        loop {
            if let Step::Updated(updated) = self.exchange.next(&self.site).await? {
                return Ok(updated);
            }
        }
    }
}

/// A report and the subscription that its outcome comes by.
#[derive(Debug)]
struct Exchange {
    updates: Updates,
    report: Report,
    phase: Phase,
    /// Whether a sidecar has ever received the report: after a gap that sidecar may be about to subscribe again.
    was_received: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Unsubscribed,
    Subscribed,
    Reported,
}

#[derive(Debug)]
enum Step {
    /// Subscribed, and nothing reported yet: the time to read the key.
    Subscribed,
    Updated(Updated),
}

impl Exchange {
    fn new(site: &Site, report: Report) -> Self {
        Self { updates: site.updates(), report, phase: Phase::Unsubscribed, was_received: false }
    }

    /// The next step. May be cancelled and called again.
    async fn next(&mut self, site: &Site) -> Result<Step, ClientError> {
        loop {
            if self.phase == Phase::Subscribed {
                self.report(site).await?;
                continue;
            }
            match self.updates.next().await {
                Update::Subscribed => {
                    self.phase = Phase::Subscribed;
                    return Ok(Step::Subscribed);
                }
                Update::Event(Event::Updated(updated)) if self.is_answered_by(&updated) => {
                    return Ok(Step::Updated(updated));
                }
                Update::Event(Event::Updated(_)) => {}
                Update::Event(Event::Failed(failed)) => return Err(ClientError::Failed(Box::new(failed))),
                Update::Lost(LinkError::Away(_)) => self.phase = Phase::Unsubscribed,
                Update::Lost(error) => return Err(error.into()),
            }
        }
    }

    /// What names the refused token answers another report, as does a token of before where a new one is forced.
    fn is_answered_by(&self, updated: &Updated) -> bool {
        let is_refused = self.report.fingerprint.is_some_and(|refused| refused.to_string() == updated.fingerprint);
        let is_of_before = self.report.force && updated.cause == UpdatedCause::Repeated;
        !(is_refused || is_of_before)
    }

    /// Sends the report. Earlier announcements do not answer it.
    async fn report(&mut self, site: &Site) -> Result<(), ClientError> {
        self.updates.discard_unread();
        match site.report(&self.report).await {
            Ok(_) => {
                self.was_received = true;
                self.phase = Phase::Reported;
            }
            Err(ClientError::Redis(LinkError::Away(_))) => tokio::time::sleep(RETRY_PAUSE).await,
            // The sidecar was there before the gap, and reconnects as this client did.
            Err(ClientError::NoSidecar(_)) if self.was_received => tokio::time::sleep(RETRY_PAUSE).await,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The waits under way, by the refused token that is to be replaced.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<HashMap<Option<Fingerprint>, Arc<Wait>>>);

/// One wait. The caller that holds its lock runs it; the next one finds the outcome, or continues it.
type Wait = tokio::sync::Mutex<Progress>;

#[derive(Debug, Default)]
struct Progress {
    exchange: Option<Exchange>,
    outcome: Option<Result<Token, ClientError>>,
}

/// The part of one caller in a wait.
struct Participation<'a> {
    waits: &'a Waits,
    refused: Option<Fingerprint>,
    wait: Arc<Wait>,
}

impl Waits {
    fn join(&self, refused: Option<Fingerprint>) -> Participation<'_> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Arc::clone(waits.entry(refused).or_default());
        Participation { waits: self, refused, wait }
    }

    /// Waits for a token other than the refused one, together with all callers that do.
    pub(crate) async fn share(&self, site: &Site, refused: Option<Fingerprint>) -> Result<Token, ClientError> {
        let participation = self.join(refused);
        let mut progress = participation.wait.lock().await;
        if let Some(outcome) = &progress.outcome {
            return outcome.clone();
        }
        let exchange = progress.exchange.get_or_insert_with(|| {
            let reason = if refused.is_some() { "it was refused" } else { "there is none" };
            let report = Report { fingerprint: refused, reason: Some(reason.to_owned()), ..Report::default() };
            Exchange::new(site, report)
        });
        let outcome = newer(site, exchange, refused).await;
        progress.outcome = Some(outcome.clone());
        participation.leave(true);
        outcome
    }
}

impl Participation<'_> {
    /// Removes the wait where it `is_over`, or where no other caller takes part: later callers begin a new one.
    fn leave(&self, is_over: bool) {
        let mut waits = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_listed = waits.get(&self.refused).is_some_and(|wait| Arc::ptr_eq(wait, &self.wait));
        // One reference is the list's, one is ours.
        if is_listed && (is_over || Arc::strong_count(&self.wait) == 2) {
            waits.remove(&self.refused);
        }
    }
}

impl Drop for Participation<'_> {
    fn drop(&mut self) {
        self.leave(false);
    }
}

/// The token that is stored, as soon as Redis can be reached.
pub(crate) async fn token_once_redis_is_there(site: &Site) -> Result<Option<Token>, ClientError> {
    loop {
        match site.token().await {
            Err(LinkError::Away(_)) => tokio::time::sleep(RETRY_PAUSE).await,
            answer => return Ok(answer?),
        }
    }
}

async fn newer(site: &Site, exchange: &mut Exchange, refused: Option<Fingerprint>) -> Result<Token, ClientError> {
    loop {
        exchange.next(site).await?;
        let token = token_once_redis_is_there(site).await?;
        if let Some(token) = token.filter(|token| Some(token.fingerprint()) != refused) {
            return Ok(token);
        }
    }
}

/// Bounds a wait. When the time is over, the key is read once more: the update may have been missed.
pub(crate) async fn within(
    site: &Site,
    timeout: Duration,
    refused: Option<Fingerprint>,
    waiting: impl Future<Output = Result<Token, ClientError>>,
) -> Result<Token, ClientError> {
    if let Ok(outcome) = tokio::time::timeout(timeout, waiting).await {
        return outcome;
    }
    let last = tokio::time::timeout(LAST_READ_TIMEOUT, site.token()).await;
    let token = last.ok().and_then(Result::ok).flatten().filter(|token| Some(token.fingerprint()) != refused);
    token.ok_or(ClientError::TimedOut(timeout))
}
