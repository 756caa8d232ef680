//! `trigger`: the message by hand, and the wait for its outcome.

use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use simulator::{Faults, RecordedError};

use crate::process::patience::now;
use crate::process::{World, keys};
use crate::support::contract;

#[test]
fn it_publishes_and_prints_the_number_of_receivers() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let ran = world.call(&["trigger", "--reason", "deploy of parser 7"]).expect(0).prints("published to 1 sidecar(s)");
    assert_eq!(ran.stdout.lines().count(), 1);
    let updated = events.refreshed();
    assert_eq!(updated["trigger"], "invalid");
    let entry = world.history().pop().unwrap_or_default();
    assert_eq!(entry["reason"], "deploy of parser 7");
    sidecar.stop().expect(0);
}

#[test]
fn where_no_sidecar_is_subscribed_it_is_69() {
    let world = World::start();
    let waiting = [&["trigger", "--wait=1s", "--force"][..], &["trigger", "--wait", "1s", "--force"]];
    for args in [&["trigger"][..], &["trigger", "--wait"]].into_iter().chain(waiting) {
        let ran = world.call(args).expect(69).stderr_has("no sidecar listens on chitai_gorod:token:invalid");
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn wait_shows_plain_lines_until_the_token_is_there() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let address = sidecar.address().to_string();
    let trigger = world.begin(&["trigger", "--wait"], &[("SIDECAR_LISTEN", &address)]);
    trigger.logs("asked for a new token");
    trigger.logs("a refresh is at: solve");
    world.heal();
    let ran = trigger.end().expect(0);
    let updated = world.meta("fingerprint").unwrap_or_default();
    assert_eq!(ran.stdout.lines().count(), 1);
    assert!(ran.stdout.contains(&updated) && ran.stdout.contains("new token"), "{}", ran.stdout);
    assert!(!ran.stderr.contains('\u{1b}') && !ran.stderr.contains('\r'), "{:?}", ran.stderr);
    // The status of another sidecar cannot be read: the lock shows that a refresh is under way.
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let trigger = world.begin(&["trigger", "--wait", "--force"], &[("SIDECAR_LISTEN", "off")]);
    trigger.logs("a refresh is under way");
    world.heal();
    trigger.end().expect(0);
    sidecar.stop().expect(0);
}

#[test]
fn inside_the_debounce_window_the_token_counts_as_fresh_unless_forced() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "1h")]);
    world.call(&["trigger", "--wait"]).expect(0).prints("the token is fresh already");
    events.repeated();
    assert_eq!(world.solves(), 1);
    world.call(&["trigger", "--wait=30s", "--force"]).expect(0).prints("new token");
    events.refreshed();
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn a_failure_is_75_with_stage_reason_and_next_try() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[
        ("SIDECAR_DEBOUNCE", "0s"),
        ("SIDECAR_BACKOFF_INITIAL", "1h"),
        ("SIDECAR_BACKOFF_MAX", "1h"),
    ]);
    world.faults(Faults { solve_error: Some(RecordedError::Timeout.into()), ..Faults::default() });
    let ran = world.call(&["trigger", "--wait"]).expect(75);
    let ran = ran.stderr_has("solve failed").stderr_has("timeout after 60 s").stderr_has("the next try is at");
    assert_eq!(ran.stdout, "");
    // While backing off, the answer comes at once and is the same; force solves.
    world.heal();
    world.call(&["trigger", "--wait"]).expect(75).stderr_has("solve failed");
    assert_eq!(world.solves(), 2);
    world.call(&["trigger", "--wait", "--force"]).expect(0);
    sidecar.stop().expect(0);
}

#[test]
fn a_forced_wait_does_not_end_with_what_others_are_told_meanwhile() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[
        ("SIDECAR_DEBOUNCE", "1h"),
        ("SIDECAR_BACKOFF_INITIAL", "1h"),
        ("SIDECAR_BACKOFF_MAX", "1h"),
    ]);
    world.faults(Faults { solve_error: Some(RecordedError::Timeout.into()), ..Faults::default() });
    world.call(&["trigger", "--wait", "--force"]).expect(75);
    world.heal();
    let ((alive, ended), reports) = (mpsc::channel::<()>(), &world);
    std::thread::scope(|threads| {
        threads.spawn(move || {
            while ended.try_recv() == Err(TryRecvError::Empty) {
                reports.publish("now");
            }
        });
        // Dropped also where the test fails.
        let _alive = alive;
        // They are told of the failure at first, of the fresh token then.
        for _ in 0..3 {
            world.call(&["trigger", "--wait", "--force"]).expect(0).prints("new token");
        }
    });
    sidecar.stop().expect(0);
}

#[test]
fn a_wait_that_is_over_is_75_and_the_refresh_goes_on() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let began = now();
    let ran = world.call(&["trigger", "--wait=2s"]).expect(75).stderr_has("no outcome within 2 s");
    assert!(ran.stderr.contains("token-sidecar status"));
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    world.heal();
    events.refreshed();
    sidecar.stop().expect(0);
}

#[test]
fn the_message_is_the_contracts() {
    let world = World::start();
    let events = crate::process::Events::on(&world.redis, &[keys::INVALID]);
    world.call(&["trigger", "--force", "--reason", "why\nnot"]).expect(0);
    let message = events.next();
    assert_eq!(contract::conforms("token-invalid.schema.json", &message), Ok(()));
    assert_eq!(message["force"], true);
    assert_eq!(message["reason"], "why\nnot");
    assert!(message["source"].is_string());
    assert_eq!(message.get("fingerprint"), None, "it is bare: it knows of no refused token");
    world.call(&["trigger"]).expect(0);
    assert_eq!(events.next().get("force"), None);
}
