//! A thread with a runtime of its own, for work that must not delay what the main one does.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Dropping it ends the thread, and whatever still runs there.
pub(super) struct OwnThread {
    runtime: Handle,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl OwnThread {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
        let ended = end.clone();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(ended.cancelled());
            // A name service that hangs must not delay the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, end, thread: Some(thread) })
    }

    /// Runs this there.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        self.end.cancel();
        // What runs there cleans up by being dropped, before the process ends.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_still_runs_there_is_dropped_with_it() {
        let thread = OwnThread::start("test").unwrap();
        let held = Arc::new(());
        let left = Arc::downgrade(&held);
        thread.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(thread);
        assert!(left.upgrade().is_none());
    }
}
