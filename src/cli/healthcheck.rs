//! `healthcheck`: for containers without curl.

use reqwest::StatusCode;

use super::args::Healthcheck as Flags;
use super::{Exit, Stopped, local, screen};
use crate::config::Config;

pub(super) async fn run(config: &Config, flags: &Flags) -> Result<Exit, Stopped> {
    let Some(listen) = config.server.listen else {
        return Err(Stopped::because(
            Exit::Unhealthy,
            "the sidecar does not listen (SIDECAR_LISTEN=off), so its health cannot be asked",
        ));
    };
    let answer = local::get(listen, "/healthz")
        .await
        .map_err(|error| Stopped::because(Exit::Unhealthy, format!("no sidecar answers on {listen}: {error}")))?;
    let body = String::from_utf8_lossy(&answer.body);
    if flags.live && [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status) {
        screen::line("it answers")?;
        return Ok(Exit::Done);
    }
    if answer.status == StatusCode::OK {
        screen::line(body.trim())?;
        return Ok(Exit::Done);
    }
    let code = answer.status.as_u16();
    Err(Stopped::because(Exit::Unhealthy, format!("unhealthy ({code}): {}", body.trim())))
}
