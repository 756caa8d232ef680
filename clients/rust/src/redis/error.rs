//! What a failure of Redis means: away, or a refusal.

use redis::{ErrorKind, RedisError};

use crate::excerpt::excerpt;
use crate::tls::{TlsProblem, rustls_error};

/// Why there is no answer from Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub enum LinkError {
    /// A setting cannot be used.
    Config(String),
    /// Redis cannot be reached or is not ready: it may come back.
    Away(String),
    /// A slot of a Cluster is being moved to another node, which ends.
    SlotMoving(String),
    /// Redis refuses a command, and may until an operator acts.
    Refused(String),
    /// This server is a replica.
    ReadOnly(String),
    OutOfMemory(String),
    /// Redis refuses this client: its password or its protocol.
    Denied(String),
    /// The user has no permission for a command, a key or a channel.
    Forbidden(String),
    /// Redis' certificate is not accepted: no command can be sent.
    Untrusted(String),
    /// Redis does not accept our certificate.
    CertificateRefused(String),
}

impl LinkError {
    /// Whether Redis refuses the command, and not this client.
    #[must_use]
    pub const fn is_of_the_command(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::ReadOnly(_) | Self::OutOfMemory(_))
    }
}

/// Sorts an error of the client library. The text of the result never holds what was sent.
pub fn classify(error: &RedisError) -> LinkError {
    certificates(error).unwrap_or_else(|| variant(error)(one_line(error)))
}

/// By Redis' code, or by the library's kind for an error of its own.
fn variant(error: &RedisError) -> fn(String) -> LinkError {
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported, _)
        | (_, Some("NOAUTH" | "WRONGPASS" | "DENIED")) => LinkError::Denied,
        (_, Some("NOPERM")) => LinkError::Forbidden,
        (_, Some("READONLY")) => LinkError::ReadOnly,
        (_, Some("OOM")) => LinkError::OutOfMemory,
        (_, Some("TRYAGAIN")) => LinkError::SlotMoving,
        // The server is not ready yet, or the library follows.
        (_, None | Some("LOADING" | "BUSY" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS" | "UNBLOCKED"))
        | (_, Some("MOVED" | "ASK" | "NOSCRIPT")) => LinkError::Away,
        _ => LinkError::Refused,
    }
}

/// Sorts an error of a new connection: a proxy in front of Redis that does not reach it may answer anything.
pub(super) fn classify_setup(error: &RedisError) -> LinkError {
    match classify(error) {
        LinkError::Refused(text) | LinkError::ReadOnly(text) | LinkError::OutOfMemory(text) => LinkError::Away(text),
        error => error,
    }
}

/// A TLS error about Redis' certificate or ours; `None` for other errors.
fn certificates(error: &RedisError) -> Option<LinkError> {
    match rustls_error(error)? {
        rustls::Error::InvalidCertificate(_) => {
            let problem = TlsProblem::of(error, "REDIS_TLS_CA_FILE")?;
            Some(LinkError::Untrusted(format!("no TLS with Redis: {problem}")))
        }
        rustls::Error::AlertReceived(alert) => {
            let alert = format!("{alert:?}");
            let is_of_ours =
                alert.contains("Certificate") || matches!(&*alert, "UnknownCA" | "AccessDenied" | "DecryptError");
            is_of_ours.then(|| LinkError::CertificateRefused(format!("Redis does not accept our certificate: {alert}")))
        }
        _ => None,
    }
}

/// The text of Redis or of the library on one line. Redis repeats unknown commands, which may hold a password: that
/// part is cut off.
fn one_line(error: &RedisError) -> String {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string().replace(&format!(" - {:?}", error.kind()), ""),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let cut = [" script: ", ", with args beginning with"].iter().filter_map(|start| line.find(start)).min();
    excerpt(&line[..cut.unwrap_or(line.len())], 300)
}
