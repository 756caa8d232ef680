//! `trigger`: reports that the token does not work, and waits for the outcome with `--wait`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use token_sidecar_client::redis::{Connector, Link};
use token_sidecar_client::wire::{Product, Report, UpdatedCause};
use token_sidecar_client::{Client, ClientError};

use super::args::Trigger as Flags;
use super::patience::{PATIENCE, reach};
use super::status::reader;
use super::{Exit, Stopped, local, refused, screen};
use crate::clock::SystemClock;
use crate::config::{Config, SiteConfig};
use crate::redis::RedisStore;
use crate::refresh::ports::{Clock as _, Store as _};

const STAGE_INTERVAL: Duration = Duration::from_millis(400);

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let client = Client::configured(&config.redis, site.id.clone(), site.keys.clone())?.named("token-sidecar");
    let (clock, patience) = (SystemClock::start(), flags.wait.unwrap_or(PATIENCE));
    let fingerprint = match flags.refused.as_deref() {
        Some(given) => Some(refused::read(Some(given), site.keys.product(), patience).await?),
        None => None,
    };
    let report = Report { fingerprint, reason: flags.reason.clone(), force: flags.force, ..Report::default() };
    let Some(wait) = flags.wait else {
        let receivers = reach(&config.redis, async || client.report(&report).await).await?;
        screen::line(format!("published to {receivers} sidecar(s)"))?;
        return Ok(Exit::Done);
    };
    let mut pending = reach(&config.redis, async || client.ask(report.clone()).await).await?;
    let mut progress = screen::Progress::start("asked for a new token");
    let left = wait.saturating_sub(clock.now());
    let answer = tokio::select! {
        answer = tokio::time::timeout(left, pending.outcome()) => answer.unwrap_or(Err(ClientError::TimedOut(wait))),
        never = show_stages(config, site, &mut progress) => match never {},
    };
    drop(progress);
    match answer {
        Ok(updated) => {
            let label = match (updated.cause, site.keys.product()) {
                (UpdatedCause::Refreshed, product) => format!("new {product}"),
                (UpdatedCause::Repeated, Product::Token) => "the token is fresh already:".to_owned(),
                (UpdatedCause::Repeated, Product::Cookies) => "the cookies are fresh already:".to_owned(),
            };
            let fingerprint = screen::plain(&updated.fingerprint);
            screen::line(format!("{}: {label} {fingerprint}, version {}", site.id, updated.version))?;
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

/// Shows the stage of the refresh until the future is dropped.
async fn show_stages(config: &Config, site: &SiteConfig, progress: &mut screen::Progress) -> Infallible {
    let store = Connector::new(&config.redis).ok().map(|connector| reader(&Arc::new(Link::new(connector)), site));
    loop {
        tokio::time::sleep(STAGE_INTERVAL).await;
        progress.tick();
        if let Some(stage) = stage(config, site, store.as_ref()).await {
            progress.stage(&stage);
        }
    }
}

/// The stage of the refresh under way, from the sidecar on this machine; or else only that the lock is held.
async fn stage(config: &Config, site: &SiteConfig, store: Option<&RedisStore>) -> Option<String> {
    if let Some(listen) = config.server.listen
        && let Ok(answer) = local::get(listen, "/api/status").await
        && let Ok(status) = serde_json::from_slice::<serde_json::Value>(&answer.body)
    {
        let sites = status["sites"].as_array().map(Vec::as_slice).unwrap_or_default();
        let here = sites.iter().find(|s| s["site"] == site.id.as_str());
        if let Some(stage) = here.and_then(|here| here["refresh"]["stage"].as_str()) {
            return Some(format!("a refresh is at: {stage}"));
        }
    }
    let snapshot = store?.look().await.ok()?;
    snapshot.lock.map(|_| "a refresh is under way".to_owned())
}
