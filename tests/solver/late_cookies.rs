//! Cookies that a page's script sets late, on servers of every version.

use std::time::Duration;

use serde_json::{Value, json};
use token_sidecar::config::{FlaresolverrConfig, SolverKind};
use token_sidecar::domain::round::Turn;
use token_sidecar::sources::{Flaresolverr, Solvers};

use crate::stub::{Act, Request, Stub, config, failure, page};

const TOKEN: (&str, &str) = ("access-token", "Bearer%20abc");
const OTHER: (&str, &str) = ("__ddg1_", "x");

/// What a server of this version does: `late` gets in its session bring no token, then they do.
fn server(version: &'static str, index: bool, late: usize) -> Stub {
    let gets = std::sync::Mutex::new(0);
    Stub::new(move |request, _| {
        let reads_late = matches!(version, "3.5.2" | "3.10.0");
        match (request.command(), request.body.get("waitInSeconds"), request.body.get("session")) {
            ("request.get", Some(_), None) if reads_late => page(version, &[OTHER, TOKEN]),
            ("request.get", Some(_), None) => page(version, &[OTHER]),
            ("request.get", None, Some(_)) => {
                let mut gets = gets.lock().unwrap();
                *gets += 1;
                if *gets > late { page(version, &[OTHER, TOKEN]) } else { page(version, &[OTHER]) }
            }
            ("sessions.destroy", ..) => Act::Json(200, json!({"status": "ok", "version": version})),
            ("GET / HTTP/1.1", ..) if index => Act::Json(200, json!({"msg": "ready", "version": version})),
            _ => Act::Json(404, json!({"error": "Not found", "status_code": 404})),
        }
    })
}

fn waiting(stub: &Stub) -> FlaresolverrConfig {
    FlaresolverrConfig { wait: Some(Duration::from_millis(20)), ..config(&stub.url) }
}

/// The commands of a solve, in short.
fn shape(request: &Request) -> String {
    let has = |key: &str| request.body.get(key).is_some_and(|value| *value != Value::Null);
    let marks = [("session", "s"), ("waitInSeconds", "w"), ("returnOnlyCookies", "c"), ("proxy", "p")];
    let marks: String = marks.iter().filter(|(key, _)| has(key)).map(|(_, mark)| *mark).collect();
    let command = request.command().split('.').next_back().unwrap_or_default();
    if marks.is_empty() { command.to_owned() } else { format!("{command}+{marks}") }
}

fn shapes(stub: &Stub) -> Vec<String> {
    stub.seen().iter().filter(|request| !request.line.starts_with("GET")).map(shape).collect()
}

/// The same, once there are so many: a session is destroyed beside what goes on.
async fn shapes_when(stub: &Stub, count: usize) -> Vec<String> {
    let arriving = async {
        while shapes(stub).len() < count {
            tokio::task::yield_now().await;
        }
    };
    let _compared_by_the_caller = tokio::time::timeout(Duration::from_secs(10), arriving).await;
    shapes(stub)
}

#[tokio::test]
async fn each_server_is_called_in_the_way_that_costs_the_least() {
    for (version, index, late, first, second) in [
        ("3.5.2", true, 0, vec!["get+w"], vec!["get+w"]),
        ("3.10.0", true, 0, vec!["get+w"], vec!["get+w"]),
        ("3.5.2", false, 0, vec!["get+w"], vec!["get+w"]),
        ("3.5.0", true, 1, vec!["get+sc", "get+sc", "list", "destroy+s"], vec!["get+sc", "list", "destroy+s"]),
        ("3.5.0", true, 0, vec!["get+sc", "list", "destroy+s"], vec!["get+sc", "list", "destroy+s"]),
        (
            "3.5.0",
            false,
            1,
            vec!["get+w", "get+sc", "get+sc", "list", "destroy+s"],
            vec!["get+sc", "list", "destroy+s"],
        ),
        ("", false, 1, vec!["get+w", "get+sc", "get+sc", "list", "destroy+s"], vec!["get+sc", "list", "destroy+s"]),
    ] {
        let stub = server(version, index, late);
        let source = Flaresolverr::new(&waiting(&stub), &Solvers::default()).unwrap();
        let both = [&first[..], &second].concat();
        for expected in [first, both] {
            let solution = source.solve(Turn::default()).await.unwrap();
            assert!(solution.cookies.iter().any(|cookie| cookie.name == TOKEN.0), "{version}");
            assert_eq!(shapes_when(&stub, expected.len()).await, expected, "{version} {index} {late}");
        }
    }
}

#[tokio::test]
async fn the_session_is_our_own_and_the_same_until_it_is_destroyed() {
    let stub = server("3.5.0", true, 1);
    Flaresolverr::new(&waiting(&stub), &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
    assert_eq!(shapes_when(&stub, 4).await.len(), 4);
    let ids: Vec<_> = stub.seen().iter().filter_map(|r| r.body["session"].as_str().map(str::to_owned)).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0] && id.starts_with("token-sidecar-")), "{ids:?}");
    let other = server("3.5.0", true, 0);
    Flaresolverr::new(&waiting(&other), &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
    assert_ne!(other.seen()[1].body["session"], json!(ids[0]));
}

#[tokio::test]
async fn the_wait_does_not_eat_up_the_time_of_the_page() {
    let stub = server("3.5.2", true, 0);
    let mut config = waiting(&stub);
    config.wait = Some(Duration::from_millis(2_500));
    Flaresolverr::new(&config, &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
    let body = &stub.seen()[1].body;
    assert_eq!((&body["waitInSeconds"], &body["maxTimeout"]), (&json!(3), &json!(62_500)));
}

#[tokio::test]
async fn the_session_is_destroyed_after_a_failure_too() {
    for failing in [1, 2] {
        let stub = Stub::new(move |request, count| match request.command() {
            "GET / HTTP/1.1" => Act::Json(200, json!({"version": "3.5.0"})),
            "request.get" if count == failing => {
                failure("3.5.0", "Error solving the challenge. Timeout after 60.0 seconds.")
            }
            "request.get" => page("3.5.0", &[OTHER]),
            _ => Act::Json(200, json!({"status": "ok"})),
        });
        let source = Flaresolverr::new(&waiting(&stub), &Solvers::default()).unwrap();
        assert_eq!(source.solve(Turn::default()).await.unwrap_err().message, "FlareSolverr: timeout after 60 s");
        let shapes = shapes_when(&stub, failing + 2).await;
        assert_eq!(shapes.last().map(String::as_str), Some("destroy+s"));
    }
}

#[tokio::test]
async fn the_session_of_a_solve_that_was_broken_off_is_destroyed_later() {
    let mut stub = Stub::new(|request, _| match request.command() {
        "GET / HTTP/1.1" => Act::Json(200, json!({"version": "3.5.0"})),
        "request.get" => Act::Silence(vec![]),
        _ => Act::Json(200, json!({"status": "ok"})),
    });
    let solvers = Solvers::default();
    let source = Flaresolverr::new(&waiting(&stub), &solvers).unwrap();
    let both = async {
        stub.arrival().await;
        stub.arrival().await;
    };
    tokio::select! {
        _ = source.solve(Turn::default()) => panic!("no server answers"),
        () = both => {}
    }
    solvers.destroy_abandoned_sessions().await;
    assert_eq!(shapes(&stub), ["get+sc", "destroy+s"]);
    let seen = stub.seen();
    assert_eq!(seen[1].body["session"], seen[2].body["session"]);
    solvers.destroy_abandoned_sessions().await;
    assert_eq!(stub.seen().len(), 3, "once is enough");
}

#[tokio::test]
async fn a_session_that_was_left_and_is_not_there_yet_is_looked_for_three_times() {
    let mut stub = Stub::new(|request, _| match request.command() {
        "GET / HTTP/1.1" => Act::Json(200, json!({"version": "3.5.0"})),
        "request.get" => Act::Silence(vec![]),
        _ => failure("3.5.0", "The session doesn't exist."),
    });
    let solvers = Solvers::default();
    let source = Flaresolverr::new(&waiting(&stub), &solvers).unwrap();
    let both = async {
        stub.arrival().await;
        stub.arrival().await;
    };
    tokio::select! {
        _ = source.solve(Turn::default()) => panic!("no server answers"),
        () = both => {}
    }
    for _ in 0..5 {
        solvers.destroy_abandoned_sessions().await;
    }
    assert_eq!(shapes(&stub), ["get+sc", "destroy+s", "destroy+s", "destroy+s"]);
}

/// As the sidecar that was killed during a solve would have destroyed it.
#[tokio::test]
async fn a_session_that_a_killed_sidecar_has_left_is_destroyed_once_its_time_is_over() {
    let [overdue, in_use] = ["token-sidecar-1795331970-0123456789abcdef", "token-sidecar-9795331970-0123456789abcdef"];
    let sessions = json!([overdue, in_use, "token-sidecar-x", "another-1795331970-1", 7, ""]);
    let stub = Stub::new(move |request, _| match request.command() {
        "GET / HTTP/1.1" => Act::Json(200, json!({"version": "3.5.0"})),
        "request.get" => page("3.5.0", &[TOKEN]),
        _ => Act::Json(200, json!({"status": "ok", "sessions": sessions})),
    });
    Flaresolverr::new(&waiting(&stub), &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
    assert_eq!(shapes_when(&stub, 4).await.len(), 4);
    let seen = stub.seen();
    let destroyed = seen.iter().filter(|request| request.command() == "sessions.destroy");
    let destroyed: Vec<_> = destroyed.map(|request| &request.body["session"]).collect();
    assert_eq!(destroyed, [&seen[1].body["session"], &json!(overdue)]);
}

#[tokio::test]
async fn a_configured_session_whose_browser_died_is_begun_anew_once() {
    const DEAD: &str = "Error solving the challenge. Message: invalid session id: session deleted\\nfrom disconnected";
    for (deaths, outcome, expected) in
        [(1, true, vec!["get+sc", "destroy+s", "get+sc"]), (9, false, vec!["get+sc", "destroy+s", "get+sc"])]
    {
        let stub = Stub::new(move |request, count| match request.command() {
            "request.get" if count < deaths => failure("3.5.0", DEAD),
            "request.get" => page("3.5.0", &[TOKEN]),
            _ => Act::Json(200, json!({"status": "ok"})),
        });
        let mut config = config(&stub.url);
        config.kind = Some(SolverKind::Flaresolverr);
        config.session = Some("ours".into());
        let solved = Flaresolverr::new(&config, &Solvers::default()).unwrap().solve(Turn::default()).await;
        assert_eq!(solved.is_ok(), outcome, "{solved:?}");
        assert_eq!(shapes(&stub), expected);
        assert!(stub.seen().iter().all(|request| request.body["session"] == "ours"));
    }
    let stub = Stub::new(move |_, _| failure("3.5.0", DEAD));
    let solved = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap().solve(Turn::default()).await;
    assert!(solved.is_err());
    assert_eq!(shapes(&stub), ["get+c"], "there is nothing to destroy without a session");
}

#[tokio::test]
async fn a_session_is_given_its_proxy_as_a_get_in_it_would_ignore_one() {
    let stub = Stub::new(|request, _| match request.command() {
        "request.get" => page("3.5.0", &[TOKEN]),
        _ => Act::Json(200, json!({"status": "ok"})),
    });
    let mut config = config(&stub.url);
    config.kind = Some(SolverKind::Flaresolverr);
    config.proxy = Some(token_sidecar::config::source::ProxyConfig {
        url: "http://proxy:3128".into(),
        username: Some("u".into()),
        password: Some("p".into()),
    });
    Flaresolverr::new(&config, &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
    config.session = Some("ours".into());
    Flaresolverr::new(&config, &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
    assert_eq!(shapes(&stub), ["get+cp", "create+sp", "get+sc"]);
    let proxy = json!({"url": "http://proxy:3128", "username": "u", "password": "p"});
    assert_eq!((&stub.seen()[0].body["proxy"], &stub.seen()[1].body["proxy"]), (&proxy, &proxy));
}
