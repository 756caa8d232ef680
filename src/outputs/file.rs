//! The only module that writes files.
//!
//! A file is replaced in one step, by renaming a new one over it, so that a crash leaves the old content or the new. The
//! new one gets the owner, mode, access control list and extended attributes of the old one before its content. Where
//! a rename would change what the file is, or cannot be done (a hard link, a file mounted by itself, a folder that is
//! read-only), the file is written in place.
//!
//! From reading to replacing, the file is locked (`flock`) against other sidecars. An edit by a program that does not
//! take the lock is noticed up to the moment of the rename, and the file is read again. One that has just been emptied
//! is given a second to be filled.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use tempfile::NamedTempFile;
use xattr::FileExt as _;

use crate::domain::token_file::Access;

const MAX_BYTES: u64 = 1 << 20;
/// How the name of a temporary file begins.
const TEMPORARY: &str = ".token-sidecar-";
/// No write takes as long: an older temporary file has been left behind.
const LEFT: Duration = Duration::from_secs(600);
const MAX_LINKS: usize = 40;
/// Attempts to replace a file that changes meanwhile.
const MAX_ATTEMPTS: usize = 20;
/// A program that writes a file anew empties it first. A file that became empty less than this ago may be filled soon.
const SETTLED: Duration = Duration::from_secs(1);
/// The pause before such a file is read again.
const SETTLING: Duration = Duration::from_millis(20);
/// The extended attribute that holds an access control list.
const ACL: &str = "system.posix_acl_access";

/// Why a file was not written. Its content is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("it is a folder: Docker makes one where a file to be mounted is missing; put a file in its place")]
    Folder,
    #[error("it is not a regular file")]
    Special,
    #[error("it is larger than 1 MiB")]
    TooLarge,
    #[error("its symbolic links form a loop")]
    Links,
    #[error("another program changes it all the time")]
    Busy,
    #[error("failed to {0}: {1}")]
    Io(&'static str, #[source] io::Error),
}

/// The result of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Unchanged,
    /// By a rename, or created.
    Replaced,
    InPlace,
}

/// Gives the file at `path` the content that `edit` makes of its present one (empty if there is no file), and this access;
/// `None` leaves the content unchanged.
pub(super) fn rewrite<E: From<FileError>>(
    path: &Path,
    access: Access,
    edit: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<Written, E> {
    for _ in 0..MAX_ATTEMPTS {
        let target = behind_links(path)?;
        let old = Old::read(&target)?;
        let Some(content) = edit(old.as_ref().map_or(&[], |old| &old.content))? else {
            if let Some(old) = old {
                give(&old.file, access).map_err(|e| FileError::Io("set its mode and owner", e))?;
            }
            return Ok(Written::Unchanged);
        };
        let written = match old {
            Some(old) => old.write(&target, access, &content)?,
            None => create(&target, access, &content)?,
        };
        if let Some(written) = written {
            remove_what_is_left(folder(&target));
            return Ok(written);
        }
    }
    Err(FileError::Busy.into())
}

/// Whether [`rewrite`] could write there: a new file in its folder, or else the file in place.
pub(super) fn check(path: &Path) -> Result<(), FileError> {
    let target = behind_links(path)?;
    let exists = is_there(&target)?;
    match temporary(&target) {
        Ok(_removed) => Ok(()),
        Err(_) if exists && OpenOptions::new().write(true).open(&target).is_ok() => Ok(()),
        Err(e) => Err(FileError::Io("write a new one in its folder", e)),
    }
}

/// Follows symbolic links to the file at their end, which need not exist.
fn behind_links(path: &Path) -> Result<PathBuf, FileError> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        target = folder(&target).join(next);
    }
    Err(FileError::Links)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_there(target: &Path) -> Result<bool, FileError> {
    match fs::metadata(target) {
        Ok(found) if found.is_dir() => Err(FileError::Folder),
        Ok(found) if !found.is_file() => Err(FileError::Special),
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(FileError::Io("look at it", e)),
    }
}

/// `None` if another program has created the file meanwhile.
fn create(target: &Path, access: Access, content: &[u8]) -> Result<Option<Written>, FileError> {
    let made = || -> io::Result<()> {
        let mut new = temporary(target)?;
        give(new.as_file(), access)?;
        new.write_all(content)?;
        new.as_file().sync_all()?;
        new.persist_noclobber(target).map_err(|e| e.error)?;
        sync_folder(target);
        Ok(())
    };
    match made() {
        Ok(()) => Ok(Some(Written::Replaced)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(e) => Err(FileError::Io("create it", e)),
    }
}

/// An empty file beside `target`, readable by its owner only.
fn temporary(target: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(TEMPORARY).suffix(".tmp").tempfile_in(folder(target))
}

/// Removes the temporary files of processes that were killed in mid-write: they may hold a token.
fn remove_what_is_left(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_ours = |name: &str| name.starts_with(TEMPORARY) && name.ends_with(".tmp");
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)) {
        let age = entry.metadata().and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > LEFT) {
            // Another sidecar may be faster.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Gives a file the mode and owner that are set, where it has others.
fn give(file: &File, access: Access) -> io::Result<()> {
    let found = file.metadata()?;
    let (owner, group) = (access.owner.unwrap_or(found.uid()), access.group.unwrap_or(found.gid()));
    let mode = access.mode.unwrap_or(found.mode() & 0o7777);
    if (owner, group) != (found.uid(), found.gid()) {
        fchown(file, Some(owner), Some(group))?;
    }
    // Another owner takes bits away.
    if (owner, group, mode) != (found.uid(), found.gid(), found.mode() & 0o7777) {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Makes a rename durable. Failures are ignored: some file systems cannot do it, and the file is whole either way.
fn sync_folder(target: &Path) {
    let _ = File::open(folder(target)).and_then(|folder| folder.sync_all());
}

/// A file as it was read; locked until it is dropped.
struct Old {
    file: File,
    metadata: Metadata,
    content: Vec<u8>,
}

impl Old {
    /// `None` if there is no file.
    fn read(target: &Path) -> Result<Option<Self>, FileError> {
        while is_there(target)? {
            let old = match Self::locked(target) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                old => old.map_err(|e| FileError::Io("read it", e))?,
            };
            if old.content.len() as u64 > MAX_BYTES {
                return Err(FileError::TooLarge);
            }
            if old.has_just_been_emptied() {
                drop(old);
                sleep(SETTLING);
                continue;
            }
            // Another sidecar may have replaced the file during the wait for its lock.
            if old.is_still_at(target).map_err(|e| FileError::Io("look at it", e))? {
                return Ok(Some(old));
            }
        }
        Ok(None)
    }

    fn locked(target: &Path) -> io::Result<Self> {
        // NFS grants the lock only on a file that is open for writing.
        let file = OpenOptions::new().read(true).write(true).open(target).or_else(|_| File::open(target))?;
        if let Err(error) = file.lock() {
            tracing::debug!(path = %target.display(), %error, "the file system has no locks");
        }
        let metadata = file.metadata()?;
        let mut content = Vec::new();
        (&file).take(MAX_BYTES + 1).read_to_end(&mut content)?;
        Ok(Self { file, metadata, content })
    }

    fn has_just_been_emptied(&self) -> bool {
        let changed = self.metadata.modified().ok();
        self.content.is_empty() && changed.and_then(|at| at.elapsed().ok()).is_some_and(|age| age < SETTLED)
    }

    /// Whether the file was neither replaced nor changed since it was read.
    fn is_still_at(&self, target: &Path) -> io::Result<bool> {
        let state = |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        match fs::metadata(target) {
            Ok(found) => Ok(state(&found) == state(&self.metadata)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// `None` if the file has changed since it was read.
    fn write(&self, target: &Path, access: Access, content: &[u8]) -> Result<Option<Written>, FileError> {
        // After a rename the other names of a hard link would keep the old content.
        if self.metadata.nlink() == 1 {
            match self.replace(target, access, content) {
                Ok(replaced) => return Ok(replaced.then_some(Written::Replaced)),
                Err(e) if needs_writing_in_place(&e) => {}
                Err(e) => return Err(FileError::Io("write a new one in its folder", e)),
            }
        }
        let overwritten = self.overwrite(target, access, content).map_err(|e| FileError::Io("write it in place", e))?;
        Ok(overwritten.then_some(Written::InPlace))
    }

    fn replace(&self, target: &Path, access: Access, content: &[u8]) -> io::Result<bool> {
        let mut new = temporary(target)?;
        self.hand_access_to(new.as_file())?;
        give(new.as_file(), access)?;
        new.write_all(content)?;
        new.as_file().sync_all()?;
        if !self.is_still_at(target)? {
            return Ok(false);
        }
        new.persist(target).map_err(|e| e.error)?;
        sync_folder(target);
        Ok(true)
    }

    /// Gives the new file the owner, attributes and mode of the old one. At no moment can a user read it who cannot
    /// read the old one: the mode comes last, because without the list its group bits would apply to the group.
    fn hand_access_to(&self, new: &File) -> io::Result<()> {
        let made = new.metadata()?;
        if (made.uid(), made.gid()) != (self.metadata.uid(), self.metadata.gid()) {
            fchown(new, Some(self.metadata.uid()), Some(self.metadata.gid()))?;
        }
        let names = match self.file.list_xattr() {
            Ok(names) => names.collect(),
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Vec::new(),
            Err(e) => return Err(e),
        };
        if !names.iter().any(|name| name == ACL) && new.get_xattr(ACL).is_ok_and(|list| list.is_some()) {
            // Inherited from the folder.
            new.remove_xattr(ACL)?;
        }
        for name in names {
            let value = self.file.get_xattr(&name)?;
            if let Some(value) = value.filter(|value| new.get_xattr(&name).ok().flatten().as_ref() != Some(value)) {
                new.set_xattr(&name, &value)?;
            }
        }
        new.set_permissions(self.metadata.permissions())
    }

    fn overwrite(&self, target: &Path, access: Access, content: &[u8]) -> io::Result<bool> {
        let file = OpenOptions::new().write(true).open(target)?;
        if !self.is_still_at(target)? {
            return Ok(false);
        }
        give(&file, access)?;
        let written = fill(&file, content);
        if written.is_err() {
            // Restoring the old content needs no additional space.
            let _restored = fill(&file, &self.content);
        }
        written.map(|()| true)
    }
}

fn fill(file: &File, content: &[u8]) -> io::Result<()> {
    file.write_all_at(content, 0)?;
    // Truncated last, so that the file is never empty.
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

/// Whether the file can be written in place instead: it is a mount point (`EBUSY`, `EXDEV`), its folder is
/// read-only, or its owner or an attribute cannot be given to another file.
fn needs_writing_in_place(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy, Unsupported};
    matches!(error.kind(), ResourceBusy | CrossesDevices | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn at(folder: &Path, content: &str) -> PathBuf {
        let path = folder.join(".env");
        fs::write(&path, content).unwrap();
        path
    }

    fn put(path: &Path, content: &str) -> Result<Written, FileError> {
        rewrite(path, Access::default(), |old| Ok((old != content.as_bytes()).then(|| content.into())))
    }

    /// What a program of Debian's package `acl` prints.
    fn acl(program: &str, arguments: &[&str], path: &Path) -> String {
        let ran = Command::new(program).args(arguments).arg(path).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    fn list(path: &Path) -> String {
        acl("getfacl", &["--omit-header", "--numeric", "--absolute-names"], path)
    }

    #[test]
    fn a_file_is_replaced_in_one_step_or_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "old");
        let before = fs::metadata(&path).unwrap();
        assert_eq!(put(&path, "old").unwrap(), Written::Unchanged);
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.modified().unwrap()), (before.ino(), before.modified().unwrap()));
        assert_eq!(put(&path, "new").unwrap(), Written::Replaced);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_ne!(fs::metadata(&path).unwrap().ino(), before.ino());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "old");
        let [left, fresh, other] = [".token-sidecar-1.tmp", ".token-sidecar-2.tmp", ".other-1.tmp"].map(|name| {
            let path = folder.path().join(name);
            fs::write(&path, "a token").unwrap();
            path
        });
        for path in [&left, &other] {
            let long_ago = std::time::SystemTime::UNIX_EPOCH + LEFT;
            File::options().write(true).open(path).and_then(|file| file.set_modified(long_ago)).unwrap();
        }
        put(&path, "new").unwrap();
        assert_eq!([&left, &fresh, &other].map(|path| path.exists()), [false, true, true]);
    }

    #[test]
    fn mode_and_owner_are_kept_and_a_new_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can give a file to another user.
        let _ = std::os::unix::fs::chown(&path, Some(1234), Some(1234));
        let before = fs::metadata(&path).unwrap();
        assert_eq!(put(&path, "new").unwrap(), Written::Replaced);
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        let fresh = folder.path().join("fresh");
        assert_eq!(put(&fresh, "new").unwrap(), Written::Replaced);
        assert_eq!(fs::metadata(&fresh).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_mode_and_an_owner_that_are_set_are_given_to_every_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, fresh) = (at(folder.path(), "old"), folder.path().join("fresh"));
        let linked = folder.path().join("linked");
        fs::write(&linked, "old").unwrap();
        fs::hard_link(&linked, folder.path().join("other")).unwrap();
        let ours = fs::metadata(&path).unwrap();
        // Only root may give a file to another user.
        let (owner, group) = if ours.uid() == 0 { (1234, 4321) } else { (ours.uid(), ours.gid()) };
        let access = Access { mode: Some(0o640), owner: Some(owner), group: Some(group) };
        let has = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.mode() & 0o7777, found.uid(), found.gid()) == (0o640, owner, group)
        };
        for path in [&path, &fresh, &linked] {
            let written: Result<_, FileError> = rewrite(path, access, |_| Ok(Some(b"new".to_vec())));
            assert_ne!(written.unwrap(), Written::Unchanged);
            assert!(has(path), "{}", path.display());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let unchanged: Result<_, FileError> = rewrite(&path, access, |_| Ok(None));
        assert_eq!(unchanged.unwrap(), Written::Unchanged);
        assert!(has(&path));
    }

    /// The group bits of a mode are the mask of an access control list: without the list, they would be the group's.
    #[test]
    fn an_access_control_list_is_kept_and_the_group_may_not_read_more_than_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "old");
        acl("setfacl", &["--modify", "u::rw-,u:1234:r--,g::---,o::---,m::rw-"], &path);
        let (list_before, mode) = (list(&path), fs::metadata(&path).unwrap().mode());
        assert!(list_before.contains("user:1234:r--") && list_before.contains("group::---"), "{list_before}");
        assert_eq!(put(&path, "new").unwrap(), Written::Replaced);
        assert_eq!((list(&path), fs::metadata(&path).unwrap().mode()), (list_before, mode));
    }

    #[test]
    fn a_list_that_the_folder_gives_to_new_files_is_not_given_to_a_file_without_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let before = list(&path);
        acl("setfacl", &["--default", "--modify", "u:1234:rw-"], folder.path());
        assert_eq!(put(&path, "new").unwrap(), Written::Replaced);
        assert_eq!(list(&path), before);
    }

    #[test]
    fn extended_attributes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "old");
        xattr::set(&path, "user.comment", b"mine").unwrap();
        assert_eq!(put(&path, "new").unwrap(), Written::Replaced);
        assert_eq!(xattr::get(&path, "user.comment").unwrap().as_deref(), Some(&b"mine"[..]));
    }

    #[test]
    fn a_symbolic_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("secrets");
        fs::create_dir(&inner).unwrap();
        at(&inner, "old");
        let link = folder.path().join("link");
        symlink("secrets/.env", &link).unwrap();
        put(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(inner.join(".env")).unwrap(), "new");
        let dangling = folder.path().join("dangling");
        symlink("secrets/later", &dangling).unwrap();
        put(&dangling, "new").unwrap();
        assert_eq!(fs::read_to_string(inner.join("later")).unwrap(), "new");
        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(matches!(put(&circle, "new"), Err(FileError::Links)));
    }

    #[test]
    fn a_hard_link_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "a longer one");
        let other = folder.path().join("other");
        fs::hard_link(&path, &other).unwrap();
        assert_eq!(put(&path, "new").unwrap(), Written::InPlace);
        assert_eq!(fs::read_to_string(&other).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().ino(), fs::metadata(&other).unwrap().ino());
    }

    #[test]
    fn a_mounted_file_is_written_in_place() {
        for (code, in_place) in [(16, true), (18, true), (30, true), (13, true), (1, true), (28, false), (5, false)] {
            assert_eq!(needs_writing_in_place(&io::Error::from_raw_os_error(code)), in_place, "{code}");
        }
    }

    #[test]
    fn what_is_not_a_file_of_text_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(put(folder.path(), "new"), Err(FileError::Folder)));
        assert!(matches!(put(Path::new("/dev/null"), "new"), Err(FileError::Special)));
        assert!(matches!(put(&folder.path().join("no/.env"), "new"), Err(FileError::Io(..))));
        let large = at(folder.path(), &"x".repeat((1 << 20) + 1));
        assert!(matches!(put(&large, "new"), Err(FileError::TooLarge)));
        assert_eq!(fs::metadata(&large).unwrap().len(), (1 << 20) + 1);
    }

    #[test]
    fn a_place_is_checked_without_writing_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "old");
        check(&path).unwrap();
        check(&folder.path().join("new")).unwrap();
        assert!(matches!(check(folder.path()), Err(FileError::Folder)));
        assert!(matches!(check(&folder.path().join("no/.env")), Err(FileError::Io(..))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_edit_between_reading_and_writing_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        for links in [1, 2] {
            let path = at(folder.path(), "A=1\n");
            if links == 2 {
                fs::hard_link(&path, folder.path().join("other")).unwrap();
            }
            let edited = std::cell::Cell::new(false);
            let written: Result<_, FileError> = rewrite(&path, Access::default(), |old| {
                if !edited.replace(true) {
                    fs::write(&path, "A=1\nB=2\n").unwrap();
                }
                Ok(Some([old, b"KEY=new\n"].concat()))
            });
            assert_ne!(written.unwrap(), Written::Unchanged);
            assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\nB=2\nKEY=new\n");
        }
    }

    /// As `cp` does, or an editor: what it is about to write must not go into a file that has lost its name.
    #[test]
    fn a_file_that_another_program_is_writing_anew_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "A=1\n");
        let mut other = File::create(&path).unwrap();
        let (begins, has_begun) = mpsc::channel();
        let ours = thread::spawn({
            let path = path.clone();
            move || {
                begins.send(()).unwrap();
                rewrite::<FileError>(&path, Access::default(), |old| Ok(Some([old, b"KEY=new\n"].concat())))
            }
        });
        has_begun.recv().unwrap();
        // The time that a slow writer takes.
        sleep(5 * SETTLING);
        other.write_all(b"A=2\n").unwrap();
        ours.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=2\nKEY=new\n");
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        for links in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let path = at(folder.path(), "");
            if links == 2 {
                fs::hard_link(&path, folder.path().join("other")).unwrap();
            }
            thread::scope(|scope| {
                for writer in 0..8 {
                    let path = &path;
                    scope.spawn(move || {
                        for n in 0..10 {
                            let line = format!("{writer}-{n}\n");
                            rewrite::<FileError>(path, Access::default(), |old| {
                                Ok(Some([old, line.as_bytes()].concat()))
                            })
                            .unwrap();
                        }
                    });
                }
            });
            assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 80);
        }
    }

    /// `flock` of util-linux is the other program: it reads the file, waits for a line of input, and writes the file.
    #[test]
    fn a_program_that_holds_the_lock_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = at(folder.path(), "A=1\n");
        let script = "old=$(cat .env); echo read; read _; printf '%s\\nB=2\\n' \"$old\" >.env";
        let mut other = Command::new("flock")
            .args([".env", "sh", "-c", script])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(other.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        let ours = thread::spawn({
            let path = path.clone();
            move || rewrite::<FileError>(&path, Access::default(), |old| Ok(Some([old, b"KEY=new\n"].concat())))
        });
        let waits = format!("-> FLOCK  ADVISORY  WRITE {} ", std::process::id());
        while !ours.is_finished() && !fs::read_to_string("/proc/locks").unwrap().contains(&waits) {
            thread::yield_now();
        }
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
        ours.join().unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\nB=2\nKEY=new\n");
    }
}
