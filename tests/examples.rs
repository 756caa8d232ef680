//! The examples without our packages, in every language, against real sidecars: they keep the contract, or are answered
//! by the gateway.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod process;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use process::{Ran, Running, World, keys};
use simulator::{Faults, RecordedError};
use support::redis_server::Port;
use token_sidecar_client::wire::Fingerprint;

/// How one of them is called; what has to be built first is built in the folder.
type Call = fn(&Path) -> Command;

fn script(interpreter: &str, name: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(source(name));
    command
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/examples").join(name)
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn build(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/setup test"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

fn bash(_: &Path) -> Command {
    script("bash", "next_token.sh")
}

fn perl(_: &Path) -> Command {
    script("perl", "next_token.pl")
}

fn php(_: &Path) -> Command {
    script("php", "next_token.php")
}

/// Debian's package is for Debian's Python, which another one may hide.
fn python(_: &Path) -> Command {
    let has_redis = succeeds(Command::new("python3").args(["-c", "import redis"]));
    script(if has_redis { "python3" } else { "/usr/bin/python3" }, "next_token.py")
}

fn ruby(_: &Path) -> Command {
    script("ruby", "next_token.rb")
}

/// Its package is looked for beside it; Debian has it elsewhere.
fn node(folder: &Path) -> Command {
    let copy = folder.join("next_token.mjs");
    if !copy.exists() {
        std::fs::copy(source("next_token.mjs"), &copy).unwrap();
        std::os::unix::fs::symlink("/usr/share/nodejs", folder.join("node_modules")).unwrap();
    }
    let mut command = Command::new("node");
    command.arg(copy).env("NODE_PATH", "/usr/share/nodejs");
    command
}

/// The folder of what is built: that of target/debug/deps/examples-0123456789abcdef.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// `cargo test` without a choice of tests has built it already.
fn rust(_: &Path) -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let target = target();
        let program = target.join("debug/examples/next_token");
        let written = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        if written(&program) < written(&source("next_token.rs")) {
            let mut cargo = Command::new(env!("CARGO"));
            build(cargo.args(["build", "--quiet", "--locked", "--example", "next_token", "--target-dir"]).arg(&target));
        }
        program
    });
    Command::new(program)
}

/// A world and one example in it.
struct Example {
    world: World,
    call: Call,
}

impl Example {
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_on(&self.world.redis.url(), arguments)
    }

    fn run_on(&self, url: &str, arguments: &[&str]) -> Ran {
        self.begin(url, arguments).end()
    }

    fn begin(&self, url: &str, arguments: &[&str]) -> Running {
        let mut command = (self.call)(self.world.folder.path());
        Running::start(command.args(arguments).env("REDIS_URL", url).current_dir(self.world.folder.path()))
    }

    /// Whether it prints a token, and which.
    fn token(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments).expect(0);
        assert_eq!(ran.stderr, "");
        ran.stdout.strip_suffix('\n').unwrap().to_owned()
    }
}

fn keeps_the_contract(call: Call) {
    answers_of_a_sidecar(&Example { world: World::start(), call });
    answers_to_other_clients(&Example { world: World::start(), call });
}

fn answers_of_a_sidecar(example: &Example) {
    let world = &example.world;
    example.run(&[]).expect(69).stderr_has("no sidecar listens");

    let (_sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let first = world.token().unwrap();
    assert_eq!(example.token(&[]), first, "the first read");
    assert_eq!(example.token(&["another.token"]), first, "a late report of a token that was replaced");
    assert_eq!(world.solves(), 1);

    let next = example.token(&[&first]);
    assert_ne!(next, first, "a report that is answered by a new token");
    assert_eq!(Some(next.clone()), world.token());
    assert_eq!(world.solves(), 2);

    world.ask::<i64>(&["DEL", keys::TOKEN]);
    let third = example.token(&[]);
    assert_ne!(third, next, "the first read where there is none");
    assert_eq!(Some(third.clone()), world.token());

    world.faults(Faults { solve_error: Some(RecordedError::Timeout.into()), ..Faults::default() });
    let failed = example.run(&[&third]).expect(75);
    let error = events.until("a failure", |event| event["event"] == "token:failed")["error"].to_string();
    failed.stderr_has(error.trim_matches('"'));
}

fn answers_to_other_clients(example: &Example) {
    let world = &example.world;
    let refused = "refused.token";
    let reports = process::Events::on(&world.redis, &[keys::INVALID]);
    world.ask::<String>(&["SET", keys::TOKEN, refused]);

    example.run(&[refused, "3"]).expect(75).stderr_has("no outcome in 3");
    let report = reports.next();
    assert_eq!(report["fingerprint"], Fingerprint::of(refused).to_string());
    assert_eq!(report["reason"], "401");

    let updated = |token: &str| {
        let event = serde_json::json!({"event": "token:updated", "key": keys::TOKEN,
                                       "fingerprint": Fingerprint::of(token).to_string()});
        world.ask::<i64>(&["PUBLISH", keys::UPDATED, &event.to_string()])
    };
    let running = example.begin(&world.redis.url(), &[refused]);
    reports.next();
    assert_eq!(updated(refused), 1, "it listens before it reports");
    world.ask::<String>(&["SET", keys::TOKEN, "next.token"]);
    assert_eq!(updated("next.token"), 1, "an update that names the refused token answers another client");
    assert_eq!(running.end().expect(0).stdout, "next.token\n");

    let away = Port::hold();
    let ran = example.run_on(&format!("redis://127.0.0.1:{}", away.number()), &[]).expect(75);
    assert_ne!(ran.stderr, "", "it prints that Redis is away");
}

#[test]
fn bash_keeps_the_contract() {
    keeps_the_contract(bash);
}

#[test]
fn node_keeps_the_contract() {
    keeps_the_contract(node);
}

#[test]
fn perl_keeps_the_contract() {
    keeps_the_contract(perl);
}

#[test]
fn php_keeps_the_contract() {
    keeps_the_contract(php);
}

#[test]
fn python_keeps_the_contract() {
    keeps_the_contract(python);
}

#[test]
fn ruby_keeps_the_contract() {
    keeps_the_contract(ruby);
}

#[test]
fn rust_keeps_the_contract() {
    keeps_the_contract(rust);
}

/// A program of the Python environment in which the examples for the gateway are tested.
fn of_the_environment(program: &str) -> Command {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    let bin = BIN.get_or_init(|| {
        let (root, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")), target().join("examples-python"));
        build(Command::new(root.join("scripts/venv")).arg(&folder).arg(source("requirements.txt")));
        folder.join("bin")
    });
    Command::new(bin.join(program))
}

/// A sidecar with the gateway, whose token the API refuses.
fn refused(world: &World) -> Running {
    let (sidecar, _) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s"), ("SIDECAR_GATEWAY", "127.0.0.1:0")]);
    world.simulator.revoke_all();
    sidecar
}

/// A command that knows of nothing but the gateway prints what the API answers to the next token.
fn is_answered(world: &World, command: &mut Command) {
    let solves = world.solves();
    let ran = Running::start(command.env("no_proxy", "127.0.0.1").current_dir(world.folder.path())).end().expect(0);
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    assert_eq!(answer["data"]["type"], "searchProductResult", "{answer}");
    assert_eq!(world.solves(), solves + 1, "it was refused once");
}

fn is_answered_by_the_gateway(mut command: Command) {
    let world = World::start();
    let sidecar = refused(&world);
    is_answered(&world, command.env("API", format!("http://{}/chitai_gorod", sidecar.gateway())));
    sidecar.stop().expect(0);
}

#[test]
fn curl_is_answered_by_the_gateway() {
    is_answered_by_the_gateway(script("sh", "gateway.sh"));
}

#[test]
fn php_is_answered_by_the_gateway() {
    is_answered_by_the_gateway(script("php", "gateway.php"));
}

#[test]
fn requests_is_answered_by_the_gateway() {
    let mut python = of_the_environment("python");
    python.arg(source("gateway.py"));
    is_answered_by_the_gateway(python);
}

/// With the settings of a new project, which asks for robots.txt first.
#[test]
fn scrapy_is_answered_by_the_gateway() {
    let world = World::start();
    let sidecar = refused(&world);
    let api = format!("API=http://{}/chitai_gorod", sidecar.gateway());
    let mut scrapy = of_the_environment("scrapy");
    scrapy.arg("runspider").arg(source("gateway_spider.py"));
    scrapy.args(["-s", &api, "-s", "ROBOTSTXT_OBEY=True", "-s", "TELNETCONSOLE_ENABLED=False"]);
    is_answered(&world, &mut scrapy);
    sidecar.stop().expect(0);
}

#[test]
fn the_command_of_the_guides_is_answered_by_the_gateway() {
    let world = World::start();
    let sidecar = refused(&world);
    for guide in ["README.md", "README.ru.md", "docs/gateway.md", "docs/gateway.ru.md"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(guide)).unwrap();
        let command = text.lines().find(|line| line.starts_with("curl 'http://127.0.0.1:9189/"));
        let command = command.unwrap_or_else(|| panic!("{guide} shows no command"));
        let command = command.replace("127.0.0.1:9189", &sidecar.gateway().to_string());
        world.simulator.revoke_all();
        is_answered(&world, Command::new("sh").args(["-c", &command]));
    }
    sidecar.stop().expect(0);
}
