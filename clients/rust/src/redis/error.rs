//! What a failure of Redis means: away, or a refusal.

use redis::{ErrorKind, RedisError};

use super::connect::RESPONSE_TIMEOUT;
use crate::cause::in_plain_words;
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

/// Sorts an error of the client library from the server `at`. The text of the result never holds what was sent.
pub(super) fn classify(at: &str, error: &RedisError) -> LinkError {
    let (variant, text) = certificates(error).unwrap_or_else(|| (variant(error), one_line(error)));
    variant(format!("{at}: {text}"))
}

type Variant = fn(String) -> LinkError;

/// By Redis' code, or by the library's kind for an error of its own.
fn variant(error: &RedisError) -> Variant {
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
pub(super) fn classify_setup(at: &str, error: &RedisError) -> LinkError {
    match classify(at, error) {
        LinkError::Refused(text) | LinkError::ReadOnly(text) | LinkError::OutOfMemory(text) => LinkError::Away(text),
        error => error,
    }
}

/// A TLS error about Redis' certificate or ours; `None` for other errors.
fn certificates(error: &RedisError) -> Option<(Variant, String)> {
    match rustls_error(error)? {
        rustls::Error::InvalidCertificate(_) => {
            let problem = TlsProblem::of(error, "REDIS_TLS_CA_FILE")?;
            Some((LinkError::Untrusted, problem.to_string()))
        }
        rustls::Error::AlertReceived(alert) => {
            let alert = format!("{alert:?}");
            let is_of_ours =
                alert.contains("Certificate") || matches!(&*alert, "UnknownCA" | "AccessDenied" | "DecryptError");
            is_of_ours.then(|| {
                (LinkError::CertificateRefused as Variant, format!("it does not accept our certificate: {alert}"))
            })
        }
        _ => None,
    }
}

/// The text of Redis or of the library on one line. Redis repeats unknown commands, which may hold a password: that
/// part is cut off.
fn one_line(error: &RedisError) -> String {
    if let Some(problem) = TlsProblem::of(error, "REDIS_TLS_CA_FILE") {
        return problem.to_string();
    }
    if error.is_timeout() {
        return format!("no answer within {} s", RESPONSE_TIMEOUT.as_secs());
    }
    // The same kind has an answer of another type than expected.
    if let (ErrorKind::Parse, Some(detail)) = (error.kind(), error.detail())
        && detail.starts_with("Parse error at ")
    {
        return other_protocol(detail).to_owned();
    }
    if let Some(words) = in_plain_words(error) {
        return words.to_owned();
    }
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string().replace(&format!(" - {:?}", error.kind()), ""),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.starts_with("failed to lookup address information") {
        return "the name does not resolve".to_owned();
    }
    let cut =
        [" script: ", ", with args beginning with", " (os error "].iter().filter_map(|start| line.find(start)).min();
    excerpt(&line[..cut.unwrap_or(line.len())], 300)
}

/// What a server seems to be that does not speak Redis' protocol, by the byte that the parser did not expect.
fn other_protocol(detail: &str) -> &'static str {
    // The last one named is the first that was read.
    let unexpected = detail.rsplit("Unexpected `").next().and_then(|rest| rest.split('`').next()?.parse::<u8>().ok());
    match unexpected {
        Some(b'H' | b'<') => "it answers as an HTTP server does: is this the port of Redis?",
        // The types of TLS records.
        Some(0x14..=0x17) => "it answers as a TLS port does: is rediss:// meant?",
        _ => "it does not speak Redis' protocol: is this the port of Redis?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_protocol_is_recognised_by_its_first_byte() {
        for (answer, what) in [
            (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "an HTTP server"),
            (b"<html>\r\n", "an HTTP server"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "a TLS port"),
            (b"220 mail.test ESMTP\r\n", "does not speak"),
        ] {
            let text = redis::parse_redis_value(answer).map_err(|error| one_line(&error));
            assert!(matches!(&text, Err(text) if text.contains(what)), "{text:?}");
        }
    }
}
