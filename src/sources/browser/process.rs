//! A Chromium that this process starts. Its commands come over a socket that only it has, so that no other user of the
//! machine can reach it, and it ends with the sidecar, however that ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::getuid;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use super::error::BrowserError;
use crate::child::{PATH, ProcessGroup};
use crate::config::BrowserLaunch;

/// Its folders: `token-sidecar-browser-…` in the system's folder for temporary files.
const PREFIX: &str = "token-sidecar-browser-";
/// Locked while the process that made the folder is alive.
const LOCK: &str = "lock";

/// What a browser is called, the most specific first.
const NAMES: &[&str] = &["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const PLACES: &[&str] = &["/usr/local/bin", "/usr/bin", "/bin", "/snap/bin"];

const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a browser that was killed may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// As much as it says of its version.
const VERSION_BYTES: u64 = 4 << 10;

/// Gives the socket on descriptor 0 to the program as its descriptors 3 and 4, and has the kernel kill it with the thread
/// that starts it, the main one, which lives as long as the sidecar. Without `setpriv` (of util-linux) it ends by itself when the socket closes,
/// which takes up to a second.
const WITH_PIPE: &str = r#"exec 3<&0 4<&0 </dev/null
setpriv --pdeathsig KILL true 2>/dev/null && exec setpriv --pdeathsig KILL "$@"
exec "$@""#;

/// The preferences of its profile. What it loads in advance, by a page's speculation rules, it would load past all rules.
const PREFERENCES: &str = r#"{"net": {"network_prediction_options": 2}}"#;

/// What it starts with. Nothing runs that a page does not need, and nothing leaves for the browser's maker.
const ARGUMENTS: &[&str] = &[
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-startup-window",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-features=MediaRouter,OptimizationHints,Translate",
    "--metrics-recording-only",
    "--password-store=basic",
    "--mute-audio",
    "--disable-gpu",
    // The shared memory of a container is too small.
    "--disable-dev-shm-usage",
    // The crash handler would leave the process group.
    "--disable-breakpad",
    // Else `navigator.webdriver` tells every page that a program looks at it.
    "--disable-blink-features=AutomationControlled",
    // Else a page sends packets past the proxy, and to addresses inside.
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
];

/// The folder of this process for its browsers; removed with it.
#[derive(Debug)]
pub(super) struct Folder {
    folder: TempDir,
    _lock: File,
}

/// The program, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// `Chromium 156.0.8078.108`; `None` where it does not say.
    pub(super) version: Option<String>,
}

/// A browser that runs.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: ProcessGroup,
    folder: PathBuf,
}

impl Folder {
    /// Whether no other program has removed it.
    pub(super) fn is_there(&self) -> bool {
        self.folder.path().join(LOCK).exists()
    }

    /// Makes the folder, and removes those of processes that were killed.
    pub(super) fn make() -> Result<Self, BrowserError> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let made = || {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent)?;
            // It gets its name once it is locked: another process may look for folders to remove in between.
            let unlocked = folder.path().join("new");
            let lock = File::create(&unlocked)?;
            lock.lock()?;
            fs::rename(unlocked, folder.path().join(LOCK))?;
            Ok(Self { folder, _lock: lock })
        };
        made().map_err(|error: io::Error| BrowserError::Folder(format!("{}: {error}", parent.display())))
    }
}

/// Removes the folders of processes that have ended.
pub(super) fn sweep(parent: &Path) {
    let folders = fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
    for folder in folders.filter(|folder| folder.file_name().to_string_lossy().starts_with(PREFIX)) {
        let is_own = folder.metadata().is_ok_and(|data| data.is_dir() && data.uid() == getuid().as_raw());
        // A folder without its lock is only being made.
        let lock = File::open(folder.path().join(LOCK)).ok().filter(|_| is_own);
        if lock.is_some_and(|lock| !matches!(lock.try_lock(), Err(TryLockError::WouldBlock))) {
            match fs::remove_dir_all(folder.path()) {
                Ok(()) => tracing::info!(folder = %folder.path().display(), "removed what a killed browser has left"),
                Err(error) => {
                    tracing::warn!(folder = %folder.path().display(), %error, "a killed browser's folder stays")
                }
            }
        }
    }
}

impl Program {
    /// Looks for the browser and asks for its version.
    pub(super) async fn find(path: Option<&Path>) -> Result<Self, BrowserError> {
        let places = || PLACES.iter().map(Path::new);
        let is_there = |path: &PathBuf| path.is_file();
        let found = match path {
            Some(path) if path.components().count() > 1 => Some(path.to_owned()).filter(is_there),
            Some(name) => places().map(|place| place.join(name)).find(is_there),
            None => NAMES.iter().flat_map(|name| places().map(move |place| place.join(name))).find(is_there),
        };
        let path = found.and_then(|path| std::path::absolute(path).ok()).ok_or_else(|| match path {
            Some(path) => BrowserError::NoFile(path.display().to_string()),
            None => BrowserError::Missing(format!("{} in {}", NAMES.join(", "), PLACES.join(", "))),
        })?;
        let start =
            |error: io::Error| BrowserError::Start { path: path.display().to_string(), reason: error.to_string() };
        let mut asked = Command::new(&path);
        asked.arg("--version").env_clear().env("PATH", PATH).process_group(0).kill_on_drop(true);
        asked.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut asked = asked.spawn().map_err(start)?;
        let group = ProcessGroup::of(&asked);
        let mut said = Vec::new();
        if let Some(output) = asked.stdout.take() {
            let _late = timeout(VERSION_TIMEOUT, output.take(VERSION_BYTES).read_to_end(&mut said)).await;
        }
        drop(group);
        let version = String::from_utf8_lossy(&said).lines().next().map(|line| line.trim().to_owned());
        let version = version.filter(|version| !version.is_empty() && version.len() < 120);
        Ok(Self { path, version })
    }

    /// The user agent that a browser with a window has. It names the main version alone.
    fn user_agent(&self) -> Option<String> {
        let major = major(self.version.as_deref()?)?;
        Some(format!(
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 Safari/537.36"
        ))
    }

    /// Whether a browser that says it is this product is of another version, as after an upgrade.
    pub(super) fn is_not(&self, product: &str) -> bool {
        let known = self.version.as_deref().and_then(major);
        known.zip(major(product)).is_some_and(|(known, running)| known != running)
    }
}

/// The main version of `Chromium 156.0.8078.108` or `Chrome/156.0.8078.108`.
fn major(product: &str) -> Option<u32> {
    product.split([' ', '/']).find_map(|word| word.split_once('.')?.0.parse().ok())
}

impl Process {
    /// Starts a browser in a new folder of its own, with nothing of the environment.
    pub(super) fn start(
        program: &Program,
        launch: &BrowserLaunch,
        folder: &Folder,
    ) -> Result<(Self, Connection, ChildStderr), BrowserError> {
        let path = program.path.display().to_string();
        let started = || {
            let folder = tempfile::Builder::new().prefix("").tempdir_in(folder.folder.path())?;
            fs::create_dir(folder.path().join("Default"))?;
            fs::write(folder.path().join("Default/Preferences"), PREFERENCES)?;
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            let mut command = Command::new("/bin/sh");
            command.args(["-c", WITH_PIPE, "sh"]).arg(&program.path).args(ARGUMENTS);
            command.arg(format!("--user-data-dir={}", folder.path().display()));
            command.args(program.user_agent().map(|name| format!("--user-agent={name}")));
            command.args((!launch.sandbox).then_some("--no-sandbox")).args(&launch.args);
            command
                .env_clear()
                .env("PATH", PATH)
                .env("HOME", folder.path())
                .env("TMPDIR", folder.path())
                .current_dir(folder.path());
            command.process_group(0).kill_on_drop(true);
            command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            let group = ProcessGroup::of(&child);
            let log = child.stderr.take().ok_or_else(|| io::Error::other("no log"))?;
            Ok((Self { child, group, folder: folder.keep() }, Connection::over_pipe(UnixStream::from_std(ours)?), log))
        };
        started().map_err(|error: io::Error| BrowserError::Start { path, reason: error.to_string() })
    }

    /// Kills it, since it has nothing to save, and removes its folder.
    pub(super) async fn end(mut self) {
        self.group.kill();
        let _reaped = timeout(END_TIMEOUT, self.child.wait()).await;
        for _ in 0..20 {
            match tokio::fs::remove_dir_all(&self.folder).await {
                // A process that was killed may still write for a moment.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => sleep(END_TIMEOUT / 20).await,
                _ => break,
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_names_the_main_version_and_an_upgrade_is_noticed() {
        let program = |version: &str| Program { path: PathBuf::new(), version: Some(version.to_owned()) };
        let chromium = program("Chromium 156.0.8078.108 built on Debian GNU/Linux 12 (bookworm)");
        assert!(chromium.user_agent().unwrap().ends_with(" Chrome/156.0.0.0 Safari/537.36"));
        assert!(chromium.is_not("Chrome/157.0.1.2") && !chromium.is_not("Chrome/156.0.9.9"));
        let other = program("a browser");
        assert!(other.user_agent().is_none() && !other.is_not("Chrome/157.0.1.2") && !chromium.is_not(""));
    }

    #[test]
    fn the_folders_of_processes_that_have_ended_are_removed_and_no_others() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let (ended, living) = (folder("token-sidecar-browser-ended"), folder("token-sidecar-browser-living"));
        let (new, other) = (folder("token-sidecar-browser-new"), folder("other"));
        for folder in [&ended, &living, &other] {
            fs::write(folder.join(LOCK), "").unwrap();
            fs::write(folder.join("Cookies"), "secret").unwrap();
        }
        let lock = File::open(living.join(LOCK)).unwrap();
        lock.lock().unwrap();
        sweep(parent.path());
        assert_eq!([ended, living, new, other].map(|folder| folder.exists()), [false, true, true, true]);
    }
}
