//! `run`: the sidecar.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Exit, Stopped, under_signals};
use crate::app;
use crate::config::{self, Config, InFiles, Inputs, Loaded};
use crate::shutdown::Signals;

/// How long the settings may take to be read again: a file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How many settings are named.
const NAMED: usize = 20;

/// The settings at the start, by which a later change of a file is seen.
pub(super) struct Start {
    pub(super) inputs: Inputs,
    pub(super) in_files: InFiles,
}

pub(super) async fn run(config: Config, start: Start) -> Result<Exit, Stopped> {
    let (signals, requests) = Signals::install_with_requests()?;
    let anew = Arc::new(Notify::new());
    under_signals(signals, async |shutdown| {
        tokio::select! {
            ended = app::run(config, shutdown, Arc::clone(&anew)) => ended,
            never = obey(requests, &anew, Arc::new(start)) => match never {},
        }
    })
    .await?;
    Ok(Exit::Done)
}

/// On each SIGHUP asks for new connections, for which files are read again, and names what only a restart applies.
async fn obey(requests: Option<Signal>, anew: &Notify, start: Arc<Start>) -> Infallible {
    let Some(mut requests) = requests else { return std::future::pending().await };
    loop {
        requests.recv().await;
        tracing::info!(
            signal = "SIGHUP",
            "connecting to Redis anew; files with its password and certificates are read again"
        );
        anew.notify_one();
        let start = Arc::clone(&start);
        let reading = spawn_blocking(move || {
            let Loaded { in_files, .. } = config::load(&start.inputs).map_err(|errors| errors.to_string())?;
            Ok(start.in_files.changed(&in_files))
        });
        let read = match timeout(READ_TIMEOUT, reading).await {
            Ok(read) => read.unwrap_or_else(|panicked| Err(panicked.to_string())),
            Err(_) => Err(format!("the files could not be read within {} s", READ_TIMEOUT.as_secs())),
        };
        match read {
            Ok(changed) if changed.is_empty() => {}
            Ok(changed) => {
                let more = changed.len().saturating_sub(NAMED);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                let settings = changed[..changed.len().min(NAMED)].join(", ") + &more;
                tracing::warn!(%settings, "settings have changed since the start: restart to apply");
            }
            Err(errors) => {
                let error = errors.replace('\n', "; ");
                tracing::warn!(%error, "the settings have errors, with which no restart succeeds: correct them");
            }
        }
    }
}
