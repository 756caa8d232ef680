//! `run`: the sidecar.

use super::{Exit, Stopped, under_signals};
use crate::app;
use crate::config::Config;

pub(super) async fn run(config: Config) -> Result<Exit, Stopped> {
    under_signals(async |shutdown| app::run(config, shutdown).await).await??;
    Ok(Exit::Done)
}
