//! Secrets that are replaced while a sidecar runs, and the signals that ask for new connections or for the end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use simulator::Settings;

use crate::process::{Running, World, eventually};
use crate::support::papers::Papers;
use crate::support::redis_server::{Port, RedisServer};

/// Without a controlling terminal, as a service manager starts it.
const SERVICE: &[&str] = &["setsid"];

/// A Redis with a user whose password is `one`, and its URL without one.
fn guarded() -> (World, String) {
    let world = World::start();
    let _: String = world.redis.ask("ACL SETUSER guest on >one ~* &* +@all");
    let url = world.redis.url_with("guest@");
    (world, url)
}

fn service(world: &World, env: &[(&str, &str)]) -> Running {
    Running::start(&mut world.command_under(SERVICE, &["run"], env)).listening()
}

fn connections(redis: &RedisServer) -> String {
    let list: String = redis.ask("CLIENT LIST");
    let ids = list.lines().filter(|line| line.contains("user=guest")).map(|line| line.split(' ').next().unwrap());
    ids.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_replaced_password_of_redis_is_used_for_the_next_connection() {
    let (world, url) = guarded();
    let file = world.write("password", "one\n");
    let env = [("REDIS_URL", url.as_str()), ("REDIS_PASSWORD_FILE", file.to_str().unwrap())];
    let (sidecar, events) = world.ready_sidecar(&env);
    world.write("password", "two\n");
    let _: String = world.redis.ask("ACL SETUSER guest resetpass >two");
    let _: i64 = world.redis.ask("CLIENT KILL USER guest");
    sidecar.logs_times("subscribed channels=", 2);
    events.repeated();
    world.publish("{\"force\": true}");
    events.refreshed();
    let ran = sidecar.stop().expect(0);
    assert!(!ran.stderr.contains("WRONGPASS"), "{}", ran.stderr);
}

#[test]
fn a_file_that_cannot_be_read_leaves_the_last_value_in_use() {
    let (world, url) = guarded();
    let file = world.write("password", "one\n");
    let env = [("REDIS_URL", url.as_str()), ("REDIS_PASSWORD_FILE", file.to_str().unwrap())];
    let (sidecar, events) = world.ready_sidecar(&env);
    std::fs::remove_file(&file).unwrap();
    // To open it would wait for a writer.
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let _: i64 = world.redis.ask("CLIENT KILL USER guest");
    sidecar.logs_times("subscribed channels=", 2);
    events.repeated();
    world.publish("{\"force\": true}");
    events.refreshed();
    let ran = sidecar.stop().expect(0);
    let warning = format!("REDIS_PASSWORD_FILE = {file:?}: the file cannot be read: it is a pipe");
    assert_eq!(ran.stderr.matches(&warning).count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("what was read last stays in use; correct the file, no restart is needed"));
}

#[test]
fn a_replaced_admin_token_counts_at_once() {
    let world = World::start();
    let file = world.write("admin", "one\n");
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_ADMIN_TOKEN_FILE", file.to_str().unwrap())]);
    let status = |token: &str| {
        let header = format!("Authorization: Bearer {token}\r\n");
        sidecar.ask("POST", "/api/sites/chitai_gorod/refresh", &header).status
    };
    assert_eq!((status("one"), status("two")), (202, 401));
    world.write("admin", "two\n");
    assert_eq!((status("one"), status("two")), (401, 202));
    world.write("admin", "");
    assert_eq!((status(""), status("two")), (401, 202));
    sidecar.logs("the file is empty");
    sidecar.stop().expect(0);
}

#[test]
fn a_replaced_client_certificate_is_presented_to_the_next_connection() {
    let (papers, others, port) = (Papers::issue(), Papers::issue(), Port::hold());
    let trusted = papers.lines_of("it", &port, "yes");
    let server = RedisServer::start_with(&trusted.iter().map(String::as_str).collect::<Vec<_>>());
    let world = World::with(server, Settings::default());
    let copy = |from: &Papers| {
        for name in ["it.crt", "it.key"] {
            std::fs::copy(from.file(name), world.path(name)).unwrap();
        }
    };
    copy(&papers);
    let url = format!("rediss://127.0.0.1:{}", port.number());
    let authority = papers.file("ca.crt");
    let env = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_TLS_CA_FILE", authority.to_str().unwrap()),
        ("REDIS_TLS_CERT_FILE", "it.crt"),
        ("REDIS_TLS_KEY_FILE", "it.key"),
    ];
    let (sidecar, _) = world.ready_sidecar(&env);
    copy(&others);
    let _: i64 = world.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    sidecar.logs("it does not accept our certificate");
    copy(&papers);
    sidecar.logs_times("subscribed channels=", 2);
    // Its own subscription was killed too.
    let events = world.events();
    world.publish("{\"force\": true}");
    events.until("a new token", |event| event["cause"] == "refreshed");
    sidecar.stop().expect(0);
}

#[test]
fn sighup_connects_anew_and_names_what_only_a_restart_applies() {
    let (world, url) = guarded();
    let password = world.write("password", "one\n");
    let toml = |grace: &str| world.write("sidecar.toml", &format!("shutdown_grace = '{grace}'\n"));
    let file = toml("1s");
    let env = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_PASSWORD_FILE", password.to_str().unwrap()),
        ("SIDECAR_CONFIG", file.to_str().unwrap()),
    ];
    let events = world.events();
    let sidecar = service(&world, &env);
    events.refreshed();
    let before = connections(&world.redis);
    world.write("password", "two\n");
    let _: String = world.redis.ask("ACL SETUSER guest resetpass >two");
    sidecar.signal("HUP");
    sidecar.logs_times("subscribed channels=", 2);
    // What was missed meanwhile is asked for.
    events.repeated();
    eventually("all connections are new", || {
        let now = connections(&world.redis);
        (!now.is_empty() && now.split(' ').all(|id| !before.split(' ').any(|old| old == id))).then_some(())
    });
    toml("2s");
    sidecar.signal("HUP");
    sidecar.logs("settings have changed since the start: restart to apply settings=shutdown_grace\n");
    toml("forever");
    sidecar.signal("HUP");
    sidecar.logs("the settings have errors, with which no restart succeeds: correct them error=");
    let ran = sidecar.stop().expect(0);
    assert_eq!(ran.stderr.matches("restart to apply").count(), 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("not subscribed to Redis"), "{}", ran.stderr);
}
