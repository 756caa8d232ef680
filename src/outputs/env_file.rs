//! A `.env` whose line with the token is kept current.

pub mod edit;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use token_sidecar_client::wire::Token;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::file::{FileError, Written, rewrite};
use crate::domain::stored::StoredToken;
use crate::domain::verdict::Pace;
use crate::refresh::ports::Jitter;

/// How often a current file is checked: another program may have overwritten it.
const CHECK: Duration = Duration::from_secs(60);
/// A write that takes longer is reported.
const SLOW: Duration = Duration::from_secs(10);

/// One line of a `.env`.
#[derive(Debug)]
pub struct EnvFile {
    path: PathBuf,
    key: String,
    has_advised: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    Stored,
    /// A retry or a check is due.
    Due,
    Ended,
}

/// Why a `.env` does not hold the current token.
#[derive(Debug, thiserror::Error)]
enum EnvFileError {
    #[error("it is in UTF-16")]
    Utf16,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the write was given up: {0}")]
    GivenUp(#[from] tokio::task::JoinError),
}

impl EnvFile {
    /// The line `key=…` of the file at `path`.
    pub const fn new(path: PathBuf, key: String) -> Self {
        Self { path, key, has_advised: false }
    }

    /// Writes each new token until the site's driver has ended. A failed write is retried with growing delays, and once
    /// more at the end, always with the newest token.
    ///
    /// A line that another program has overwritten is restored within a minute, while `is_connected`: without Redis
    /// the token in the file may be newer than the known one. `report` is told whether the file holds the token.
    pub async fn run(
        mut self,
        mut stored: watch::Receiver<Option<Arc<StoredToken>>>,
        delays: impl Jitter,
        is_connected: impl Fn() -> bool,
        report: impl Fn(bool),
    ) {
        // What another program stored is not written until a sidecar has adopted it.
        let mut latest = None;
        let mut failures = 0;
        loop {
            let pause = if failures == 0 { CHECK } else { delays.backoff(failures, Pace::Ordinary) };
            let woken = tokio::select! {
                changed = stored.changed() => if changed.is_ok() { Woken::Stored } else { Woken::Ended },
                () = sleep(pause) => Woken::Due,
            };
            let is_wanted = match woken {
                Woken::Stored => true,
                Woken::Due => failures > 0 || is_connected(),
                Woken::Ended => failures > 0,
            };
            let ours = stored.borrow_and_update().as_ref().filter(|stored| stored.is_ours()).map(|s| s.token.clone());
            latest = ours.or(latest);
            if let Some(token) = latest.as_ref().filter(|_| is_wanted) {
                let is_current = self.put(token).await;
                failures = if is_current { 0 } else { failures + 1 };
                report(is_current);
            }
            if woken == Woken::Ended {
                return;
            }
        }
    }

    /// Whether the file now holds the token. Logs the result.
    async fn put(&mut self, token: &Token) -> bool {
        let path = self.path.display();
        match self.write(token).await {
            Ok(written) => {
                tracing::debug!(env.path = %path, token.fingerprint = %token.fingerprint(), "the .env is current");
                if written == Written::InPlace && !self.has_advised {
                    self.has_advised = true;
                    tracing::warn!(
                        env.path = %path,
                        "the .env had to be written in place, where a crash may leave half of it: it is mounted by \
                         itself (mount its folder), a hard link, another user's, or in a folder that is read-only"
                    );
                }
                true
            }
            Err(error) => {
                tracing::error!(env.path = %path, %error, "the .env does not hold the current token");
                false
            }
        }
    }

    async fn write(&self, token: &Token) -> Result<Written, EnvFileError> {
        let (path, key, token) = (self.path.clone(), self.key.clone(), token.clone());
        let mut writing = spawn_blocking(move || {
            rewrite(&path, |content| match content {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(EnvFileError::Utf16),
                content => Ok(edit::edit(content, &key, token.expose())),
            })
        });
        // The write is not abandoned: it must not finish after a newer one.
        if let Ok(written) = timeout(SLOW, &mut writing).await {
            return written?;
        }
        tracing::error!(
            env.path = %self.path.display(),
            "the .env does not hold the current token: its file system does not answer, or another process holds its lock"
        );
        writing.await?
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use token_sidecar_client::wire::Cookies;

    use super::*;
    use crate::jitter::Delays;

    fn stored(token: &str) -> Option<Arc<StoredToken>> {
        of_version(1, token)
    }

    fn of_version(version: u64, token: &str) -> Option<Arc<StoredToken>> {
        let (token, cookies) = (Token::parse(token).unwrap(), Cookies::default());
        Some(Arc::new(StoredToken { token, cookies, version, user_agent: None, ends_at: None }))
    }

    fn at(path: &std::path::Path, stored: watch::Receiver<Option<Arc<StoredToken>>>) -> impl Future<Output = ()> {
        let delays = Delays::new(Duration::from_secs(1), Duration::from_secs(60));
        EnvFile::new(path.to_owned(), "KEY".into()).run(stored, delays, || true, |_| {})
    }

    async fn pass(seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_is_tried_again_with_the_newest_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/.env");
        let (sender, receiver) = watch::channel(None);
        let story = async {
            sender.send_replace(stored("first"));
            pass(5).await;
            sender.send_replace(stored("second"));
            pass(5).await;
            fs::create_dir(folder.path().join("missing")).unwrap();
            pass(30).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=second\n");
            drop(sender);
        };
        tokio::join!(at(&path, receiver), story);
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_program_stored_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let (sender, receiver) = watch::channel(None);
        let story = async {
            sender.send_replace(stored("ours"));
            pass(5).await;
            sender.send_replace(of_version(0, "theirs"));
            pass(5).await;
            fs::write(&path, "KEY=overwritten\n").unwrap();
            pass(60).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=ours\n");
            drop(sender);
        };
        tokio::join!(at(&path, receiver), story);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_stored_last_is_written_after_the_driver_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let (sender, receiver) = watch::channel(None);
        sender.send_replace(stored("last"));
        drop(sender);
        at(&path, receiver).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=last\n");

        let path = folder.path().join("missing/.env");
        let (sender, receiver) = watch::channel(None);
        let story = async {
            sender.send_replace(stored("last"));
            sleep(Duration::from_millis(1)).await;
            fs::create_dir(folder.path().join("missing")).unwrap();
            drop(sender);
        };
        tokio::join!(at(&path, receiver), story);
        assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=last\n", "a failed write is tried once more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_program_has_overwritten_is_restored_unless_redis_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let (sender, receiver) = watch::channel(None);
        let is_connected = Cell::new(true);
        let story = async {
            sender.send_replace(stored("ours"));
            pass(1).await;
            fs::write(&path, "A=1\nKEY=theirs\n").unwrap();
            pass(61).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\nKEY=ours\n");
            is_connected.set(false);
            fs::write(&path, "KEY=theirs\n").unwrap();
            pass(600).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=theirs\n", "it may be newer");
            is_connected.set(true);
            pass(61).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=ours\n");
            drop(sender);
        };
        let delays = Delays::new(Duration::from_secs(1), Duration::from_secs(60));
        let output = EnvFile::new(path.clone(), "KEY".into()).run(receiver, delays, || is_connected.get(), |_| {});
        tokio::join!(output, story);
    }

    #[tokio::test]
    async fn a_file_in_utf_16_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        for content in [b"\xff\xfeK\0", b"\xfe\xff\0K"] {
            fs::write(&path, content).unwrap();
            let written = EnvFile::new(path.clone(), "KEY".into()).write(&Token::parse("abc").unwrap()).await;
            assert!(matches!(written, Err(EnvFileError::Utf16)));
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    /// The old design truncated the file and wrote it anew: a crash lost it, and a missing key was never added.
    #[tokio::test]
    async fn defect_9_the_env_file_is_replaced_in_one_step_and_a_missing_key_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        fs::write(&path, "A=1\r\nKEY=old\r\n").unwrap();
        for (key, token) in [("KEY", "abc"), ("OTHER", "def")] {
            let written = EnvFile::new(path.clone(), key.into()).write(&Token::parse(token).unwrap()).await;
            assert_eq!(written.unwrap(), Written::Replaced);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\r\nKEY=abc\r\nOTHER=def\r\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }
}
