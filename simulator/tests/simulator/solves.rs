//! Solves: faults, queueing, disconnected clients, counting.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{
    CookieKind, Faults, FlareSolverrVersion, Garbage, PageMode, RecordedError, Settings, Simulator, SolveError,
};

use crate::http::{JSON, ask, cookie, order, search, send, solve, start, token, v1, with};

#[tokio::test]
async fn a_solve_gives_a_token_that_the_api_accepts() {
    let simulator = start();
    let answer = solve(&simulator, "/shop").await.unwrap().json();
    assert_eq!(search(&simulator, &token(&answer).unwrap()).await, 200);
    assert_eq!(cookie(&answer, "refresh-token").unwrap(), "");
    assert!(cookie(&answer, "__ddg1_").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulator_runs_on_a_runtime_of_many_threads_too() {
    let simulator = start();
    assert_eq!(solve(&simulator, "/shop/challenge?ms=1").await.unwrap().json()["message"], "Challenge solved!");
}

#[tokio::test]
async fn every_garbled_answer_is_garbled_in_its_way() {
    let simulator = start();
    for garbage in [Garbage::NotJson, Garbage::Empty, Garbage::Truncated, Garbage::Deep] {
        simulator.faults(Faults { solve_garbage: Some(garbage), ..Faults::default() });
        let reply = solve(&simulator, "/shop").await.unwrap();
        assert_eq!(reply.status, 200);
        assert!(serde_json::from_str::<Value>(&reply.body).is_err(), "{garbage:?}");
    }
    simulator.faults(Faults { solve_garbage: Some(Garbage::WrongTypes), ..Faults::default() });
    assert!(solve(&simulator, "/shop").await.unwrap().json()["solution"]["cookies"].is_object());
    simulator.faults(Faults { solve_garbage: Some(Garbage::Huge(3)), ..Faults::default() });
    let reply = solve(&simulator, "/shop").await.unwrap();
    assert!(reply.body.len() > 3 << 20 && token(&reply.json()).is_some());
}

#[tokio::test]
async fn the_cookie_is_what_the_fault_makes_of_it() {
    let simulator = start();
    let mut seen = Vec::new();
    for (kind, status) in [
        (CookieKind::Normal, 200),
        (CookieKind::Opaque, 200),
        (CookieKind::Oversized, 200),
        (CookieKind::Repeated, 200),
        (CookieKind::Expired, 401),
        (CookieKind::Dead, 401),
    ] {
        simulator.faults(Faults { cookie: kind, ..Faults::default() });
        let token = token(&solve(&simulator, "/shop").await.unwrap().json()).unwrap();
        assert_eq!(search(&simulator, &token).await, status, "{kind:?}");
        seen.push(token);
    }
    assert_eq!(seen[1].len(), 40);
    assert_eq!(seen[2].len(), 9 * 1024);
    assert_eq!(seen[2], seen[3]);

    simulator.faults(Faults { cookie: CookieKind::Absent, ..Faults::default() });
    assert_eq!(cookie(&solve(&simulator, "/shop").await.unwrap().json(), "access-token"), None);
    simulator.faults(Faults { cookie: CookieKind::Empty, ..Faults::default() });
    assert_eq!(cookie(&solve(&simulator, "/shop").await.unwrap().json(), "access-token").unwrap(), "");
    simulator.faults(Faults { cookie: CookieKind::Malformed, ..Faults::default() });
    assert!(cookie(&solve(&simulator, "/shop").await.unwrap().json(), "access-token").unwrap().contains("%7B"));
    simulator.faults(Faults { cookie: CookieKind::BearerToken, ..Faults::default() });
    assert!(cookie(&solve(&simulator, "/shop").await.unwrap().json(), "bearer_token").is_some());
}

#[tokio::test]
async fn of_duplicate_cookies_the_one_that_fits_the_page_best_is_live() {
    let simulator = with(Faults { cookie: CookieKind::Duplicate, ..Faults::default() });
    let answer = solve(&simulator, "/shop").await.unwrap().json();
    let cookies = answer["solution"]["cookies"].as_array().unwrap();
    let tokens: Vec<_> = cookies.iter().filter(|cookie| cookie["name"] == "access-token").collect();
    assert_eq!(tokens.len(), 3);
    for cookie in tokens {
        let token = cookie["value"].as_str().unwrap().strip_prefix("Bearer%20").unwrap();
        let status = if cookie["path"] == "/shop" { 200 } else { 401 };
        assert_eq!(search(&simulator, token).await, status);
    }
}

#[tokio::test]
async fn a_reset_connection_and_a_raw_answer_hit_only_as_many_solves_as_they_shall() {
    let simulator = with(Faults { solve_reset: true, remaining: Some(1), ..Faults::default() });
    assert!(solve(&simulator, "/shop").await.is_none());
    assert_eq!(solve(&simulator, "/shop").await.unwrap().status, 200);

    let raw = SolveError::Raw { status: 408, body: r#"{"detail":"timed out"}"#.to_owned() };
    simulator.faults(Faults { solve_error: Some(raw), remaining: Some(2), ..Faults::default() });
    for _ in 0..2 {
        let reply = solve(&simulator, "/shop").await.unwrap();
        assert_eq!((reply.status, &*reply.body), (408, r#"{"detail":"timed out"}"#));
    }
    assert_eq!(solve(&simulator, "/shop").await.unwrap().status, 200);
    assert_eq!(simulator.faults_in_force(), Faults::default());
}

#[tokio::test]
async fn a_timeout_names_the_time_of_the_request() {
    let simulator = with(Faults { solve_error: Some(RecordedError::Timeout.into()), ..Faults::default() });
    let message = solve(&simulator, "/shop").await.unwrap().json()["message"].take();
    assert_eq!(message, "Error: Error solving the challenge. Timeout after 30.0 seconds.");

    simulator.faults(Faults { page: Some(PageMode::Challenge), ..Faults::default() });
    let mut order = order(&simulator, "/shop");
    order["maxTimeout"] = 700.into();
    let message = v1(&simulator, order).await.unwrap().json()["message"].take();
    assert_eq!(message, "Error: Error solving the challenge. Timeout after 0.7 seconds.");
}

#[tokio::test]
async fn a_delayed_solve_takes_that_long() {
    let simulator = with(Faults { solve_delay: Duration::from_millis(80), ..Faults::default() });
    let answer = solve(&simulator, "/shop").await.unwrap().json();
    assert!(answer["endTimestamp"].as_i64().unwrap() - answer["startTimestamp"].as_i64().unwrap() >= 79);
}

#[tokio::test]
async fn an_abandoned_solve_goes_on_to_its_end() {
    let simulator = with(Faults { solve_hang: true, ..Faults::default() });
    let client = send(simulator.address(), "POST /v1", &[JSON], &order(&simulator, "/shop").to_string()).await;
    simulator.solve_started(1).await;
    drop(client);
    let other = solve(&simulator, "/shop");
    let release = async {
        assert_eq!(simulator.solve_started(2).await.solves.running, 2);
        simulator.clear_faults();
    };
    assert_eq!(tokio::join!(other, release).0.unwrap().status, 200);
    let solves = simulator.solve_done(2).await.solves;
    assert_eq!((solves.running, solves.max_running, solves.arrivals_ns.len()), (0, 2, 2));
    assert_eq!(simulator.statistics().pages, 2, "the abandoned one opened the page too");
}

#[tokio::test]
async fn four_solves_run_at_a_time_and_even_health_waits() {
    let simulator = with(Faults { solve_hang: true, remaining: Some(4), ..Faults::default() });
    let body = order(&simulator, "/shop").to_string();
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(send(simulator.address(), "POST /v1", &[JSON], &body).await);
    }
    let solves = simulator.solve_started(6).await.solves;
    assert_eq!((solves.running, solves.done), (6, 0));
    let health = ask(simulator.address(), "GET /health", &[], "");
    tokio::pin!(health);
    tokio::select! {
        _ = &mut health => panic!("health did not wait"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    simulator.clear_faults();
    assert_eq!(health.await.unwrap().status, 200);
    simulator.solve_done(6).await;
}

#[tokio::test]
async fn a_late_cookie_needs_a_second_look_in_the_same_session() {
    let simulator = start();
    let mut order = order(&simulator, "/shop/late?ms=1");
    order["waitInSeconds"] = json!(0.01);
    assert_eq!(token(&v1(&simulator, order.clone()).await.unwrap().json()), None, "3.5.0 reads before the wait");

    order["session"] = "s".into();
    assert_eq!(token(&v1(&simulator, order.clone()).await.unwrap().json()), None);
    order["url"] = simulator.url("/shop/plain").into();
    let found = token(&v1(&simulator, order).await.unwrap().json()).unwrap();
    assert_eq!(search(&simulator, &found).await, 200);
    assert_eq!(simulator.statistics().solves.sessions, 1);
    v1(&simulator, json!({"cmd": "sessions.destroy", "session": "s"})).await;
    assert_eq!(simulator.statistics().solves.sessions, 0);
}

#[tokio::test]
async fn a_newer_flaresolverr_sees_a_late_cookie_if_it_waits() {
    let settings = Settings { version: FlareSolverrVersion::V3_5_2, ..Settings::default() };
    let simulator = Simulator::start(settings).unwrap();
    let mut order = order(&simulator, "/shop/late?ms=20");
    assert_eq!(token(&v1(&simulator, order.clone()).await.unwrap().json()), None, "it did not wait");
    order["waitInSeconds"] = json!(0.02);
    let answer = v1(&simulator, order.clone()).await.unwrap().json();
    assert_eq!(answer["version"], "3.5.2");
    assert_eq!(search(&simulator, &token(&answer).unwrap()).await, 200);
    order["returnOnlyCookies"] = true.into();
    assert_eq!(token(&v1(&simulator, order).await.unwrap().json()), None, "only the cookies: no wait");
}

#[tokio::test]
async fn a_session_meets_the_challenge_once_and_keeps_its_cookies() {
    let simulator = start();
    let mut order = order(&simulator, "/shop/challenge?ms=1");
    order["session"] = "s".into();
    let first = v1(&simulator, order.clone()).await.unwrap().json();
    let second = v1(&simulator, order.clone()).await.unwrap().json();
    assert_eq!(
        (&first["message"], &second["message"]),
        (&json!("Challenge solved!"), &json!("Challenge not detected!"))
    );
    assert_ne!(token(&first), token(&second), "the page sets a new one");
    order["url"] = simulator.url("/shop/plain").into();
    assert_eq!(token(&v1(&simulator, order.clone()).await.unwrap().json()), token(&second), "the jar gives it back");
    order["session_ttl_minutes"] = json!(1e-9);
    assert_eq!(token(&v1(&simulator, order).await.unwrap().json()), None, "a new browser");
}

#[tokio::test]
async fn what_ran_before_a_reset_does_not_count_after_it() {
    let simulator = with(Faults { solve_hang: true, ..Faults::default() });
    let client = send(simulator.address(), "POST /v1", &[JSON], &order(&simulator, "/shop").to_string()).await;
    simulator.solve_started(1).await;
    simulator.reset();
    drop(client);
    solve(&simulator, "/shop").await.unwrap();
    let solves = simulator.solve_done(1).await.solves;
    assert_eq!((solves.started, solves.running), (1, 0));
}
