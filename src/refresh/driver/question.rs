//! Questions that only ask: whether the stored token still works, and whether a found one can be adopted.

use token_sidecar_client::wire::Trigger;

use super::{Driver, Stop};
use crate::domain::decide::{Decision, decide};
use crate::domain::extract::Candidate;
use crate::domain::inbox::Inbox;
use crate::domain::lifetime::{between, time_to_live};
use crate::domain::site::Verify;
use crate::domain::snapshot::Current;
use crate::domain::verdict::{Timings, Verdict};
use crate::refresh::attempt::Found;
use crate::refresh::commit::{Claim, Work};
use crate::refresh::observation::DecisionKind;
use crate::refresh::ports::{Probe, Store, StoreError};
use crate::refresh::site::World;

impl<W: World> Driver<W> {
    /// Answers a question that only asks: verifies the stored token, adopts it where nobody has yet, and
    /// announces it; or solves, where the API refuses it.
    pub(super) async fn question(&mut self, trigger: Trigger, inbox: Inbox, stop: &Stop) -> Result<(), StoreError> {
        let Some(current) = self.seen.snapshot.current.clone() else {
            self.site.mailbox.restore(inbox);
            return Ok(());
        };
        self.site.mailbox.restore(inbox);
        let Some(verdict) = self.verify_current(&current, stop).await? else { return Ok(()) };
        tracing::info!(site = %self.site.id, %trigger, verdict = verdict.as_str(), "the stored token was verified");
        let inbox = self.site.mailbox.take();
        if !self.still_asks(&inbox) {
            self.site.mailbox.restore(inbox);
            return Ok(());
        }
        if matches!(verdict, Verdict::Refused(_)) {
            self.refused.insert(current.token.fingerprint());
        }
        match verdict {
            Verdict::Accepted if current.refresh().is_none() => Box::pin(self.adopt(current, inbox, stop)).await,
            _ if self.seen.snapshot.backs_off(self.now()) => {
                Box::pin(self.announce(inbox, self.failed_again(), DecisionKind::Backoff, stop)).await
            }
            Verdict::Refused(_) => Box::pin(self.solve(trigger, Box::new(inbox), stop)).await,
            _ => Box::pin(self.announce(inbox, self.updated_again(), DecisionKind::Verify, stop)).await,
        }
    }

    /// Whether a question is all that is pending: not where it was answered meanwhile, or where more is wanted.
    fn still_asks(&self, inbox: &Inbox) -> bool {
        let decision = decide(&self.seen.snapshot, inbox, &self.site.policy, self.now());
        !matches!(decision, Decision::Nothing | Decision::Defer(_) | Decision::Solve(_))
    }

    /// The API's word on the stored token; `None` where the question is no longer what is pending.
    async fn verify_current(&self, current: &Current, stop: &Stop) -> Result<Option<Verdict>, StoreError> {
        if self.site.policy.verify == Verify::Off {
            return Ok(Some(Verdict::Accepted));
        }
        let cookies = self.site.store.cookies().await?;
        let user_agent = current.refresh().and_then(|r| r.user_agent.as_deref());
        let mut verdict = std::pin::pin!(self.site.probe.verify(&current.token, &cookies, user_agent));
        loop {
            tokio::select! {
                biased;
                verdict = &mut verdict => return Ok(Some(verdict)),
                () = stop.graceful.cancelled() => return Ok(None),
                () = self.site.mailbox.changed() => {
                    if !self.still_asks(&self.site.mailbox.peek()) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Makes a token that somebody else wrote ours, with the TTL it has.
    async fn adopt(&mut self, current: Current, inbox: Inbox, stop: &Stop) -> Result<(), StoreError> {
        let mut cookies = self.site.store.cookies().await.inspect_err(|_| self.site.mailbox.restore(inbox.clone()))?;
        let Some(id) = self.claim(Trigger::Bootstrap, &inbox).await? else { return Ok(()) };
        self.decided(DecisionKind::Adopt, &inbox);
        self.site.cookie.add(&current.token, &mut cookies);
        let claims = current.token.claims();
        let start = self.start(Trigger::Bootstrap);
        let token_ttl = self.site.policy.token_ttl;
        let rest = current.key_ends_at.map_or(token_ttl, |end| between(self.now(), end));
        let found = Found {
            ttl: time_to_live(claims, rest, self.now()).unwrap_or(rest),
            candidate: Candidate { token: current.token, cookies, user_agent: None },
            source: "redis".to_owned(),
            trigger: Trigger::Bootstrap,
            expires_at: claims.expires_at,
            timings: Timings::default(),
        };
        let claim = Claim { id: id.clone(), start, floor: self.floor, note: inbox.note };
        let ended = self.site.refresh(&claim, Work::Adopt(Box::new(found)), &stop.now).await;
        self.release(&id, ended).await
    }
}
