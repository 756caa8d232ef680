//! The program as a child process, while it runs and after it has ended.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::{self, Answer};
use super::patience::{DEADLINE, eventually};
use crate::support::contract;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_token-sidecar");

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` where a signal has ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Panics with its output unless this is the exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Panics unless stderr contains this.
    #[track_caller]
    pub(crate) fn stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "expected {text:?} in stderr:\n{}", self.stderr);
        self
    }

    /// Panics unless stdout contains this.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "expected {text:?} in stdout:\n{}", self.stdout);
        self
    }
}

/// A running process; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

/// The output of a process, read as it is written.
struct Stream {
    text: Arc<(Mutex<String>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Stream::of(child.stdout.take().unwrap());
        let stderr = Stream::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits until it is subscribed to triggers.
    pub(crate) fn listening(self) -> Self {
        self.logs("channels");
        self
    }

    /// Waits until stderr contains this.
    pub(crate) fn logs(&self, text: &str) {
        self.stderr.until(text);
    }

    /// Waits until stderr contains this `times` times.
    pub(crate) fn logs_times(&self, text: &str, times: usize) {
        eventually(text, || (self.stderr.so_far().matches(text).count() >= times).then_some(()));
    }

    /// Waits until stdout contains this.
    pub(crate) fn prints(&self, text: &str) {
        self.stdout.until(text);
    }

    /// Its output so far, stdout before stderr.
    pub(crate) fn written(&self) -> String {
        self.stdout.so_far() + &self.stderr.so_far()
    }

    /// Where it serves HTTP, from its log.
    pub(crate) fn address(&self) -> SocketAddr {
        self.stderr.until("token-sidecar starts");
        let text = self.stderr.so_far();
        let (_, rest) = text.split_once(" listen=").unwrap_or_else(|| panic!("it does not listen:\n{text}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Where its gateway listens, from its log.
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.stderr.until("token-sidecar starts");
        let text = self.stderr.so_far();
        let (_, rest) = text.split_once(" gateway=").unwrap_or_else(|| panic!("it has no gateway:\n{text}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// Sends an HTTP request; panics where the response breaks the contract. `headers` are whole lines.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let answer = http::ask(self.address(), method, path, headers);
        contract::answer(method, path, answer.status, &answer.headers, &answer.body).unwrap_or_else(|e| panic!("{e}"));
        answer
    }

    /// Sends an HTTP request whose response may have no end.
    pub(crate) fn open(&self, method: &str, path: &str, headers: &str) -> (Answer, BufReader<TcpStream>) {
        http::open(self.address(), method, path, headers)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// Peak resident memory in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The processor time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // `utime` and `stime`, in ticks of 10 ms.
        fields[11..=12].iter().map(|ticks| Duration::from_millis(10 * ticks.parse::<u64>().unwrap())).sum()
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(mut self) -> Ran {
        self.child.kill().unwrap();
        self.end()
    }

    /// Sends SIGTERM, as a service manager does, and waits for its end.
    pub(crate) fn stop(self) -> Ran {
        self.signal("TERM");
        self.end()
    }

    /// Sends a signal again and again, since two within a second count as one.
    pub(crate) fn signal_until_its_end(mut self, name: &str) -> Ran {
        eventually("the end of the process", || {
            self.signal(name);
            self.child.try_wait().unwrap()
        });
        self.end()
    }

    /// Waits for its end without a deadline.
    pub(crate) fn end_within_minutes(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        Ran { code: status.code(), stdout: self.stdout.all(), stderr: self.stderr.all() }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        let status: ExitStatus = eventually("the end of the process", || self.child.try_wait().unwrap());
        Ran { code: status.code(), stdout: self.stdout.all(), stderr: self.stderr.all() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "shown where the test fails")]
            {
                eprintln!("process {} wrote:\n{}", self.pid(), self.written());
            }
        }
    }
}

impl Stream {
    fn of(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let shared = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                let (text, changed) = &*shared;
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
                changed.notify_all();
            }
        });
        Self { text, reader: Some(reader) }
    }

    #[track_caller]
    fn until(&self, wanted: &str) {
        let (text, changed) = &*self.text;
        let (text, late) =
            changed.wait_timeout_while(text.lock().unwrap(), DEADLINE, |text| !text.contains(wanted)).unwrap();
        let written = text.clone();
        drop(text);
        assert!(!late.timed_out(), "expected {wanted:?} in:\n{written}");
    }

    fn so_far(&self) -> String {
        self.text.0.lock().unwrap().clone()
    }

    /// All of it, once the process has ended.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far()
    }
}
