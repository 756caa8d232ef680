//! `trigger`: says that the token does not work, and waits for the outcome where asked to.

use std::convert::Infallible;
use std::time::Duration;

use super::args::Trigger as Flags;
use super::patience::reach;
use super::{Exit, Stopped, local, screen};
use crate::app::{self, Answer, Client, Events, LinkError};
use crate::config::{Config, SiteConfig};
use crate::domain::event::UpdatedCause;

/// How often the stage is asked for.
const STAGE_PACE: Duration = Duration::from_millis(400);

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let client = app::client(config, site)?;
    let reason = flags.reason.as_deref().unwrap_or_default();
    let Some(wait) = flags.wait else {
        let heard = reach(async || client.report(None, reason, flags.force).await).await?;
        expect_listeners(site, heard)?;
        screen::line(format!("published; {heard} heard it"))?;
        return Ok(Exit::Done);
    };
    let mut progress = screen::Progress::start("listening for the outcome");
    let mut events = Some(reach(async || client.listen().await).await?);
    let heard = reach(async || client.report(None, reason, flags.force).await).await?;
    expect_listeners(site, heard)?;
    progress.stage("asked for a new token");
    let answer = async {
        loop {
            match events.as_mut() {
                Some(listening) => match listening.answer().await {
                    Ok(answer) => return answer,
                    Err(_) => events = None,
                },
                None => events = Some(again(&client, reason, flags.force).await),
            }
        }
    };
    let answer = tokio::select! {
        answer = tokio::time::timeout(wait, answer) => answer,
        never = show_stages(config, site, &client, &mut progress) => match never {},
    };
    drop(progress);
    match answer {
        Ok(Answer::Updated(updated)) => {
            let word = match updated.cause {
                UpdatedCause::Refreshed => "new token",
                UpdatedCause::Repeated => "the token is fresh already:",
            };
            let fingerprint = screen::plain(&updated.fingerprint);
            screen::line(format!("{}: {word} {fingerprint}, version {}", site.id, updated.version))?;
            Ok(Exit::Done)
        }
        Ok(Answer::Failed(failed)) => Err(Stopped::because(
            Exit::TryAgain,
            format!(
                "{}: no new token: {} failed (attempt {}): {}; the next try is at {}",
                site.id, failed.stage, failed.attempt, failed.error, failed.retry_at
            ),
        )),
        Err(_) => Err(Stopped::because(
            Exit::TryAgain,
            format!(
                "{}: no outcome within {} s; the refresh goes on: see `token-sidecar status`",
                site.id,
                wait.as_secs()
            ),
        )),
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
        if let Some(stage) = stage(config, site, client).await {
            progress.stage(&stage);
        }
    }
}

fn expect_listeners(site: &SiteConfig, heard: usize) -> Result<(), Stopped> {
    if heard > 0 {
        return Ok(());
    }
    Err(Stopped::because(
        Exit::Unavailable,
        format!("nobody listens on {}:token:invalid: is the sidecar running, on this Redis?", site.id),
    ))
}

/// After a broken connection: what was said meanwhile is lost, so it is asked again.
async fn again(client: &Client, reason: &str, force: bool) -> Events {
    let listen = async || -> Result<_, LinkError> {
        let events = client.listen().await?;
        client.report(None, reason, force).await?;
        Ok(events)
    };
    loop {
        match listen().await {
            Ok(events) => return events,
            Err(_) => tokio::time::sleep(STAGE_PACE).await,
        }
    }
}

/// What the sidecar is at: from the one on this machine, or else from the lock.
async fn stage(config: &Config, site: &SiteConfig, client: &Client) -> Option<String> {
    if let Some(listen) = config.server.listen
        && let Ok(answer) = local::get(listen, "/api/status").await
        && let Ok(status) = serde_json::from_str::<serde_json::Value>(&answer.body)
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
