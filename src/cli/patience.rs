//! Reaching Redis: a command tries for 5 s, and fails at once where Redis refuses.

use std::time::Duration;

use token_sidecar_client::ClientError;
use token_sidecar_client::redis::LinkError;

use super::{Exit, Stopped};

pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// Repeats a request until there is an answer, a refusal, or no time left.
pub(super) async fn reach<T, E: Into<ClientError>>(mut ask: impl AsyncFnMut() -> Result<T, E>) -> Result<T, Stopped> {
    let mut last = LinkError::Away(format!("no answer within {} s", PATIENCE.as_secs()));
    let trying = async {
        loop {
            match ask().await.map_err(Into::into) {
                Ok(answer) => return Ok(answer),
                Err(ClientError::Redis(error @ (LinkError::Away(_) | LinkError::SlotMoving(_)))) => last = error,
                Err(error) => return Err(Stopped::from(error)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, trying).await {
        Ok(ended) => ended,
        Err(_) => Err(Stopped::because(Exit::Unavailable, format!("Redis is out of reach: {last}"))),
    }
}
