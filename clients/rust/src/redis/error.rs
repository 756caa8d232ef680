//! What a failure of Redis means: away, or a refusal.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::excerpt::excerpt;

/// Why there is no answer from Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A setting cannot be used.
    #[error("{0}")]
    Config(String),
    /// Not there, or not ready: it may come back.
    #[error("{0}")]
    Away(String),
    /// It says no, and will until somebody acts.
    #[error("{0}")]
    Refused(String),
    /// A certificate will not do: nothing was asked yet, and nobody can be told.
    #[error("{0}")]
    Untrusted(String),
}

/// Sorts an error of the client library. Its text never holds what was sent.
#[must_use]
pub fn classify(error: &RedisError) -> LinkError {
    let text = one_line(error);
    let refused = match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => true,
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
    if let Some(text) = certificates(&text) {
        return LinkError::Untrusted(text);
    }
    if refused { LinkError::Refused(text) } else { LinkError::Away(text) }
}

/// What TLS says of certificates, in words that say whose: time alone mends none of it.
fn certificates(text: &str) -> Option<String> {
    if let Some((_, why)) = text.split_once("invalid peer certificate: ") {
        return Some(format!("the certificate of Redis is not accepted: {why}"));
    }
    let (_, why) = text.split_once("received fatal alert: ")?;
    let is_of_ours = why.contains("Certificate") || matches!(why, "UnknownCA" | "AccessDenied" | "DecryptError");
    is_of_ours.then(|| format!("Redis does not accept our certificate: {why}"))
}

/// Answers of a server that is not ready yet, beyond those that the library knows.
const PASSING: [&str; 4] = ["LOADING", "BUSY", "NOREPLICAS", "UNBLOCKED"];

/// What Redis or the library says, on one line. Redis repeats unknown commands: what was sent is cut off,
/// since it may hold a password.
fn one_line(error: &RedisError) -> String {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string().replace(&format!(" - {:?}", error.kind()), ""),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let said = [" script: ", ", with args beginning with"].iter().filter_map(|cut| line.find(cut)).min();
    excerpt(&line[..said.unwrap_or(line.len())], 300)
}
