//! A token that is refused, has ended or is not there yet.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use simulator::{Faults, RecordedError};

use super::api::{Api, answer, json};
use super::client::{Answer, Connection, ask, get, send};
use super::{GATEWAY, NO_DEBOUNCE, SEARCH, before, knows_the_token, ready};
use crate::process::{Running, World, eventually, keys};
use crate::support::proxy::{Network, Proxy};

#[test]
fn a_refused_token_is_replaced_and_the_client_sees_200() {
    let world = World::start();
    let (sidecar, events) = ready(&world, &[GATEWAY, NO_DEBOUNCE]);
    let first = get(sidecar.gateway(), SEARCH);
    assert_eq!((first.status, first.mark(), first.header("via")), (200, "", "1.1 token-sidecar"));
    assert!(first.text().contains("searchProductResult"), "{}", first.text());
    world.simulator.revoke_all();
    let second = get(sidecar.gateway(), SEARCH);
    assert_eq!((second.status, second.mark()), (200, "replayed"));
    assert_eq!(events.refreshed()["trigger"], "invalid");
    assert_eq!((world.solves(), world.history().pop().unwrap()["reporter"].as_str()), (2, "gateway"));
    let metrics = sidecar.get("/metrics").body;
    for line in [
        "token_sidecar_gateway_requests_total{site=\"chitai_gorod\",outcome=\"sent\"} 1",
        "token_sidecar_gateway_requests_total{site=\"chitai_gorod\",outcome=\"replayed\"} 1",
        "token_sidecar_gateway_answers_total{site=\"chitai_gorod\",status=\"2xx\"} 2",
        "token_sidecar_gateway_added_duration_seconds_count 2",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}:\n{metrics}");
    }
    sidecar.stop().expect(0);
}

#[test]
fn of_200_clients_none_sees_that_the_token_was_revoked_and_there_is_one_solve() {
    let world = World::start();
    let (sidecar, _events) = ready(&world, &[GATEWAY, NO_DEBOUNCE]);
    let address = sidecar.gateway();
    // These are on their way with the old token when it is revoked, and come back when there is a new one.
    let slow = Faults { api_delay: Duration::from_secs(3), ..Faults::default() };
    let before = world.simulator.statistics().api.started;
    world.faults(slow);
    std::thread::scope(|scope| {
        let late: Vec<_> = (0..20).map(|_| scope.spawn(move || get(address, SEARCH))).collect();
        world.when("they are on their way", |all| all.api.started >= before + 20);
        world.heal();
        world.simulator.revoke_all();
        let prompt: Vec<_> = (0..200).map(|_| scope.spawn(move || get(address, SEARCH))).collect();
        for client in prompt {
            // One that came after the new token was sent with it at once.
            assert_eq!(client.join().unwrap().status, 200);
        }
        for client in late {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, answer.mark()), (200, "replayed"), "{answer:?}");
        }
    });
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

/// A sidecar without a token, and another one whose solve it follows. Of its own refresh it would count the triggers only
/// at the end.
fn following(world: &World, more: &[(&str, &str)]) -> [Running; 2] {
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let other = world.sidecar(&[]);
    world.solve_started(1);
    let sidecar = world.sidecar(&[&[GATEWAY], more].concat());
    follows(&sidecar, 1);
    [sidecar, other]
}

/// Waits until it has decided to follow for so many triggers. The first is its start, the others are reports.
fn follows(sidecar: &Running, triggers: u32) {
    let line = format!("token_sidecar_triggers_total{{site=\"chitai_gorod\",decision=\"follow\"}} {triggers}\n");
    eventually("it follows", || sidecar.get("/metrics").body.contains(&line).then_some(()));
}

#[test]
fn a_request_waits_for_the_first_token() {
    let world = World::start();
    let [sidecar, _other] = following(&world, &[]);
    let address = sidecar.gateway();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || get(address, SEARCH));
        follows(&sidecar, 2);
        world.heal();
        assert_eq!(waiting.join().unwrap().status, 200);
    });
    assert_eq!(world.solves(), 1);
    assert!(sidecar.get("/metrics").body.contains("outcome=\"waited\"} 1\n"));
    sidecar.stop().expect(0);
}

#[test]
fn where_renewing_fails_the_answer_says_why_and_when_to_come_again() {
    let world = World::start();
    let (sidecar, _events) = ready(&world, &[GATEWAY, NO_DEBOUNCE, ("SIDECAR_BACKOFF_INITIAL", "10m")]);
    world.faults(Faults { solve_error: Some(RecordedError::Blocked.into()), ..Faults::default() });
    world.simulator.revoke_all();
    // The second one is answered by the back-off that is in force.
    for _ in 0..2 {
        let answer = get(sidecar.gateway(), SEARCH);
        assert_eq!((answer.status, answer.header("content-type")), (503, "application/problem+json"));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&problem["status"], &problem["stage"]), (&503.into(), &"solve".into()), "{problem}");
        assert!(problem["error"].as_str().unwrap().contains("blocked"), "{problem}");
        let retry_after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=601).contains(&retry_after), "{retry_after}");
    }
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn an_answer_that_concerns_the_way_to_the_api_alone_is_502() {
    for (status, headers) in [(101, "Upgrade: chat\r\nConnection: upgrade\r\n"), (407, "")] {
        let (world, api) = (World::start(), Api::answering(move |_| answer(status, headers, "")));
        let sidecar = before(&world, &api, &[]);
        let answer = get(sidecar.gateway(), SEARCH);
        assert_eq!((answer.status, answer.header("content-type")), (502, "application/problem+json"), "{status}");
        assert_eq!((api.requests().len(), world.solves()), (1, 1));
        sidecar.stop().expect(0);
    }
}

#[test]
fn a_wait_has_an_end_and_not_everybody_may_wait() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let set = ["run", "--set", "gateway.max_waiting=1", "--set", "gateway.wait=3s"];
    let sidecar = world.begin(&set, &[GATEWAY]).listening();
    let address = sidecar.gateway();
    std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(move || get(address, SEARCH).status)).collect();
        let mut both: Vec<u16> = both.into_iter().map(|one| one.join().unwrap()).collect();
        both.sort_unstable();
        assert_eq!(both, [503, 504]);
    });
    sidecar.stop().expect(0);
}

#[test]
fn a_client_that_leaves_gives_up_its_place() {
    let world = World::start();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let sidecar = world.begin(&["run", "--set", "gateway.max_waiting=1"], &[GATEWAY]).listening();
    let address = sidecar.gateway();
    let request = format!("GET {SEARCH} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut leaving = Connection::open(address);
    leaving.send(&request);
    eventually("it has the only place", || (get(address, SEARCH).status == 503).then_some(()));
    drop(leaving);
    // One that gets the place has no answer before the solve goes on.
    let mut next = eventually("the place is free", || {
        let mut next = Connection::open(address);
        next.send(&request);
        next.is_silent_for(Duration::from_millis(300)).then_some(next)
    });
    world.heal();
    assert_eq!(next.answer().status, 200);
    sidecar.stop().expect(0);
}

#[test]
fn a_request_that_waits_at_the_end_is_told_so() {
    let world = World::start();
    let [sidecar, _other] = following(&world, &[("SIDECAR_SHUTDOWN_GRACE", "1s")]);
    let address = sidecar.gateway();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || get(address, SEARCH));
        follows(&sidecar, 2);
        sidecar.signal("TERM");
        let answer = waiting.join().unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (503, "5"));
    });
    sidecar.end().expect(0);
}

#[test]
fn routes_that_need_a_login_cost_one_solve_and_hide_no_revocation() {
    let world = World::start();
    let revoked = Arc::new(Mutex::new(String::new()));
    let is_revoked = Arc::clone(&revoked);
    let api = Api::answering(move |request| match request.target.as_str() {
        target if target.starts_with("/v2/orders") => answer(401, "", "log in"),
        _ if request.header("authorization") == *is_revoked.lock().unwrap() => answer(401, "", ""),
        _ => json("{}"),
    });
    let sidecar = before(&world, &api, &[]);
    for order in [1, 1, 2, 3, 1] {
        let refused = get(sidecar.gateway(), &format!("/chitai_gorod/orders/{order}"));
        assert_eq!((refused.status, refused.mark(), refused.text()), (401, "refused", "log in"));
        assert_eq!(world.solves(), 2);
    }
    assert_eq!(get(sidecar.gateway(), "/chitai_gorod/other").mark(), "");
    *revoked.lock().unwrap() = api.last().header("authorization").to_owned();
    assert_eq!(get(sidecar.gateway(), "/chitai_gorod/other").mark(), "replayed");
    assert_eq!(world.solves(), 3);
    sidecar.stop().expect(0);
}

/// An API whose tokens are refused until there is a new one; then it echoes the body.
fn refusing(first: Arc<AtomicBool>) -> Api {
    Api::answering(move |request| match first.swap(false, SeqCst) {
        true => answer(401, "", ""),
        false => answer(200, "", std::str::from_utf8(&request.body).unwrap()),
    })
}

#[test]
fn a_body_is_sent_again_as_it_was_unless_it_is_too_long() {
    let world = World::start();
    let refuses = Arc::new(AtomicBool::new(false));
    let api = refusing(Arc::clone(&refuses));
    let sidecar = before(&world, &api, &[]);
    let post = |length: usize| -> Answer {
        refuses.store(true, SeqCst);
        send(sidecar.gateway(), "POST", "/chitai_gorod/basket", "", "b".repeat(length).as_bytes())
    };
    let short = post(64 * 1024);
    assert_eq!((short.status, short.mark(), short.body.len()), (200, "replayed", 64 * 1024));
    let bearers: Vec<_> = api.requests().iter().map(|request| request.header("authorization").to_owned()).collect();
    assert_eq!(bearers.len(), 2);
    assert_ne!(bearers[0], bearers[1], "it is sent again with the new token");
    let long = post(64 * 1024 + 1);
    assert_eq!((long.status, long.mark()), (401, "refreshing"));
    world.solve_done(3);
    sidecar.stop().expect(0);
}

#[test]
fn what_changes_something_is_not_sent_again_where_that_is_not_wanted() {
    let world = World::start();
    let refuses = Arc::new(AtomicBool::new(false));
    let api = refusing(Arc::clone(&refuses));
    let url = api.url();
    let env = [GATEWAY, NO_DEBOUNCE, ("CHITAI_GOROD_API_URL", &url), ("SIDECAR_VERIFY", "off")];
    let events = world.events();
    let sidecar = world.begin(&["run", "--set", "gateway.replay_unsafe=false"], &env).listening();
    events.refreshed();
    for (method, mark) in [("POST", "refreshing"), ("PATCH", "refreshing"), ("PUT", "replayed"), ("DELETE", "replayed")]
    {
        knows_the_token(&world, &sidecar);
        refuses.store(true, SeqCst);
        assert_eq!(ask(sidecar.gateway(), method, "/chitai_gorod/basket", "").mark(), mark, "{method}");
        events.refreshed();
    }
    sidecar.stop().expect(0);
}

#[test]
fn without_redis_the_last_token_serves_on_and_a_401_is_passed_on() {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let (sidecar, _events) = ready(&world, &[GATEWAY, NO_DEBOUNCE, ("REDIS_URL", &proxy.url())]);
    // `updated` is published before the sidecar itself has the answer of Redis.
    assert_eq!(get(sidecar.gateway(), SEARCH).status, 200);
    proxy.is(Network::Cut);
    sidecar.logs("not subscribed to Redis");
    let served = get(sidecar.gateway(), SEARCH);
    assert_eq!((served.status, served.mark()), (200, "stale"));
    world.simulator.revoke_all();
    let refused = get(sidecar.gateway(), SEARCH);
    assert_eq!((refused.status, refused.mark()), (401, "stale"));
    proxy.is(Network::Fine);
    eventually("it is served again", || (get(sidecar.gateway(), SEARCH).status == 200).then_some(()));
    sidecar.stop().expect(0);
}

#[test]
fn a_token_that_another_program_stored_is_used_once_the_old_one_is_refused() {
    let world = World::start();
    let (sidecar, events) = ready(&world, &[GATEWAY, NO_DEBOUNCE]);
    world.simulator.revoke_all();
    let theirs = world.simulator.mint().token;
    let _: () = world.ask(&["SET", keys::TOKEN, &theirs, "EX", "3600"]);
    let answer = get(sidecar.gateway(), SEARCH);
    assert_eq!((answer.status, answer.mark()), (200, "replayed"));
    assert_eq!(world.solves(), 1);
    events.repeated();
    sidecar.stop().expect(0);
}
