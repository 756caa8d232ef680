//! TLS in front of a server that has none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::listener::Listener;
use super::papers::Papers;

/// A running front; it ends when this is dropped.
pub(crate) struct TlsFront(Listener);

impl TlsFront {
    /// In front of the server on this port of loopback, with the certificate of this name.
    pub(crate) fn before(server: u16, papers: &Papers, name: &str) -> Self {
        let certificates = CertificateDer::pem_file_iter(papers.file(&format!("{name}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(papers.file(&format!("{name}.key"))).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        // Not checked: a server may have any certificate.
        let certified = CertifiedKey::new(
            certificates.map(Result::unwrap).collect(),
            provider.key_provider.load_private_key(key).unwrap(),
        );
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self(Listener::start(move |client| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        }))
    }

    pub(crate) const fn port(&self) -> u16 {
        self.0.port()
    }
}
