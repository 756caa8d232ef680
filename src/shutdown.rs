//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals that end the process. From [`Signals::install`] on they no longer do so by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// A signal that ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Terminate,
    Interrupt,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// Where the system does not allow it.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Cancels `shutdown` on the first signal and ends the process on the second.
    pub async fn obey(mut self, shutdown: CancellationToken) {
        let code = heed(async || self.next().await, &shutdown).await;
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

    /// What a shell makes of a process that the signal has ended.
    const fn exit_code(self) -> i32 {
        match self {
            Self::Terminate => 128 + 15,
            Self::Interrupt => 128 + 2,
        }
    }
}

/// Gives the exit code once a second signal has come.
async fn heed(mut next: impl AsyncFnMut() -> Ending, shutdown: &CancellationToken) -> i32 {
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
    async fn the_first_signal_asks_and_the_second_ends() {
        let (send, mut signals) = mpsc::channel(2);
        let shutdown = CancellationToken::new();
        let mut code = Box::pin(heed(async || signals.recv().await.unwrap(), &shutdown));

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
    async fn a_real_sigterm_is_heard() {
        let mut signals = Signals::install().unwrap();
        let killed = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(killed.unwrap().success());
        assert_eq!(signals.next().await, Ending::Terminate);
    }
}
