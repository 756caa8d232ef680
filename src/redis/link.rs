//! The connection for commands that all sites of the process share, opened anew when it breaks.

use std::time::Duration;

use redis::{FromRedisValue, RedisError, ScriptInvocation};
use token_sidecar_client::redis::{Commands, Connector, LinkError, classify};
use tokio::sync::{Mutex, Semaphore};

use crate::refresh::ports::Clock;

/// After a failed try no other is made for so long: thousands of sites ask for the same connection.
const RETRY_PACE: Duration = Duration::from_millis(200);

/// How many commands of the sites are under way at once. Thousands of sites may ask at one moment: a command's time-out
/// counts from when it is sent, not the turns of those before it.
const COMMANDS_AT_ONCE: usize = 256;

/// The shared connection for commands.
pub struct Link<C> {
    connector: Connector,
    clock: C,
    state: Mutex<State>,
    turns: Semaphore,
}

#[derive(Default)]
struct State {
    open: Option<Commands>,
    /// Counts the connections, so that a broken one is dropped once.
    generation: u64,
    failed: Option<(Duration, LinkError)>,
}

impl<C: Clock> Link<C> {
    /// A link that connects when it is first used.
    pub fn new(connector: Connector, clock: C) -> Self {
        Self { connector, clock, state: Mutex::default(), turns: Semaphore::new(COMMANDS_AT_ONCE) }
    }

    /// Opens connections of other kinds.
    pub const fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Runs a script; one answer, or an error that says what it means.
    ///
    /// # Errors
    /// [`LinkError`]; after `Away` the script may have run or not.
    pub async fn script<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, LinkError> {
        let _turn = self.turns.acquire().await;
        let (mut commands, generation) = self.open().await?;
        let answer = invocation.invoke_async(&mut commands).await;
        self.settle(answer, generation).await
    }

    /// Runs one command.
    ///
    /// # Errors
    /// [`LinkError`]; after `Away` the command may have run or not.
    pub async fn command<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LinkError> {
        let _turn = self.turns.acquire().await;
        let (mut commands, generation) = self.open().await?;
        let answer = command.query_async(&mut commands).await;
        self.settle(answer, generation).await
    }

    /// Runs one command on whichever node of a Cluster comes up, without waiting for a turn: a canary measures the way.
    ///
    /// # Errors
    /// [`LinkError`]; after `Away` the command may have run or not.
    pub async fn anywhere<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LinkError> {
        let (mut commands, generation) = self.open().await?;
        let answer = commands.anywhere(command).await.and_then(|value| Ok(redis::from_redis_value(value)?));
        self.settle(answer, generation).await
    }

    /// Gives the connection up: whatever comes next gets a new one.
    pub async fn reopen(&self) {
        self.state.lock().await.open = None;
    }

    /// Waits for a turn and leaves it to others: whoever begins much work begins no more of it at once than is done.
    pub async fn turn(&self) {
        let _turn = self.turns.acquire().await;
    }

    async fn open(&self) -> Result<(Commands, u64), LinkError> {
        let mut state = self.state.lock().await;
        if let Some(commands) = &state.open {
            return Ok((commands.clone(), state.generation));
        }
        if let Some((at, error)) = &state.failed
            && self.clock.now() < *at + RETRY_PACE
        {
            return Err(error.clone());
        }
        // In a box, or every task that may ever run a command would keep room for all of this.
        match Box::pin(self.connector.commands()).await {
            Ok(commands) => {
                state.generation += 1;
                state.failed = None;
                state.open = Some(commands.clone());
                Ok((commands, state.generation))
            }
            Err(error) => {
                state.failed = Some((self.clock.now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Drops a connection that broke or went silent: whatever comes next gets a new one.
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
        Err(classify(&error))
    }
}

impl<C> std::fmt::Debug for Link<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("connector", &self.connector).finish_non_exhaustive()
    }
}
