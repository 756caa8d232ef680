//! A connection for commands that many tasks share, and that is opened anew when it breaks.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::commands::Commands;
use super::connect::Connector;
use super::error::LinkError;

/// For this long after a failed try all callers get its error: thousands of sites may need the same connection.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How many commands may run at once. Further ones wait before they are sent, since the timeout of a command counts from
/// then.
const COMMANDS_AT_ONCE: usize = 256;

pub struct Link {
    connector: Connector,
    state: Mutex<State>,
    turns: Semaphore,
}

#[derive(Default)]
struct State {
    open: Option<Commands>,
    /// Counts the connections, so that a broken one is dropped once.
    generation: u64,
    failed: Option<(Instant, LinkError)>,
}

impl Link {
    /// A link that connects when it is first used.
    pub fn new(connector: Connector) -> Self {
        Self { connector, state: Mutex::default(), turns: Semaphore::new(COMMANDS_AT_ONCE) }
    }

    pub const fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Runs a script by its hash, and by its text where Redis does not have it: `SCRIPT LOAD` may be forbidden. After
    /// [`LinkError::Away`] it may have run or not, as any command.
    pub async fn script<T: FromRedisValue>(&self, by_hash: &Cmd, by_text: impl Fn() -> Cmd) -> Result<T, LinkError> {
        let _turn = self.turns.acquire().await;
        let (mut commands, generation) = self.open().await?;
        // Boxed: each of thousands of idle tasks would reserve memory for a command.
        let mut answer = Box::pin(by_hash.query_async(&mut commands)).await;
        if matches!(&answer, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)) {
            answer = Box::pin(by_text().query_async(&mut commands)).await;
        }
        self.settle(answer, generation).await
    }

    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkError> {
        let _turn = self.turns.acquire().await;
        let (mut commands, generation) = self.open().await?;
        let answer = Box::pin(command.query_async(&mut commands)).await;
        self.settle(answer, generation).await
    }

    /// Runs a command on any node of a Cluster, without waiting for a turn: a canary measures the round trip.
    pub async fn anywhere<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkError> {
        let (mut commands, generation) = self.open().await?;
        let answer = commands.anywhere(command).await.and_then(|value| Ok(redis::from_redis_value(value)?));
        self.settle(answer, generation).await
    }

    /// How many subscribers each channel has; on a Cluster the library queries all nodes and adds up their counts.
    pub async fn subscribers(&self, channels: &[String]) -> Result<HashMap<String, usize>, LinkError> {
        self.command(redis::cmd("PUBSUB").arg("NUMSUB").arg(channels)).await
    }

    /// Drops the connection: the next command opens a new one.
    pub async fn reopen(&self) {
        self.state.lock().await.open = None;
    }

    /// Waits until a command may be sent. A loop that starts many tasks calls it before each.
    pub async fn turn(&self) {
        let _turn = self.turns.acquire().await;
    }

    async fn open(&self) -> Result<(Commands, u64), LinkError> {
        let mut state = self.state.lock().await;
        if let Some(commands) = &state.open {
            return Ok((commands.clone(), state.generation));
        }
        if let Some((at, error)) = &state.failed
            && at.elapsed() < RETRY_PAUSE
        {
            return Err(error.clone());
        }
        match Box::pin(self.connector.commands()).await {
            Ok(commands) => {
                state.generation += 1;
                state.failed = None;
                state.open = Some(commands.clone());
                Ok((commands, state.generation))
            }
            Err(error) => {
                #[expect(clippy::disallowed_methods, reason = "a pause between tries, which nothing is decided by")]
                let now = Instant::now();
                state.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    /// Drops a connection that broke or does not answer, and sorts the error.
    async fn settle<T>(&self, answer: Result<T, RedisError>, generation: u64) -> Result<T, LinkError> {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // READONLY: the server is a replica now; behind Sentinel a new connection finds the master.
        let moved = error.code() == Some("READONLY");
        if moved
            || error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.is_unrecoverable_error()
        {
            let mut state = self.state.lock().await;
            if state.generation == generation {
                state.open = None;
            }
        }
        Err(self.connector.error(&error))
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("connector", &self.connector).finish_non_exhaustive()
    }
}
