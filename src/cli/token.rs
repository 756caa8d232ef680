//! `token`: the current token alone, for `$(token-sidecar token)`.

use std::time::Duration;

use token_sidecar_client::wire::Token;
use tokio_stream::StreamExt as _;

use super::args::Token as Flags;
use super::patience::reach;
use super::{Exit, Stopped, screen};
use crate::client::{Client, ClientError, Update};
use crate::config::{Config, SiteConfig};

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let client = Client::configured(config, site)?.named("token --wait");
    let mut token = reach(async || client.token().await).await?;
    if let (None, Some(wait)) = (&token, flags.wait) {
        token = tokio::time::timeout(wait, arrival(&client, wait)).await.unwrap_or_default();
    }
    let Some(token) = token else {
        let hint = if flags.wait.is_some() { "it did not come in time" } else { "wait for one with --wait" };
        return Err(Stopped::because(Exit::TryAgain, format!("there is no token of {}: {hint}", site.id)));
    };
    screen::line(token.expose())?;
    Ok(Exit::Done)
}

/// Asks for a token, and waits for one whatever the answer is.
async fn arrival(client: &Client, patience: Duration) -> Option<Token> {
    match client.get(patience).await {
        Ok(token) => return Some(token),
        Err(ClientError::NobodyListens(_)) => {
            screen::complain("nobody listens yet: is the sidecar running? Waiting all the same");
        }
        Err(_) => {}
    }
    let mut updates = client.updates();
    while let Some(update) = updates.next().await {
        if !matches!(update, Update::Lost(_))
            && let Ok(Some(token)) = client.token().await
        {
            return Some(token);
        }
    }
    None
}
