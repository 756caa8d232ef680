//! A private `redis-server` for one test: on its own port and unix socket, in its own folder.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use redis::{Client, Connection, FromRedisValue, IntoConnectionInfo, RedisResult};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// Runs the server until our end of the pipe is closed, by us or by any end of this process.
const SHELL: &str = r#""$1" redis.conf $2 & server=$!; exec > /dev/null; cat; kill -9 $server; wait"#;
/// Name and password of the user that a test itself is, where the server has users.
pub(crate) const OBSERVER: &str = "observer";
/// The program, unless the variable `TEST_REDIS_SERVER` names another one.
const PROGRAM: &str = "redis-server";

/// A running server; it ends when this is dropped.
pub(crate) struct RedisServer {
    program: String,
    child: Option<Child>,
    folder: TempDir,
    port: Port,
    mode: Mode,
    config: Vec<String>,
    log: Arc<Mutex<Vec<String>>>,
}

/// What kind of server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Data,
    Sentinel,
    /// A data server that need not be ready: it may still be loading.
    Unready,
}

/// A port of the loopback that is ours alone. The socket that holds it never listens, so that a server can
/// listen there (both set `SO_REUSEADDR`), go away and come back, while the system gives it to no other socket.
pub(crate) struct Port {
    number: u16,
    _held: TcpSocket,
}

impl Port {
    pub(crate) fn hold() -> Self {
        let held = TcpSocket::new_v4().unwrap();
        held.set_reuseaddr(true).unwrap();
        held.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self { number: held.local_addr().unwrap().port(), _held: held }
    }

    pub(crate) const fn number(&self) -> u16 {
        self.number
    }
}

impl RedisServer {
    /// An empty server without persistence.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// One with further lines of configuration.
    pub(crate) fn start_with(config: &[&str]) -> Self {
        Self::run(program(), Mode::Data, config)
    }

    /// One that is this program.
    pub(crate) fn start_program(program: &str, config: &[&str]) -> Self {
        Self::run(program.to_owned(), Mode::Data, config)
    }

    /// A Sentinel.
    pub(crate) fn start_sentinel(config: &[&str]) -> Self {
        Self::run(program(), Mode::Sentinel, config)
    }

    fn run(program: String, mode: Mode, config: &[&str]) -> Self {
        // If another program has taken the port all the same, another port is tried.
        for _ in 0..5 {
            let mut server = Self {
                program: program.clone(),
                child: None,
                folder: folder(),
                port: Port::hold(),
                mode,
                config: config.iter().map(|line| (*line).to_owned()).collect(),
                log: Arc::default(),
            };
            match server.launch() {
                Ok(()) => return server,
                Err(log) => assert!(log.contains("Address already in use"), "redis-server did not start:\n{log}"),
            }
        }
        panic!("redis-server found no free port in five tries");
    }

    /// Starts it and waits until it answers.
    fn launch(&mut self) -> Result<(), String> {
        let file = self.folder.path().join("redis.conf");
        if !file.exists() {
            std::fs::write(&file, self.configuration()).unwrap();
        }
        let option = if self.mode == Mode::Sentinel { "--sentinel" } else { "" };
        let mut shell = Command::new("sh");
        shell.args(["-c", SHELL, "sh", &self.program, option]).current_dir(self.folder.path());
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        self.child = Some(child);
        self.wait_until_ready(output)?;
        if self.mode == Mode::Data {
            let answer: String = self.ask("PING");
            assert_eq!(answer, "PONG");
        }
        Ok(())
    }

    fn configuration(&self) -> String {
        let mut lines = vec![
            format!("port {}", self.port.number),
            "bind 127.0.0.1".to_owned(),
            "unixsocket redis.sock".to_owned(),
            "pidfile redis.pid".to_owned(),
            "protected-mode no".to_owned(),
        ];
        if major_version(&self.program) >= 7 {
            lines.extend(["enable-debug-command yes", "enable-protected-configs yes"].map(str::to_owned));
        }
        if self.mode != Mode::Sentinel {
            lines.push("save \"\"".to_owned());
        }
        lines.extend(self.config.iter().cloned());
        lines.join("\n") + "\n"
    }

    /// Reads its log until it is ready; the rest is read in the background.
    fn wait_until_ready(&self, output: ChildStdout) -> Result<(), String> {
        // Of its socket, which comes last: Redis 7.2 and Valkey log other words.
        let signs: &[&str] = match self.mode {
            Mode::Data => &["ready to accept connections at", "Ready to accept connections unix"],
            Mode::Sentinel => &["Sentinel ID is"],
            Mode::Unready => &["Server initialized"],
        };
        let mut lines = BufReader::new(output).lines();
        loop {
            let Some(Ok(line)) = lines.next() else {
                assert!(!self.log().is_empty(), "{} cannot be started: is it installed (make test)?", self.program);
                return Err(self.log());
            };
            let ready = signs.iter().any(|sign| line.contains(sign));
            self.log.lock().unwrap().push(line);
            if ready {
                break;
            }
        }
        let log = Arc::clone(&self.log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        Ok(())
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        self.url_with("")
    }

    /// Its URL with credentials such as `user:password@`.
    pub(crate) fn url_with(&self, credentials: &str) -> String {
        format!("redis://{credentials}127.0.0.1:{}/0", self.port.number)
    }

    /// The URL of its unix socket.
    pub(crate) fn socket_url(&self) -> String {
        format!("unix://{}", self.folder.path().join("redis.sock").display())
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port.number
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn dump(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    /// A blocking connection of its own, by the unix socket: it needs no port and no certificate. Where the
    /// server has a file of users, one of them is [`OBSERVER`].
    pub(crate) fn connection(&self) -> Connection {
        self.try_connection().unwrap()
    }

    fn try_connection(&self) -> RedisResult<Connection> {
        let setting = |name: &str| self.config.iter().find_map(|line| line.strip_prefix(name));
        let info = self.socket_url().into_connection_info()?;
        let without_name = info.redis_settings().clone();
        let with_name = match (setting("aclfile "), setting("requirepass ")) {
            (Some(_), _) => without_name.set_username(OBSERVER).set_password(OBSERVER),
            (None, Some(password)) => without_name.set_password(password),
            (None, None) => without_name,
        };
        Client::open(info.set_redis_settings(with_name))?.get_connection()
    }

    /// Runs one command, written with blanks between its words.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        self.ask_words(&command.split(' ').collect::<Vec<_>>())
    }

    /// Runs one command whose words may hold anything.
    pub(crate) fn ask_words<T: FromRedisValue>(&self, words: &[impl redis::ToRedisArgs]) -> T {
        self.try_words(words).unwrap()
    }

    /// Runs one command that may be refused.
    pub(crate) fn try_words<T: FromRedisValue>(&self, words: &[impl redis::ToRedisArgs]) -> RedisResult<T> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command.query(&mut self.try_connection()?)
    }

    /// Repeats a command until the answer is the wanted one.
    pub(crate) fn until(&self, command: &str, wanted: impl Fn(&str) -> bool) {
        let words: Vec<&str> = command.split(' ').collect();
        loop {
            match self.try_words::<String>(&words) {
                Ok(answer) if wanted(&answer) => return,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port after [`Self::kill`], with what was saved last.
    pub(crate) fn revive(&mut self) {
        self.launch().unwrap_or_else(|log| panic!("redis-server did not come back:\n{log}"));
    }

    /// The same, but does not wait until its data is loaded.
    pub(crate) fn revive_unready(&mut self) {
        self.mode = Mode::Unready;
        self.revive();
        self.mode = Mode::Data;
    }

    /// Ends it and starts it again, empty.
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        let _ = std::fs::remove_file(self.dump());
        self.revive();
    }

    /// Ends it and starts it again with its data.
    pub(crate) fn restart_with_data(&mut self) {
        let _: String = self.ask("SAVE");
        self.kill();
        self.revive();
    }

    /// Stops it from answering, while its connections stay open.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        let stat = format!("/proc/{}/stat", self.pid());
        while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
            std::thread::yield_now();
        }
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn pid(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("redis.pid")).unwrap().trim().to_owned()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(status.success());
    }
}

/// The server under test.
pub(crate) fn program() -> String {
    #[expect(clippy::disallowed_methods, reason = "the caller of the tests chooses the server")]
    std::env::var("TEST_REDIS_SERVER").unwrap_or_else(|_| PROGRAM.to_owned())
}

/// The version of Redis or of Valkey.
pub(crate) fn major_version(program: &str) -> u32 {
    let version_line = Command::new(program).arg("--version").output();
    let version_line =
        version_line.unwrap_or_else(|error| panic!("{program} cannot be started: install it (make test): {error}"));
    let version_line = String::from_utf8_lossy(&version_line.stdout).into_owned();
    let version = version_line.split("v=").nth(1).and_then(|rest| rest.split('.').next());
    version.and_then(|major| major.parse().ok()).unwrap_or_else(|| panic!("{program} has no version: {version_line}"))
}

/// In memory where there is room for it: Sentinels and nodes of a Cluster block until the disk has each of
/// their changes, which takes seconds on a busy machine.
fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "shown where the test fails")]
            {
                eprintln!("redis-server on port {} logged:\n{}", self.port.number, self.log());
            }
        }
    }
}
