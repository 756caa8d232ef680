//! The shipped Redis users, `compose/users.acl`: they have the rights that they need, and no more.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use redis::{Connection, RedisResult};

use token_sidecar_client::Client;

use crate::process::{DEADLINE, World, keys};

/// A world whose Redis has the shipped users, with these passwords.
fn world() -> World {
    let world = World::start();
    let acl = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/users.acl")).unwrap();
    let acl = acl.replace("@SIDECAR@", ">sesame").replace("@PARSER@", ">open");
    let mut users = 0;
    for line in acl.lines().filter(|line| line.starts_with("user ") && !line.starts_with("user default")) {
        let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(line.split(' ').skip(1)).collect();
        world.ask::<String>(&words);
        users += 1;
    }
    assert_eq!(users, 2, "a user for the sidecar and one for parsers");
    world
}

fn as_parser(world: &World) -> Connection {
    redis::Client::open(world.redis.url_with("parser:open@")).unwrap().get_connection().unwrap()
}

fn refused(connection: &mut Connection, words: &[&str]) {
    let mut command = redis::cmd(words[0]);
    let answer: RedisResult<redis::Value> = command.arg(&words[1..]).query(connection);
    assert_eq!(answer.unwrap_err().code(), Some("NOPERM"), "{words:?}");
}

#[test]
fn the_shipped_user_of_the_sidecar_may_do_all_that_the_sidecar_and_its_commands_do() {
    let world = world();
    let url = world.redis.url_with("sidecar:sesame@");
    let env = [("REDIS_URL", url.as_str()), ("SIDECAR_DEBOUNCE", "0s")];
    let (sidecar, events) = world.ready_sidecar(&env);
    world.publish("now");
    events.refreshed();
    for command in [&["doctor"][..], &["trigger", "--wait"], &["refresh"], &["status"], &["token"]] {
        world.call_with(command, &env).expect(0);
    }
    // A failure is noted, a lock freed and an answer repeated under the same rights.
    world.faults(simulator::Faults {
        solve_error: Some(simulator::RecordedError::Timeout.into()),
        ..Default::default()
    });
    world.call_with(&["trigger", "--wait", "--force"], &env).expect(75);
    let ran = sidecar.stop().expect(0);
    assert!(!ran.stderr.contains("NOPERM"), "{}", ran.stderr);
}

#[test]
fn the_shipped_user_of_parsers_may_read_and_report_and_nothing_else() {
    let world = world();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let mut parser = as_parser(&world);
    let token: String = redis::cmd("GET").arg("chitai_gorod_token").query(&mut parser).unwrap();
    assert_eq!(Some(token), world.token());
    let report = ["chitai_gorod:token:invalid", "now"];
    let receivers: i64 = redis::cmd("PUBLISH").arg(&report[..]).query(&mut parser).unwrap();
    assert_eq!(receivers, 1);
    events.refreshed();
    let client = Client::new(&world.redis.url_with("parser:open@"), keys::SITE).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let refused = client.get(DEADLINE).await.unwrap();
        let next = client.wait_newer(&refused, DEADLINE).await.unwrap();
        assert_eq!(world.token().as_deref(), Some(next.expose()));
        assert!(!client.cookies().await.unwrap().is_empty());
        assert!(client.user_agent().await.unwrap().is_some());
    });
    events.refreshed();
    for words in [
        &["SET", "chitai_gorod_token", "mine"][..],
        &["DEL", "{chitai_gorod_token}:lock"],
        // The reporter is not shown.
        &["SUBSCRIBE", "chitai_gorod:token:invalid"],
        &["PUBLISH", "token:updated", "{}"],
        &["PUBLISH", "chitai_gorod:token:canary", "x"],
        &["EVAL", "return 1", "0"],
        &["CONFIG", "GET", "*"],
        &["GET", "another_key"],
    ] {
        refused(&mut parser, words);
    }
    sidecar.stop().expect(0);
}
