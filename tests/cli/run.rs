//! `run` from its start to its end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::time::Duration;

use simulator::{Faults, RecordedError};

use crate::process::patience::now;
use crate::process::{World, eventually};
use crate::support::measured::{measured, seconds};
use crate::support::preload;
use crate::support::redis_server::{Port, RedisServer};

#[test]
fn sigterm_and_sigint_end_it_with_0() {
    for signal in ["TERM", "INT"] {
        let world = World::start();
        let (sidecar, _events) = world.ready_sidecar(&[]);
        sidecar.signal(signal);
        let ran = sidecar.end().expect(0);
        assert!(ran.stderr.contains("token-sidecar ends"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "", "what is logged goes to stderr");
    }
}

#[test]
fn run_is_the_default_command() {
    let world = World::start();
    let sidecar = world.begin(&[], &[]).listening();
    eventually("a token", || world.token());
    sidecar.stop().expect(0);
}

#[test]
fn a_redis_that_refuses_us_for_good_is_69() {
    let world = World::start();
    let start = |user: &str, rules: &str| {
        let _: String = world.redis.ask(&format!("ACL SETUSER {user} on >right {rules}"));
        let url = world.redis.url_with(&format!("{user}:right@"));
        world.call_with(&["run"], &[("REDIS_URL", &url)])
    };
    let _: String = world.redis.ask("ACL SETUSER guest on >right ~* &* +@all");
    let url = world.redis.url_with("guest:wrong@");
    let ran = world.call_with(&["run"], &[("REDIS_URL", &url)]).expect(69).stderr_has("WRONGPASS");
    assert!(!ran.stderr.contains(":wrong@"), "{}", ran.stderr);
    start("channelless", "~* resetchannels +@all").expect(69).stderr_has("NOPERM");
    start("ours", "~* resetchannels &chitai_gorod:* +@all").expect(69).stderr_has("NOPERM");
    start("keyless", "~other:* &* +@all").expect(69).stderr_has("NOPERM");
    start("scriptless", "~* &* +@all -@scripting").expect(69).stderr_has("NOPERM");
    start("silent", "~* &* +@all -publish").expect(69).stderr_has("NOPERM");
}

#[test]
fn a_password_that_is_missing_or_not_wanted_is_69() {
    let world = World::start();
    let mut admin = world.redis.connection();
    let mut password = |value: &str| {
        redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(value).query::<String>(&mut admin).unwrap();
    };
    world.call_with(&["run"], &[("REDIS_PASSWORD", "not wanted")]).expect(69);
    password("wanted");
    world.call(&["run"]).expect(69).stderr_has("NOAUTH");
    password("");
}

#[test]
fn permissions_as_documented_are_enough() {
    let world = World::start();
    let rules = "~chitai_gorod_token ~chitai_gorod_cookies ~{chitai_gorod_token}:* resetchannels &chitai_gorod:* \
                 &token:* +@all -@dangerous -@admin";
    let _: String = world.redis.ask(&format!("ACL SETUSER sidecar on >right {rules}"));
    let url = world.redis.url_with("sidecar:right@");
    let (sidecar, events) = world.ready_sidecar(&[("REDIS_URL", &url), ("SIDECAR_DEBOUNCE", "0s")]);
    world.publish("now");
    events.refreshed();
    sidecar.stop().expect(0);
}

#[test]
fn a_port_that_is_taken_is_69_and_the_cure_is_named() {
    let world = World::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = world.call_with(&["run"], &[("SIDECAR_LISTEN", &address)]).expect(69);
    ran.stderr_has(&address).stderr_has("SIDECAR_LISTEN=off");
}

#[test]
fn a_redis_that_is_away_is_waited_for() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut world = World::with(redis, simulator::Settings::default());
    let sidecar = world.begin(&["run"], &[]);
    sidecar.logs("not subscribed to Redis");
    let health = sidecar.get("/healthz");
    assert_eq!(health.status, 503, "{health:?}");
    world.redis.revive();
    let began = now();
    eventually("a token", || world.token());
    measured("Redis started after the sidecar: the first token within", seconds(began.elapsed()));
    eventually("health", || (sidecar.get("/healthz").status == 200).then_some(()));
    sidecar.stop().expect(0);
}

#[test]
fn one_that_waits_for_redis_can_be_stopped() {
    let world = World::start();
    let nowhere = Port::hold();
    let url = format!("redis://127.0.0.1:{}", nowhere.number());
    let sidecar = world.begin(&["run"], &[("REDIS_URL", &url)]);
    sidecar.logs("not subscribed to Redis");
    sidecar.stop().expect(0);
}

#[test]
fn a_redis_that_is_still_loading_or_full_of_clients_is_waited_for() {
    let world = World::start();
    let mut admin = world.redis.connection();
    let mut clients = |count: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxclients").arg(count).query::<String>(&mut admin).unwrap();
    };
    clients("1");
    let sidecar = world.begin(&["run"], &[]);
    sidecar.logs("not subscribed to Redis");
    clients("1000");
    eventually("a token", || world.token());
    sidecar.stop().expect(0);
}

#[test]
fn a_unix_socket_and_another_database_will_do() {
    let world = World::start();
    let url = world.redis.socket_url() + "?db=3";
    let events = world.events();
    let sidecar = world.sidecar(&[("REDIS_URL", &url)]);
    let updated = events.refreshed();
    assert_eq!(world.token(), None, "the keys are in database 3");
    let ran = world.call_with(&["token"], &[("REDIS_URL", &url)]).expect(0);
    assert_eq!(simulator::fingerprint(ran.stdout.trim_end()), updated["fingerprint"]);
    sidecar.stop().expect(0);
}

#[test]
fn logs_are_text_or_json() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_LOG_FORMAT", "json"), ("SIDECAR_LISTEN", "off")]);
    let ran = sidecar.stop().expect(0);
    for line in ran.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
    let quiet = world.sidecar_quiet();
    let ran = quiet.stop().expect(0);
    assert_eq!(ran.stderr, "", "RUST_LOG=error logs nothing");
}

#[test]
fn what_has_no_value_is_left_out_of_a_log_line() {
    let world = World::start();
    let env = [("SIDECAR_LOG_FORMAT", "json"), ("RUST_LOG", "debug"), ("SIDECAR_DEBOUNCE", "0s")];
    let (sidecar, events) = world.ready_sidecar(&env);
    world.publish(r#"{"source":"parser","reason":" "}"#);
    events.refreshed();
    world.faults(Faults { solve_error: Some(RecordedError::Timeout.into()), ..Faults::default() });
    world.publish(r#"{"reason":"401"}"#);
    events.failed("solve");
    let ran = sidecar.stop().expect(0);
    let lines = ran.stderr.lines().map(|line| serde_json::from_str::<serde_json::Map<_, _>>(line).unwrap());
    let lines: Vec<_> = lines.collect();
    for line in &lines {
        assert!(line.values().all(|value| value != "" && !value.is_null()), "{line:?}");
    }
    let begun: Vec<_> = lines.iter().filter(|line| line["message"] == "refresh begins").collect();
    let values = |name: &str| begun.iter().map(|line| line.get(name).and_then(|value| value.as_str())).collect();
    let (reasons, sources): (Vec<_>, Vec<_>) = (values("reason"), values("source"));
    assert_eq!((reasons, sources), (vec![None, None, Some("401")], vec![None, Some("parser"), None]));
}

impl World {
    fn sidecar_quiet(&self) -> crate::process::Running {
        let sidecar = self.begin(&["run"], &[("RUST_LOG", "error"), ("SIDECAR_LISTEN", "off")]);
        self.until_subscribed(1);
        sidecar
    }
}

#[test]
fn a_name_service_that_is_silent_delays_no_command_and_no_end() {
    let world = World::start();
    let silent = preload::library("cli/silent_names.c", world.folder.path());
    let env = [("LD_PRELOAD", silent.to_str().unwrap()), ("REDIS_URL", "redis://redis.invalid:6379")];
    let began = now();
    std::thread::scope(|scope| {
        for command in ["status", "token", "trigger", "watch", "refresh"] {
            scope.spawn(|| world.call_with(&[command], &env).expect(69));
        }
    });
    measured("the name service is silent: commands give up after", seconds(began.elapsed()));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());

    let sidecar = world.begin(&["run"], &env);
    sidecar.logs("token-sidecar starts");
    sidecar.stop().expect(0);
    // The names of solver and API: a refresh is under way.
    let env = [env[0], ("FLARESOLVERR_URL", "http://solver.invalid/v1"), ("SIDECAR_SHUTDOWN_GRACE", "1s")];
    let sidecar = world.begin(&["run"], &env);
    sidecar.logs("refresh begins");
    let began = now();
    sidecar.stop().expect(0);
    measured(
        "the name service is silent: SIGTERM during a refresh, grace 1 s, ends it after",
        seconds(began.elapsed()),
    );
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
