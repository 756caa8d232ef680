//! TLS in front of a server that has none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::papers::Papers;

/// A running front; it ends when this is dropped.
pub(crate) struct TlsFront {
    address: SocketAddr,
    _end: oneshot::Sender<()>,
}

impl TlsFront {
    /// In front of the server on this port of loopback, with the certificate of this name.
    pub(crate) fn before(server: u16, papers: &Papers, name: &str) -> Self {
        let certificates = CertificateDer::pem_file_iter(papers.file(&format!("{name}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(papers.file(&format!("{name}.key"))).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.map(Result::unwrap).collect(), key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (send, started) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        // A thread of its own: it goes on whatever the test is waiting for.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                send.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(&listener, &acceptor, server) => {}
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

async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor, server: u16) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
        while connections.try_join_next().is_some() {}
    }
}
