//! `healthcheck`: for containers without curl.

use super::{Exit, Stopped, local, screen};
use crate::config::Config;

pub(super) async fn run(config: &Config) -> Result<Exit, Stopped> {
    let Some(listen) = config.server.listen else {
        return Err(Stopped::because(
            Exit::Unhealthy,
            "the sidecar does not listen (SIDECAR_LISTEN=off), so its health cannot be asked",
        ));
    };
    let answer = local::get(listen, "/healthz")
        .await
        .map_err(|error| Stopped::because(Exit::Unhealthy, format!("no sidecar answers on {listen}: {error}")))?;
    if answer.status == 200 {
        screen::line(answer.body.trim())?;
        return Ok(Exit::Done);
    }
    Err(Stopped::because(Exit::Unhealthy, format!("unhealthy ({}): {}", answer.status, answer.body.trim())))
}
