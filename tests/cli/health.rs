//! `healthcheck`, and several sites in one process.

use crate::process::{World, eventually};
use crate::support::redis_server::Port;

#[test]
fn healthcheck_reads_the_health_of_the_running_sidecar() {
    let world = World::start();
    let sidecar = world.sidecar(&[]);
    let address = sidecar.address().to_string();
    let healthcheck = || world.call_with(&["healthcheck"], &[("SIDECAR_LISTEN", &address)]);
    healthcheck().expect(0).prints("ok");
    // What listens on all addresses is called on the loopback.
    let everywhere = format!("0.0.0.0:{}", sidecar.address().port());
    world.call_with(&["healthcheck"], &[("SIDECAR_LISTEN", &everywhere)]).expect(0);
    sidecar.stop().expect(0);
    healthcheck().expect(1).stderr_has("no sidecar answers on").stderr_has(&address);
}

#[test]
fn healthcheck_distinguishes_an_unhealthy_one_from_a_healthy_one() {
    let world = World::start();
    let nowhere = Port::hold();
    let url = format!("redis://127.0.0.1:{}", nowhere.number());
    let sick = world.begin(&["run"], &[("REDIS_URL", &url)]);
    sick.logs("not subscribed to Redis");
    let address = sick.address().to_string();
    let env = [("SIDECAR_LISTEN", address.as_str())];
    world.call_with(&["healthcheck"], &env).expect(1).stderr_has("unhealthy (503)");
    world.call_with(&["healthcheck", "--live"], &env).expect(0).prints("it answers");
    sick.stop().expect(0);
    world.call_with(&["healthcheck", "--live"], &env).expect(1).stderr_has("no sidecar answers on");
}

/// A gap counts as short for 8 s, so that it restarts no container.
#[test]
fn healthcheck_finds_out_that_redis_was_killed() {
    let mut world = World::start();
    let sidecar = world.sidecar(&[]);
    let address = sidecar.address().to_string();
    let healthcheck = || world.call_with(&["healthcheck"], &[("SIDECAR_LISTEN", &address)]).code;
    assert_eq!(healthcheck(), Some(0));
    world.redis.kill();
    eventually("it is unhealthy", || (sidecar.get("/healthz").status == 503).then_some(()));
    world.call_with(&["healthcheck"], &[("SIDECAR_LISTEN", &address)]).expect(1).stderr_has("Redis has been away");
    world.redis.revive();
    eventually("it is healthy", || (sidecar.get("/healthz").status == 200).then_some(()));
    sidecar.stop().expect(0);
}

#[test]
fn healthcheck_of_one_that_does_not_listen_fails_with_the_reason() {
    let world = World::start();
    world.call_with(&["healthcheck"], &[("SIDECAR_LISTEN", "off")]).expect(1).stderr_has("SIDECAR_LISTEN=off");
}

#[test]
fn two_sites_live_in_one_process_and_are_kept_apart() {
    let world = World::start();
    world.write_second_site("");
    let env = [("SIDECAR_CONFIG", "sidecar.toml")];
    let events = crate::process::Events::on(&world.redis, &["token:updated"]);
    let sidecar = world.sidecar(&env);
    let mut sites = [events.refreshed(), events.refreshed()].map(|event| event["site"].as_str().map(str::to_owned));
    sites.sort();
    assert_eq!(sites, [Some("chitai_gorod".to_owned()), Some("second".to_owned())]);

    for command in ["refresh", "trigger", "token"] {
        world.call_with(&[command], &env).expect(2).stderr_has("--site").stderr_has("chitai_gorod, second");
    }
    world.call_with(&["token", "--site", "third"], &env).expect(2).stderr_has("there is no site `third`");
    let second = world.call_with(&["token", "--site", "second"], &env).expect(0);
    assert_eq!(Some(second.stdout.trim_end().to_owned()), world.ask::<Option<String>>(&["GET", "second_token"]));
    assert_ne!(Some(second.stdout.trim_end().to_owned()), world.token());
    world.call_with(&["status"], &env).expect(0).prints("chitai_gorod").prints("second");
    let one = world.call_with(&["status", "--site", "second"], &env).expect(0);
    assert!(!one.stdout.contains("chitai_gorod"));
    world.call_with(&["trigger", "--site", "second", "--wait", "--force"], &env).expect(0);
    assert_eq!(events.refreshed()["site"], "second");
    world.call_with(&["doctor", "--site", "second"], &env).expect(0);
    let _: i64 = world.ask(&["DEL", "second_token"]);
    eventually("one site without a token is not fresh", || {
        let ran = world.call_with(&["status"], &env);
        (ran.code == Some(1)).then_some(())
    });
    sidecar.stop().expect(0);
}
