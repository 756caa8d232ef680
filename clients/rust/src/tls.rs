//! What is wrong with TLS, and what to do about it.

use std::error::Error;

use rustls::CertificateError;

use crate::cause::causes;
use crate::excerpt::excerpt;

/// The longest text of a library that is shown.
const SHOWN: usize = 120;

/// Why a server is not trusted or does not speak TLS. The messages name what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages explain them")]
pub enum TlsProblem {
    /// No trusted authority has signed the certificate; one is added here.
    #[error("its certificate is signed by an authority that is not trusted here; add that authority to {0}")]
    UnknownAuthority(&'static str),
    #[error(
        "its certificate is not for this name but for {0}; use such a name, or give the server another certificate"
    )]
    WrongName(String),
    #[error(
        "its certificate has no subjectAltName, and a name in CN does not count; give it subjectAltName=DNS:… or IP:…"
    )]
    NoName,
    #[error("its certificate has expired; renew it, or correct the clock of this machine")]
    Expired,
    #[error("its certificate is not valid yet; correct the clock of this machine, or wait")]
    NotValidYet,
    #[error(
        "its certificate is that of an authority (CA:TRUE), which a server must not use as its own; sign another one \
         with it, or make it anew with basicConstraints=CA:FALSE"
    )]
    AuthorityAsServer,
    #[error("its certificate is of X.509 version 1; make one of version 3, with subjectAltName")]
    Version1,
    #[error("its certificate cannot be used: {0}")]
    BadCertificate(String),
    #[error("the server does not speak TLS on this port; is an address without TLS meant (http://, redis://)?")]
    NotTls,
    /// Anything else, such as an alert from the server.
    #[error("{0}")]
    Other(String),
}

impl TlsProblem {
    /// The TLS problem behind an error, if there is one. `authorities` is where an authority is added.
    pub fn of(error: &(dyn Error + 'static), authorities: &'static str) -> Option<Self> {
        Some(match rustls_error(error)? {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error, authorities),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            error => Self::Other(excerpt(&error.to_string(), SHOWN)),
        })
    }

    fn of_certificate(error: &CertificateError, authorities: &'static str) -> Self {
        match error {
            // A bad signature comes from another authority with the name of a trusted one.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority(authorities),
            CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => Self::NoName,
            CertificateError::NotValidForNameContext { presented, .. } => {
                // Each is written as `DnsName("shop.test")`.
                let names = presented.iter().map(|name| name.split_once('(').map_or(&**name, |(_, name)| name));
                let names: Vec<&str> = names.map(|name| name.trim_matches(['"', ')'])).collect();
                Self::WrongName(excerpt(&names.join(", "), SHOWN))
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotValidYet,
            CertificateError::Other(other) => match other.0.downcast_ref() {
                Some(webpki::Error::CaUsedAsEndEntity) => Self::AuthorityAsServer,
                Some(webpki::Error::UnsupportedCertVersion) => Self::Version1,
                _ => Self::BadCertificate(excerpt(&other.to_string(), SHOWN)),
            },
            error => Self::BadCertificate(excerpt(&error.to_string(), SHOWN)),
        }
    }
}

/// The error of TLS behind an error.
pub(crate) fn rustls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    causes(error).find_map(|error| error.downcast_ref())
}
