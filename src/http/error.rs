//! Why a client cannot be built, and why a request has no answer.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::CertificateError;
use token_sidecar_client::excerpt::excerpt;

use super::CONNECT_TIMEOUT;
use crate::domain::duration;

/// The longest text of a library that is shown.
const SHOWN: usize = 120;

/// Why a client cannot be built from its settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("the URL of {0} is no http:// or https:// address")]
    Url(&'static str),
    #[error("no TLS for {peer}: {cause}; are CA certificates installed (package ca-certificates, or SSL_CERT_FILE)?")]
    NoAuthorities {
        /// Host and port.
        peer: String,
        /// The text of the library.
        cause: String,
    },
}

/// Why a request has no answer. `peer` is the host and port it was sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RequestError {
    /// The request was not sent.
    #[error("not reachable at {peer}: {cause}")]
    Unreachable { peer: String, cause: String },
    #[error("no TLS with {peer}: {problem}")]
    Tls { peer: String, problem: TlsProblem },
    /// The connection ended before an answer, or the answer is not HTTP.
    #[error("no answer from {peer}: {cause}")]
    Dropped { peer: String, cause: String },
    /// The deadline has passed. The server may still process the request.
    #[error("no answer from {peer} within {}", duration::text(*.waited))]
    TimedOut { peer: String, waited: Duration },
}

/// What is wrong with TLS, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    /// No trusted authority has signed the certificate.
    #[error(
        "its certificate is signed by an authority that is not trusted here; add that authority to the system's CA certificates, or name a file with it in SSL_CERT_FILE"
    )]
    UnknownAuthority,
    /// The certificate is for these names.
    #[error(
        "its certificate is not for this name but for {0}; use such a name, or give the server another certificate"
    )]
    WrongName(String),
    #[error("its certificate has expired; renew it, or correct the clock of this machine")]
    Expired,
    #[error("its certificate is not valid yet; correct the clock of this machine, or wait")]
    NotValidYet,
    #[error("its certificate cannot be used: {0}")]
    BadCertificate(String),
    #[error("the server does not speak TLS on this port; should the address begin with http://?")]
    NotTls,
    /// Anything else, such as an alert from the server.
    #[error("{0}")]
    Other(String),
}

/// Why a body is not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The rest was not read.
    #[error("the answer is larger than {} MiB", *.0 >> 20)]
    TooLarge(usize),
    #[error("the answer broke off: {0}")]
    BrokenOff(String),
}

impl ClientError {
    /// For a reqwest client that found no trusted certificates.
    pub(super) fn no_authorities(error: &reqwest::Error, peer: String) -> Self {
        Self::NoAuthorities { peer, cause: error.source().map_or_else(String::new, deepest) }
    }
}

impl BodyError {
    pub(super) fn broken_off(error: &reqwest::Error) -> Self {
        Self::BrokenOff(cause(error))
    }
}

impl RequestError {
    pub(super) fn of(error: &reqwest::Error, peer: &str) -> Self {
        let peer = peer.to_owned();
        if let Some(problem) = chain(error).find_map(tls_problem) {
            return Self::Tls { peer, problem };
        }
        match (error.is_connect(), error.is_dns(), error.is_timeout()) {
            (true, true, _) => Self::Unreachable { peer, cause: "the name does not resolve".to_owned() },
            (true, _, true) => {
                let cause = format!("no connection within {}", duration::text(CONNECT_TIMEOUT));
                Self::Unreachable { peer, cause }
            }
            (true, ..) => Self::Unreachable { peer, cause: cause(error) },
            (false, ..) => Self::Dropped { peer, cause: cause(error) },
        }
    }
}

/// The TLS problem behind an error, if there is one.
fn tls_problem(error: &(dyn Error + 'static)) -> Option<TlsProblem> {
    Some(match error.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(error) => match error {
            // A bad signature comes from another authority with the name of a trusted one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsProblem::UnknownAuthority,
            CertificateError::NotValidForNameContext { presented, .. } => {
                // Each is written as `DnsName("shop.test")`.
                let names = presented.iter().map(|name| name.split_once('(').map_or(&**name, |(_, name)| name));
                let names: Vec<&str> = names.map(|name| name.trim_matches(['"', ')'])).collect();
                TlsProblem::WrongName(if names.is_empty() {
                    "none".to_owned()
                } else {
                    excerpt(&names.join(", "), SHOWN)
                })
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsProblem::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsProblem::NotValidYet,
            CertificateError::Other(error) => TlsProblem::BadCertificate(excerpt(&error.to_string(), SHOWN)),
            error => TlsProblem::BadCertificate(excerpt(&error.to_string(), SHOWN)),
        },
        rustls::Error::InvalidMessage(_) => TlsProblem::NotTls,
        error => TlsProblem::Other(excerpt(&error.to_string(), SHOWN)),
    })
}

/// The cause of a connection error, in plain words for the usual cases. Leaves out the text of reqwest's own error,
/// which contains the whole address.
fn cause(error: &reqwest::Error) -> String {
    let known = |error: &(dyn Error + 'static)| match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some("connection refused"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some("connection reset"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some("no route to it"),
        io::ErrorKind::UnexpectedEof => Some("connection closed"),
        io::ErrorKind::TimedOut => Some("connection timed out"),
        _ => None,
    };
    match (chain(error).find_map(known), error.source()) {
        (Some(words), _) => words.to_owned(),
        (None, Some(source)) => deepest(source),
        (None, None) => "the request cannot be sent".to_owned(),
    }
}

/// All causes of an error.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&error| source(error))
}

/// The source of an error. An `io::Error` does not give the error that it wraps as its source.
fn source<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
}

fn deepest(error: &(dyn Error + 'static)) -> String {
    let last = std::iter::successors(Some(error), |&error| source(error)).last();
    excerpt(&last.unwrap_or(error).to_string(), SHOWN)
}
