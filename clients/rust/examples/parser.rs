//! A parser in Rust: where the API refuses its token, it reports it and goes on with the one that follows.

use std::time::Duration;

use token_sidecar_client::wire::Token;
use token_sidecar_client::{Client, ClientError};

/// How long a new token may take.
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ClientError> {
    let client = Client::new("redis://127.0.0.1:6379/0", "chitai_gorod")?.named("my parser");
    let mut token = client.get(TIMEOUT).await?;
    for page in 1..=3 {
        while search(&client, &token, page).await? == 401 {
            token = client.wait_newer(&token, TIMEOUT).await?;
        }
    }
    Ok(())
}

/// Your call of the API, with the headers that it may require; returns its status.
async fn search(client: &Client, token: &Token, _page: u32) -> Result<u16, ClientError> {
    let _authorization = format!("Bearer {}", token.expose());
    let _cookie = client.cookies().await?.header();
    let _user_agent = client.user_agent().await?;
    Ok(200)
}
