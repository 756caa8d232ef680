//! Implicit triggers: the stored token is verified first, and stays if it works.

use std::sync::atomic::AtomicBool;

use super::attempt::Found;
use super::commit::Claim;
use super::driver::{Driver, Stop};
use super::observation::DecisionKind;
use super::ports::{Clock as _, KeyTtl, Probe as _, StoreError};
use super::site::{Ports, SiteContext};
use crate::domain::decide::{Decision, decide};
use crate::domain::extract::Candidate;
use crate::domain::inbox::Inbox;
use crate::domain::lifetime::{between, time_to_live};
use crate::domain::site::Verify;
use crate::domain::site_state::SiteState;
use crate::domain::snapshot::Current;
use crate::domain::verdict::{Timings, Verdict};
use token_sidecar_client::wire::Trigger;

impl<P: Ports> Driver<P> {
    /// Verifies the stored token. One that works is announced, and adopted where another program wrote it; one that the
    /// API refuses is replaced.
    pub(super) async fn verify(&mut self, trigger: Trigger, stop: &Stop) -> Result<(), StoreError> {
        let Some(current) = self.state.snapshot().current.clone() else {
            self.state.expire();
            return Ok(());
        };
        // What it leads to is announced at once: the API is asked once.
        self.pause_until(self.announce_after, stop).await;
        let Some(verdict) = self.verify_current(&current, stop).await? else { return Ok(()) };
        tracing::info!(site = %self.site.id, %trigger, verdict = verdict.into_str(), "the stored token was verified");
        self.take_in();
        if !only_asks(&self.site, &self.state, &self.inbox) {
            return Ok(());
        }
        if matches!(verdict, Verdict::Refused(_)) {
            self.state.reject_current();
        }
        match verdict {
            Verdict::Accepted if current.refresh().is_none() => self.adopt(current, stop).await,
            _ if self.state.snapshot().backs_off(self.now()) => {
                self.announce(self.failed_again(), DecisionKind::Backoff, stop).await
            }
            Verdict::Refused(_) => self.solve(trigger, stop).await,
            _ => self.announce(self.updated_again(), DecisionKind::Verify, stop).await,
        }
    }

    /// The API's verdict on the stored token; `None` once it no longer matters.
    async fn verify_current(&mut self, current: &Current, stop: &Stop) -> Result<Option<Verdict>, StoreError> {
        if let Some(fault) = self.site.product.fault(&current.cookies) {
            return Ok(Some(Verdict::Refused(fault)));
        }
        if self.site.policy.verify == Verify::Off {
            return Ok(Some(Verdict::Accepted));
        }
        let user_agent = current.refresh().and_then(|r| r.user_agent.as_deref());
        let Self { site, state, inbox, .. } = self;
        let mut verdict = Box::pin(site.probe.verify(&current.token, &current.cookies, user_agent));
        loop {
            tokio::select! {
                biased;
                verdict = &mut verdict => return Ok(Some(verdict)),
                () = stop.graceful.cancelled() => return Ok(None),
                () = site.mailbox.changed() => {
                    state.take_in(site.mailbox.take(), inbox);
                    if !only_asks(site, state, inbox) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Stores a token that another program wrote as the sidecar's own, with the TTL it has.
    async fn adopt(&mut self, current: Current, stop: &Stop) -> Result<(), StoreError> {
        let Some(id) = self.claim(Trigger::Bootstrap).await? else { return Ok(()) };
        self.decided(DecisionKind::Adopt);
        let cookies = self.site.product.completed(&current.token, current.cookies);
        let claims = current.token.claims();
        let token_ttl = self.site.policy.token_ttl;
        let left = current.key_ends_at.map_or(token_ttl, |end| between(self.now(), end));
        let found = Found {
            ttl: KeyTtl::Kept(time_to_live(claims, left, self.now()).unwrap_or(left)),
            candidate: Candidate { token: current.token, cookies, user_agent: None },
            source: "redis".to_owned(),
            proxy: None,
            trigger: Trigger::Bootstrap,
            timings: Timings::default(),
        };
        let note = self.inbox.pending.note.clone();
        let claim = Claim {
            id,
            trigger: Trigger::Bootstrap,
            note,
            state: &self.state,
            offers_bootstrap: false,
            is_lost: AtomicBool::new(false),
        };
        let found = Some(Box::new(found));
        let outcome = Box::pin(self.site.refresh(&claim, found, &mut self.inbox, &stop.now)).await;
        let id = claim.id;
        self.conclude(&id, outcome).await
    }
}

/// Whether a verdict on the stored token still answers all that is pending. It does not where an outcome has answered
/// it meanwhile, or a trigger asks for a new token.
fn only_asks<P: Ports>(site: &SiteContext<P>, state: &SiteState, inbox: &Inbox) -> bool {
    let now = state.clock().now(site.clock.now());
    let decision = decide(state.snapshot(), &inbox.pending, &site.policy, now);
    !matches!(decision, Decision::Nothing | Decision::Defer(_) | Decision::Solve(_))
}
