//! Whatever is published, however much of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::process::patience::now;
use crate::process::{World, eventually, keys};

#[test]
fn hostile_payloads_never_stop_it() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "1h")]);
    let big = |head: &str, fill: &str, tail: &str| {
        let mut text = head.to_owned();
        text.push_str(&fill.repeat(200_000 / fill.len()));
        text.push_str(tail);
        text.into_bytes()
    };
    let payloads: Vec<Vec<u8>> = vec![
        vec![],
        vec![0; 70_000],
        (0..=255).cycle().take(65_537).collect(),
        b"\xff\xfe\xfd".to_vec(),
        b"$(reboot); DROP TABLE users; *3\r\n$3\r\nSET".to_vec(),
        big("", "[", ""),
        big("", "{\"a\":", ""),
        big("{\"fingerprint\":\"", "0", "\"}"),
        big("{\"force\":true,\"reason\":\"", "r", "\"}"),
        b"{\"force\":1e999,\"fingerprint\":{\"a\":[]},\"reason\":[],\"source\":7}".to_vec(),
        b"{\"site\":\"other\",\"key\":\"x\",\"url\":\"http://127.0.0.1:1/\",\"cmd\":\"sessions.destroy\"}".to_vec(),
        "{\"reason\":\"\u{202e}\u{0}\u{7}\"}".as_bytes().to_vec(),
        b"null".to_vec(),
        vec![b'9'; 60_000],
    ];
    for payload in &payloads {
        assert_eq!(world.publish(&payload[..]), 1);
        events.repeated();
    }
    assert_eq!(world.solves(), 1, "one of more than 64 KiB has no details, not even force");
    // What is published on its own channels for events and canaries does nothing either.
    for payload in &payloads {
        for channel in [keys::UPDATED, keys::FAILED, "chitai_gorod:token:canary"] {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg(&payload[..]).query::<i64>(&mut world.redis.connection()).unwrap();
        }
    }
    let forged = "{\"event\":\"token:updated\",\"site\":\"chitai_gorod\",\"cause\":\"refreshed\",\"version\":1}";
    world.ask::<i64>(&["PUBLISH", keys::UPDATED, forged]);
    events.until("the forged one", |event| event["version"] == 1);
    events.forgive();
    world.publish("{\"force\":true}");
    events.until("a refresh", |event| event["cause"] == "refreshed" && event["version"] != 1);
    assert_eq!(sidecar.get("/healthz").status, 200);
    sidecar.stop().expect(0);
}

#[test]
fn two_hundred_thousand_messages_cost_neither_memory_nor_solves() {
    const MESSAGES: u64 = 200_000;
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "1h")]);
    let before = sidecar.rss_kib();
    let began = now();
    // All of it by one script: faster than any subscriber reads.
    let flood = "for i = 1, 200000 do redis.call('PUBLISH', KEYS[1], ARGV[1] .. i) end";
    let _: () = world.ask(&[
        "EVAL",
        flood,
        "1",
        keys::INVALID,
        "{\"source\":\"flood\",\"fingerprint\":\"0000000000000000\",\"n\":",
    ]);
    let heard = eventually("all of it is heard", || {
        let metrics = sidecar.get("/metrics").body;
        let count = |payload: &str| -> u64 {
            let head = format!("token_sidecar_messages_total{{site=\"chitai_gorod\",payload=\"{payload}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&head)).unwrap().parse().unwrap()
        };
        let heard = count("bare") + count("details") + count("oversized");
        (heard >= MESSAGES).then_some(heard)
    });
    let took = began.elapsed();
    let after = sidecar.rss_kib();
    #[expect(clippy::print_stderr, reason = "the figure is asked for")]
    {
        eprintln!("{heard} messages in {took:?}: RSS {before} KiB before, {after} KiB after");
    }
    assert!(after < before + 16 * 1024, "{before} KiB grew to {after} KiB");
    // Answers are folded: some twenty a second, on two channels of which one is heard here.
    events.repeated();
    let answers = 1 + events.drain().len() as u128;
    assert!(answers <= 25 + took.as_millis() * 25 / 1000, "{answers} answers in {took:?}");
    assert_eq!(world.solves(), 1);
    assert_eq!(sidecar.get("/healthz").status, 200);
    sidecar.stop().expect(0);
}
