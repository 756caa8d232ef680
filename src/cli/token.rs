//! `token`: prints only the current token, for `$(token-sidecar token)`, or all that belongs to it in another form.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, USER_AGENT};
use serde_json::{Value, json};
use token_sidecar_client::redis::{Connector, Link};
use token_sidecar_client::wire::{Token, whole_second_down};
use token_sidecar_client::{Client, ClientError, Update};

use super::args::{Form, Token as Flags};
use super::patience::reach;
use super::status::reader;
use super::{Exit, Stopped, screen};
use crate::config::{Config, SiteConfig};
use crate::domain::snapshot::{Current, Snapshot};
use crate::http::credentials;

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
    let form = &flags.form;
    if !(form.header || form.cookie || form.curl || form.json) {
        screen::line(token.expose())?;
        return Ok(Exit::Done);
    }
    // Token, cookies and user agent are read in one step, so that they belong together.
    let link = Arc::new(Link::new(Connector::new(&config.redis)?));
    let store = reader(&link, site);
    let snapshot = reach(|| store.snapshot()).await?;
    let Some(current) = &snapshot.current else {
        return Err(Stopped::because(Exit::TryAgain, format!("there is no token of {}", site.id)));
    };
    screen::line(if form.json { bundle(&snapshot, current).to_string() } else { headers(current, form) })?;
    Ok(Exit::Done)
}

fn headers(current: &Current, form: &Form) -> String {
    let mut headers = HeaderMap::new();
    let user_agent = current.refresh().and_then(|refresh| refresh.user_agent.as_deref());
    credentials::set(&mut headers, &current.token, &current.cookies, user_agent);
    let value = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    if form.cookie {
        return value(COOKIE).unwrap_or_default();
    }
    let bearer = |value| format!("Authorization: {value}");
    if form.header {
        return value(AUTHORIZATION).map(bearer).unwrap_or_default();
    }
    // In a file of settings for curl, `"` and `\` are escaped.
    let lines = [("Authorization", AUTHORIZATION), ("Cookie", COOKIE), ("User-Agent", USER_AGENT)];
    let lines = lines.into_iter().filter_map(|(shown, name)| {
        let value = value(name)?.replace('\\', "\\\\").replace('"', "\\\"");
        Some(format!("header = \"{shown}: {value}\""))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn bundle(snapshot: &Snapshot, current: &Current) -> Value {
    json!({
        "token": current.token.expose(),
        "fingerprint": current.token.fingerprint(),
        "version": current.refresh().map_or(0, |_| snapshot.version),
        "expires_at": current.token.claims().expires_at.map(whole_second_down),
        "cookies": serde_json::from_str::<Value>(&current.cookies.to_json()).unwrap_or_default(),
        "user_agent": current.refresh().and_then(|refresh| refresh.user_agent.as_deref()),
    })
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
