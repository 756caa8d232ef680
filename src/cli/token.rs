//! `token`: the current token alone, for `$(token-sidecar token)`.

use std::time::Duration;

use super::args::Token as Flags;
use super::patience::reach;
use super::{Exit, Stopped, screen};
use crate::app::{self, Client, LinkError};
use crate::config::{Config, SiteConfig};
use crate::domain::token::Token;

/// The rest between two tries while Redis is away.
const PACE: Duration = Duration::from_millis(250);

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let client = app::client(config, site)?;
    let mut token = reach(async || client.token().await).await?;
    if let (None, Some(wait)) = (&token, flags.wait) {
        token = tokio::time::timeout(wait, arrival(&client)).await.unwrap_or_default();
    }
    let Some(token) = token else {
        let hint = if flags.wait.is_some() { "it did not come in time" } else { "wait for one with --wait" };
        return Err(Stopped::because(Exit::TryAgain, format!("there is no token of {}: {hint}", site.id)));
    };
    screen::line(token.expose())?;
    Ok(Exit::Done)
}

/// Waits for a token: listens first, then asks, then reads whenever one is announced.
async fn arrival(client: &Client) -> Option<Token> {
    loop {
        match wait(client).await {
            Ok(token) => return Some(token),
            Err(_) => tokio::time::sleep(PACE).await,
        }
    }
}

async fn wait(client: &Client) -> Result<Token, LinkError> {
    let mut events = client.listen().await?;
    if let Some(token) = client.token().await? {
        return Ok(token);
    }
    if client.report(None, "token --wait", false).await? == 0 {
        screen::complain("nobody listens yet: is the sidecar running? Waiting all the same");
    }
    loop {
        events.next().await?;
        if let Some(token) = client.token().await? {
            return Ok(token);
        }
    }
}
