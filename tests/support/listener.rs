//! A listener on a free port of the loopback, in a thread of its own, so that it goes on while the test waits.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Ends with its connections when this is dropped.
pub(crate) struct Listener {
    address: SocketAddr,
    _end: oneshot::Sender<()>,
}

impl Listener {
    /// Serves each connection in a task.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let (send, started) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                send.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(&listener, serve) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address: started.recv().unwrap(), _end: end }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.address.port()
    }
}

async fn accept<F: Future<Output = ()> + Send + 'static>(listener: &TcpListener, serve: impl Fn(TcpStream) -> F) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        connections.spawn(serve(client));
        while connections.try_join_next().is_some() {}
    }
}
