//! The scripts. Each is one atomic step on the keys of a site, and one file after the prelude that all of them share.

macro_rules! script {
    ($name:literal) => {
        concat!(include_str!("scripts/prelude.lua"), include_str!(concat!("scripts/", $name, ".lua")))
    };
}

/// Reads the state.
pub const LOOK: &str = script!("look");
/// Takes the lock.
pub const CLAIM: &str = script!("claim");
/// Prolongs the lock.
pub const RENEW: &str = script!("renew");
/// Stores and announces a token.
pub const COMMIT: &str = script!("commit");
/// Notes and announces a failure.
pub const FAIL: &str = script!("fail");
/// Announces the state again.
pub const ANNOUNCE: &str = script!("announce");
/// Checks whether the token's key exists, and what time it is; the prelude is left out.
pub const HEARTBEAT: &str = include_str!("scripts/heartbeat.lua");
/// Reads the history; the prelude is left out.
pub const HISTORY: &str = include_str!("scripts/history.lua");
/// Frees the lock without an outcome.
pub const VACATE: &str = script!("vacate");
