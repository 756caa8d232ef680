//! A `.env` whose line with the token is kept current.
//!
//! The file is replaced in one step, by a rename: a crash leaves the old one or the new one. Where that cannot be (a
//! single file mounted into a container, a folder that is not ours) it is written in place, its end cut last.

pub mod edit;

use std::fs::{self, File, Metadata, OpenOptions};
use std::future::pending;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use crate::domain::stored::StoredToken;
use crate::domain::verdict::Pace;
use crate::refresh::ports::Jitter;
use token_sidecar_client::wire::Token;

/// A file system that does not answer must not stop the retries.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_BYTES: u64 = 4 << 20;
const MAX_LINKS: usize = 40;

/// One writer at a time in this process: several sites may share a file.
static WRITER: Mutex<()> = Mutex::const_new(());

/// One line of a `.env`.
#[derive(Debug)]
pub struct EnvFile {
    path: PathBuf,
    key: String,
    has_advised: bool,
}

/// Why a `.env` is not current.
#[derive(Debug, thiserror::Error)]
enum EnvFileError {
    #[error("it is a folder: Docker makes one where a file to be mounted is missing; put a file in its place")]
    Folder,
    #[error("it is no regular file")]
    Special,
    #[error("it is in UTF-16")]
    Utf16,
    #[error("it is larger than 4 MiB")]
    TooLarge,
    #[error("its symbolic links go round in circles")]
    Links,
    #[error("the file system does not answer")]
    Late,
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
}

/// How a file became current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    /// It was already.
    None,
    /// It was replaced in one step.
    Replaced,
    /// It was written in place.
    Overwritten,
}

impl EnvFile {
    /// The line `key=…` of the file at `path`.
    #[must_use]
    pub const fn new(path: PathBuf, key: String) -> Self {
        Self { path, key, has_advised: false }
    }

    /// Writes each new token until the site's driver has ended. What cannot be written is tried again at a growing
    /// pace, and once more at the end; the newest token is the one that is written.
    pub async fn run(mut self, mut stored: watch::Receiver<Option<StoredToken>>, delays: impl Jitter) {
        let mut failures = 0;
        loop {
            let retry = async {
                match failures {
                    0 => pending().await,
                    failures => sleep(delays.backoff(failures, Pace::Ordinary)).await,
                }
            };
            let has_ended = tokio::select! {
                changed = stored.changed() => changed.is_err(),
                () = retry => false,
            };
            if has_ended && failures == 0 {
                return;
            }
            let latest = stored.borrow_and_update().clone();
            if let Some(StoredToken { token, .. }) = latest {
                failures = if self.put(&token).await { 0 } else { failures + 1 };
            }
            if has_ended {
                return;
            }
        }
    }

    /// Whether the file holds the token now; says so in the log.
    async fn put(&mut self, token: &Token) -> bool {
        let path = self.path.display();
        match self.update(token).await {
            Ok(update) => {
                tracing::debug!(env.path = %path, token.fingerprint = %token.fingerprint(), "the .env is current");
                if update == Update::Overwritten && !self.has_advised {
                    self.has_advised = true;
                    tracing::warn!(
                        env.path = %path,
                        "the .env had to be written in place, so a crash may leave half of it: \
                         mount its folder, not the file"
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

    async fn update(&self, token: &Token) -> Result<Update, EnvFileError> {
        let (path, key, token) = (self.path.clone(), self.key.clone(), token.clone());
        let writing = async {
            let turn = WRITER.lock().await;
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                update(&path, &key, token.expose())
            })
            .await
            .unwrap_or_else(|e| Err(EnvFileError::Io("write it", io::Error::other(e))))
        };
        timeout(PATIENCE, writing).await.unwrap_or(Err(EnvFileError::Late))
    }
}

fn update(path: &Path, key: &str, value: &str) -> Result<Update, EnvFileError> {
    let target = behind_links(path)?;
    let old = match fs::metadata(&target) {
        Ok(old) if old.is_dir() => return Err(EnvFileError::Folder),
        Ok(old) if !old.is_file() => return Err(EnvFileError::Special),
        Ok(old) if old.len() > MAX_BYTES => return Err(EnvFileError::TooLarge),
        Ok(old) => Some(old),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(EnvFileError::Io("look at it", e)),
    };
    let content = match old {
        Some(_) => fs::read(&target).map_err(|e| EnvFileError::Io("read it", e))?,
        None => Vec::new(),
    };
    if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
        return Err(EnvFileError::Utf16);
    }
    let Some(content) = edit::edit(&content, key, value) else { return Ok(Update::None) };
    match replace(&target, &content, old.as_ref()) {
        Ok(()) => Ok(Update::Replaced),
        Err(e) if old.is_some() && is_in_the_way(&e) => {
            overwrite(&target, &content).map_err(|e| EnvFileError::Io("write it in place", e))?;
            Ok(Update::Overwritten)
        }
        Err(e) => Err(EnvFileError::Io("write a new one in its folder", e)),
    }
}

/// The file that a chain of symbolic links ends at, whether or not it exists.
fn behind_links(path: &Path) -> Result<PathBuf, EnvFileError> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        target = folder(&target).join(next);
    }
    Err(EnvFileError::Links)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Puts a new file in the old one's place, with its owner and mode; one that is new is for its owner's eyes alone.
fn replace(target: &Path, content: &[u8], old: Option<&Metadata>) -> io::Result<()> {
    let folder = folder(target);
    let mut new = tempfile::Builder::new().prefix(".env-").suffix(".tmp").tempfile_in(folder)?;
    new.write_all(content)?;
    if let Some(old) = old {
        let made = new.as_file().metadata()?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(new.as_file(), Some(old.uid()), Some(old.gid()))?;
        }
        new.as_file().set_permissions(old.permissions())?;
    }
    new.as_file().sync_all()?;
    new.persist(target).map_err(|e| e.error)?;
    // So that the rename lasts too. Not every file system can do it, and the file is whole either way.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Whether the file can be written in place all the same: EBUSY and EXDEV of a mounted file, or a folder (or an owner)
/// that is not ours to change.
fn is_in_the_way(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), ResourceBusy | CrossesDevices | PermissionDenied | ReadOnlyFilesystem)
}

fn overwrite(target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(target)?;
    file.write_all(content)?;
    // Cut last, never first: there is no moment with an empty file.
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::jitter::Delays;

    fn at(folder: &Path, content: &str) -> PathBuf {
        let path = folder.join(".env");
        fs::write(&path, content).unwrap();
        path
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The old design truncated the file and wrote it anew: a crash lost it, and a missing key was never added.
    #[tokio::test]
    async fn defect_9_the_env_file_is_replaced_in_one_step_and_a_missing_key_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "A=1\r\nKEY=old\r\n");
        let before = fs::metadata(&path).unwrap().ino();
        let mut file = EnvFile::new(path.clone(), "KEY".into());
        file.put(&Token::parse("abc").unwrap()).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\r\nKEY=abc\r\n");
        assert_ne!(fs::metadata(&path).unwrap().ino(), before, "another file was put in its place");
        let mut other = EnvFile::new(path.clone(), "OTHER".into());
        other.put(&Token::parse("def").unwrap()).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\r\nKEY=abc\r\nOTHER=def\r\n");
        assert_eq!(names(folder.path()), [".env"], "nothing is left behind");
    }

    fn stored(token: &str) -> Option<StoredToken> {
        Some(StoredToken { token: Token::parse(token).unwrap(), version: 1, user_agent: None, ends_at: None })
    }

    fn delays() -> Delays {
        Delays::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_written_is_tried_again_with_the_newest_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/.env");
        let (sender, receiver) = watch::channel(None);
        let story = async {
            sender.send_replace(stored("first"));
            sleep(Duration::from_secs(5)).await;
            sender.send_replace(stored("second"));
            sleep(Duration::from_secs(5)).await;
            fs::create_dir(folder.path().join("missing")).unwrap();
            sleep(Duration::from_secs(60)).await;
            assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=second\n");
            drop(sender);
        };
        tokio::join!(EnvFile::new(path.clone(), "KEY".into()).run(receiver, delays()), story);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_stored_last_is_written_after_the_driver_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let (sender, receiver) = watch::channel(None);
        sender.send_replace(stored("last"));
        drop(sender);
        EnvFile::new(path.clone(), "KEY".into()).run(receiver, delays()).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=last\n");

        let path = folder.path().join("missing/.env");
        let (sender, receiver) = watch::channel(None);
        let story = async {
            sender.send_replace(stored("last"));
            sleep(Duration::from_millis(1)).await;
            fs::create_dir(folder.path().join("missing")).unwrap();
            drop(sender);
        };
        tokio::join!(EnvFile::new(path.clone(), "KEY".into()).run(receiver, delays()), story);
        assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=last\n", "a failed write is tried once more");
    }

    #[test]
    fn a_file_that_is_current_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "KEY=abc");
        let before = fs::metadata(&path).unwrap();
        assert_eq!(update(&path, "KEY", "abc").unwrap(), Update::None);
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.modified().unwrap()), (before.ino(), before.modified().unwrap()));
    }

    #[test]
    fn mode_and_owner_are_kept_and_a_new_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "KEY=old\n");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give a file away; for anybody else its owner is theirs anyway.
        let _ = std::os::unix::fs::chown(&path, Some(1234), Some(1234));
        let before = fs::metadata(&path).unwrap();
        assert_eq!(update(&path, "KEY", "new").unwrap(), Update::Replaced);
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        let fresh = folder.path().join("fresh");
        assert_eq!(update(&fresh, "KEY", "new").unwrap(), Update::Replaced);
        assert_eq!(fs::metadata(&fresh).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("secrets");
        fs::create_dir(&inner).unwrap();
        at(&inner, "KEY=old\n");
        let link = folder.path().join("link");
        symlink("secrets/.env", &link).unwrap();
        update(&link, "KEY", "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(inner.join(".env")).unwrap(), "KEY=new\n");
        let dangling = folder.path().join("dangling");
        symlink("secrets/later", &dangling).unwrap();
        update(&dangling, "KEY", "new").unwrap();
        assert_eq!(fs::read_to_string(inner.join("later")).unwrap(), "KEY=new\n");
        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(matches!(update(&circle, "KEY", "new"), Err(EnvFileError::Links)));
    }

    #[test]
    fn what_is_no_env_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(update(folder.path(), "KEY", "new"), Err(EnvFileError::Folder)));
        assert!(matches!(update(Path::new("/dev/null"), "KEY", "new"), Err(EnvFileError::Special)));
        let path = folder.path().join(".env");
        fs::write(&path, b"\xff\xfeK\0").unwrap();
        assert!(matches!(update(&path, "KEY", "new"), Err(EnvFileError::Utf16)));
        assert_eq!(fs::read(&path).unwrap(), b"\xff\xfeK\0");
        assert!(matches!(update(&folder.path().join("no/.env"), "KEY", "new"), Err(EnvFileError::Io(..))));
    }

    #[test]
    fn a_mounted_file_is_written_in_place() {
        for (code, in_place) in [(16, true), (18, true), (30, true), (13, true), (1, true), (28, false), (5, false)] {
            assert_eq!(is_in_the_way(&io::Error::from_raw_os_error(code)), in_place, "{code}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "KEY=a-longer-one\nB=2\n");
        let before = fs::metadata(&path).unwrap().ino();
        overwrite(&path, b"KEY=new\nB=2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "KEY=new\nB=2\n");
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }
}
