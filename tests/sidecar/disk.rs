//! A disk that is full or read-only, under the `.env` and under the log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::process::patience::now;
use crate::process::{Events, Running, World, eventually};
use crate::support::measured::{measured, seconds};

const KEY: &str = "CHITAI_GOROD_BEARER_TOKEN";
const NO_DEBOUNCE: (&str, &str) = ("SIDECAR_DEBOUNCE", "0s");
const STALE: &str = "the file does not hold the current token";

/// A `.env` of some 5 KB, with the token at its beginning.
fn env_file(token: &str) -> String {
    format!("{KEY}={token}\n# {}\nLAST=1\n", "long ".repeat(1000))
}

/// The token reaches Redis and parsers, and not the file, which is unchanged; a warning is logged.
fn does_not_reach(world: &World, sidecar: &Running, events: &Events, file: &Path) {
    events.refreshed();
    sidecar.logs(STALE);
    assert!(world.token().is_some(), "Redis has it");
    assert_eq!(fs::read_to_string(file).unwrap(), env_file("old"), "the file is as it was");
    let folder: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(folder.len(), 1, "nothing is left beside it: {folder:?}");
}

/// The file is updated without another refresh.
fn is_mended(name: &str, world: &World, sidecar: Running, file: &Path) {
    let began = now();
    let token = world.token().unwrap();
    eventually("the .env is current", || (fs::read_to_string(file).unwrap() == env_file(&token)).then_some(()));
    measured(&format!("{name}: the .env has the token after"), seconds(began.elapsed()));
    assert!(!sidecar.stop().expect(0).stderr.contains(&token));
}

/// The system ends every write beyond 512 bytes of a file with an error, after half of the new file was written.
#[test]
fn a_full_disk_leaves_the_dotenv_as_it_was_until_there_is_room() {
    let world = World::start();
    let file = world.write("shared.env", &env_file("old"));
    full_disk(&world, &file);
}

/// A hard link is written in place: what was written of the new content is taken back.
#[test]
fn a_full_disk_leaves_a_dotenv_that_is_written_in_place_as_it_was_until_there_is_room() {
    let world = World::start();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = world.write("shared.env", &env_file("old"));
    fs::hard_link(&file, elsewhere.path().join("other.env")).unwrap();
    full_disk(&world, &file);
}

fn full_disk(world: &World, file: &Path) {
    let events = world.events();
    let full = ["sh", "-c", "trap '' XFSZ; ulimit -S -f 1; exec \"$@\"", "sh"];
    let env = [NO_DEBOUNCE, ("SIDECAR_ENV_FILE", "shared.env")];
    let sidecar = Running::start(&mut world.command_under(&full, &["run"], &env));
    does_not_reach(world, &sidecar, &events, file);
    let room = ["--pid", &sidecar.pid().to_string(), "--fsize=unlimited:"];
    assert!(Command::new("prlimit").args(room).status().unwrap().success(), "there is room again");
    is_mended("disk full", world, sidecar, file);
}

#[test]
fn a_read_only_folder_leaves_the_dotenv_as_it_was_until_it_can_be_written() {
    let world = World::start();
    let folder = world.path("read-only");
    fs::create_dir(&folder).unwrap();
    let file = world.write("read-only/shared.env", &env_file("old"));
    let modes = |folder_mode: u32, file_mode: u32| {
        fs::set_permissions(&file, Permissions::from_mode(file_mode)).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(folder_mode)).unwrap();
    };
    modes(0o555, 0o444);
    // Modes bind root too, once it has no capabilities.
    let is_root = fs::OpenOptions::new().append(true).open(&file).is_ok();
    let bound = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    let starter: &[&str] = if is_root { &bound } else { &[] };
    let env = [NO_DEBOUNCE, ("SIDECAR_ENV_FILE", "read-only/shared.env")];
    let start = || Running::start(&mut world.command_under(starter, &["run"], &env));

    let events = world.events();
    let sidecar = start();
    does_not_reach(&world, &sidecar, &events, &file);
    modes(0o755, 0o644);
    is_mended("read-only folder", &world, sidecar, &file);

    // A file that may be written in a folder that may not is written in place, with a warning that this is less safe.
    modes(0o555, 0o644);
    let sidecar = start();
    events.repeated();
    world.publish("now");
    events.refreshed();
    sidecar.logs("the file had to be written in place");
    let token = world.token().unwrap();
    eventually("it is current", || (fs::read_to_string(&file).unwrap() == env_file(&token)).then_some(()));
    sidecar.stop().expect(0);
    modes(0o755, 0o644);
}

/// `/dev/full` answers every write as a full disk does.
#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let world = World::start();
    let events = world.events();
    let full = ["sh", "-c", "exec \"$@\" >/dev/full 2>/dev/full", "sh"];
    let env = [NO_DEBOUNCE, ("SIDECAR_LISTEN", "off"), ("RUST_LOG", "trace")];
    let sidecar = Running::start(&mut world.command_under(&full, &["run"], &env));
    events.refreshed();
    world.publish("now");
    events.refreshed();
    let ran = sidecar.stop().expect(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "all of it went where there is no room");
}
