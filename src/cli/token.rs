//! `token`: prints only the current token, for `$(token-sidecar token)`.

use std::time::Duration;

use token_sidecar_client::wire::Token;
use token_sidecar_client::{Client, ClientError, Update};

use super::args::Token as Flags;
use super::patience::reach;
use super::{Exit, Stopped, screen};
use crate::config::{Config, SiteConfig};

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let client = Client::configured(&config.redis, site.id.clone(), site.keys.clone())?.named("token --wait");
    let mut token = reach(async || client.token().await).await?;
    if let (None, Some(wait)) = (&token, flags.wait) {
        token = tokio::time::timeout(wait, arrival(&client, wait)).await.ok();
    }
    let Some(token) = token else {
        let hint = if flags.wait.is_some() { "it did not come in time" } else { "wait for one with --wait" };
        return Err(Stopped::because(Exit::TryAgain, format!("there is no token of {}: {hint}", site.id)));
    };
    screen::line(token.expose())?;
    Ok(Exit::Done)
}

/// Asks for a token and waits for one, even after a failure: a later refresh may store it.
async fn arrival(client: &Client, timeout: Duration) -> Token {
    match client.get(timeout).await {
        Ok(token) => return token,
        Err(ClientError::NoSidecar(_)) => {
            screen::error_line("no sidecar listens yet: is one running? Waiting all the same");
        }
        Err(_) => {}
    }
    let mut updates = client.updates();
    loop {
        if !matches!(updates.next().await, Update::Lost(_))
            && let Ok(Some(token)) = client.token().await
        {
            return token;
        }
    }
}
