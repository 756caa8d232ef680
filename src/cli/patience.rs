//! Reaching Redis: a command tries for 5 s, and fails at once where Redis refuses.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use token_sidecar_client::ClientError;
use token_sidecar_client::redis::{LinkError, RedisConfig};
use tokio::time::sleep;

use super::{Stopped, screen};

pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);
/// How long Redis may be silent before stderr says what the command waits for.
const QUIET: Duration = Duration::from_secs(1);

/// Repeats a request until there is an answer, a refusal, or no time left. Says once on stderr what it waits for.
pub(super) async fn reach<T, E: Into<ClientError>>(
    redis: &RedisConfig,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, Stopped> {
    let seconds = PATIENCE.as_secs();
    let is_told = Cell::new(false);
    let tell = |what: &str| {
        if !is_told.replace(true) {
            screen::error_line(&format!("{what}; trying for {seconds} s"));
        }
    };
    let mut last = LinkError::Away(format!("{}: no answer within {seconds} s", redis.servers()));
    let trying = async {
        loop {
            match ask().await.map_err(Into::into) {
                Ok(answer) => return Ok(answer),
                Err(ClientError::Redis(error @ (LinkError::Away(_) | LinkError::SlotMoving(_)))) => {
                    tell(&error.to_string());
                    last = error;
                }
                Err(error) => return Err(Stopped::from(error)),
            }
            sleep(PAUSE).await;
        }
    };
    let silence = async || -> Infallible {
        sleep(QUIET).await;
        tell(&format!("{}: no answer yet", redis.servers()));
        pending().await
    };
    tokio::select! {
        biased;
        ended = trying => return ended,
        () = sleep(PATIENCE) => {}
        never = silence() => match never {},
    }
    Err(last.into())
}
