//! A TCP proxy between a client and a server that can delay, block, cut and reset connections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::listener::Listener;

/// The state of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Everything passes.
    Fine,
    /// Everything passes, this much later in each direction.
    Slow(Duration),
    /// Connections stay open, and nothing passes in either direction until it heals.
    Silent,
    /// What the server sends to subscribers is lost where it holds this word; all else passes.
    Swallows(&'static str),
    /// What the client sends passes, what the server sends does not until it heals.
    NoReplies,
    /// What the server sends to subscribers does not pass until it heals; all else does.
    NoMessages,
    /// What the server sends passes, what the client sends does not until it heals.
    NoCommands,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Connections are reset, and new ones at once.
    Reset,
}

/// A running proxy; it ends when this is dropped.
pub(crate) struct Proxy {
    listener: Listener,
    network: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    network: Network,
    /// How often all connections were dropped silently.
    age: u64,
}

/// One connection through the proxy.
#[derive(Clone)]
struct Pair {
    /// The age in which it was opened.
    age: u64,
    state: watch::Receiver<State>,
    has_subscribed: Arc<AtomicBool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl Proxy {
    /// A proxy in front of the server on this port of the loopback.
    pub(crate) fn before(server: u16) -> Self {
        let (network, state) = watch::channel(State { network: Network::Fine, age: 0 });
        let listener = Listener::start(move |client| {
            let pair = Pair { age: state.borrow().age, state: state.clone(), has_subscribed: Arc::default() };
            pair.carry(client, server)
        });
        Self { listener, network }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.listener.port()
    }

    /// The URL of the Redis behind it.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port())
    }

    /// From now on the network is like this.
    pub(crate) fn is(&self, network: Network) {
        self.network.send_modify(|state| state.network = network);
    }

    /// Drops the state of all connections, as the restart of a firewall does: they stay open, and nothing passes there
    /// again. New ones work.
    pub(crate) fn forget(&self) {
        self.network.send_modify(|state| state.age += 1);
    }
}

impl Pair {
    async fn carry(mut self, mut client: TcpStream, server: u16) {
        // Without a server the client's connection is closed.
        let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
        let network = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let (up, down) = (self.clone(), self.clone());
            tokio::select! {
                () = up.pump(Way::Up, from_client, to_server) => Network::Cut,
                () = down.pump(Way::Down, from_server, to_client) => Network::Cut,
                network = self.broken() => network,
            }
        };
        if network == Network::Reset {
            client.set_zero_linger().unwrap();
        }
    }

    /// Waits until connections are broken, and returns how.
    async fn broken(&mut self) -> Network {
        let broken = self.state.wait_for(|state| matches!(state.network, Network::Cut | Network::Reset)).await;
        broken.map_or(Network::Cut, |state| state.network)
    }

    /// Passes on what comes, its end too.
    async fn pump(mut self, way: Way, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let n = from.read(&mut bytes).await.unwrap_or(0);
            if way == Way::Up && holds(&bytes[..n], "SUBSCRIBE") {
                self.has_subscribed.store(true, Ordering::Relaxed);
            }
            let (age, is_subscribed) = (self.age, self.has_subscribed.load(Ordering::Relaxed));
            let waiting = self.state.wait_for(|state| state.age == age && passes(state.network, way, is_subscribed));
            let Ok(network) = waiting.await.map(|state| state.network) else { return };
            match network {
                Network::Slow(span) => tokio::time::sleep(span).await,
                Network::Swallows(word) if way == Way::Down && is_subscribed && holds(&bytes[..n], word) => continue,
                _ => {}
            }
            if n == 0 || to.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    }
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|piece| piece == word.as_bytes())
}

fn passes(network: Network, way: Way, is_subscribed: bool) -> bool {
    match network {
        Network::Fine | Network::Slow(_) | Network::Swallows(_) => true,
        // What arrives after a cut is lost, however soon the connection is closed.
        Network::Silent | Network::Cut | Network::Reset => false,
        Network::NoReplies => way == Way::Up,
        Network::NoMessages => way == Way::Up || !is_subscribed,
        Network::NoCommands => way == Way::Down,
    }
}
