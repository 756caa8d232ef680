//! The store as one replica sees it: the real adapter, behind a network that can fail before and after a step.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar::domain::snapshot::Snapshot;
use token_sidecar::redis::RedisStore;
use token_sidecar::refresh::ports::{
    AttemptEnd, Checked, ClaimId, Heartbeat, Lease, Record, Recorded, Store, StoreError,
};
use token_sidecar_client::redis::{Connector, Dial, Link};
use token_sidecar_client::wire::{Event, KeyNames, SiteId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::keys::{COOKIES, TOKEN};
use crate::reply::{Protocol, Reply, take_command};
use crate::world::{SITE, Shared, spawn};

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
    shared: Shared,
    replica: usize,
    store: RedisStore,
}

impl ModelStore {
    pub(crate) fn new(shared: Shared, replica: usize, lock_ttl: Duration) -> Self {
        let link = Arc::new(Link::new(Connector::over(dial(shared.clone()))));
        let keys = KeyNames { token: TOKEN.to_owned(), cookies: COOKIES.to_owned() };
        let store = RedisStore::new(link, SiteId::parse(SITE).unwrap(), keys, lock_ttl, format!("replica-{replica}"));
        Self { shared, replica, store }
    }

    async fn call<T>(&self, op: Op, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::time::sleep(self.shared.latency(self.replica)).await;
        let fault = {
            let at = self.shared.elapsed();
            let mut state = self.shared.state();
            state.calls.push((at, self.replica, op));
            state.fault(self.replica, op)
        };
        let answer = match fault {
            Some(Fault::Away) => Err(StoreError::Away("connection refused".to_owned())),
            Some(Fault::Refused) => Err(StoreError::Refused("NOPERM".to_owned())),
            Some(Fault::AnswerLost) => answer.await.and(Err(StoreError::Away("timed out".to_owned()))),
            None => answer.await,
        };
        self.shared.ring();
        tokio::time::sleep(self.shared.latency(self.replica)).await;
        answer
    }
}

/// Connections that take no time: [`ModelStore::call`] adds the latency.
fn dial(shared: Shared) -> Dial {
    Dial::new(move || {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        spawn(serve(shared.clone(), theirs));
        std::future::ready(Ok(ours))
    })
}

async fn serve(shared: Shared, mut stream: DuplexStream) {
    let mut received = Vec::new();
    while stream.read_buf(&mut received).await.is_ok_and(|read| read > 0) {
        let mut answers = Vec::new();
        while let Some(command) = take_command(&mut received) {
            let reply = match command[0].as_slice() {
                b"HELLO" => Reply::Array(Vec::new()),
                b"CLIENT" => Reply::ok(),
                _ => shared.execute(&command),
            };
            reply.write(Protocol::Resp3, &mut answers);
        }
        if stream.write_all(&answers).await.is_err() {
            return;
        }
    }
}

impl Store for ModelStore {
    async fn look(&self) -> Result<Snapshot, StoreError> {
        self.call(Op::Look, self.store.look()).await
    }

    async fn heartbeat(&self) -> Result<Heartbeat, StoreError> {
        self.call(Op::Heartbeat, self.store.heartbeat()).await
    }

    async fn claim(&self, etag: &str, claim: &ClaimId) -> Result<Checked<Timestamp>, StoreError> {
        self.call(Op::Claim, self.store.claim(etag, claim)).await
    }

    async fn renew(&self, claim: &ClaimId, seen: &Snapshot) -> Result<Lease, StoreError> {
        self.call(Op::Renew, self.store.renew(claim, seen)).await
    }

    async fn record(&self, record: &Record) -> Result<Recorded, StoreError> {
        let op = match record.end {
            AttemptEnd::Token(_) => Op::Commit,
            AttemptEnd::Failure(_) => Op::Fail,
        };
        self.call(op, self.store.record(record)).await
    }

    async fn announce(&self, etag: &str, event: &Event) -> Result<Checked<Snapshot>, StoreError> {
        self.call(Op::Announce, self.store.announce(etag, event)).await
    }

    async fn vacate(&self, claim: &ClaimId) -> Result<(), StoreError> {
        self.call(Op::Vacate, self.store.vacate(claim)).await
    }

    async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        self.call(Op::Publish, self.store.publish(event)).await
    }

    fn token_key(&self) -> &str {
        self.store.token_key()
    }
}
