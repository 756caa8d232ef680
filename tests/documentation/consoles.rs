//! The console sessions of the guides are run against a Redis, a simulator and a sidecar of our own.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use simulator::{Settings, Simulator};
use tempfile::TempDir;
use token_sidecar_client::wire::Trigger;

use crate::markdown::Document;

/// A small world whose commands are called as in the guides.
pub(crate) struct World {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    children: Vec<Child>,
    /// The address of the simulator.
    pub(crate) base: String,
    _simulator: tokio::sync::oneshot::Sender<()>,
}

impl World {
    /// With a sidecar that has brought its first token.
    fn start() -> Self {
        let mut world = Self::without_sidecar();
        world.launch(env!("CARGO_BIN_EXE_token-sidecar"), &["run"]);
        // This asks for no token: the first attempt is that of the start.
        world.until("token-sidecar status");
        world
    }

    pub(crate) fn without_sidecar() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("redis.sock").display().to_string();
        let (simulator, base) = simulator();
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_token-sidecar"), bin.join("token-sidecar")).unwrap();
        // As it answers on a terminal, and reaches our Redis.
        let redis_cli = format!("#!/bin/sh\nPATH=${{PATH#*:}} exec redis-cli -s '{socket}' --no-raw \"$@\"\n");
        std::fs::write(bin.join("redis-cli"), redis_cli).unwrap();
        std::fs::set_permissions(bin.join("redis-cli"), PermissionsExt::from_mode(0o755)).unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let variables = vec![
            ("PATH", format!("{}:{}", bin.display(), path.to_string_lossy())),
            ("REDIS_URL", format!("unix://{socket}")),
            ("FLARESOLVERR_URL", format!("{base}/v1")),
            ("CHITAI_GOROD_SITE_URL", format!("{base}/shop")),
            ("CHITAI_GOROD_API_URL", format!("{base}/web/api/v2")),
            ("SIDECAR_LISTEN", "127.0.0.1:0".to_owned()),
            // The guides show a token that is older than that.
            ("SIDECAR_DEBOUNCE", "0s".to_owned()),
            ("SIDECAR_SCHEDULE", "off".to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        let mut world = Self { folder, variables, children: Vec::new(), base, _simulator: simulator };
        world.launch("redis-server", &["--port", "0", "--unixsocket", &socket, "--save", ""]);
        world.until("redis-cli ping");
        world
    }

    /// Waits until a command succeeds.
    fn until(&self, line: &str) {
        let (shown, is_so) = self.type_in(&format!("timeout 60 sh -c 'until {line}; do sleep 0.05; done'"));
        assert!(is_so, "{line}:\n{shown}");
    }

    fn launch(&mut self, program: &str, arguments: &[&str]) {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}")));
    }

    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.variables.iter().cloned()).current_dir(self.folder.path());
        command
    }

    /// What a shell shows for a command, and whether it succeeded. Progress is left out: a terminal wipes it.
    fn type_in(&self, line: &str) -> (String, bool) {
        let output = self.command("sh").args(["-c", &format!("{{ {line}\n}} 2>&1")]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let progress = ["asked for a new token", "a refresh is"];
        let is_progress = |line: &&str| {
            line.strip_prefix("token-sidecar: ")
                .is_some_and(|documented| progress.iter().any(|p| documented.starts_with(p)))
        };
        let shown: Vec<&str> = text.lines().filter(|line| !is_progress(line)).collect();
        (shown.join("\n"), output.status.success())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A simulator on a thread of its own, until the sender is dropped.
fn simulator() -> (tokio::sync::oneshot::Sender<()>, String) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (send, address) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let simulator = Simulator::start(Settings::default()).unwrap();
            send.send(simulator.url("")).unwrap();
            let _ended = stopped.await;
        });
    });
    (stop, address.recv().unwrap())
}

/// A command of a guide, and the output that the guide shows.
struct Step {
    command: String,
    answer: Vec<String>,
}

fn steps(document: &Document) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in document.blocks("console").concat().lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), answer: Vec::new() }),
            (None, Some(step)) => step.answer.push(line.to_owned()),
            (None, None) => panic!("{}: {line} answers no command", document.name),
        }
    }
    steps
}

/// A line with all that differs from run to run made alike: every word with a digit in it, and what the trigger was.
fn alike(line: &str) -> String {
    let mut alike = String::new();
    for word in line.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        let replaced = if bare.bytes().any(|b| b.is_ascii_digit()) {
            "0"
        } else if bare.parse::<Trigger>().is_ok() {
            "trigger"
        } else {
            bare
        };
        alike.push_str(replaced);
        alike.push_str(&word[bare.len()..]);
    }
    alike
}

/// Whether a line is as documented; `…` stands for anything.
fn fits(documented: &str, shown: &str) -> bool {
    let (documented, shown) = (alike(documented), alike(shown));
    let mut parts = documented.split('…');
    let Some(mut rest) = shown.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut ends_open = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        ends_open = part.is_empty();
    }
    rest.is_empty() || ends_open
}

/// Whether an output is as documented; a line `…` stands for any number of lines.
fn answers(documented: &[String], shown: &[&str]) -> bool {
    match (documented.split_first(), shown.split_first()) {
        (None, None) => true,
        (Some((documented_line, documented)), _) if documented_line == "…" => {
            (0..=shown.len()).any(|skipped| answers(documented, &shown[skipped..]))
        }
        (Some((documented_line, documented)), Some((shown_line, shown))) => {
            fits(documented_line, shown_line) && answers(documented, shown)
        }
        _ => false,
    }
}

#[test]
fn the_consoles_of_the_guides_show_what_happens() {
    let world = World::start();
    let mut seen = 0;
    // The recorded session begins where there is one attempt.
    for name in ["docs/session.md", "README.md", "README.ru.md", "docs/migration.md", "docs/migration.ru.md"] {
        for Step { command, answer } in steps(&Document::read(name)) {
            let before = world.type_in("token-sidecar token").0;
            let (shown, succeeded) = world.type_in(&command);
            if command.ends_with("token:invalid now") {
                // The next command must not meet this refresh, whose outcome it could take for its own.
                world.until(&format!("test \"$(token-sidecar token)\" != '{before}'"));
            }
            let lines: Vec<&str> = shown.lines().collect();
            assert!(succeeded && answers(&answer, &lines), "{name}: $ {command}\nshows\n{shown}\nand not\n{answer:#?}");
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} commands were found");
}

#[test]
fn lines_are_compared_by_their_words() {
    assert!(fits("stored  4s ago by invalid through x", "stored  1h2m ago by startup through x"));
    assert!(fits("FlareSolverr 3.5.0, Mozilla/5.0 …", "FlareSolverr 3.5.2, Mozilla/5.0 (X11; Linux)"));
    assert!(!fits("chitai_gorod  fresh", "chitai_gorod  no token"));
    assert!(!fits("ok    clock: 0 ms from Redis'", "FAIL  clock: 9 s from Redis'"));
    let documented = ["a".to_owned(), "…".to_owned(), "z".to_owned()];
    assert!(answers(&documented, &["a", "b", "c", "z"]));
    assert!(!answers(&documented, &["a", "b"]));
}
