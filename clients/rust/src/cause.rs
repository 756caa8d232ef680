//! Why a connection failed.

use std::error::Error;
use std::io;
use std::sync::Arc;

/// The usual causes of a connection error in plain words; `None` for others.
pub fn in_plain_words(error: &(dyn Error + 'static)) -> Option<&'static str> {
    causes(error).find_map(|error| match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some("connection refused"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some("connection reset"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some("no route to it"),
        io::ErrorKind::UnexpectedEof => Some("connection closed"),
        io::ErrorKind::TimedOut => Some("connection timed out"),
        _ => None,
    })
}

/// All causes of an error. An `io::Error` does not give the error that it wraps as its source, and redis-rs shares its own.
pub fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(source(error), |&error| source(error))
}

fn source<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    if let Some(shared) = error.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        return Some(&**shared);
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
}
