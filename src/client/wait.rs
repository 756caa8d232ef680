//! Waits: one subscription and one report for everybody who waits for the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use token_sidecar_client::wire::{Event, Fingerprint, Token, Updated};

use super::listener::Listener;
use super::{Client, ClientError, LAST_LOOK, LinkError, PACE, Report, Update};

/// A report on its way to its answer.
#[derive(Debug)]
pub(super) struct Asking {
    listener: Listener,
    report: Report,
    phase: Phase,
    /// Whether a sidecar has ever heard it: after a gap that one may be on its way back.
    was_heard: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is heard: whatever is said now would be missed.
    Deaf,
    /// An answer would be heard.
    Listening,
    /// A sidecar has heard the report.
    Asked,
}

/// What happens to whoever waits.
#[derive(Debug)]
pub(super) enum Sign {
    /// Answers are heard from here on, and nothing is said yet: the time to read the key.
    Listening,
    /// A token is announced.
    Updated(Updated),
}

impl Asking {
    pub(super) fn new(client: &Client, report: Report) -> Self {
        let channels = client.channels();
        let connector = client.inner.link.connector().clone();
        let listener = Listener::new(connector, vec![channels.updated, channels.failed]);
        Self { listener, report, phase: Phase::Deaf, was_heard: false }
    }

    /// Goes on to the next sign. Whoever gives up waiting for it can go on later.
    pub(super) async fn next(&mut self, client: &Client) -> Result<Sign, ClientError> {
        loop {
            if self.phase == Phase::Listening {
                self.say(client).await?;
                continue;
            }
            match self.listener.next().await {
                Update::Listening => {
                    self.phase = Phase::Listening;
                    return Ok(Sign::Listening);
                }
                Update::Event(Event::Updated(updated)) => return Ok(Sign::Updated(updated)),
                Update::Event(Event::Failed(failed)) => return Err(ClientError::Failed(Box::new(failed))),
                Update::Lost(LinkError::Away(_)) => self.phase = Phase::Deaf,
                Update::Lost(error) => return Err(error.into()),
            }
        }
    }

    /// Sends the report. What was announced before it is no answer to it.
    async fn say(&mut self, client: &Client) -> Result<(), ClientError> {
        self.listener.forget();
        match client.report(&self.report).await {
            Ok(_) => {
                self.was_heard = true;
                self.phase = Phase::Asked;
            }
            Err(ClientError::Redis(LinkError::Away(_))) => tokio::time::sleep(PACE).await,
            // The sidecar was there before the gap: it looks for its connection as we did.
            Err(ClientError::NobodyListens(_)) if self.was_heard => tokio::time::sleep(PACE).await,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A report that was heard. Its answer is to come.
#[derive(Debug)]
pub struct Asked {
    client: Client,
    asking: Asking,
}

impl Asked {
    pub(super) async fn begin(client: &Client, report: Report) -> Result<Self, ClientError> {
        let mut asking = Asking::new(client, report);
        if let Update::Lost(error) = asking.listener.next().await {
            return Err(error.into());
        }
        client.report(&asking.report).await?;
        (asking.was_heard, asking.phase) = (true, Phase::Asked);
        Ok(Self { client: client.clone(), asking })
    }

    /// The next token that is announced, this one's or another's; however long it takes.
    ///
    /// # Errors
    /// [`ClientError::Failed`], and [`ClientError::Redis`] where Redis refuses.
    pub async fn answer(&mut self) -> Result<Updated, ClientError> {
        loop {
            if let Sign::Updated(updated) = self.asking.next(&self.client).await? {
                return Ok(updated);
            }
        }
    }
}

/// The waits under way, by the token that they are to be rid of.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<HashMap<Option<Fingerprint>, Arc<Wait>>>);

/// One wait. Whoever has its lock carries it on; whoever comes next finds the outcome, or goes on in its place.
type Wait = tokio::sync::Mutex<Progress>;

#[derive(Debug, Default)]
struct Progress {
    asking: Option<Asking>,
    outcome: Option<Result<Token, ClientError>>,
}

/// Somebody's part in a wait.
struct Place<'a> {
    waits: &'a Waits,
    refused: Option<Fingerprint>,
    wait: Arc<Wait>,
}

impl Waits {
    fn join(&self, refused: Option<Fingerprint>) -> Place<'_> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Arc::clone(waits.entry(refused).or_default());
        Place { waits: self, refused, wait }
    }
}

impl Place<'_> {
    /// Ends the wait for whoever comes later, where it is `over`; also where nobody else has a part in it.
    fn leave(&self, over: bool) {
        let mut waits = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = waits.get(&self.refused).is_some_and(|wait| Arc::ptr_eq(wait, &self.wait));
        // One is the list's, one is ours.
        if is_ours && (over || Arc::strong_count(&self.wait) == 2) {
            waits.remove(&self.refused);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave(false);
    }
}

impl Client {
    /// Waits for a token other than the refused one, together with all who do.
    pub(super) async fn share(&self, refused: Option<Fingerprint>) -> Result<Token, ClientError> {
        let place = self.inner.waits.join(refused);
        let mut progress = place.wait.lock().await;
        if let Some(outcome) = &progress.outcome {
            return outcome.clone();
        }
        let reason = if refused.is_some() { "it was refused" } else { "there is none" };
        let report = || Report { fingerprint: refused, reason: reason.to_owned(), force: false };
        let asking = progress.asking.get_or_insert_with(|| Asking::new(self, report()));
        let outcome = self.newer(asking, refused).await;
        progress.outcome = Some(outcome.clone());
        place.leave(true);
        outcome
    }

    async fn newer(&self, asking: &mut Asking, refused: Option<Fingerprint>) -> Result<Token, ClientError> {
        loop {
            // An `updated` that names the refused token is an answer to somebody else.
            match asking.next(self).await? {
                Sign::Updated(updated) if refused.is_some_and(|r| r.to_string() == updated.fingerprint) => {}
                Sign::Updated(_) | Sign::Listening => {
                    if let Some(token) = self.read().await?.filter(|token| Some(token.fingerprint()) != refused) {
                        return Ok(token);
                    }
                }
            }
        }
    }

    /// The token that is stored, as soon as Redis is there.
    pub(super) async fn read(&self) -> Result<Option<Token>, ClientError> {
        loop {
            match self.token().await {
                Err(ClientError::Redis(LinkError::Away(_))) => tokio::time::sleep(PACE).await,
                answer => return answer,
            }
        }
    }

    /// Bounds a wait; at its end the key has the last word.
    pub(super) async fn within(
        &self,
        patience: Duration,
        refused: Option<Fingerprint>,
        waiting: impl Future<Output = Result<Token, ClientError>>,
    ) -> Result<Token, ClientError> {
        if let Ok(outcome) = tokio::time::timeout(patience, waiting).await {
            return outcome;
        }
        let last = tokio::time::timeout(LAST_LOOK, self.token()).await;
        let token = last.ok().and_then(Result::ok).flatten().filter(|token| Some(token.fingerprint()) != refused);
        token.ok_or(ClientError::TimedOut(patience))
    }
}
