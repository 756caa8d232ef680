//! Hears the channels of all sites on one connection, and knows whether it still hears.
//!
//! Messages are folded into the mailboxes inside the connection's own reader: nothing is queued in
//! between, however fast they come. A subscription that looks alive but is dead is found out by a canary:
//! what is published on the other connection, with every beat, must come back here.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use token_sidecar_client::redis::{Link, LinkError, classify};
use token_sidecar_client::wire::SiteId;
use tokio_util::sync::CancellationToken;

use super::ear::Ear;
use crate::domain::pending::Arrival;
use crate::refresh::mailbox::Mailbox;
use crate::refresh::ports::{Clock, Jitter};
use crate::status::SubscriptionObserver;

/// How often one is sent, at least.
pub const CANARY_INTERVAL: Duration = Duration::from_secs(12);
/// How long it may be on its way while nothing else is heard.
pub const CANARY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many times as long where other messages come: it may stand in a line behind a flood of them.
const CANARY_TIMEOUTS: u32 = 4;
/// How long all channels together may take to be subscribed to.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(30);

/// The subscription to the channels of all sites.
pub struct Subscription<C, H, O> {
    link: Arc<Link>,
    clock: C,
    jitter: H,
    ear: Arc<Ear<O>>,
    canary_channel: String,
    instance: String,
}

/// Why a session ended.
enum Ended {
    Stopped,
    Lost(LinkError),
}

impl<C: Clock, H: Jitter, O: SubscriptionObserver + 'static> Subscription<C, H, O> {
    /// A subscription that connects when it runs. `instance` tells the canaries of this process from others'.
    pub fn new(
        link: Arc<Link>,
        clock: C,
        jitter: H,
        observer: Arc<O>,
        instance: String,
        sites: Vec<(SiteId, Arc<Mailbox>)>,
    ) -> Self {
        let ear = Arc::new(Ear::new(observer, instance.clone(), sites));
        Self { link, clock, jitter, canary_channel: ear.canary_channel(), ear, instance }
    }

    /// Subscribes, and again whenever the connection is lost, until it is stopped: then Redis counts it no more.
    /// `ready` is cancelled when the first subscription is there.
    ///
    /// # Errors
    /// Where Redis refuses us before it has ever let us in: a wrong password, no permission.
    pub async fn run(self, ready: CancellationToken, stop: CancellationToken) -> Result<(), LinkError> {
        let mut losses = 0;
        let mut number = 0;
        let mut told = None;
        loop {
            let ended = self.session(&mut losses, &mut number, &ready, &stop).await;
            let error = match ended {
                Ended::Stopped => return Ok(()),
                Ended::Lost(error @ LinkError::Away(_)) => error,
                Ended::Lost(error) if ready.is_cancelled() => error,
                Ended::Lost(error) => return Err(error),
            };
            losses += 1;
            self.ear.observer().disconnected(&error.to_string());
            // What time alone does not mend is said too when it comes later than the loss.
            let is_news = losses == 1 || !matches!(error, LinkError::Away(_)) && told.as_ref() != Some(&error);
            if is_news {
                told = Some(error.clone());
                tracing::warn!(%error, "Redis is not heard; trying again until it is");
            } else {
                tracing::debug!(%error, losses, "Redis is still not heard");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep(self.jitter.pause(losses)) => {}
            }
        }
    }

    async fn session(
        &self,
        losses: &mut u32,
        number: &mut u64,
        ready: &CancellationToken,
        stop: &CancellationToken,
    ) -> Ended {
        let (broken, moved) = (CancellationToken::new(), CancellationToken::new());
        let subscribing = async {
            let told = moved.clone();
            let failovers = self.link.connector().failovers(move || told.cancel()).await;
            let (ear, closed) = (Arc::clone(&self.ear), broken.clone());
            let mut connection = self.link.connector().subscription(move |push| ear.hear(push, &closed)).await?;
            let mut count = 0;
            for channels in self.ear.channels() {
                count += channels.len();
                connection.subscribe(channels).await.map_err(|e| classify(&e))?;
            }
            *number += 1;
            self.fly(*number).await?;
            Ok((count, connection, failovers))
        };
        let (channels, mut connection, _failovers) = tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Stopped,
            () = self.clock.sleep(SUBSCRIBE_TIMEOUT) => {
                return Ended::Lost(LinkError::Away("subscribing took too long".to_owned()));
            }
            subscribed = subscribing => match subscribed {
                Ok(subscribed) => subscribed,
                Err(error) => return Ended::Lost(error),
            },
        };
        self.ear.observer().connected();
        tracing::info!(channels, "listening");
        *losses = 0;
        let is_again = ready.is_cancelled();
        ready.cancel();
        let mut asking = pin!(async {
            if is_again {
                self.ask_for_what_was_missed().await;
            }
            std::future::pending::<Infallible>().await
        });
        let ended = loop {
            let canary = async {
                self.clock.sleep(self.jitter.heartbeat(CANARY_INTERVAL)).await;
                *number += 1;
                self.fly(*number).await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ended::Stopped,
                () = moved.cancelled() => {
                    self.link.reopen().await;
                    break Ended::Lost(LinkError::Away("the Sentinels name another master".to_owned()));
                }
                never = &mut asking => match never {},
                () = broken.cancelled() => break Ended::Lost(LinkError::Away("the connection broke".to_owned())),
                landed = canary => {
                    if let Err(error) = landed {
                        break Ended::Lost(error);
                    }
                }
            }
        };
        if matches!(ended, Ended::Stopped) {
            // Not by the end of the connection alone: once this is confirmed, Redis does not count us any more.
            for channels in self.ear.channels() {
                if let Err(error) = connection.unsubscribe(channels).await {
                    tracing::debug!(%error, "failed to unsubscribe");
                    break;
                }
            }
        }
        ended
    }

    /// Pub/sub forgets: what was said while nobody listened is asked for, by no more sites at once than have their turn
    /// on the connection.
    async fn ask_for_what_was_missed(&self) {
        for mailbox in self.ear.mailboxes() {
            self.link.turn().await;
            mailbox.post(Arrival::Reconnect);
            mailbox.hint();
        }
    }

    /// Sends a canary and waits until it is back. While other messages come the subscription is behind, not deaf: to
    /// drop it would lose what stands in the line.
    async fn fly(&self, number: u64) -> Result<(), LinkError> {
        let began = self.clock.now();
        let flight = async {
            let canary = format!("{}:{number}", self.instance);
            self.link.anywhere::<i64>(redis::cmd("PUBLISH").arg(&self.canary_channel).arg(canary)).await?;
            self.ear.canary(number).await;
            Ok(())
        };
        let silence = async {
            for _ in 0..CANARY_TIMEOUTS {
                let heard = self.ear.heard();
                self.clock.sleep(CANARY_TIMEOUT).await;
                if self.ear.heard() == heard {
                    break;
                }
            }
        };
        let landed = tokio::select! {
            biased;
            landed = flight => landed,
            () = silence => Err(LinkError::Away(format!(
                "what was published on {} did not come back within {} s",
                self.canary_channel,
                self.clock.now().saturating_sub(began).as_secs()
            ))),
        };
        landed.inspect(|()| self.ear.observer().canary(self.clock.now().saturating_sub(began)))
    }
}
