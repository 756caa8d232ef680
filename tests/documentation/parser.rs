//! The parser in Rust that the README shows.

use std::time::Duration;

use token_sidecar::app::{self, Answer};
use token_sidecar::config::{self, Inputs};
use token_sidecar::domain::token::{Fingerprint, Token};

/// The API has answered 401 to `refused`: the token that follows.
pub async fn next_token(refused: &str) -> Result<Option<Token>, Box<dyn std::error::Error>> {
    let config = config::load(&Inputs::of_the_process(None, Vec::new()))?.config;
    let client = app::client(&config, &config.sites[0])?;
    let mut events = client.listen().await?;
    if client.report(Some(refused), "401 on /search", false).await? == 0 {
        return Err("no sidecar listens".into());
    }
    let named = Fingerprint::of(refused).to_string();
    let outcome = async {
        loop {
            match events.answer().await? {
                Answer::Updated(updated) if updated.fingerprint == named => {}
                Answer::Updated(_) => return Ok(client.token().await?),
                Answer::Failed(failed) => return Err(failed.error.into()),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), outcome).await?
}
