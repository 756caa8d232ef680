//! What is done each time that a file has been written: a command is run, or a signal sent.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process};
use token_sidecar_client::excerpt::{excerpt, without};
use token_sidecar_client::wire::SiteId;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::said;
use crate::child::{PATH, ProcessGroup, Tail};
use crate::domain::duration;
use crate::domain::stored::{SHORTEST_SECRET, StoredToken, secrets};
use crate::domain::token_file::{Hook, HookCommand, HookSignal};
use crate::domain::verdict::Pace;
use crate::refresh::ports::Jitter;

/// How long the output of a command is read after its end: a process that it has left may keep it open.
const LAST_OUTPUT: Duration = Duration::from_millis(100);
/// How many lines of a command's output are logged, and how many characters of each.
const LINES: usize = 20;
const SHOWN: usize = 200;
/// More than the number of a process takes.
const PID_BYTES: u64 = 64;

/// Runs the hook of a file.
#[derive(Debug)]
pub(super) struct HookRunner {
    pub(super) site: SiteId,
    pub(super) file: PathBuf,
    pub(super) hook: Hook,
}

/// Why a hook has failed. Contains no secret.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("{program} cannot be started: {error} (programs are looked for in {PATH})")]
    Start { program: String, error: io::Error },
    #[error("{program} ended with {status}{}", said(.last))]
    Failed { program: String, status: String, last: String },
    #[error("{program} was killed, as it had not ended within {}{}", duration::text(*.limit), said(.last))]
    TimedOut { program: String, limit: Duration, last: String },
    #[error("{}: {reason}", .file.display())]
    PidFile { file: PathBuf, reason: String },
    #[error("the process {pid} of {} got no signal: {error}", .file.display())]
    Signal { pid: i32, file: PathBuf, error: Errno },
    #[error("it was given up: {0}")]
    GivenUp(#[from] JoinError),
}

impl HookRunner {
    /// Runs the hook for each token that was written: one run at a time, of the newest token alone, and again with growing
    /// delays until it has succeeded. Once the file is not written any more, the newest token has one more run.
    pub(super) async fn run(
        self,
        mut written: watch::Receiver<Option<Arc<StoredToken>>>,
        delays: impl Jitter,
        report: impl Fn(Result<(), String>),
    ) {
        let mut failures = 0;
        loop {
            let has_ended = tokio::select! {
                changed = written.changed() => changed.is_err(),
                () = sleep(delays.backoff(failures, Pace::Ordinary)), if failures > 0 => false,
            };
            if has_ended && failures == 0 {
                return;
            }
            let newest = written.borrow_and_update().clone();
            if let Some(stored) = newest {
                let done = self.once(&stored).await;
                failures = if done.is_ok() { 0 } else { failures + 1 };
                report(done);
            }
            if has_ended {
                return;
            }
        }
    }

    /// One run. Logs the result.
    async fn once(&self, stored: &StoredToken) -> Result<(), String> {
        let (site, file) = (&self.site, self.file.display());
        let done = match &self.hook {
            Hook::Command(command) => self.command(command, stored).await,
            Hook::Signal { signal, pid_file } => send(*signal, pid_file).await,
        };
        match done {
            Ok(()) => {
                tracing::debug!(%site, file.path = %file, "the hook of the file has succeeded");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%site, file.path = %file, %error, "the hook of the file has failed: it is tried again");
                Err(error.to_string())
            }
        }
    }

    async fn command(&self, command: &HookCommand, stored: &StoredToken) -> Result<(), HookError> {
        let program = || command.program.clone();
        let start = |error| HookError::Start { program: program(), error };
        let (status, output) = run(command).await.map_err(start)?;
        let variables = command.environment.iter().filter_map(|variable| variable.value.to_str());
        let variables = variables.filter(|value| value.len() >= SHORTEST_SECRET);
        let output = without(&output, secrets(&stored.token, &stored.cookies).chain(variables));
        let lines: Vec<String> = output.lines().map(|line| excerpt(line, SHOWN)).filter(|l| !l.is_empty()).collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            tracing::info!(site = %self.site, file.path = %self.file.display(), output = line, "{}", command.program);
        }
        let last = lines.last().cloned().unwrap_or_default();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(HookError::Failed { program: program(), status: status.to_string(), last }),
            None => Err(HookError::TimedOut { program: program(), limit: command.timeout, last }),
        }
    }
}

/// Whether the program of a command is there; the error says why not.
pub(super) fn check(command: &HookCommand) -> Result<(), String> {
    let is_program = |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0);
    let program = Path::new(&command.program);
    let is_there = match command.program.contains('/') {
        true => is_program(program),
        false => PATH.split(':').any(|folder| is_program(&Path::new(folder).join(program))),
    };
    if is_there { Ok(()) } else { Err(format!("{} is not there, or no program (PATH is {PATH})", command.program)) }
}

/// Runs a command to its end, or kills it: then it has no status. Returns the last of its output too. What it leaves in its
/// process group is killed either way: a program that is to stay takes a session of its own.
async fn run(command: &HookCommand) -> io::Result<(Option<ExitStatus>, String)> {
    let (reader, writer) = io::pipe()?;
    let mut output = pipe::Receiver::from_owned_fd(reader.into())?;
    let mut child = {
        let mut started = Command::new(&command.program);
        started.args(&command.arguments).env_clear().env("PATH", PATH);
        started.envs(command.environment.iter().map(|variable| (&variable.name, &variable.value)));
        started.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        started.process_group(0).kill_on_drop(true).spawn()?
    };
    let mut group = ProcessGroup::of(&child);
    let mut tail = Tail::default();
    let running = async {
        tokio::select! {
            status = child.wait() => status,
            () = tail.read(&mut output) => child.wait().await,
        }
    };
    let ended = timeout(command.timeout, running).await;
    group.kill();
    let _still_open = timeout(LAST_OUTPUT, tail.read(&mut output)).await;
    let status = ended.ok().transpose()?;
    if status.is_none() {
        // It was killed: this takes no time, and leaves no zombie.
        let _reaped = timeout(LAST_OUTPUT, child.wait()).await;
    }
    Ok((status, tail.text()))
}

/// Sends a signal to the process of a file, if there is one.
async fn send(signal: HookSignal, pid_file: &Path) -> Result<(), HookError> {
    let file = pid_file.to_owned();
    let pid = spawn_blocking(move || pid_in(&file)).await??;
    let Some(pid) = pid else { return Ok(()) };
    match kill_process(pid, number(signal)) {
        // The file is left of a process that has ended.
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(HookError::Signal { pid: pid.as_raw_nonzero().get(), file: pid_file.to_owned(), error }),
    }
}

/// `None` where there is no such file.
fn pid_in(file: &Path) -> Result<Option<Pid>, HookError> {
    let wrong = |reason: String| HookError::PidFile { file: file.to_owned(), reason };
    let unreadable = |error: io::Error| wrong(format!("it cannot be read: {error}"));
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if !found.is_file() => return Err(wrong("it is not a regular file".to_owned())),
        found => found.map_err(unreadable)?,
    };
    let mut text = String::new();
    File::open(file).and_then(|file| file.take(PID_BYTES + 1).read_to_string(&mut text)).map_err(unreadable)?;
    let text = Some(text).filter(|text| text.len() as u64 <= PID_BYTES);
    // 0 and less are groups of processes.
    let pid = text.and_then(|text| text.trim().parse().ok()).filter(|pid| *pid > 0).and_then(Pid::from_raw);
    if pid == Some(getpid()) {
        return Err(wrong("it holds the number of the sidecar's own process".to_owned()));
    }
    pid.map(Some).ok_or_else(|| wrong("it does not hold the number of a process".to_owned()))
}

const fn number(signal: HookSignal) -> Signal {
    match signal {
        HookSignal::Hup => Signal::HUP,
        HookSignal::Int => Signal::INT,
        HookSignal::Quit => Signal::QUIT,
        HookSignal::Term => Signal::TERM,
        HookSignal::Usr1 => Signal::USR1,
        HookSignal::Usr2 => Signal::USR2,
        HookSignal::Winch => Signal::WINCH,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::cell::RefCell;

    use token_sidecar_client::wire::{Cookies, Token};

    use super::*;
    use crate::domain::token_file::Variable;
    use crate::jitter::Delays;

    const SECRET: &str = "a-long.secret.token";

    fn stored(version: u64) -> Arc<StoredToken> {
        let (token, cookies) = (Token::parse(SECRET).unwrap(), Cookies::default());
        Arc::new(StoredToken { token, cookies, version, user_agent: None, ends_at: None })
    }

    fn shell(script: &str, limit: Duration) -> HookRunner {
        let variable = Variable { name: "OF_US".to_owned(), value: "a-variable-of-us".into() };
        let command = HookCommand {
            program: "sh".to_owned(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            environment: vec![variable],
            timeout: limit,
        };
        of(Hook::Command(command))
    }

    fn of(hook: Hook) -> HookRunner {
        HookRunner { site: SiteId::parse("shop").unwrap(), file: PathBuf::from("/run/token"), hook }
    }

    async fn error_of(runner: HookRunner) -> String {
        runner.once(&stored(1)).await.unwrap_err()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_command_has_nothing_of_the_environment_but_what_is_passed() {
        shell("test \"$OF_US\" = a-variable-of-us && test -z \"$CARGO_MANIFEST_DIR$HOME\" && ! read _", LONG)
            .once(&stored(1))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_has_failed_is_said_without_a_secret() {
        let failed =
            error_of(shell(&format!("echo first; echo \"nginx: [emerg] {SECRET} $OF_US\" >&2; exit 3"), LONG)).await;
        assert_eq!(failed, "sh ended with exit status: 3: nginx: [emerg] … …");
        let quiet = error_of(shell("kill -USR1 $$", LONG)).await;
        assert_eq!(quiet, "sh ended with signal: 10 (SIGUSR1)");
        let mut missing = shell("", LONG);
        let Hook::Command(command) = &mut missing.hook else { return };
        command.program = "no-such-program".to_owned();
        let missing = error_of(missing).await;
        assert!(missing.starts_with("no-such-program cannot be started: No such file"), "{missing}");
        // A line that is longer than all that is kept would begin in the middle of a secret.
        let long = error_of(shell("head -c 20000 /dev/zero | tr '\\0' x; exit 1", LONG)).await;
        assert_eq!(long, "sh ended with exit status: 1");
    }

    #[tokio::test]
    async fn what_hangs_is_killed_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let script = format!("sleep 1000 & echo $! >{0}; echo $$ >>{0}; echo waiting; wait", pids.display());
        let killed = error_of(shell(&script, Duration::from_millis(500))).await;
        assert_eq!(killed, "sh was killed, as it had not ended within 500ms: waiting");
        let script = format!("sleep 1000 & echo $! >{}", pids.display());
        let left: Vec<String> = fs::read_to_string(&pids).unwrap().lines().map(str::to_owned).collect();
        shell(&script, LONG).once(&stored(1)).await.unwrap();
        let left = left.into_iter().chain([fs::read_to_string(&pids).unwrap().trim().to_owned()]);
        for pid in left {
            // One that was killed is a zombie until its parent knows.
            let runs = || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
            while runs() {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn output_of_any_length_holds_nothing_up() {
        shell("head -c 5000000 /dev/zero; yes | head -n 100000", LONG).once(&stored(1)).await.unwrap();
    }

    #[tokio::test]
    async fn the_newest_token_is_run_for_again_until_it_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let (runs, allowed) = (folder.path().join("runs"), folder.path().join("allowed"));
        let script = format!("echo run >>{}; test -e {}", runs.display(), allowed.display());
        let (written, is_written) = watch::channel(None);
        let results = RefCell::new(Vec::new());
        let story = async {
            written.send_replace(Some(stored(1)));
            written.send_replace(Some(stored(2)));
            while results.borrow().len() < 3 {
                sleep(Duration::from_millis(10)).await;
            }
            fs::write(&allowed, "").unwrap();
            while results.borrow().last() != Some(&true) {
                sleep(Duration::from_millis(10)).await;
            }
            drop(written);
        };
        let delays = Delays::new(Duration::from_millis(20), Duration::from_secs(1));
        let runner = shell(&script, LONG).run(is_written, delays, |done| results.borrow_mut().push(done.is_ok()));
        tokio::join!(runner, story);
        let results = results.into_inner();
        assert_eq!(results.iter().filter(|is_ok| **is_ok).count(), 1, "{results:?}");
        assert_eq!(fs::read_to_string(&runs).unwrap().lines().count(), results.len());
    }

    #[tokio::test]
    async fn what_was_written_last_has_a_run_after_the_writer_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let (written, is_written) = watch::channel(None);
        written.send_replace(Some(stored(1)));
        drop(written);
        let delays = Delays::new(LONG, LONG);
        shell(&format!("echo run >>{}; false", runs.display()), LONG).run(is_written, delays, |_| {}).await;
        assert_eq!(fs::read_to_string(&runs).unwrap(), "run\nrun\n", "it is tried once more");
    }

    #[tokio::test]
    async fn a_signal_goes_to_the_process_of_the_file_if_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let hook = || of(Hook::Signal { signal: HookSignal::Usr1, pid_file: pid_file.clone() });
        hook().once(&stored(1)).await.unwrap();
        let mut reader = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(&pid_file, format!("{}\n", reader.id())).unwrap();
        hook().once(&stored(1)).await.unwrap();
        assert_eq!(reader.wait().unwrap().to_string(), "signal: 10 (SIGUSR1)");
        hook().once(&stored(1)).await.unwrap();
        let cut = format!("{:60}1234567", "");
        for wrong in ["", "-1", "0", "nginx", "99999999999999999999", &cut] {
            fs::write(&pid_file, wrong).unwrap();
            let error = error_of(hook()).await;
            assert!(error.ends_with("/pid: it does not hold the number of a process"), "{wrong}: {error}");
        }
        fs::write(&pid_file, std::process::id().to_string()).unwrap();
        assert!(error_of(hook()).await.ends_with("/pid: it holds the number of the sidecar's own process"));
        fs::remove_file(&pid_file).unwrap();
        fs::create_dir(&pid_file).unwrap();
        assert!(error_of(hook()).await.ends_with("it is not a regular file"));
    }
}
