//! `run`: the sidecar.

use super::{Exit, Stopped, on_signal};
use crate::app;
use crate::config::Config;

pub(super) async fn run(config: Config) -> Result<Exit, Stopped> {
    let shutdown = on_signal()?;
    app::run(config, shutdown).await?;
    Ok(Exit::Done)
}
