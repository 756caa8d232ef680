//! Programs that the sidecar starts: each in a process group of its own, with nothing of the sidecar's environment.

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;

/// Where programs are looked for: the environment of the sidecar is not theirs.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As much of a program's output as is kept, in bytes.
const TAIL: usize = 4 << 10;

/// All processes of a program that leads a group of its own; killed when this is dropped.
#[derive(Debug)]
pub struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    pub fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)))
    }

    /// Kills what is left. It fails once all have ended; another group may have the number later.
    pub fn kill(&mut self) {
        let _ended = self.0.take().map(|group| kill_process_group(group, Signal::KILL));
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last of what a program prints until it ends.
pub async fn tail_of(output: impl AsyncRead + Unpin) -> String {
    let mut tail = Tail::default();
    tail.read(output).await;
    tail.text()
}

/// The last of what a program prints.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    /// Reads to the end, so that the program never waits for a reader. May be dropped and called again.
    pub async fn read(&mut self, mut output: impl AsyncRead + Unpin) {
        while output.read_buf(&mut self.bytes).await.is_ok_and(|read| read > 0) {
            if self.bytes.len() > 2 * TAIL {
                self.bytes.drain(..self.bytes.len() - TAIL);
                self.is_cut = true;
            }
        }
    }

    /// Whole lines: the half of a secret would not be recognised.
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let whole = if self.is_cut { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
        whole.to_owned()
    }
}
