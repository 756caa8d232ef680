//! A claim is a lease: it is renewed while the work under it runs.

use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;

use tokio_util::sync::CancellationToken;

use super::commit::Claim;
use super::observation::{Observation, Observer};
use super::ports::{ClaimId, Clock, Lease, Store, StoreError};
use super::site::{Ports, SiteContext};

impl<P: Ports> SiteContext<P> {
    /// Frees a lock without an outcome; where that fails, the lock expires.
    pub(super) async fn vacate(&self, claim: &ClaimId) {
        if let Err(error) = self.store.vacate(claim).await {
            tracing::warn!(site = %self.id, %error, "failed to free the lock: it ends by itself");
        }
    }

    async fn renew(&self, claim: &Claim<'_>) -> Result<Lease, StoreError> {
        let lease = self.store.renew(&claim.id, claim.state.snapshot()).await?;
        // For good, though the lock may be taken again: another replica was at work meanwhile.
        claim.is_lost.fetch_or(lease == Lease::Lost, Relaxed);
        Ok(lease)
    }

    /// Whether another replica has been at work since the claim, as far as Redis answers.
    pub(super) async fn has_lost(&self, claim: &Claim<'_>) -> bool {
        if let Err(error) = self.renew(claim).await {
            tracing::warn!(site = %self.id, %error, "failed to renew the lock");
        }
        claim.is_lost.load(Relaxed)
    }

    /// Runs the work while renewing the lease; `None` where it is abandoned. A lost lease does not end a solve, which
    /// cannot be cancelled, and the commit checks the version; but no other solve begins.
    pub(super) async fn under_lease<T>(
        &self,
        claim: &Claim<'_>,
        work: impl Future<Output = T>,
        abandon: &CancellationToken,
    ) -> Option<T> {
        let keeper = async {
            let mut held = Lease::Held;
            loop {
                self.clock.sleep(self.policy.lock_ttl / 3).await;
                match self.renew(claim).await {
                    Ok(lease) => {
                        if held == Lease::Held && lease == Lease::Lost {
                            tracing::warn!(site = %self.id, "the lock was lost; the solve goes on, and the commit checks the version");
                            self.observer.observe(Observation::LeaseLost);
                        }
                        held = lease;
                    }
                    Err(error) => tracing::warn!(site = %self.id, %error, "failed to renew the lock"),
                }
            }
        };
        let (work, keeper) = (pin!(work), pin!(keeper));
        tokio::select! {
            biased;
            done = work => Some(done),
            () = abandon.cancelled() => None,
            () = keeper => None,
        }
    }
}
