//! `contract/openapi.yaml` and the running program agree, in both directions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeSet;

use simulator::Faults;

use crate::process::{Running, World, eventually};
use crate::support::contract;
use crate::support::redis_server::Port;

const ADMIN: &str = "Authorization: Bearer hunter1\r\n";
/// How many may follow the events at once.
const FOLLOWERS: usize = 32;

/// Method, path as documented, and status.
type Seen = BTreeSet<(String, &'static str, u16)>;

fn documented() -> Seen {
    let operations = contract::paths().flat_map(|(path, operations)| operations.iter().map(move |(m, o)| (path, m, o)));
    let statuses = |(path, method, operation): (&'static str, &String, &'static serde_json::Value)| {
        let method = method.to_uppercase();
        let statuses = operation["responses"].as_object().unwrap().keys();
        statuses.map(move |status| (method.clone(), path, status.parse().unwrap())).collect::<Vec<_>>()
    };
    operations.flat_map(statuses).collect()
}

#[test]
fn every_answer_of_the_document_is_given_and_every_route_is_in_the_document() {
    let seen = RefCell::new(Seen::new());
    let ask = |sidecar: &Running, method: &str, path: &str, headers: &str, status: u16| {
        assert_eq!(sidecar.ask(method, path, headers).status, status, "{method} {path}");
        seen.borrow_mut().insert((method.to_owned(), contract::path_of(path).unwrap(), status));
    };
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_ADMIN_TOKEN", "hunter1")]);
    eventually("the state was read", || (sidecar.get("/readyz").status == 200).then_some(()));
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/status",
        "/api/history",
        "/api/history?limit=0",
        "/api/histories",
    ] {
        ask(&sidecar, "GET", path, "", 200);
    }
    ask(&sidecar, "GET", "/api/history?limit=many", "", 400);
    ask(&sidecar, "GET", "/api/history?site=other", "", 404);
    ask(&sidecar, "GET", "/api/histories?limit=many", "", 400);
    ask(&sidecar, "GET", "/api/histories?sites=other", "", 404);
    ask(&sidecar, "POST", "/api/sites/chitai_gorod/refresh", "", 401);
    ask(&sidecar, "POST", "/api/sites/chitai_gorod/refresh", ADMIN, 202);
    ask(&sidecar, "POST", "/api/sites/other/refresh", ADMIN, 404);
    ask(&sidecar, "POST", "/api/sites/%ff/refresh", ADMIN, 400);
    let followers: Vec<_> = (0..FOLLOWERS).map(|_| sidecar.open("GET", "/api/events", "")).collect();
    for (head, _) in &followers {
        assert_eq!(contract::answer("GET", "/api/events", head.status, &head.headers, ""), Ok(()));
        seen.borrow_mut().insert(("GET".to_owned(), "/api/events", head.status));
    }
    ask(&sidecar, "GET", "/api/events", "", 503);
    drop(followers);
    // It ends as soon as the refresh under way has.
    let solves = world.solves();
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    ask(&sidecar, "POST", "/api/sites/chitai_gorod/refresh", ADMIN, 202);
    world.solve_started(solves + 1);
    sidecar.signal("TERM");
    eventually("it is shutting down", || (sidecar.get("/readyz").status == 503).then_some(()));
    ask(&sidecar, "POST", "/api/sites/chitai_gorod/refresh", ADMIN, 503);
    world.heal();
    sidecar.end().expect(0);

    let nowhere = Port::hold();
    let url = format!("redis://127.0.0.1:{}", nowhere.number());
    let lonely = world.begin(&["run"], &[("REDIS_URL", &url)]);
    lonely.logs("not subscribed to Redis");
    for path in ["/healthz", "/readyz", "/api/history", "/api/histories"] {
        ask(&lonely, "GET", path, "", 503);
    }
    lonely.stop().expect(0);

    assert_eq!(seen.into_inner(), documented());
    let routes = include_str!("../../src/server/routes.rs").split(".route(\"").skip(1);
    let routes: BTreeSet<&str> = routes.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(routes, contract::paths().map(|(path, _)| path).collect());
}

#[test]
fn what_is_not_in_the_document_is_refused_as_documented() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_ADMIN_TOKEN", "hunter1")]);
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/", 404),
        ("PUT", "/api/status", 405),
        ("GET", "/api/sites/chitai_gorod/refresh", 405),
    ] {
        assert_eq!(sidecar.ask(method, path, ADMIN).status, status, "{method} {path}");
    }
    let head = crate::process::http::ask(sidecar.address(), "HEAD", "/api/status", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    sidecar.stop().expect(0);
}
