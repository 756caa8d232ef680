//! What a failure of Redis means: away, or a refusal.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::excerpt::excerpt;
use crate::tls::{TlsProblem, rustls_error};

/// Why there is no answer from Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A setting cannot be used.
    #[error("{0}")]
    Config(String),
    /// Redis cannot be reached or is not ready: it may come back.
    #[error("{0}")]
    Away(String),
    /// Redis refuses a command, and may until an operator acts.
    #[error("{0}")]
    Refused(String),
    /// Redis refuses this client: its password, its permissions or its protocol.
    #[error("{0}")]
    Denied(String),
    /// A certificate is not accepted, that of Redis or ours: no command can be sent to Redis.
    #[error("{0}")]
    Untrusted(String),
}

/// What an operator has to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Setting,
    Address,
    Login,
    Permission,
    /// This server is a replica.
    Replica,
    Memory,
    /// A slot of a Cluster is being moved.
    Slot,
    ServerCertificate,
    ClientCertificate,
    Other,
}

impl LinkError {
    /// By the kind and by the code of Redis, which the error of a script has within its text.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let (Self::Config(text) | Self::Away(text) | Self::Refused(text) | Self::Denied(text) | Self::Untrusted(text)) =
            self;
        let has_code = |code| text.split([' ', ':']).any(|word| word == code);
        match self {
            Self::Config(_) => Cause::Setting,
            Self::Untrusted(text) if text.starts_with(NOT_OURS) => Cause::ClientCertificate,
            Self::Untrusted(_) => Cause::ServerCertificate,
            _ if has_code("NOPERM") => Cause::Permission,
            Self::Denied(_) => Cause::Login,
            Self::Away(_) if has_code("TRYAGAIN") => Cause::Slot,
            Self::Away(_) => Cause::Address,
            Self::Refused(_) if has_code("READONLY") => Cause::Replica,
            Self::Refused(_) if has_code("OOM") => Cause::Memory,
            Self::Refused(_) => Cause::Other,
        }
    }
}

/// How the text begins where Redis does not accept our certificate.
const NOT_OURS: &str = "Redis does not accept our certificate";

/// Sorts an error of the client library. The text of the result never holds what was sent.
pub fn classify(error: &RedisError) -> LinkError {
    let text = one_line(error);
    let denied = match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => true,
        _ => matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED")),
    };
    let refused = match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::NoScript,
        ) => false,
        ErrorKind::Server(_) => true,
        _ => error.code().is_some_and(|code| !PASSING.contains(&code)),
    };
    if let Some(text) = certificates(error) {
        return LinkError::Untrusted(text);
    }
    match (denied, refused) {
        (true, _) => LinkError::Denied(text),
        (_, true) => LinkError::Refused(text),
        _ => LinkError::Away(text),
    }
}

/// Sorts an error of a new connection: a proxy in front of Redis that does not reach it may answer anything.
pub(super) fn classify_setup(error: &RedisError) -> LinkError {
    match classify(error) {
        LinkError::Refused(text) => LinkError::Away(text),
        error => error,
    }
}

/// An error of TLS about a certificate, in words that name whose; `None` for other errors.
fn certificates(error: &RedisError) -> Option<String> {
    match rustls_error(error)? {
        rustls::Error::InvalidCertificate(_) => {
            let problem = TlsProblem::of(error, "REDIS_TLS_CA_FILE")?;
            Some(format!("no TLS with Redis: {problem}"))
        }
        rustls::Error::AlertReceived(alert) => {
            let alert = format!("{alert:?}");
            let is_of_ours =
                alert.contains("Certificate") || matches!(&*alert, "UnknownCA" | "AccessDenied" | "DecryptError");
            is_of_ours.then(|| format!("{NOT_OURS}: {alert}"))
        }
        _ => None,
    }
}

/// Codes of a server that is not ready yet, beyond those that the library knows.
const PASSING: [&str; 4] = ["LOADING", "BUSY", "NOREPLICAS", "UNBLOCKED"];

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
