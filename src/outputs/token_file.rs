//! A file that is kept current: a line of a `.env`, or what a template makes of the stored token.

pub mod env_line;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{OptionFuture, join};
use token_sidecar_client::wire::SiteId;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::file::{FileError, Written, rewrite};
use super::hook::{self, HookRunner};
use crate::domain::stored::StoredToken;
use crate::domain::template::TemplateError;
use crate::domain::token_file::{Content, Hook, TokenFile};
use crate::domain::verdict::Pace;
use crate::refresh::ports::Jitter;

/// How often a current file is checked: another program may have overwritten it.
const CHECK: Duration = Duration::from_secs(60);
/// A write that takes longer is reported.
const SLOW: Duration = Duration::from_secs(10);

/// Keeps a file of a site current.
#[derive(Debug)]
pub struct TokenFileWriter {
    site: SiteId,
    file: Arc<TokenFile>,
    has_advised: bool,
}

/// What a result is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Whether the file holds the current token.
    Write,
    /// Whether the last run of its hook has succeeded.
    Hook,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    Stored,
    /// A retry or a check is due.
    Due,
    Ended,
}

/// Why a file does not hold the current token.
#[derive(Debug, thiserror::Error)]
enum TokenFileError {
    #[error("it is in UTF-16")]
    Utf16,
    #[error("its template, {0}")]
    Template(#[from] TemplateError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the write was given up: {0}")]
    GivenUp(#[from] tokio::task::JoinError),
}

/// Whether this process may write the file; the error says why not.
pub fn check(file: &TokenFile) -> Result<(), String> {
    super::file::check(&file.path).map_err(|error| error.to_string())
}

/// Whether the command that follows a write can be run; `None` where there is none.
pub fn check_command(file: &TokenFile) -> Option<Result<&str, String>> {
    let Some(Hook::Command(command)) = &file.hook else { return None };
    Some(hook::check(command).map(|()| command.program.as_str()))
}

impl TokenFileWriter {
    pub fn new(site: SiteId, file: TokenFile) -> Self {
        Self { site, file: Arc::new(file), has_advised: false }
    }

    /// Writes each new token until the site's driver has ended, and runs the hook of the file beside that. A failed write
    /// is retried with growing delays, and once more at the end, always with the newest token.
    ///
    /// What another program has overwritten is restored within a minute, while `is_connected`: without Redis
    /// the token in the file may be newer than the known one.
    pub async fn run(
        self,
        stored: watch::Receiver<Option<Arc<StoredToken>>>,
        delays: impl Jitter + Copy,
        is_connected: impl Fn() -> bool,
        report: impl Fn(Step, Result<(), String>),
    ) {
        let (written, is_written) = watch::channel(None);
        let runner = |hook| HookRunner { site: self.site.clone(), file: self.file.path.clone(), hook };
        let hook = self.file.hook.clone().map(runner);
        let hook = hook.map(|hook| hook.run(is_written, delays, |done| report(Step::Hook, done)));
        join(
            self.write_each(stored, delays, is_connected, |done| report(Step::Write, done), written),
            OptionFuture::from(hook),
        )
        .await;
    }

    async fn write_each(
        mut self,
        mut stored: watch::Receiver<Option<Arc<StoredToken>>>,
        delays: impl Jitter,
        is_connected: impl Fn() -> bool,
        report: impl Fn(Result<(), String>),
        written: watch::Sender<Option<Arc<StoredToken>>>,
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
            let ours = stored.borrow_and_update().clone().filter(|stored| stored.is_ours());
            latest = ours.or(latest);
            if let Some(stored) = latest.as_ref().filter(|_| is_wanted) {
                let done = self.put(stored, &report).await;
                failures = if done.is_ok() { 0 } else { failures + 1 };
                // The process before may have been killed between a write and its hook: the first check counts as a write.
                if done.as_ref().is_ok_and(|done| *done != Written::Unchanged || written.borrow().is_none()) {
                    written.send_replace(Some(Arc::clone(stored)));
                }
                report(done.map(|_| ()));
            }
            if woken == Woken::Ended {
                return;
            }
        }
    }

    /// Makes the file hold the token, or says why it does not. Logs the result.
    async fn put(
        &mut self,
        stored: &Arc<StoredToken>,
        report: &impl Fn(Result<(), String>),
    ) -> Result<Written, String> {
        let (site, path, fingerprint) = (&self.site, self.file.path.display(), stored.token.fingerprint());
        match self.write(stored, report).await {
            Ok(written) => {
                tracing::debug!(%site, file.path = %path, token.fingerprint = %fingerprint, "the file is current");
                if written == Written::InPlace && !self.has_advised {
                    self.has_advised = true;
                    tracing::warn!(
                        %site, file.path = %path,
                        "the file had to be written in place, where a crash may leave half of it: it is mounted by \
                         itself (mount its folder), a hard link, another user's, or in a folder that is read-only"
                    );
                }
                Ok(written)
            }
            Err(error) => {
                tracing::error!(%site, file.path = %path, %error, "the file does not hold the current token");
                Err(error.to_string())
            }
        }
    }

    /// Reports a write that takes long before it has ended.
    async fn write(
        &self,
        stored: &Arc<StoredToken>,
        report: &impl Fn(Result<(), String>),
    ) -> Result<Written, TokenFileError> {
        let (site, file, stored) = (self.site.clone(), Arc::clone(&self.file), Arc::clone(stored));
        let mut writing = spawn_blocking(move || match &file.content {
            Content::EnvLine(key) => rewrite(&file.path, file.access, |content| match content {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(TokenFileError::Utf16),
                content => Ok(env_line::edit(content, key, stored.token.expose())),
            }),
            Content::Template(template) => {
                let content = template.render(&site, &stored)?.into_bytes();
                rewrite(&file.path, file.access, |old| Ok((old != content).then(|| content.clone())))
            }
        });
        // The write is not abandoned: it must not finish after a newer one.
        if let Ok(written) = timeout(SLOW, &mut writing).await {
            return written?;
        }
        let (site, path) = (&self.site, self.file.path.display());
        let error = "its file system does not answer, or another process holds its lock";
        tracing::error!(%site, file.path = %path, error, "the file does not hold the current token");
        report(Err(error.to_owned()));
        writing.await?
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use token_sidecar_client::wire::{Cookies, Product, Token};

    use super::*;
    use crate::domain::file_template::FileTemplate;
    use crate::domain::token_file::Access;
    use crate::jitter::Delays;

    fn line_of(path: &std::path::Path, key: &str) -> TokenFileWriter {
        with(path, Content::EnvLine(key.to_owned()))
    }

    fn with(path: &std::path::Path, content: Content) -> TokenFileWriter {
        let file = TokenFile { path: path.to_owned(), content, access: Access::default(), hook: None };
        TokenFileWriter::new(SiteId::parse("shop").unwrap(), file)
    }

    fn stored(token: &str) -> Option<Arc<StoredToken>> {
        of_version(1, token)
    }

    fn of_version(version: u64, token: &str) -> Option<Arc<StoredToken>> {
        let (token, cookies) = (Token::parse(token).unwrap(), Cookies::default());
        Some(Arc::new(StoredToken { token, cookies, version, user_agent: None, ends_at: None }))
    }

    fn at(path: &std::path::Path, stored: watch::Receiver<Option<Arc<StoredToken>>>) -> impl Future<Output = ()> {
        let delays = Delays::new(Duration::from_secs(1), Duration::from_secs(60));
        line_of(path, "KEY").run(stored, delays, || true, |_, _| {})
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
        let output = line_of(&path, "KEY").run(receiver, delays, || is_connected.get(), |_, _| {});
        tokio::join!(output, story);
    }

    #[tokio::test]
    async fn a_file_in_utf_16_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        for content in [b"\xff\xfeK\0", b"\xfe\xff\0K"] {
            fs::write(&path, content).unwrap();
            let written = line_of(&path, "KEY").write(&stored("abc").unwrap(), &|_| {}).await;
            assert!(matches!(written, Err(TokenFileError::Utf16)));
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
            let written = line_of(&path, key).write(&stored(token).unwrap(), &|_| {}).await;
            assert_eq!(written.unwrap(), Written::Replaced);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\r\nKEY=abc\r\nOTHER=def\r\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_template_makes_the_whole_file_and_one_that_fails_keeps_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.conf");
        let template = FileTemplate::parse("T={{ token }}\nC={{ cookies.odd }}\n", Product::Token).unwrap();
        let (sender, receiver) = watch::channel(None);
        let token_with = |version, cookie: &str| {
            let mut token = StoredToken::clone(&of_version(version, &format!("token{version}")).unwrap());
            token.cookies.insert("odd", cookie.to_owned());
            Some(Arc::new(token))
        };
        let results = std::cell::RefCell::new(Vec::new());
        let story = async {
            fs::write(&path, "what was there\n").unwrap();
            sender.send_replace(token_with(1, "plain"));
            pass(1).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "T=token1\nC=plain\n");
            sender.send_replace(token_with(2, "$(odd)"));
            pass(1).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "T=token1\nC=plain\n");
            sender.send_replace(token_with(3, "plain"));
            pass(1).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "T=token3\nC=plain\n");
            drop(sender);
        };
        let delays = Delays::new(Duration::from_secs(30), Duration::from_secs(60));
        let report = |_, written: Result<(), String>| {
            results.borrow_mut().push(written.map_err(|error| error.contains("cookies.odd")))
        };
        let writer = with(&path, Content::Template(template)).run(receiver, delays, || true, report);
        tokio::join!(writer, story);
        assert_eq!(*results.borrow(), [Ok(()), Err(true), Ok(())]);
    }
}
