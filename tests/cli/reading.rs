//! `token`, `status`, `watch`: what is read out of Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use simulator::{Faults, RecordedError};

use crate::process::patience::now;
use crate::process::{Running, World, eventually, keys};
use crate::support::contract;

#[test]
fn token_prints_the_token_alone() {
    let world = World::start();
    world.call(&["token"]).expect(75).stderr_has("there is no token of chitai_gorod").prints("");
    let minted = world.simulator.mint();
    let _: String = world.ask(&["SET", keys::TOKEN, &minted.token, "EX", "60"]);
    for args in [&["token"][..], &["token", "--wait"], &["token", "--site", "chitai_gorod"]] {
        let ran = world.call(args).expect(0);
        assert_eq!(ran.stdout, format!("{}\n", minted.token));
        assert_eq!(ran.stderr, "");
    }
    // What is no token is not printed: it could end up in a header.
    let _: String = world.ask(&["SET", keys::TOKEN, "two words\r\nX-Evil: 1"]);
    let ran = world.call(&["token"]).expect(75);
    assert_eq!(ran.stdout, "");
}

#[test]
fn token_waits_for_one_and_asks_for_it() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let sidecar = world.sidecar(&[]);
    world.solve_started(1);
    let token = world.begin(&["token", "--wait"], &[]);
    eventually("it listens", || {
        let subscribers: (String, i64) = world.ask(&["PUBSUB", "NUMSUB", keys::UPDATED]);
        (subscribers.1 == 2).then_some(())
    });
    world.heal();
    let ran = token.end().expect(0);
    assert_eq!(Some(ran.stdout.trim_end()), world.token().as_deref());
    assert_eq!(world.solves(), 1);
    sidecar.stop().expect(0);
}

/// Defect 3 of the system before: a waiting parser polled every 2 s, and gave up before a refresh could end.
#[test]
fn defect_3_a_waiting_command_polls_nothing_and_ends_at_once() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&[("SIDECAR_LOCK_TTL", "1h")]);
    world.solve_started(1);
    let waiting = world.begin(&["token", "--wait=90s"], &[]);
    eventually("it listens and has asked", || {
        let subscribers: (String, i64) = world.ask(&["PUBSUB", "NUMSUB", keys::UPDATED]);
        (subscribers.1 == 3 && gets(&world) > 0 && sidecar.get("/metrics").body.contains("payload=\"details\"} 1"))
            .then_some(())
    });
    let before = gets(&world);
    events.silent_for(Duration::from_secs(5));
    assert_eq!(gets(&world), before, "no key is read while nothing happens");
    world.heal();
    events.refreshed();
    let began = now();
    let ran = waiting.end().expect(0);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(Some(ran.stdout.trim_end()), world.token().as_deref());
    sidecar.stop().expect(0);
}

/// How often a key was read.
fn gets(world: &World) -> u64 {
    let stats: String = world.ask(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn token_gives_a_wait_up_with_75() {
    let world = World::start();
    for args in [&["token", "--wait=1s"][..], &["token", "--wait", "1s"]] {
        let began = now();
        let ran = world.call(args).expect(75).stderr_has("it did not come in time");
        assert!(ran.stderr.contains("no sidecar listens yet"), "{}", ran.stderr);
        assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < Duration::from_secs(7));
    }
}

#[test]
fn status_is_0_for_a_fresh_token_and_1_for_none() {
    let world = World::start();
    world.call(&["status"]).expect(1).prints("no token");
    let json = json(&world.call(&["status", "--json"]).expect(1).stdout);
    assert_eq!(json["sites"][0]["state"], "missing");

    let (sidecar, _events) = world.ready_sidecar(&[]);
    let schedule = [("SIDECAR_SCHEDULE", "0 */3 * * *")];
    let ran = world.call_with(&["status"], &schedule).expect(0);
    for word in [
        "chitai_gorod",
        "fresh",
        "token",
        "stored",
        "expires",
        "key ends",
        "renewal",
        "next tick",
        "sidecars    1 listening",
        "attempts",
        "startup",
    ] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\u{1b}'), "no colours without a terminal");
    let ran = world.call_with(&["status", "--json"], &schedule).expect(0);
    let json = self::json(&ran.stdout);
    let site = &json["sites"][0];
    assert_eq!((&site["site"], &site["state"]), (&"chitai_gorod".into(), &"fresh".into()));
    assert_eq!(site["token"]["version"].to_string(), world.meta("version").unwrap());
    assert_eq!(site["history"][0]["outcome"], "refreshed");
    assert!(site["next_tick"].is_string() && site["token"]["expires_at"].is_string());
    assert_eq!(site["sidecars"], 1);
    assert!(!ran.stdout.contains(&world.token().unwrap()));
    world.call(&["trigger", "--wait", "--force", "--reason", "a deploy"]).expect(0);
    world.call(&["status"]).expect(0).prints("  for token-sidecar  (a deploy)  solve ");
    sidecar.stop().expect(0);

    let alone = world.call_with(&["status"], &schedule).expect(0).prints("sidecars    none listens: reports are lost");
    assert!(!alone.stdout.contains("renewal") && !alone.stdout.contains("next tick"), "{}", alone.stdout);
}

#[test]
fn many_sites_have_an_aligned_line_each_those_that_fail_first() {
    let world = World::start();
    let sites: String = (0..5)
        .map(|n| format!("[sites.shop{n}]\npage_url = \"http://x\"\napi_url = \"http://x\"\ncookie = \"a\"\n"))
        .collect();
    world.write("sidecar.toml", &sites);
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_SCHEDULE", "off")]);
    let env = [("SIDECAR_CONFIG", "sidecar.toml"), ("SIDECAR_SCHEDULE", "off")];
    let shown = world.call_with(&["status"], &env).expect(1).stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 6, "{shown}");
    let at = |line: &str, word: &str| line.find(word);
    for (number, line) in lines[..5].iter().enumerate() {
        assert_eq!(at(line, "no token"), Some(14), "{shown}");
        assert!(line.starts_with(&format!("shop{number} ")) && line.ends_with("  no sidecar listens"), "{shown}");
    }
    assert!(lines[5].starts_with("chitai_gorod  fresh     ends in ") && lines[5].contains("  renewal in "), "{shown}");
    world.call_with(&["status", "--site", "shop1"], &env).expect(1).prints("none listens");
    sidecar.stop().expect(0);
}

#[test]
fn status_shows_what_fails() {
    let world = World::start();
    world.faults(Faults { solve_error: Some(RecordedError::Blocked.into()), ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&[]);
    events.failed("solve");
    world.call(&["status"]).expect(1).prints("failing").prints("next try").prints("blocked");
    let json = json(&world.call(&["status", "--json"]).expect(1).stdout);
    assert_eq!(json["sites"][0]["failing"]["stage"], "solve");
    assert_eq!(json["sites"][0]["failing"]["attempts"], 1);
    sidecar.stop().expect(0);
}

#[test]
fn a_refused_token_is_not_fresh_while_no_other_can_be_had() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    world.faults(Faults { solve_error: Some(RecordedError::Blocked.into()), ..Faults::default() });
    world.simulator.revoke_all();
    world.publish(format!("{{\"fingerprint\":\"{}\"}}", world.meta("fingerprint").unwrap()));
    events.failed("solve");
    let site = json(&world.call(&["status", "--json"]).expect(1).prints("refused").stdout)["sites"][0].take();
    let here = sidecar.get("/api/status").json()["sites"][0].take();
    assert_eq!((&site["state"], &here["state"]), (&"refused".into(), &"refused".into()));
    let time = |at: &serde_json::Value| at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(site["history"][0]["outcome"], "failed");
    for shown in [&site, &here] {
        assert!(time(&shown["last_attempt_at"]) >= time(&site["history"][0]["at"]), "{shown}");
    }
    world.call(&["doctor"]).expect(0).prints("chitai_gorod: refreshes: 1 failed in a row");
    sidecar.stop().expect(0);
}

#[test]
fn status_survives_whatever_stands_in_the_keys() {
    let world = World::start();
    let _: String = world.ask(&["SET", keys::TOKEN, "not.ours"]);
    world.call(&["status"]).expect(0).prints("another program");
    let _: i64 = world.ask(&["HSET", keys::META, "version", "many", "failures", "-1", "retry_at", "soon"]);
    let _: String = world.ask(&["XADD", keys::HISTORY, "*", "outcome", "\u{1b}[31mred\u{202e}\r\n", "solve_ms", "x"]);
    let ran = world.call(&["status"]).expect(0);
    assert!(!ran.stdout.contains(['\u{1b}', '\u{202e}']), "{:?}", ran.stdout);
    world.call(&["status", "--json"]).expect(0);
}

#[test]
fn status_watches_until_it_is_interrupted() {
    let mut world = World::start();
    let watch = world.begin(&["status", "--watch"], &[]);
    watch.prints("chitai_gorod  no token");
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    watch.prints("chitai_gorod  fresh");
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    world.publish("now");
    watch.prints("1 in a row");
    sidecar.stop().expect(0);
    world.redis.kill();
    watch.prints("not current: Redis at 127.0.0.1:");
    world.redis.revive();
    eventually("the state of the empty Redis", || {
        (watch.written().matches("chitai_gorod  no token").count() == 2).then_some(())
    });
    watch.signal("INT");
    let ran = watch.end().expect(0);
    assert!(!ran.stdout.contains('\u{1b}'), "{:?}", ran.stdout);
    assert_eq!(ran.stdout.matches("not current").count(), 1, "once, not at every look: {}", ran.stdout);
    world.call(&["status", "--watch", "--json"]).expect(2);
}

#[test]
fn watch_prints_a_json_object_a_line_where_it_is_piped() {
    let world = World::start();
    let watch = world.begin(&["watch"], &[]);
    eventually("it listens", || {
        let subscribers: (String, i64) = world.ask(&["PUBSUB", "NUMSUB", keys::FAILED]);
        (subscribers.1 == 1).then_some(())
    });
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    world.publish("now");
    let failed = events.failed("solve");
    watch.prints("token:failed");
    sidecar.stop().expect(0);
    watch.signal("INT");
    let ran = watch.end();
    let lines: Vec<serde_json::Value> = ran.stdout.lines().map(json).collect();
    assert_eq!(lines.len(), 2, "{}", ran.stdout);
    assert!(lines.iter().all(|line| contract::event(line) == Ok(())), "{}", ran.stdout);
    assert_eq!((&lines[0]["event"], &lines[0]["cause"]), (&"token:updated".into(), &"refreshed".into()));
    assert_eq!(lines[1], failed);
}

#[test]
fn watch_goes_on_when_redis_comes_back() {
    let mut world = World::start();
    let watch = world.begin(&["watch"], &[]);
    let listens = |world: &World| {
        eventually("it listens", || {
            let subscribers: (String, i64) = world.ask(&["PUBSUB", "NUMSUB", keys::UPDATED]);
            (subscribers.1 == 1).then_some(())
        });
    };
    listens(&world);
    world.redis.restart_empty();
    watch.logs("subscribing again");
    listens(&world);
    world.call(&["refresh"]).expect(0);
    watch.prints("token:updated");
}

/// Defect: `watch` as a background job of a script went on for ever, as the jobs of such a shell ignore SIGINT.
#[test]
fn watch_ends_on_signals_that_its_parent_ignores() {
    let world = World::start();
    let ignoring = ["/bin/sh", "-c", "trap '' INT TERM; exec \"$@\"", "sh"];
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let watch = Running::start(&mut world.command_under(&ignoring, &["watch"], &[]));
        eventually("it is subscribed", || {
            let subscribed: (String, i64) = world.ask(&["PUBSUB", "NUMSUB", keys::FAILED]);
            (subscribed.1 == 1).then_some(())
        });
        watch.signal(signal);
        watch.end().expect(code);
        eventually("its subscription is gone", || {
            let subscribed: (String, i64) = world.ask(&["PUBSUB", "NUMSUB", keys::FAILED]);
            (subscribed.1 == 0).then_some(())
        });
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
