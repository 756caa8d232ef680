//! `trigger`: says that the token does not work, and waits for the outcome where asked to.

use std::convert::Infallible;
use std::time::Duration;

use token_sidecar_client::wire::UpdatedCause;

use super::args::Trigger as Flags;
use super::patience::reach;
use super::{Exit, Stopped, local, screen};
use crate::client::{Client, ClientError, Report};
use crate::config::{Config, SiteConfig};

/// How often the stage is asked for.
const STAGE_PACE: Duration = Duration::from_millis(400);

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let client = Client::configured(config, site)?;
    let reason = flags.reason.clone().unwrap_or_default();
    let report = Report { fingerprint: None, reason, force: flags.force };
    let Some(wait) = flags.wait else {
        let heard = reach(async || client.report(&report).await).await?;
        screen::line(format!("published; {heard} heard it"))?;
        return Ok(Exit::Done);
    };
    let mut progress = screen::Progress::start("listening for the outcome");
    let mut asked = reach(async || client.ask(report.clone()).await).await?;
    progress.stage("asked for a new token");
    let answer = tokio::select! {
        answer = tokio::time::timeout(wait, asked.answer()) => answer.unwrap_or(Err(ClientError::TimedOut(wait))),
        never = show_stages(config, site, &client, &mut progress) => match never {},
    };
    drop(progress);
    match answer {
        Ok(updated) => {
            let word = match updated.cause {
                UpdatedCause::Refreshed => "new token",
                UpdatedCause::Repeated => "the token is fresh already:",
            };
            let fingerprint = screen::plain(&updated.fingerprint);
            screen::line(format!("{}: {word} {fingerprint}, version {}", site.id, updated.version))?;
            Ok(Exit::Done)
        }
        Err(error @ ClientError::Failed(_)) => Err(Stopped::because(Exit::TryAgain, format!("{}: {error}", site.id))),
        Err(error @ ClientError::TimedOut(_)) => Err(Stopped::because(
            Exit::TryAgain,
            format!("{}: {error}; the refresh goes on: see `token-sidecar status`", site.id),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Follows what the sidecar is at, until it is dropped.
async fn show_stages(
    config: &Config,
    site: &SiteConfig,
    client: &Client,
    progress: &mut screen::Progress,
) -> Infallible {
    loop {
        tokio::time::sleep(STAGE_PACE).await;
        progress.tick();
        if let Some(stage) = stage(config, site, client).await {
            progress.stage(&stage);
        }
    }
}

/// What the sidecar is at: from the one on this machine, or else from the lock.
async fn stage(config: &Config, site: &SiteConfig, client: &Client) -> Option<String> {
    if let Some(listen) = config.server.listen
        && let Ok(answer) = local::get(listen, "/api/status").await
        && let Ok(status) = serde_json::from_slice::<serde_json::Value>(&answer.body)
    {
        let sites = status["sites"].as_array().map(Vec::as_slice).unwrap_or_default();
        let here = sites.iter().find(|s| s["site"] == site.id.as_str())?;
        if let Some(stage) = here["refresh"]["stage"].as_str() {
            return Some(format!("a refresh is at: {stage}"));
        }
    }
    let snapshot = client.look().await.ok()?;
    snapshot.lock.map(|_| "a refresh is under way".to_owned())
}
