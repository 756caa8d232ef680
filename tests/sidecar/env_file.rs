//! A `.env` that is kept current.

use crate::process::{World, eventually, keys};

/// Defect 9 of the system before: the file was truncated and written anew, and a missing line never came.
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
    // A replica that starts when the token is there already brings its file up to date too.
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
    sidecar.says("missing/folder/.env");
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
