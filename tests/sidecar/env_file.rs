//! A `.env` that is kept current.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::process::{Events, Running, World, eventually, keys};
use crate::support::skipped;

/// Defect 9 of the system before: the file was truncated and written anew, and a missing line was never added.
#[test]
fn every_replica_keeps_its_own_dotenv_current_and_leaves_the_rest_alone() {
    let world = World::start();
    world.write("one.env", "# mine\nA=1\nCHITAI_GOROD_BEARER_TOKEN=old\nB='two words'\n");
    let env = |file| [("SIDECAR_ENV_FILE", file), ("SIDECAR_DEBOUNCE", "0s"), ("SIDECAR_LISTEN", "off")];
    let (one, events) = world.ready_sidecar(&env("one.env"));
    let two = world.sidecar(&env("two.env"));
    let current = || {
        let token = world.token().unwrap_or_default();
        let one = format!("# mine\nA=1\nCHITAI_GOROD_BEARER_TOKEN={token}\nB='two words'\n");
        eventually("the one is current", || (world.read("one.env") == one).then_some(()));
        let two = format!("CHITAI_GOROD_BEARER_TOKEN={token}\n");
        eventually("the other is made and current", || {
            (world.path("two.env").exists() && world.read("two.env") == two).then_some(())
        });
    };
    current();
    world.publish("now");
    events.until("a refresh", |event| event["cause"] == "refreshed" && event["trigger"] == "invalid");
    current();
    // A replica that starts when the token is there already updates its file too.
    two.stop().expect(0);
    world.write("two.env", "CHITAI_GOROD_BEARER_TOKEN=old\n");
    let two = world.sidecar(&env("two.env"));
    current();
    one.stop().expect(0);
    two.stop().expect(0);
    let left: Vec<_> = std::fs::read_dir(world.folder.path()).into_iter().flatten().flatten().collect();
    assert_eq!(left.len(), 2, "no temporary files are left: {left:?}");
}

#[test]
fn a_dotenv_that_cannot_be_written_stops_nothing() {
    let world = World::start();
    let (sidecar, events) =
        world.ready_sidecar(&[("SIDECAR_ENV_FILE", "missing/folder/.env"), ("SIDECAR_DEBOUNCE", "0s")]);
    sidecar.logs("missing/folder/.env");
    world.publish("now");
    events.refreshed();
    let token = world.token().unwrap_or_default();
    // Once it can be written it is, without another refresh.
    assert!(std::fs::create_dir_all(world.path("missing/folder")).is_ok());
    eventually("the .env is current", || {
        let written = std::fs::read_to_string(world.path("missing/folder/.env")).ok()?;
        (written == format!("CHITAI_GOROD_BEARER_TOKEN={token}\n")).then_some(())
    });
    assert_eq!(world.token().as_ref(), Some(&token));
    let ran = sidecar.stop().expect(0);
    assert!(!token.is_empty() && !ran.stderr.contains(&token));
}

/// The sidecar's own `.env` may be the one that it keeps: the token in it is the bootstrap of the next start.
#[test]
fn the_dotenv_of_the_working_folder_survives_a_lost_redis() {
    let mut world = World::start();
    world.write(".env", "CHITAI_GOROD_BEARER_TOKEN=\n");
    let env = [("SIDECAR_ENV_FILE", ".env")];
    let (sidecar, _events) = world.ready_sidecar(&env);
    let token = world.token();
    eventually("the .env is current", || {
        (world.read(".env") == format!("CHITAI_GOROD_BEARER_TOKEN={}\n", token.clone().unwrap_or_default()))
            .then_some(())
    });
    sidecar.stop().expect(0);
    world.redis.restart_empty();
    let (sidecar, _events) = world.ready_sidecar(&env);
    assert_eq!(world.token(), token);
    assert_eq!(world.meta("trigger").as_deref(), Some("bootstrap"));
    assert_eq!(world.solves(), 1);
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::COOKIES]), 1);
    sidecar.stop().expect(0);
}

/// Another file cannot be renamed over one that is mounted by itself, as Docker does with a single file.
#[test]
fn a_dotenv_that_is_mounted_by_itself_is_written_in_place() {
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        skipped("this user may not mount");
        return;
    }
    let world = World::start();
    world.write("mounted.env", "A=1\n");
    world.write(".env", "");
    let mount = "mount --bind mounted.env .env && exec \"$@\"";
    let under = ["unshare", "--mount", "sh", "-c", mount, "sh"];
    let sidecar = Running::start(&mut world.command_under(&under, &["run"], &[("SIDECAR_ENV_FILE", ".env")]));
    sidecar.logs("the file had to be written in place");
    let token = world.token().unwrap_or_default();
    eventually("the mounted file is current", || {
        (world.read("mounted.env") == format!("A=1\nCHITAI_GOROD_BEARER_TOKEN={token}\n")).then_some(())
    });
    assert_eq!(world.read(".env"), "", "what the mount covers");
    sidecar.stop().expect(0);
}

#[test]
fn a_dotenv_whose_lock_another_program_holds_does_not_hold_up_the_end() {
    let world = World::start();
    let file = world.write("locked.env", "A=1\n");
    let mut holder = Command::new("flock")
        .arg(&file)
        .args(["sh", "-c", "echo locked; read _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_ENV_FILE", "locked.env")]);
    sidecar.stop().expect(0);
    assert_eq!(world.read("locked.env"), "A=1\n");
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

/// Four writers, in two processes, of two lines in one file; and a deploy that overwrites it.
#[test]
fn a_dotenv_that_two_processes_share_loses_no_line() {
    let world = World::start();
    world.write_second_site("verify = \"off\"\nenv_key = \"SECOND_BEARER_TOKEN\"");
    world.write("shared.env", "# mine\n");
    let env = [
        ("SIDECAR_CONFIG", "sidecar.toml"),
        ("SIDECAR_ENV_FILE", "shared.env"),
        ("SIDECAR_DEBOUNCE", "0s"),
        ("SIDECAR_LISTEN", "off"),
    ];
    let sidecars = [world.sidecar(&env), world.sidecar(&env)];
    let events = Events::on(&world.redis, &["token:updated"]);
    let is_current = || {
        let token = |key: &str| world.ask::<Option<String>>(&["GET", key]);
        let (first, second) = (token(keys::TOKEN)?, token("second_token")?);
        let content = world.read("shared.env");
        let lines = [format!("CHITAI_GOROD_BEARER_TOKEN={first}"), format!("SECOND_BEARER_TOKEN={second}")];
        (content.lines().count() == 3 && lines.iter().all(|line| content.lines().any(|other| other == line)))
            .then_some(())
    };
    eventually("both lines are current", is_current);
    for round in 0..30 {
        if round % 10 == 5 {
            // Later tokens are written into the file that a deploy has left.
            world.write("shared.env", "# mine\n");
        }
        for channel in [keys::INVALID, "second:token:invalid"] {
            let _: i64 = world.ask(&["PUBLISH", channel, r#"{"force": true}"#]);
        }
        for _ in 0..2 {
            events.until("a refresh", |event| event["cause"] == "refreshed" && event["trigger"] == "invalid");
        }
        eventually("both lines are current", is_current);
    }
    for sidecar in sidecars {
        sidecar.stop().expect(0);
    }
}

#[test]
fn a_write_that_hangs_is_known_while_it_hangs() {
    let world = World::start();
    let env = [("SIDECAR_ENV_FILE", ".env"), ("SIDECAR_DEBOUNCE", "0s")];
    let (sidecar, events) = world.ready_sidecar(&env);
    let output = || sidecar.get("/api/status").json()["sites"][0]["outputs"][0].take();
    let is = |current: bool| eventually("the state of the file", || (output()["current"] == current).then(output));
    is(true);
    let file = std::fs::File::open(world.path(".env")).unwrap();
    file.lock().unwrap();
    world.publish("now");
    events.until("a new token", |event| event["cause"] == "refreshed" && event["trigger"] == "invalid");
    assert!(is(false)["error"].as_str().unwrap().contains("another process holds its lock"));
    drop(file);
    is(true);
    assert!(world.read(".env").contains(&world.token().unwrap()));
    sidecar.stop().expect(0);
}

#[test]
fn two_lines_of_a_site_in_one_file_are_told_apart() {
    let world = World::start();
    let line = |key: &str| format!("[[sites.chitai_gorod.files]]\npath = \"a.env\"\nenv_key = {key:?}\n");
    world.write("sidecar.toml", &[line("ONE"), line("TWO")].concat());
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_CONFIG", "sidecar.toml")]);
    let metric = |name: &str| format!("token_sidecar_output_current{{site=\"chitai_gorod\",file=\"{name}\"}} 1\n");
    eventually("both are current", || {
        let page = sidecar.get("/metrics").body;
        ["a.env ONE", "a.env TWO"].iter().all(|name| page.contains(&metric(name))).then_some(())
    });
    sidecar.stop().expect(0);
}
