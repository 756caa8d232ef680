//! `doctor`: what it finds, and what it prints about each failure.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use simulator::{Faults, Settings};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::process::{Ran, World, keys};
use crate::support::listener::Listener;
use crate::support::redis_server::{Port, RedisServer};

/// What to do is printed below the failure.
#[track_caller]
fn advises(ran: &Ran, what: &str, cure: &str) {
    let mut lines = ran.stdout.lines().skip_while(|line| !line.starts_with("FAIL") || !line.contains(what));
    let failure = lines.next().unwrap_or_else(|| panic!("no failure of {what}:\n{}", ran.stdout));
    let advice = lines.next().unwrap_or_default();
    assert!(advice.contains('→') && advice.contains(cure), "{failure}\n{advice}");
}

#[test]
fn where_all_is_well_it_is_0() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[]);
    let ran = world.call(&["doctor"]).expect(0);
    for word in [
        "settings",
        "Redis: version 7",
        "clock",
        "keys",
        "channels",
        "1 listening",
        "FlareSolverr 3.5.0",
        "it accepts the current token",
    ] {
        assert!(ran.stdout.contains(word), "{word}:\n{}", ran.stdout);
    }
    assert_eq!(world.solves(), 1, "it opens no page");
    sidecar.stop().expect(0);
}

#[test]
fn without_a_sidecar_and_a_token_it_is_0_and_names_what_is_missing() {
    let world = World::start();
    let ran = world.call(&["doctor"]).expect(0).prints("none listens").prints("token-sidecar run");
    assert!(ran.stdout.contains("no token yet"), "{}", ran.stdout);
    assert_eq!(world.ask::<Vec<String>>(&["KEYS", "*token"]), Vec::<String>::new());
}

#[test]
fn an_api_with_another_clock_is_reported() {
    let world = World::start();
    world.call(&["doctor"]).expect(0).prints("ok    chitai_gorod: clock of the API");
    let api = Listener::start(|mut client| async move {
        let _ = client.read(&mut [0; 1 << 12]).await;
        let head = "HTTP/1.1 401 Unauthorized\r\nDate: Sun, 22 Nov 2026 07:13:05 GMT\r\nContent-Length: 0\r\n\r\n";
        let _ = client.write_all(head.as_bytes()).await;
    });
    let url = format!("http://127.0.0.1:{}/", api.port());
    let ran = world.call_with(&["doctor"], &[("CHITAI_GOROD_API_URL", &url)]).expect(0);
    ran.prints("s from the API's").prints("synchronise both machines");
}

#[test]
fn a_redis_that_hides_its_version_is_no_failure() {
    let redis = RedisServer::start_with(&["rename-command INFO \"\""]);
    let world = World::with(redis, Settings::default());
    world.call(&["doctor"]).expect(0).prints("its version is unknown");
}

#[test]
fn an_unreachable_redis_is_1() {
    let world = World::start();
    let nowhere = Port::hold();
    let url = format!("redis://127.0.0.1:{}", nowhere.number());
    let ran = world.call_with(&["doctor"], &[("REDIS_URL", &url)]).expect(1);
    advises(&ran, "Redis", "REDIS_URL");
    assert!(ran.stdout.contains("FlareSolverr 3.5.0"), "the rest is looked at all the same:\n{}", ran.stdout);
}

#[test]
fn a_wrong_password_and_missing_permissions_are_1() {
    let world = World::start();
    let _: String = world.redis.ask("ACL SETUSER guest on >right ~* &* +@all");
    let doctor = |credentials: &str| {
        let url = world.redis.url_with(credentials);
        world.call_with(&["doctor"], &[("REDIS_URL", &url)])
    };
    let ran = doctor("guest:hunter2@").expect(1);
    advises(&ran, "Redis", "REDIS_PASSWORD");
    assert!(!(ran.stdout + &ran.stderr).contains("hunter2"));
    let _: String = world.redis.ask("ACL SETUSER channelless on >right ~* resetchannels +@all");
    advises(&doctor("channelless:right@").expect(1), "channels", "users.acl");
    let _: String = world.redis.ask("ACL SETUSER ours on >right ~* resetchannels &chitai_gorod:* +@all");
    advises(&doctor("ours:right@").expect(1), "channels", "users.acl");
    let _: String = world.redis.ask("ACL SETUSER keyless on >right ~other:* &* +@all");
    advises(&doctor("keyless:right@").expect(1), "keys", "users.acl");
    let _: String = world.redis.ask("ACL SETUSER plain on >right ~* &* +@all -@dangerous");
    doctor("plain:right@").expect(0).prints("no permission for INFO");
}

#[test]
fn a_replica_is_1() {
    let master = RedisServer::start();
    let replica = RedisServer::start();
    let _: String = replica.ask(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let world = World::with(replica, Settings::default());
    advises(&world.call(&["doctor"]).expect(1), "keys", "this is a replica");
}

#[test]
fn a_redis_without_memory_is_1() {
    let world = World::start();
    let _: String = world.redis.ask("CONFIG SET maxmemory 1");
    advises(&world.call(&["doctor"]).expect(1), "keys", "maxmemory");
}

#[test]
fn keys_of_another_type_are_1() {
    let world = World::start();
    let _: i64 = world.ask(&["LPUSH", keys::TOKEN, "x"]);
    let ran = world.call(&["doctor"]).expect(1);
    assert!(ran.stdout.contains("WRONGTYPE"), "{}", ran.stdout);
}

#[test]
fn what_is_found_can_be_read_by_programs() {
    let world = World::start();
    let found = |env: &[(&str, &str)], code| -> Vec<(String, String)> {
        let ran = world.call_with(&["doctor", "--json"], env).expect(code);
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        json["findings"].as_array().unwrap().iter().map(|found| (text(&found["state"]), text(&found["text"]))).collect()
    };
    let good = found(&[], 0);
    assert!(good.iter().any(|(state, text)| state == "ok" && text.starts_with("Redis: version")), "{good:?}");
    let nowhere = Port::hold();
    let bad = found(&[("FLARESOLVERR_URL", &format!("http://127.0.0.1:{}", nowhere.number()))], 1);
    assert!(bad.iter().any(|(state, text)| state == "FAIL" && text.contains("source flaresolverr")), "{bad:?}");
}

#[test]
fn a_solver_that_is_down_is_1() {
    let world = World::start();
    let nowhere = Port::hold();
    let url = format!("http://127.0.0.1:{}/v1", nowhere.number());
    let ran = world.call_with(&["doctor"], &[("FLARESOLVERR_URL", &url)]).expect(1);
    advises(&ran, "source flaresolverr", "FLARESOLVERR_URL");
    // Another server that answers there is no solver.
    let url = format!("http://127.0.0.1:{}/v1", world.redis.port());
    let ran = world.call_with(&["doctor"], &[("FLARESOLVERR_URL", &url)]).expect(1);
    advises(&ran, "source flaresolverr", "FLARESOLVERR_URL");
}

#[test]
fn every_source_is_looked_at() {
    let world = World::start();
    let ran = world.call_with(&["doctor"], &[("SIDECAR_SOURCES", "http,flaresolverr")]).expect(0);
    assert!(ran.stdout.contains("source http") && ran.stdout.contains("source flaresolverr"), "{}", ran.stdout);
    world.faults(Faults { api_status: Some(500), ..Faults::default() });
    let ran = world.call_with(&["doctor"], &[("SIDECAR_SOURCES", "http")]).expect(1);
    advises(&ran, "source http", "SIDECAR_SOURCES");
}

#[test]
fn an_api_that_blocks_or_is_silent_is_1() {
    let world = World::start();
    world.faults(Faults { api_status: Some(403), ..Faults::default() });
    advises(&world.call(&["doctor"]).expect(1), "API", "the edge blocks this address");
    world.faults(Faults { api_status: Some(503), ..Faults::default() });
    advises(&world.call(&["doctor"]).expect(1), "API", "is the API's URL right");
    let nowhere = Port::hold();
    let url = format!("http://127.0.0.1:{}/v2", nowhere.number());
    world.heal();
    let ran = world.call_with(&["doctor"], &[("CHITAI_GOROD_API_URL", &url)]).expect(1);
    advises(&ran, "API", "is the API's URL right");
}

#[test]
fn a_current_token_is_verified_as_the_sidecar_would() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[]);
    world.faults(Faults { require_user_agent: true, ..Faults::default() });
    world.call(&["doctor"]).expect(0).prints("it accepts the current token");
    world.heal();
    world.simulator.revoke_all();
    world.call(&["doctor"]).expect(0).prints("it refuses the current token").prints("token-sidecar trigger --wait");
    sidecar.stop().expect(0);
}

#[test]
fn a_file_that_cannot_be_written_is_named_with_what_to_do() {
    let world = World::start();
    let found = |file| world.call_with(&["doctor"], &[("SIDECAR_ENV_FILE", file)]);
    found("token.env").prints("ok    chitai_gorod: file token.env: can be written\n");
    let ran = found("missing/.env").expect(1);
    let line = "FAIL  chitai_gorod: file missing/.env: failed to write a new one in its folder: ";
    assert!(ran.stdout.contains(line) && ran.stdout.contains("mount the folder"), "{}", ran.stdout);
    assert!(!world.path("token.env").exists());

    let with = |program: &str| {
        let file = format!("path = \"token\"\ntemplate = \"{{{{ token }}}}\"\ncommand = [{program:?}]\n");
        world.write("sidecar.toml", &format!("[[sites.chitai_gorod.files]]\n{file}"));
        world.call_with(&["doctor"], &[("SIDECAR_CONFIG", "sidecar.toml")])
    };
    with("true").prints("ok    chitai_gorod: file token: true can be run after a write\n");
    let ran = with("no-such-program").expect(1);
    let line = "FAIL  chitai_gorod: file token: no-such-program is not there, or no program (PATH is /usr/local/sbin:";
    assert!(ran.stdout.contains(line) && ran.stdout.contains("with its path"), "{}", ran.stdout);
}
