//! The scripts, put together of their parts. Each step on a site's keys is one of them.

macro_rules! script {
    ($($part:literal),+) => { concat!($(include_str!(concat!("lua/", $part, ".lua"))),+) };
}

/// Replies the state.
pub const LOOK: &str = script!("etag", "state", "look");
/// Takes the lock where the state is as it was. What a claim that succeeds does without comes after it.
pub const CLAIM: &str = script!("etag", "claim", "state", "look");
/// Prolongs the lock.
pub const RENEW: &str = script!("etag", "state", "renew");
/// Stores and announces a token.
pub const COMMIT: &str = script!("etag", "state", "outcome", "commit");
/// Notes and announces a failure.
pub const FAIL: &str = script!("etag", "state", "outcome", "fail");
/// Announces again what stands.
pub const ANNOUNCE: &str = script!("etag", "state", "announce");
/// Frees the lock without an outcome.
pub const VACATE: &str = script!("etag", "state", "vacate");
