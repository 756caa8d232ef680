//! The store as one replica sees it: the keys behind a network that can fail before and after a step.

use token_sidecar::domain::snapshot::Snapshot;
use token_sidecar::refresh::ports::{
    AttemptEnd, Checked, ClaimId, Heartbeat, Lease, Record, Recorded, Store, StoreError,
};
use token_sidecar_client::wire::Event;

use crate::keys::{Keys, TOKEN_KEY};
use crate::world::Shared;

/// A call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Look,
    Heartbeat,
    Claim,
    Renew,
    Commit,
    Fail,
    Announce,
    Vacate,
    Publish,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not arrive.
    Away,
    /// It is done, and the answer does not arrive.
    AnswerLost,
    /// The store refuses.
    Refused,
}

/// Which calls go wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) replica: Option<usize>,
    pub(crate) op: Option<Op>,
    pub(crate) fault: Fault,
    /// How many of them; `None` for all until the rule is lifted.
    pub(crate) left: Option<u32>,
}

pub(crate) struct ModelStore {
    pub(crate) shared: Shared,
    pub(crate) replica: usize,
}

impl ModelStore {
    async fn call<T>(&self, op: Op, script: impl FnOnce(&mut Keys, i64) -> T + Send) -> Result<T, StoreError> {
        tokio::time::sleep(self.shared.latency(self.replica)).await;
        let at = self.shared.elapsed();
        let now = self.shared.store_now();
        let answer = {
            let mut state = self.shared.state();
            state.calls.push((at, self.replica, op));
            match state.fault(self.replica, op) {
                Some(Fault::Away) => Err(StoreError::Away("connection refused".to_owned())),
                Some(Fault::Refused) => Err(StoreError::Refused("NOPERM".to_owned())),
                fault => {
                    let done = script(&mut state.keys, now);
                    state.deliver(at);
                    match fault {
                        Some(_) => Err(StoreError::Away("timed out".to_owned())),
                        None => Ok(done),
                    }
                }
            }
        };
        self.shared.ring();
        tokio::time::sleep(self.shared.latency(self.replica)).await;
        answer
    }
}

impl Store for ModelStore {
    async fn look(&self) -> Result<Snapshot, StoreError> {
        self.call(Op::Look, Keys::look).await
    }

    async fn heartbeat(&self) -> Result<Heartbeat, StoreError> {
        self.call(Op::Heartbeat, Keys::heartbeat).await
    }

    async fn claim(&self, etag: &str, claim: &ClaimId) -> Result<Checked, StoreError> {
        self.call(Op::Claim, |keys, now| keys.claim(now, etag, claim)).await
    }

    async fn renew(&self, claim: &ClaimId, version_at_claim: u64) -> Result<Lease, StoreError> {
        self.call(Op::Renew, |keys, now| keys.renew(now, claim, version_at_claim)).await
    }

    async fn record(&self, record: &Record) -> Result<Recorded, StoreError> {
        let op = match record.end {
            AttemptEnd::Token(_) => Op::Commit,
            AttemptEnd::Failure(_) => Op::Fail,
        };
        self.call(op, |keys, now| keys.record(now, record)).await
    }

    async fn announce(&self, etag: &str, event: &Event) -> Result<Checked, StoreError> {
        self.call(Op::Announce, |keys, now| keys.announce(now, etag, event)).await
    }

    async fn vacate(&self, claim: &ClaimId) -> Result<(), StoreError> {
        self.call(Op::Vacate, |keys, now| keys.vacate(now, claim)).await
    }

    async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        self.call(Op::Publish, |keys, _| keys.publish(event)).await
    }

    fn token_key(&self) -> &str {
        TOKEN_KEY
    }
}
