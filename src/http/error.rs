//! Why a client cannot be built, and why a request has no answer.

use std::error::Error;
use std::time::Duration;

use token_sidecar_client::cause::{causes, in_plain_words};
use token_sidecar_client::excerpt::excerpt;
use token_sidecar_client::tls::TlsProblem;

use super::CONNECT_TIMEOUT;
use crate::domain::duration;

/// The longest text of a library that is shown.
const SHOWN: usize = 120;

/// Where an authority is added.
const AUTHORITIES: &str = "the system's CA certificates, or a file that SSL_CERT_FILE names";

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
        if let Some(problem) = TlsProblem::of(error, AUTHORITIES) {
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

/// The cause of a connection error, in plain words for the usual cases. Leaves out the text of reqwest's own error,
/// which contains the whole address.
fn cause(error: &reqwest::Error) -> String {
    match (in_plain_words(error), error.source()) {
        (Some(words), _) => words.to_owned(),
        (None, Some(source)) => deepest(source),
        (None, None) => "the request cannot be sent".to_owned(),
    }
}

fn deepest(error: &(dyn Error + 'static)) -> String {
    excerpt(&causes(error).last().unwrap_or(error).to_string(), SHOWN)
}
