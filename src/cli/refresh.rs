//! `refresh`: one refresh here and now.

use super::patience::PATIENCE;
use super::{Exit, Stopped, screen, under_signals};
use crate::app;
use crate::config::{Config, SiteConfig};
use crate::refresh::manual::ManualOutcome;
use crate::shutdown::Signals;

pub(super) async fn run(config: &Config, site: &SiteConfig) -> Result<Exit, Stopped> {
    let once =
        under_signals(Signals::install()?, async |shutdown| app::refresh(config, site, PATIENCE, shutdown).await)
            .await?;
    match once {
        ManualOutcome::Refreshed(snapshot) => {
            let fingerprint = snapshot.fingerprint().map(|f| f.to_string()).unwrap_or_default();
            let product = site.keys.product();
            screen::line(format!("{}: new {product} {fingerprint}, version {}", site.id, snapshot.version))?;
            Ok(Exit::Done)
        }
        ManualOutcome::Failed(failing) => Err(Stopped::because(
            Exit::TryAgain,
            format!(
                "{}: no new token: {} failed: {}; the sidecar tries again at {}",
                site.id, failing.stage, failing.error, failing.retry_at
            ),
        )),
        ManualOutcome::Stopped => {
            Err(Stopped::because(Exit::TryAgain, "stopped before the refresh ended; its lock is free"))
        }
    }
}
