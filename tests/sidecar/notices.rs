//! Notices to people and other programs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;
use simulator::{Faults, Settings};

use crate::process::{World, eventually, keys};
use crate::support::receiver::{Answers, Received, Receiver};
use crate::support::redis_server::RedisServer;

const FAST: [(&str, &str); 4] = [
    ("SIDECAR_CONFIG", "sidecar.toml"),
    ("SIDECAR_DEBOUNCE", "0s"),
    ("SIDECAR_BACKOFF_INITIAL", "50ms"),
    ("SIDECAR_BACKOFF_MAX", "100ms"),
];

fn kinds(received: &[Received]) -> Vec<String> {
    received.iter().map(|one| one.json()["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect()
}

fn until(receiver: &Receiver, count: usize) -> Vec<Received> {
    eventually(&format!("{count} notices"), || {
        let received = receiver.received();
        (received.len() >= count).then_some(received)
    })
}

#[test]
fn a_failure_and_its_end_are_told_of_once_by_all_replicas() {
    let (world, receiver) = (World::start(), Receiver::start());
    let url = receiver.url("/hook?secret=hunter2");
    let on = r#"on = ["failed", "recovered", "updated"]"#;
    world.write("sidecar.toml", &format!("[[notices]]\nurl = {url:?}\n{on}\nsecret = \"whsec_aHVudGVyMw==\"\n"));
    let (one, events) = world.ready_sidecar(&FAST);
    let other = world.sidecar(&FAST);
    assert_eq!(kinds(&until(&receiver, 1)), ["updated"]);
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    world.publish(json!({"force": true}).to_string());
    for _ in 0..5 {
        events.until("a failed attempt", |event| event["cause"] == "attempt");
    }
    world.heal();
    events.until("a new token", |event| event["cause"] == "refreshed");
    let received = until(&receiver, 4);
    let mut told = kinds(&received);
    // Each replica may send one of the last two.
    told[2..].sort_unstable();
    assert_eq!(told, ["updated", "failed", "recovered", "updated"]);
    // Whatever else there was to tell is told by now.
    world.publish(json!({"force": true}).to_string());
    let received = until(&receiver, 5);
    assert_eq!(kinds(&received)[4..], ["updated"]);

    let failed = &received[1];
    assert_eq!(
        (failed.path.as_str(), failed.headers["content-type"].as_str()),
        ("/hook?secret=hunter2", "application/cloudevents+json")
    );
    let event = failed.json();
    assert_eq!((&event["specversion"], &event["subject"]), (&json!("1.0"), &json!("chitai_gorod")));
    assert_eq!(event["data"]["event"]["stage"], "solve");
    assert!(event["data"]["text"].as_str().unwrap().starts_with("chitai_gorod: no new token, failure 1 (solve): "));
    let (id, time) = (&failed.headers["webhook-id"], &failed.headers["webhook-timestamp"]);
    assert_eq!(event["id"], id.as_str());
    let mut mac = Hmac::<Sha256>::new_from_slice(b"hunter3").unwrap();
    mac.update(format!("{id}.{time}.{}", failed.body).as_bytes());
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(failed.headers["webhook-signature"], signature);
    for ran in [one.stop().expect(0), other.stop().expect(0)] {
        assert!(!ran.stderr.contains("hunter") && !ran.stderr.contains("/hook"), "{}", ran.stderr);
    }
}

#[test]
fn a_token_that_is_not_renewed_is_told_of_before_it_ends() {
    let settings = Settings { token_life: Duration::from_secs(600), ..Settings::default() };
    let (world, receiver) = (World::with(RedisServer::start(), settings), Receiver::start());
    let url = receiver.url("/hook");
    world.write("sidecar.toml", &format!("[[notices]]\nurl = {url:?}\non = [\"expiring\", \"recovered\"]\n"));
    world.ready_sidecar(&FAST).0.stop().expect(0);
    // Stored a day ago, it is due.
    let stored_ms: u64 = world.meta("refreshed_ms").unwrap().parse().unwrap();
    let _: i64 = world.ask(&["HSET", keys::META, "refreshed_ms", &(stored_ms - 86_400_000).to_string()]);
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    let sidecar = world.sidecar(&FAST);
    let [told] = until(&receiver, 1).try_into().unwrap();
    assert_eq!(kinds(std::slice::from_ref(&told)), ["expiring"]);
    assert_eq!(told.json()["data"]["event"]["fingerprint"].as_str(), world.meta("fingerprint").as_deref());
    world.call(&["status"]).expect(0).prints("none has succeeded");
    let metric = "token_sidecar_token_expiring{site=\"chitai_gorod\"} ";
    assert!(sidecar.get("/metrics").body.contains(&format!("{metric}1\n")));
    assert_eq!(sidecar.get("/api/status").json()["sites"][0]["expiring"], true);
    world.heal();
    assert_eq!(kinds(&until(&receiver, 2)), ["expiring", "recovered"]);
    eventually("the metric falls", || sidecar.get("/metrics").body.contains(&format!("{metric}0\n")).then_some(()));
    assert!(sidecar.get("/api/status").json()["sites"][0]["recovered_at"].is_string());
    sidecar.stop().expect(0);
}

#[test]
fn an_address_that_hangs_or_refuses_delays_nothing_and_gets_its_notice_later() {
    let (world, receiver) = (World::start(), Receiver::start());
    receiver.answers(Answers::Status(503));
    let url = receiver.url("/hook");
    world.write("sidecar.toml", &format!("[[notices]]\nurl = {url:?}\non = [\"updated\"]\nsecret = \"a key\"\n"));
    let (sidecar, events) = world.ready_sidecar(&FAST);
    sidecar.logs("a notice was not sent: it is tried again");
    for _ in 0..20 {
        world.publish(json!({"force": true}).to_string());
        events.refreshed();
    }
    receiver.answers(Answers::Status(200));
    sidecar.logs("notice sent");
    let received = until(&receiver, 22);
    // The first one is what was sent again.
    assert_eq!(received[0].headers["webhook-id"], received[1].headers["webhook-id"]);
    assert_eq!(received[0].body, received[1].body);
    receiver.answers(Answers::Hangs);
    for _ in 0..20 {
        world.publish(json!({"force": true}).to_string());
        events.refreshed();
    }
    receiver.answers(Answers::Status(410));
    sidecar.logs("a notice was not sent, and is given up");
    receiver.answers(Answers::Hangs);
    let before = receiver.received().len();
    world.publish(json!({"force": true}).to_string());
    until(&receiver, before + 1);
    let log = sidecar.stop().expect(0).stderr;
    assert!(log.contains("the process ends with notices that were not sent"), "{log}");
}

#[test]
fn a_notice_that_was_taken_is_not_sent_again() {
    let (world, receiver) = (World::start(), Receiver::start());
    receiver.answers(Answers::HeadAlone);
    let url = receiver.url("/hook");
    world.write("sidecar.toml", &format!("[[notices]]\nurl = {url:?}\non = [\"updated\"]\n"));
    let (sidecar, events) = world.ready_sidecar(&FAST);
    sidecar.logs("notice sent");
    world.publish(json!({"force": true}).to_string());
    events.refreshed();
    let versions: Vec<_> =
        until(&receiver, 2).iter().map(|one| one.json()["data"]["event"]["version"].take()).collect();
    assert!(versions[0].as_u64() < versions[1].as_u64(), "{versions:?}");
    sidecar.stop().expect(0);
}

#[test]
fn telegram_gets_a_text_and_its_token_is_nowhere_else() {
    let (world, receiver) = (World::start(), Receiver::start());
    let api = receiver.url("");
    world.write("sidecar.toml", &format!("[telegram]\napi_url = {api:?}\non = [\"updated\"]\n"));
    let chat = [("TELEGRAM_NOTIFICATION_BOT_TOKEN", "123:hunter2"), ("TELEGRAM_NOTIFICATION_CHAT_ID", "-100200")];
    let env = [&FAST[..], &chat].concat();
    let (sidecar, _events) = world.ready_sidecar(&env);
    let received = until(&receiver, 1);
    assert_eq!(received[0].path, "/bot123:hunter2/sendMessage");
    assert_eq!(received[0].json()["chat_id"], "-100200");
    let text = received[0].json()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("chitai_gorod: there is a new token, version "), "{text}");
    world.call_with(&["notify", "--test"], &env).expect(0).prints("telegram: sent\n");
    let text = receiver.received().pop().unwrap().json()["text"].take();
    assert!(text.as_str().unwrap().starts_with("This is a test. chitai_gorod: there is a new token"), "{text}");
    world.call_with(&["notify", "--test", "--site", "shop"], &env).expect(2).stderr_has("there is no site `shop`");
    receiver.answers(Answers::Status(404));
    let ran = world.call_with(&["notify", "--test"], &env).expect(75);
    assert_eq!(ran.stdout, "telegram: the answer is 404 Not Found: not … with nothing\n");
    world.call_with(&["notify", "--test"], &[]).expect(2).stderr_has("no notice is set");
    let shown = world.call_with(&["check-config"], &env).expect(0).stdout;
    let log = sidecar.stop().expect(0).stderr;
    assert!(!shown.contains("hunter2") && !log.contains("hunter2"), "{shown}{log}");
}

#[test]
fn an_address_and_its_keys_are_in_no_error() {
    let (world, receiver) = (World::start(), Receiver::start());
    receiver.answers(Answers::Status(403));
    let notice = |url: &str, more: &str| format!("[[notices]]\nurl = {url:?}\non = [\"updated\"]\n{more}\n");
    let query = receiver.url("/hook?key=hunter2-key");
    let login = query.replace("http://", "http://user:hunter2-password@");
    let header = "headers = { authorization = \"Bearer hunter2-header\" }";
    let away = "http://hunter2.invalid:9/";
    world.write("sidecar.toml", &[notice(&query, header), notice(&login, ""), notice(away, "")].concat());
    let ran = world.call_with(&["notify", "--test"], &FAST).expect(75);
    let [keyed, logged_in]: [_; 2] = receiver.received().try_into().unwrap();
    assert_eq!(keyed.headers["authorization"], "Bearer hunter2-header");
    let basic = STANDARD.encode("user:hunter2-password");
    assert_eq!(logged_in.headers["authorization"], format!("Basic {basic}"));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let refused = "the answer is 403 Forbidden: not … with …";
    assert_eq!(lines[..2], [format!("notices.0: {refused}"), format!("notices.1: {refused}")]);
    assert!(lines[2].starts_with("notices.2: not reachable: "), "{}", ran.stdout);
    let (sidecar, _events) = world.ready_sidecar(&FAST);
    for name in ["notices.0", "notices.1", "notices.2"] {
        eventually(name, || sidecar.written().contains(&format!("notice=\"{name}\"")).then_some(()));
    }
    let log = sidecar.stop().expect(0).stderr;
    for secret in ["hunter2", "/hook", &basic] {
        assert!(!ran.stdout.contains(secret) && !log.contains(secret), "{secret}: {}{log}", ran.stdout);
    }
}

/// Each example of the documentation, with the address of a receiver in place of its own.
#[test]
fn the_documented_notices_arrive() {
    let page = include_str!("../../docs/configuration.md");
    let (_, section) = page.split_once("\n## Notices\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```toml\n").skip(1).map(|block| block.split_once("```").unwrap().0);
    let (world, receiver) = (World::start(), Receiver::start());
    let mut count = 0;
    let toml: String = blocks
        .flat_map(str::lines)
        .map(|line| {
            let is_address = line.starts_with("url");
            count += usize::from(is_address);
            if is_address { format!("url = {:?}\n", receiver.url(&format!("/{count}"))) } else { format!("{line}\n") }
        })
        .collect();
    world.write("sidecar.toml", &toml);
    let shown = world.call_with(&["notify", "--test"], &[("SIDECAR_CONFIG", "sidecar.toml")]).expect(0).stdout;
    assert_eq!((shown.lines().count(), shown.matches(": sent\n").count()), (count, count), "{shown}");
    let text = "This is a test. chitai_gorod: no new token, failure 1 (solve): this is a test; next try ";
    let mut received = receiver.received();
    received.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    assert_eq!((received.len(), count > 3), (count, true));
    for (one, place) in received.iter().zip(["/data/text", "/text", "/content", "/message"]) {
        let shown = one.json();
        assert!(
            shown.pointer(place).and_then(|shown| shown.as_str()).is_some_and(|shown| shown.starts_with(text)),
            "{shown}"
        );
    }
    assert_eq!(received[3].headers["authorization"], "Bearer tk_example");
}
