//! What several test crates share.

pub(crate) mod redis_server;
