//! `version`: which build this is.

use std::env::consts::{ARCH, OS};

use serde_json::json;

use super::args::Output;
use super::{Exit, Stopped, screen};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// As whoever builds names it: the sources may come without their repository.
const COMMIT: Option<&str> = option_env!("TOKEN_SIDECAR_COMMIT");

pub(super) fn print(output: &Output) -> Result<Exit, Stopped> {
    if !output.json {
        screen::line(format!("token-sidecar {VERSION}"))?;
        return Ok(Exit::Done);
    }
    let shown = json!({
        "version": VERSION,
        "commit": COMMIT.filter(|commit| !commit.is_empty()),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "target": format!("{ARCH}-{OS}-{}", if cfg!(target_env = "musl") { "musl" } else { "gnu" }),
    });
    screen::line(format!("{shown:#}"))?;
    Ok(Exit::Done)
}
