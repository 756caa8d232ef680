//! SIGTERM and SIGINT: the first one starts an orderly shutdown of `run` and `refresh`, the second ends them at once.
//! All other commands end on the first.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals that end the process. [`Signals::install`] replaces their default action.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Terminate,
    Interrupt,
}

impl Signals {
    /// Handles the signals in place of their default action.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ends the process on the first signal from now on, even while it writes into a full pipe.
    ///
    /// The default action is not enough: it is off where the parent ignores a signal, as a shell ignores SIGINT for its
    /// background jobs.
    pub fn end_the_process() -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let mut signals = runtime.block_on(async { Self::install() })?;
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || std::process::exit(runtime.block_on(signals.next()).exit_code()))?;
        Ok(())
    }

    /// Cancels `shutdown` on the first signal and ends the process on the second.
    pub async fn obey(mut self, shutdown: CancellationToken) {
        let code = cancel_then_end(async || self.next().await, &shutdown).await;
        std::process::exit(code);
    }

    async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.terminate.recv() => Ending::Terminate,
            _ = self.interrupt.recv() => Ending::Interrupt,
        }
    }
}

impl Ending {
    const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// The exit code that a shell reports for a process ended by the signal.
    const fn exit_code(self) -> i32 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
        }
    }
}

/// Cancels `shutdown` on the first signal; returns the exit code on the second.
async fn cancel_then_end(mut next: impl AsyncFnMut() -> Ending, shutdown: &CancellationToken) -> i32 {
    let first = next().await;
    tracing::info!(signal = first.name(), "shutting down; a second signal ends at once");
    shutdown.cancel();
    let second = next().await;
    tracing::warn!(signal = second.name(), "ended by a second signal, with work unfinished");
    second.exit_code()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn the_first_signal_cancels_and_the_second_ends_the_process() {
        let (send, mut signals) = mpsc::channel(2);
        let shutdown = CancellationToken::new();
        let mut code = Box::pin(cancel_then_end(async || signals.recv().await.unwrap(), &shutdown));

        send.send(Ending::Terminate).await.unwrap();
        tokio::select! {
            biased;
            _ = &mut code => panic!("one signal ends nothing"),
            () = shutdown.cancelled() => {}
        }
        send.send(Ending::Interrupt).await.unwrap();
        assert_eq!(code.await, 130);
    }

    #[tokio::test]
    async fn a_real_sigterm_is_received() {
        let mut signals = Signals::install().unwrap();
        let killed = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(killed.unwrap().success());
        assert_eq!(signals.next().await, Ending::Terminate);
    }
}
