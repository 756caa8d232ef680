//! Servers other than Debian's Redis 7.0: Valkey 9, and Redis 6.2, whose scripts cannot check the rights of a user.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use crate::example::{Example, PASSWORD, users_of};
use crate::process::World;
use crate::support::redis_server::RedisServer;

/// The program of this name, installed where it is missing; none where it is not built for this machine.
fn program(name: &str) -> Option<String> {
    let script = |arguments: &[&str]| {
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/other-redis"));
        let output = script.args(arguments).output().unwrap();
        assert!(output.status.success(), "scripts/other-redis failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    script(&["install"]);
    let program = script(&["path", name]);
    let is_there = Path::new(&program).exists();
    #[expect(clippy::print_stderr, reason = "a test that is left out prints why")]
    if !is_there {
        eprintln!("left out: PyPI has {name} for x86_64 alone");
    }
    is_there.then_some(program)
}

/// The main job, a failure, and every command that uses Redis.
fn serves(world: &World, example: Example, server: &RedisServer) {
    let place = format!("127.0.0.1:{}", server.port());
    let example = example.with("redis:6379", &place).with_password(world).install(world);
    let (sidecar, events) = example.main_job(server);
    example.call(&["trigger", "--wait"]).expect(0);
    events.refreshed();
    example.call(&["refresh"]).expect(0);
    events.refreshed();
    world.faults(simulator::Faults {
        solve_error: Some(simulator::RecordedError::Timeout.into()),
        ..Default::default()
    });
    example.call(&["trigger", "--wait", "--force"]).expect(75);
    events.failed("solve");
    world.heal();
    example.call(&["refresh"]).expect(0);
    events.refreshed();
    example.call(&["token"]).expect(0);
    let ran = sidecar.stop().expect(0);
    assert!(!ran.stderr.contains("NOPERM"), "{}", ran.stderr);
}

#[test]
fn valkey_with_the_shipped_user() {
    let world = World::start();
    let Some(valkey) = program("valkey") else { return };
    let server = RedisServer::start_program(&valkey, &[&users_of(&world, &valkey)]);
    assert!(server.ask::<String>("INFO server").contains("server_name:valkey"));
    serves(&world, Example::of("acl.toml"), &server);
}

#[test]
fn redis_6_with_a_password() {
    let world = World::start();
    let Some(redis) = program("redis-6") else { return };
    let server = RedisServer::start_program(&redis, &[&format!("requirepass {PASSWORD}")]);
    assert!(server.ask::<String>("INFO server").contains("redis_version:6.2"));
    serves(&world, Example::of("single.toml"), &server);
}
