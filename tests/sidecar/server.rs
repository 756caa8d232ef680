//! What a running sidecar serves over HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::BufRead as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use crate::process::{Running, World, eventually};
use crate::support::contract;

/// What Prometheus sends.
const OPEN_METRICS: &str =
    "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3\r\n";
const ADMIN: &str = "Authorization: Bearer hunter1\r\n";

#[test]
fn the_endpoints_of_the_contract_are_there() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_SCHEDULE", "every 3h")]);
    for path in ["/healthz", "/readyz", "/metrics", "/api/status", "/api/history", "/api/histories", "/"] {
        assert_eq!(sidecar.get(path).status, 200, "{path}");
    }
    assert_eq!(sidecar.get("/nowhere").status, 404);
    assert_eq!(sidecar.get("/healthz").json()["status"], "ok");
    let status = eventually("the state is shown", || {
        let status = sidecar.get("/api/status").json();
        (status["sites"][0]["state"] == "fresh").then_some(status)
    });
    assert_eq!(status["sites"][0]["site"], "chitai_gorod");
    assert_eq!(status["sites"][0]["token"]["version"].to_string(), world.meta("version").unwrap());
    assert!(status["sites"][0]["next_tick"].is_string(), "{status}");
    let history = sidecar.get("/api/history").json();
    assert_eq!(history["entries"][0]["outcome"], "refreshed");
    assert_eq!(sidecar.get("/api/history?site=other").status, 404);
    let metrics = sidecar.get("/metrics").body;
    for line in [
        "token_sidecar_refreshes_total{site=\"chitai_gorod\",outcome=\"refreshed\"} 1",
        "token_sidecar_token_valid{site=\"chitai_gorod\"} 1",
        "token_sidecar_subscription_up 1",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}:\n{metrics}");
    }
    assert!(sidecar.get("/").body.contains("<html"));
    sidecar.stop().expect(0);
}

/// Prometheus' own parser in Go does not know more types than these.
const TYPES: [&str; 3] = ["counter", "gauge", "histogram"];

#[test]
fn prometheus_reads_the_metrics_in_both_formats() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_GATEWAY", "127.0.0.1:0")]);
    for (accept, parser) in [("", "prometheus_client.parser"), (OPEN_METRICS, "prometheus_client.openmetrics.parser")] {
        let text = sidecar.ask("GET", "/metrics", accept).body;
        let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        assert!(types.iter().all(|(_, kind)| TYPES.contains(kind)), "{types:?}");
        let file = world.write("metrics", &text);
        let read = format!(
            "import sys, {parser} as p; print(*((f.name, f.type) for f in p.text_string_to_metric_families(sys.stdin.read())))"
        );
        let mut python = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/languages"));
        let ran = python.args(["python", "-c", &read]).stdin(File::open(file).unwrap()).output().unwrap();
        assert!(ran.status.success(), "{parser}: {}", String::from_utf8_lossy(&ran.stderr));
        let read = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(read.matches(", '").count(), types.len(), "{read}");
        assert!(read.contains("('token_sidecar_refreshes', 'counter')"), "{read}");
    }
    sidecar.stop().expect(0);
}

#[test]
fn a_refresh_over_http_needs_the_admin_token_and_is_forced() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_ADMIN_TOKEN", "hunter1"), ("SIDECAR_DEBOUNCE", "1h")]);
    let post = |path: &str, headers: &str| sidecar.ask("POST", path, headers).status;
    let path = "/api/sites/chitai_gorod/refresh";
    assert_eq!(post(path, ""), 401);
    assert_eq!(post(path, "Authorization: Bearer hunter\r\n"), 401);
    assert_eq!(post(path, "Authorization: Basic hunter1\r\n"), 401);
    assert_eq!(post("/api/sites/other/refresh", ADMIN), 404);
    assert_eq!(sidecar.ask("GET", path, ADMIN).status, 405);
    assert_eq!(world.solves(), 1);
    assert_eq!(post(&format!("{path}?reason=new%20keys&source=anna"), ADMIN), 202);
    assert_eq!(events.refreshed()["trigger"], "manual");
    let histories = sidecar.get("/api/histories?limit=1").json();
    let history = &histories["histories"][0];
    let entry = &history["entries"][0];
    assert_eq!((&entry["reason"], &entry["reporter"]), (&"new keys".into(), &"anna".into()));
    assert_eq!(history["listening"], 1);
    sidecar.stop().expect(0);
}

#[test]
fn without_an_admin_token_nothing_acts_over_http() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[]);
    let path = "/api/sites/chitai_gorod/refresh";
    for headers in ["", ADMIN, "Authorization: Bearer \r\n"] {
        assert_eq!(sidecar.ask("POST", path, headers).status, 404);
    }
    sidecar.stop().expect(0);
}

#[test]
fn events_are_streamed_as_they_come() {
    let world = World::start();
    let (sidecar, events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let (_head, stream) = sidecar.open("GET", "/api/events", "");
    eventually("it is counted", || {
        sidecar.get("/metrics").body.contains("token_sidecar_event_subscribers 1\n").then_some(())
    });
    world.publish("now");
    let event = events.refreshed();
    let reports = sidecar.get("/api/status").json()["sites"][0]["reports_per_hour"].clone();
    assert_eq!(reports.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 1);
    let mut lines = stream.lines().map(Result::unwrap);
    let sent = lines
        .find_map(|line| {
            let data: serde_json::Value = serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()?;
            (data["event"] == "token:updated").then_some(data)
        })
        .unwrap();
    assert_eq!(sent["version"], event["version"]);
    assert_eq!(contract::event(&sent), Ok(()));
    // A client that stays must not keep the process from ending.
    let ran = sidecar.stop().expect(0);
    assert!(ran.stderr.contains("token-sidecar ends"));
}

#[test]
fn health_is_503_while_redis_is_not_there_from_the_start() {
    let world = World::start();
    let nowhere = crate::support::redis_server::Port::hold();
    let url = format!("redis://127.0.0.1:{}", nowhere.number());
    let sidecar = world.begin(&["run"], &[("REDIS_URL", &url)]);
    sidecar.logs("not subscribed to Redis");
    let health = sidecar.get("/healthz");
    assert_eq!((health.status, &health.json()["status"]), (503, &"unhealthy".into()));
    assert_eq!(sidecar.get("/api/history").status, 503);
    assert_eq!(sidecar.get("/metrics").status, 200);
    sidecar.stop().expect(0);
}

/// Each idle client of this address takes a descriptor, and a lost connection to Redis needs a new one.
pub(crate) fn redis_is_reached_beside_idle_clients(world: &World, sidecar: &Running, address: SocketAddr) {
    let idle: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(address).ok()).collect();
    for kind in ["pubsub", "normal"] {
        let _: i64 = world.ask(&["CLIENT", "KILL", "TYPE", kind]);
    }
    sidecar.logs_times("subscribed channels", 2);
    world.publish("now");
    sidecar.logs_times("token updated", 2);
    drop(idle);
}

#[test]
fn with_few_descriptors_idle_http_clients_leave_enough_for_redis() {
    let world = World::start();
    let under = ["sh", "-c", "ulimit -n 64 && exec \"$@\"", "sh"];
    let sidecar = Running::start(&mut world.command_under(&under, &["run"], &[("SIDECAR_DEBOUNCE", "0s")])).listening();
    sidecar.logs("token updated");
    redis_is_reached_beside_idle_clients(&world, &sidecar, sidecar.address());
    let ran = sidecar.stop().expect(0);
    assert!(!ran.stderr.contains("Too many open files"), "{}", ran.stderr);
}
