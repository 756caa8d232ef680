//! Redis that is out of reach: a command tries for 5 s, and gives up at once where Redis says no.

use std::time::Duration;

use super::{Exit, Stopped};
use crate::client::{ClientError, LinkError};

/// How long a command tries to reach Redis.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long it rests between two tries.
const PACE: Duration = Duration::from_millis(250);

/// Asks until there is an answer, a refusal, or no patience left.
pub(super) async fn reach<T>(mut ask: impl AsyncFnMut() -> Result<T, ClientError>) -> Result<T, Stopped> {
    let mut last = LinkError::Away(format!("no answer within {} s", PATIENCE.as_secs()));
    let trying = async {
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(ClientError::Redis(error @ LinkError::Away(_))) => last = error,
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(PACE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, trying).await {
        Ok(ended) => ended,
        Err(_) => Err(Stopped::because(Exit::Unavailable, format!("Redis is out of reach: {last}"))),
    }
}
