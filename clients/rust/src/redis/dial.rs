//! Connections over streams that the caller opens: a tunnel, or a network in memory.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult};
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes to a Redis server.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Opens streams to one server.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn() -> Dialing + Send + Sync>);

impl Dial {
    /// Opens a stream whenever a connection is wanted.
    pub fn new<S, F>(open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        S: Stream,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        Self(Arc::new(move || {
            let opening = open();
            Box::pin(async move { Ok(Box::new(opening.await?) as Box<dyn Stream>) })
        }))
    }

    /// A connection over a new stream. Its driver is a task that ends with the last handle of the connection.
    pub(super) async fn connect(
        &self,
        info: &RedisConnectionInfo,
        settings: AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let stream = (self.0)().await?;
        let (connection, driver) = MultiplexedConnection::new_with_config(info, stream, settings).await?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the connection, as the tasks that the library spawns"
        )]
        tokio::spawn(driver);
        Ok(connection)
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}
