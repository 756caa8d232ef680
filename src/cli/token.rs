//! `token`: prints only the current token, for `$(token-sidecar token)`, or all that belongs to it in another form.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderMap, USER_AGENT};
use serde_json::{Value, json};
use token_sidecar_client::wire::{Cookies, Token, whole_second_down};
use token_sidecar_client::{Client, ClientError, Update};

use super::args::{Form, Token as Flags};
use super::patience::reach;
use super::{Exit, Stopped, screen};
use crate::config::{Config, SiteConfig};
use crate::http::credentials;

pub(super) async fn run(config: &Config, site: &SiteConfig, flags: &Flags) -> Result<Exit, Stopped> {
    let client = Client::configured(&config.redis, site.id.clone(), site.keys.clone())?.named("token-sidecar token");
    let mut token = reach(&config.redis, async || client.token().await).await?;
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
    let bundle = reach(&config.redis, async || Bundle::read(&client, token.clone()).await).await?;
    screen::line(if form.json { bundle.json().to_string() } else { bundle.headers(form) })?;
    Ok(Exit::Done)
}

/// A token and what belongs to it.
struct Bundle {
    token: Token,
    cookies: Cookies,
    user_agent: Option<String>,
}

impl Bundle {
    /// Reads until the token is the same before and after: a refresh may come in between. A parser's rights are enough.
    async fn read(client: &Client, mut token: Token) -> Result<Self, ClientError> {
        loop {
            let (cookies, user_agent) = (client.cookies().await?, client.user_agent().await?);
            match client.token().await? {
                Some(newer) if newer != token => token = newer,
                _ => return Ok(Self { token, cookies, user_agent }),
            }
        }
    }

    fn headers(&self, form: &Form) -> String {
        let mut headers = HeaderMap::new();
        credentials::set(&mut headers, &self.token, &self.cookies, self.user_agent.as_deref());
        let value = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if form.cookie {
            return value(COOKIE).unwrap_or_default();
        }
        if form.header {
            return match self.token.bearer() {
                Some(bare) => format!("Authorization: Bearer {bare}"),
                None => format!("Cookie: {}", value(COOKIE).unwrap_or_default()),
            };
        }
        // In a file of settings for curl, `"` and `\` are escaped.
        let lines = [("Authorization", AUTHORIZATION), ("Cookie", COOKIE), ("User-Agent", USER_AGENT)];
        let lines = lines.into_iter().filter_map(|(shown, name)| {
            let value = value(name)?.replace('\\', "\\\\").replace('"', "\\\"");
            Some(format!("header = \"{shown}: {value}\""))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn json(&self) -> Value {
        json!({
            "token": self.token.expose(),
            "fingerprint": self.token.fingerprint(),
            "expires_at": self.token.claims().expires_at.map(whole_second_down),
            "cookies": serde_json::from_str::<Value>(&self.cookies.to_json()).unwrap_or_default(),
            "user_agent": self.user_agent,
        })
    }
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
