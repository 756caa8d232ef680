//! The subscription to the channels of all sites, on one connection that is opened again when it is lost.
//!
//! A connection may be open and deliver nothing. So a canary is published at intervals on the connection for commands, and
//! must be received here in time.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use token_sidecar_client::redis::{Link, LinkError};
use token_sidecar_client::wire::SiteId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::push_handler::{Incoming, PushHandler};
use crate::domain::pending::Arrival;
use crate::refresh::mailbox::Mailbox;
use crate::refresh::ports::{Clock, Jitter};
use crate::status::SubscriptionObserver;

/// The longest time between two canaries.
pub const CANARY_INTERVAL: Duration = Duration::from_secs(12);
/// How long a canary may take while no other message is received.
pub const CANARY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many times as long while other messages are received: many may be queued before the canary.
const CANARY_TIMEOUTS: u32 = 4;
/// How long it may take to subscribe to all channels.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Subscription<C, H, O> {
    link: Arc<Link>,
    clock: C,
    jitter: H,
    handler: Arc<PushHandler<O>>,
    canary_channel: String,
    instance: String,
    anew: Arc<Notify>,
}

/// How a connection ends that is not lost.
enum End {
    Stopped,
    /// Another one was asked for.
    Anew,
}

/// The connection of the subscription.
struct Open {
    connection: MultiplexedConnection,
    incoming: Arc<Incoming>,
    /// Cancelled when the Sentinels name another master.
    moved: CancellationToken,
    /// Watches the Sentinels until it is dropped.
    _failovers: Option<MultiplexedConnection>,
}

impl<C: Clock, H: Jitter, O: SubscriptionObserver + 'static> Subscription<C, H, O> {
    /// A subscription that connects when it runs. `instance` distinguishes the canaries of this process; `anew` requests
    /// new connections.
    pub fn new(
        link: Arc<Link>,
        clock: C,
        jitter: H,
        observer: Arc<O>,
        instance: String,
        sites: Vec<(SiteId, Arc<Mailbox>)>,
        anew: Arc<Notify>,
    ) -> Self {
        let handler = Arc::new(PushHandler::new(observer, sites));
        let canary_channel = handler.canary_channel();
        Self { link, clock, jitter, handler, canary_channel, instance, anew }
    }

    /// Subscribes, and again whenever the connection is lost, until it is stopped: then Redis no longer counts this
    /// process as a subscriber. `ready` is cancelled with the first subscription.
    pub async fn run(self, ready: CancellationToken, stop: CancellationToken) -> Result<(), LinkError> {
        let mut losses = 0;
        let mut logged = None;
        loop {
            let error = match self.session(&mut losses, &ready, &stop).await {
                Ok(End::Stopped) => return Ok(()),
                Ok(End::Anew) => {
                    self.handler.observer().disconnected("connecting anew, as asked for");
                    continue;
                }
                Err(error) => error,
            };
            let will_pass = matches!(error, LinkError::Away(_));
            // The refusal of a command may come from a proxy in front of Redis, and is not final.
            if !will_pass && !error.is_of_the_command() && !ready.is_cancelled() {
                return Err(error);
            }
            losses += 1;
            self.handler.observer().disconnected(&error.to_string());
            if losses == 1 || !will_pass && logged.as_ref() != Some(&error) {
                tracing::warn!(%error, "not subscribed to Redis; trying again until it succeeds");
                logged = Some(error);
            } else {
                tracing::debug!(%error, losses, "still not subscribed to Redis");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep(self.jitter.pause(losses)) => {}
                () = self.anew.notified() => {}
            }
        }
    }

    /// One connection, until it is lost or the subscription is stopped.
    async fn session(
        &self,
        losses: &mut u32,
        ready: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<End, LinkError> {
        let mut deadline = pin!(self.clock.sleep(SUBSCRIBE_TIMEOUT));
        let mut open = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(End::Stopped),
            () = &mut deadline => return Err(self.away("connecting took too long")),
            open = self.open() => open?,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.unsubscribe(open.connection).await;
                return Ok(End::Stopped);
            }
            () = deadline => return Err(self.away("subscribing took too long")),
            subscribed = self.subscribe(&mut open) => subscribed?,
        }
        self.handler.observer().connected();
        *losses = 0;
        let is_again = ready.is_cancelled();
        ready.cancel();
        let canaries =
            async { tokio::join!(self.canary_loop(&open.incoming), self.ask_for_what_was_missed(is_again)).0 };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.anew.notified() => {
                self.link.reopen().await;
                return Ok(End::Anew);
            }
            () = open.moved.cancelled() => {
                self.link.reopen().await;
                return Err(self.away("the Sentinels name another master"));
            }
            () = open.incoming.broken.cancelled() => {
                return Err(self.away("the connection broke"));
            }
            lost = canaries => return Err(lost),
        }
        self.unsubscribe(open.connection).await;
        Ok(End::Stopped)
    }

    async fn open(&self) -> Result<Open, LinkError> {
        let (incoming, moved) = (Arc::new(Incoming::default()), CancellationToken::new());
        let _failovers = {
            let moved = moved.clone();
            self.link.connector().failovers(move || moved.cancel()).await
        };
        let (handler, receiver) = (Arc::clone(&self.handler), Arc::clone(&incoming));
        let connection = self.link.connector().subscription(move |push| handler.receive(push, &receiver)).await?;
        Ok(Open { connection, incoming, moved, _failovers })
    }

    /// Subscribes to all channels, and waits until a message has come through.
    async fn subscribe(&self, open: &mut Open) -> Result<(), LinkError> {
        let mut count = 0;
        for channels in self.handler.channels() {
            count += channels.len();
            open.connection.subscribe(channels).await.map_err(|e| self.link.connector().error(&e))?;
        }
        self.canary(&open.incoming).await?;
        tracing::info!(channels = count, "subscribed");
        Ok(())
    }

    fn away(&self, what: &str) -> LinkError {
        self.link.connector().away(what)
    }

    /// Waits for Redis to confirm it: until then this process counts as a subscriber.
    async fn unsubscribe(&self, mut connection: MultiplexedConnection) {
        for channels in self.handler.channels() {
            if let Err(error) = connection.unsubscribe(channels).await {
                tracing::debug!(%error, "failed to unsubscribe");
                return;
            }
        }
    }

    /// Redis keeps no messages for a subscriber that was away, so each site reads its state and verifies its token.
    async fn ask_for_what_was_missed(&self, is_again: bool) {
        for mailbox in self.handler.mailboxes().filter(|_| is_again) {
            self.link.turn().await;
            mailbox.post(Arrival::Reconnect);
            mailbox.hint();
        }
    }

    /// Publishes canaries until one does not come back.
    async fn canary_loop(&self, incoming: &Incoming) -> LinkError {
        loop {
            self.clock.sleep(self.jitter.interval(CANARY_INTERVAL)).await;
            if let Err(error) = self.canary(incoming).await {
                return error;
            }
        }
    }

    /// Publishes a canary and waits until it is back. While other messages are received the subscription is late but
    /// works, and closing it would lose messages. No other program can guess a canary, since the keys of the standard
    /// hasher are random.
    async fn canary(&self, incoming: &Incoming) -> Result<(), LinkError> {
        let canary = format!("{}:{:016x}", self.instance, RandomState::new().hash_one(0));
        let came_back = incoming.expect(canary.clone());
        let began = self.clock.now();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&self.canary_channel).arg(canary);
        let round_trip = async {
            // A connection for commands that broke while it was idle fails once, and the next one is new. That is no
            // reason to close the subscription, which would lose messages.
            match self.link.anywhere::<i64>(&publish).await {
                Err(LinkError::Away(error)) => {
                    tracing::debug!(%error, "failed to publish a canary: trying again");
                    self.link.anywhere(&publish).await?
                }
                published => published?,
            };
            came_back.await.map_err(|_| self.away("another canary took its place"))
        };
        let silence = async {
            for _ in 0..CANARY_TIMEOUTS {
                let received = incoming.received();
                self.clock.sleep(CANARY_TIMEOUT).await;
                if incoming.received() == received {
                    break;
                }
            }
        };
        let came_back = tokio::select! {
            biased;
            came_back = round_trip => came_back,
            () = silence => Err(self.away(&format!(
                "what was published on {} did not come back within {} s",
                self.canary_channel,
                self.clock.now().saturating_sub(began).as_secs()
            ))),
        };
        came_back.inspect(|()| self.handler.observer().canary(self.clock.now().saturating_sub(began)))
    }
}
