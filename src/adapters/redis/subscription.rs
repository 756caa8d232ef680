//! Hears the channels of all sites on one connection, and knows whether it still hears.
//!
//! Messages are folded into the mailboxes inside the connection's own reader: nothing is queued in
//! between, however fast they come. A subscription that looks alive but is dead is found out by a canary:
//! what is published on the other connection must come back here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::task::coop::poll_proceed;
use tokio_util::sync::CancellationToken;

use super::channels::Channels;
use super::error::{LinkError, classify};
use super::link::Link;
use crate::domain::event::Event;
use crate::domain::inbox::Arrival;
use crate::domain::site::SiteId;
use crate::domain::trigger::Report;
use crate::flow::mailbox::Mailbox;
use crate::flow::ports::{Chance, Clock};
use crate::flow::status::LinkObserver;

/// How often a canary flies.
pub const CANARY_PERIOD: Duration = Duration::from_secs(15);
/// How long it may be on its way while nothing else is heard.
pub const CANARY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many times as long where other messages come: it may stand in a line behind a flood of them.
const CANARY_TIMEOUTS: u32 = 4;
/// How long all channels together may take to be subscribed to.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many channels one command subscribes to.
const CHANNELS_A_COMMAND: usize = 1000;

/// The subscription to the channels of all sites.
pub struct Subscription<C, H, O> {
    link: Arc<Link<C>>,
    clock: C,
    chance: H,
    ear: Arc<Ear<O>>,
    channels: Vec<String>,
    canary_channel: String,
    instance: String,
}

/// Takes in what is pushed.
struct Ear<O> {
    routes: HashMap<String, Route>,
    observer: Arc<O>,
    /// How many messages were heard, canaries included.
    heard: AtomicU64,
    /// The number of the canary that came back last.
    canary: AtomicU64,
    instance: String,
    wake: Notify,
}

struct Route {
    site: SiteId,
    mailbox: Arc<Mailbox>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Invalid,
    Event,
    Canary,
}

/// Why a session ended.
enum Ended {
    Stopped,
    Lost(LinkError),
}

impl<C: Clock, H: Chance, O: LinkObserver + 'static> Subscription<C, H, O> {
    /// A subscription that connects when it runs. `instance` tells the canaries of this process from others'.
    pub fn new(
        link: Arc<Link<C>>,
        clock: C,
        chance: H,
        observer: Arc<O>,
        instance: String,
        sites: Vec<(SiteId, Arc<Mailbox>)>,
    ) -> Self {
        let mut routes = HashMap::new();
        let mut canary_channel = String::new();
        for (site, mailbox) in sites {
            let channels = Channels::of(&site);
            if canary_channel.is_empty() {
                canary_channel.clone_from(&channels.canary);
            }
            for (channel, kind) in [
                (channels.invalid, Kind::Invalid),
                (channels.updated, Kind::Event),
                (channels.failed, Kind::Event),
                (channels.canary, Kind::Canary),
            ] {
                routes.insert(channel, Route { site: site.clone(), mailbox: Arc::clone(&mailbox), kind });
            }
        }
        let mut channels: Vec<String> = routes.keys().cloned().collect();
        channels.sort_unstable();
        let ear = Arc::new(Ear {
            routes,
            observer,
            heard: AtomicU64::new(0),
            canary: AtomicU64::new(0),
            instance: instance.clone(),
            wake: Notify::new(),
        });
        Self { link, clock, chance, ear, channels, canary_channel, instance }
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
            self.ear.observer.disconnected(&error.to_string());
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
                () = self.clock.sleep(self.chance.pause(losses)) => {}
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
            for channels in self.channels.chunks(CHANNELS_A_COMMAND) {
                connection.subscribe(channels).await.map_err(|e| classify(&e))?;
            }
            *number += 1;
            self.fly(*number).await?;
            Ok((connection, failovers))
        };
        let mut connections = tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Stopped,
            () = self.clock.sleep(SUBSCRIBE_TIMEOUT) => {
                return Ended::Lost(LinkError::Away("subscribing took too long".to_owned()));
            }
            subscribed = subscribing => match subscribed {
                Ok(connection) => connection,
                Err(error) => return Ended::Lost(error),
            },
        };
        self.ear.observer.connected();
        tracing::info!(channels = self.channels.len(), "listening");
        *losses = 0;
        if ready.is_cancelled() {
            // Pub/sub forgets: what was said meanwhile is asked for.
            for route in self.ear.routes.values().filter(|r| matches!(r.kind, Kind::Invalid)) {
                route.mailbox.post(Arrival::Reconnect);
                route.mailbox.hint();
            }
        }
        ready.cancel();
        let ended = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ended::Stopped,
                () = moved.cancelled() => {
                    self.link.reopen().await;
                    break Ended::Lost(LinkError::Away("the Sentinels name another master".to_owned()));
                }
                () = broken.cancelled() => break Ended::Lost(LinkError::Away("the connection broke".to_owned())),
                () = self.clock.sleep(CANARY_PERIOD) => {
                    *number += 1;
                    if let Err(error) = self.fly(*number).await {
                        break Ended::Lost(error);
                    }
                }
            }
        };
        if matches!(ended, Ended::Stopped) {
            // Not by the end of the connection alone: once this is confirmed, Redis does not count us any more.
            for channels in self.channels.chunks(CHANNELS_A_COMMAND) {
                if let Err(error) = connections.0.unsubscribe(channels).await {
                    tracing::debug!(%error, "failed to unsubscribe");
                    break;
                }
            }
        }
        ended
    }

    /// Sends a canary and waits until it is back. While other messages come the subscription is behind, not deaf: to
    /// drop it would lose what stands in the line.
    async fn fly(&self, number: u64) -> Result<(), LinkError> {
        let began = self.clock.now();
        let flight = async {
            let canary = format!("{}:{number}", self.instance);
            self.link.anywhere::<i64>(redis::cmd("PUBLISH").arg(&self.canary_channel).arg(canary)).await?;
            while self.ear.canary.load(Ordering::Relaxed) < number {
                self.ear.wake.notified().await;
            }
            Ok(())
        };
        let silence = async {
            for _ in 0..CANARY_TIMEOUTS {
                let heard = self.ear.heard.load(Ordering::Relaxed);
                self.clock.sleep(CANARY_TIMEOUT).await;
                if self.ear.heard.load(Ordering::Relaxed) == heard {
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
        landed.inspect(|()| self.ear.observer.canary(self.clock.now().saturating_sub(began)))
    }
}

/// Counts a message as a step of the task that reads: what is read at once holds thousands, and all other tasks would
/// wait until it is through with them. Once the steps are used up, its next read lets the others go first.
fn pay() {
    if let Poll::Ready(step) = poll_proceed(&mut Context::from_waker(Waker::noop())) {
        step.made_progress();
    }
}

impl<O: LinkObserver> Ear<O> {
    /// Called by the connection's reader for everything that is pushed.
    fn hear(&self, push: PushInfo, broken: &CancellationToken) {
        match push.kind {
            PushKind::Disconnection => broken.cancel(),
            PushKind::Message => {
                self.heard.fetch_add(1, Ordering::Relaxed);
                pay();
                if let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..]
                    && let Some(route) = std::str::from_utf8(channel).ok().and_then(|c| self.routes.get(c))
                {
                    self.route(route, payload);
                }
            }
            _ => {}
        }
    }

    fn route(&self, route: &Route, payload: &[u8]) {
        match route.kind {
            Kind::Invalid => {
                let report = Report::parse(payload);
                self.observer.message(&route.site, report.payload);
                route.mailbox.post(Arrival::Message(report));
            }
            Kind::Event => {
                let Some(event) = Event::parse(payload) else { return };
                if let Some(outcome) = event.outcome() {
                    route.mailbox.hear(outcome);
                }
                self.observer.event(&event);
            }
            Kind::Canary => self.canary(route, payload),
        }
    }

    fn canary(&self, route: &Route, payload: &[u8]) {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        match text.rsplit_once(':') {
            Some((instance, number)) if instance == self.instance => {
                if let Ok(number) = number.parse() {
                    self.canary.fetch_max(number, Ordering::Relaxed);
                    self.wake.notify_one();
                }
            }
            Some(_) => {}
            // Another replica gave a refresh up: the lock is free.
            None => route.mailbox.hint(),
        }
    }
}
