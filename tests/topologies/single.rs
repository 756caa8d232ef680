//! One server: passwords, users, a Unix socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::example::{Example, PASSWORD, users};
use crate::process::World;
use crate::support::redis_server::RedisServer;

/// The address that the examples have for a server.
const PLACE: &str = "redis:6379";

fn place(server: &RedisServer) -> String {
    format!("127.0.0.1:{}", server.port())
}

/// A server with the shipped users.
fn server_with_users(world: &World) -> RedisServer {
    RedisServer::start_with(&[&users(world)])
}

#[test]
fn a_password_in_a_file() {
    let world = World::start();
    let server = server_with_users(&world);
    let _: String =
        server.ask_words(&["ACL", "SETUSER", "default", "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"]);
    let example = Example::of("single.toml").with(PLACE, &place(&server)).with_password(&world).install(&world);
    let (sidecar, _events) = example.main_job(&server);
    sidecar.stop().expect(0);
}

#[test]
fn a_user_and_an_escaped_password_in_the_address() {
    let world = World::start();
    let server = server_with_users(&world);
    let _: String = server.ask_words(&["ACL", "SETUSER", "app", "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"]);
    let example = Example::of("password.toml").with(PLACE, &place(&server)).install(&world);
    let (sidecar, _events) = example.main_job(&server);
    let ran = sidecar.stop().expect(0);
    let shown = example.call(&["check-config"]).expect(0);
    for text in [ran.stderr, shown.stdout] {
        assert!(!text.contains("%40ss") && !text.contains(PASSWORD), "{text}");
    }
}

#[test]
fn a_raw_password_in_a_variable_or_in_a_file_that_one_names() {
    let world = World::start();
    let server = server_with_users(&world);
    let url = server.url_with("sidecar@");
    let file = world.write("secret", &format!("{PASSWORD}\n"));
    for password in [("REDIS_PASSWORD", PASSWORD), ("REDIS_PASSWORD_FILE", file.to_str().unwrap())] {
        let env = [("REDIS_URL", url.as_str()), password];
        let ran = world.call_with(&["refresh"], &env).expect(0);
        assert!(!ran.stderr.contains(PASSWORD), "{}", ran.stderr);
        world.call_with(&["doctor"], &env).expect(0).prints("it accepts the current token");
    }
}

#[test]
fn the_shipped_user_with_the_least_rights() {
    let world = World::start();
    let server = server_with_users(&world);
    let example = Example::of("acl.toml").with(PLACE, &place(&server)).with_password(&world).install(&world);
    let (sidecar, events) = example.main_job(&server);
    example.call(&["trigger", "--wait"]).expect(0);
    events.refreshed();
    example.call(&["refresh"]).expect(0);
    example.call(&["token"]).expect(0);
    // No unnamed user.
    world.call_with(&["token"], &[("REDIS_URL", &server.url())]).expect(69);
    sidecar.stop().expect(0);
}

#[test]
fn a_unix_socket() {
    let world = World::start();
    let server = server_with_users(&world);
    let _: String =
        server.ask_words(&["ACL", "SETUSER", "default", "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"]);
    let socket = server.folder().join("redis.sock");
    let example = || {
        Example::of("socket.toml").with("/run/redis/redis-server.sock", socket.to_str().unwrap()).with_password(&world)
    };
    let (sidecar, _events) = example().install(&world).main_job(&server);
    sidecar.stop().expect(0);
    // With a user, and another database.
    let sidecar = example().with("?db=0", "?db=3&user=sidecar").install(&world).begin(&["refresh"]);
    sidecar.end().expect(0);
    assert!(server.ask::<String>("INFO keyspace").contains("db3:"));
}
