//! `next`: reports a token that the API has refused, and prints the one that takes its place.

use token_sidecar_client::{Client, ClientError};

use super::args::Next as Flags;
use super::patience::reach;
use super::{Exit, Stopped, refused, screen};
use crate::clock::SystemClock;
use crate::config::{Config, SiteConfig};
use crate::refresh::ports::Clock as _;

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let clock = SystemClock::start();
    let refused = refused::read(flags.refused.as_deref(), site.keys.product(), flags.wait).await?;
    let client = Client::configured(&config.redis, site.id.clone(), site.keys.clone())?.named("token-sidecar next");
    // A Redis that is out of reach is told of within seconds, not at the end of the wait.
    reach(&config.redis, async || client.token().await).await?;
    match client.wait_newer_than(refused, flags.wait.saturating_sub(clock.now())).await {
        Ok(token) => screen::line(token.expose())?,
        Err(ClientError::TimedOut(_)) => return Err(ClientError::TimedOut(flags.wait).into()),
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Done)
}
