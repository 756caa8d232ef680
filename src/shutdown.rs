//! SIGTERM, SIGINT and SIGQUIT: the first one starts an orderly shutdown of `run` and `refresh`, the second, a second
//! later or more, ends them at once. All other commands end on the first. So does SIGHUP of a terminal; without one it
//! tells `run` to connect anew.

use std::fs;
use std::io;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Signals within this time of the first count as one with it.
const ONE_SIGNAL: Duration = Duration::from_secs(1);

/// The signals that end the process. [`Signals::install`] replaces their default action.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// Where it ends the process.
    hangup: Option<Signal>,
}

impl Signals {
    /// Handles the signals in place of their default action.
    pub fn install() -> io::Result<Self> {
        Self::with(ends_with_its_terminal())
    }

    /// The same, and SIGHUP as a request where it does not end the process.
    pub fn install_with_requests() -> io::Result<(Self, Option<Signal>)> {
        let ends = ends_with_its_terminal();
        let requests = (!ends).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok((Self::with(ends)?, requests))
    }

    fn with(hangup_ends: bool) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: hangup_ends.then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    /// Ends the process on the first signal from now on, even while it writes into a full pipe. SIGINT ends it with the
    /// given code.
    ///
    /// The default action is not enough: it is off where the parent ignores a signal, as a shell ignores SIGINT for its
    /// background jobs.
    pub fn end_the_process(interrupted: i32) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let mut signals = runtime.block_on(async { Self::install() })?;
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let signal = runtime.block_on(signals.next());
            std::process::exit(if signal == SignalKind::interrupt() { interrupted } else { exit_code(signal) })
        })?;
        Ok(())
    }

    /// Cancels `shutdown` on the first signal; returns the exit code on the second.
    pub async fn obey(mut self, shutdown: CancellationToken) -> i32 {
        cancel_then_end(async || self.next().await, &shutdown).await
    }

    async fn next(&mut self) -> SignalKind {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.quit.recv() => SignalKind::quit(),
            _ = hangup => SignalKind::hangup(),
        }
    }
}

/// Whether SIGHUP means that the terminal of this process is gone. `nohup` ignores it, so that a process outlives its
/// terminal.
fn ends_with_its_terminal() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    // The lowest bit is signal 1.
    ignored >> (SignalKind::hangup().as_raw_value() - 1) & 1 == 0 && fs::File::open("/dev/tty").is_ok()
}

fn name(signal: SignalKind) -> &'static str {
    match signal {
        _ if signal == SignalKind::terminate() => "SIGTERM",
        _ if signal == SignalKind::interrupt() => "SIGINT",
        _ if signal == SignalKind::quit() => "SIGQUIT",
        _ => "SIGHUP",
    }
}

/// What a shell reports for a process ended by SIGINT.
pub const INTERRUPTED: i32 = 130;

/// What a shell reports for a process ended by the signal.
const fn exit_code(signal: SignalKind) -> i32 {
    128 + signal.as_raw_value()
}

/// Cancels `shutdown` on the first signal; returns the exit code on the second.
async fn cancel_then_end(mut next: impl AsyncFnMut() -> SignalKind, shutdown: &CancellationToken) -> i32 {
    let first = next().await;
    tracing::info!(signal = name(first), "shutting down; a second signal ends at once");
    shutdown.cancel();
    // Ctrl-C reaches a wrapper and its child at once, and the wrapper may pass it on: that is one signal.
    let _elapsed = timeout(ONE_SIGNAL, async {
        loop {
            next().await;
        }
    })
    .await;
    let second = next().await;
    tracing::warn!(signal = name(second), "ended by a second signal, with work unfinished");
    exit_code(second)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn the_first_signal_cancels_and_one_a_second_later_ends_the_process() {
        let (send, mut signals) = mpsc::channel(2);
        let shutdown = CancellationToken::new();
        let mut code = Box::pin(cancel_then_end(async || signals.recv().await.unwrap(), &shutdown));

        send.send(SignalKind::terminate()).await.unwrap();
        tokio::select! {
            biased;
            _ = &mut code => panic!("one signal ends nothing"),
            () = shutdown.cancelled() => {}
        }
        send.send(SignalKind::terminate()).await.unwrap();
        assert!(timeout(2 * ONE_SIGNAL, &mut code).await.is_err(), "two at once are one");
        send.send(SignalKind::interrupt()).await.unwrap();
        assert_eq!(code.await, 130);
    }

    #[tokio::test]
    async fn a_real_sigterm_is_received() {
        let mut signals = Signals::install().unwrap();
        let killed = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(killed.unwrap().success());
        assert_eq!(signals.next().await, SignalKind::terminate());
    }
}
