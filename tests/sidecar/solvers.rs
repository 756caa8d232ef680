//! Several solvers of one site.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Faults, RecordedError};

use crate::process::World;
use crate::solver::by_proxy;
use crate::support::proxy::Network;

/// A fault of each kind in front of each of two solvers: a report is answered within one budget, and with a token where
/// one of them works.
#[test]
fn two_solvers_in_any_state_answer_each_report_and_one_that_works_is_found() {
    const FAULTS: [Network; 4] = [Network::Fine, Network::Cut, Network::Silent, Network::Reset];
    let world = World::start();
    let [(one, first), (other, second)] = [(); 2].map(|()| by_proxy(&world.simulator.flaresolverr_url()));
    let urls = format!("{first}, {second}");
    let env = [
        ("FLARESOLVERR_URL", urls.as_str()),
        ("FLARESOLVERR_MAX_TIMEOUT", "4s"),
        ("SIDECAR_BACKOFF_INITIAL", "10m"),
        ("SIDECAR_BACKOFF_MAX", "10m"),
    ];
    let (sidecar, events) = world.ready_sidecar(&env);
    for (of_one, of_other) in FAULTS.into_iter().flat_map(|one| FAULTS.map(|other| (one, other))) {
        one.is(of_one);
        other.is(of_other);
        world.publish("{\"force\": true}");
        let event = events.until("an answer", |event| event["cause"] == "refreshed" || event["cause"] == "attempt");
        let works = [of_one, of_other].contains(&Network::Fine);
        assert_eq!(event["event"], if works { "token:updated" } else { "token:failed" }, "{of_one:?} {of_other:?}");
        // The deadline of a single solver is 75 s later.
        let took = world.history().pop().unwrap()["solve_ms"].parse::<u64>().unwrap();
        assert!(took < 30_000, "{of_one:?} {of_other:?}: {took} ms");
    }
    sidecar.stop().expect(0);
}

/// With the time-outs of production, all at once: a solver that does not answer has half a minute.
#[test]
fn a_parser_that_waits_a_minute_gets_the_token_of_the_second_solver_whatever_the_first_one_does() {
    let blocked = Faults { solve_error: Some(RecordedError::Blocked.into()), ..Faults::default() };
    let hung = Faults { solve_hang: true, ..Faults::default() };
    let slow = Faults { solve_delay: Duration::from_secs(50), ..Faults::default() };
    std::thread::scope(|scope| {
        for (name, network, faults) in [
            ("killed", Network::Cut, Faults::default()),
            ("half open", Network::NoReplies, Faults::default()),
            ("hung", Network::Fine, hung),
            ("slow", Network::Fine, slow),
            ("blocked", Network::Fine, blocked),
        ] {
            scope.spawn(move || {
                let (world, first) = (World::start(), World::start());
                let (proxy, address) = by_proxy(&first.simulator.flaresolverr_url());
                proxy.is(network);
                first.faults(faults);
                let urls = format!("{address} {}", world.simulator.flaresolverr_url());
                let sidecar = world.sidecar(&[("FLARESOLVERR_URL", &urls)]);
                world.call(&["trigger", "--wait"]).expect(0);
                assert_eq!(world.solves(), 1, "{name}");
                let asked_first = first.solves();
                assert_eq!(asked_first, u64::from(network != Network::Cut), "{name}");
                sidecar.stop().expect(0);
            });
        }
    });
}

/// The names of the shop lead nowhere but by its proxy; the solver has to use that too, and is asked without it.
#[test]
fn a_solver_gets_the_way_out_of_the_site() {
    let world = World::start();
    let simulator = &world.simulator;
    let proxy = format!("http://user:hunter2@{}", simulator.address());
    let env = [("CHITAI_GOROD_PROXY_URL", proxy.as_str()), ("CHITAI_GOROD_API_URL", "http://api.shop.test/web/api/v2")];
    world.faults(Faults { proxy_login: Some("user:hunter2".to_owned()), ..Faults::default() });
    let (sidecar, _events) = world.ready_sidecar(&env);
    let statistics = simulator.statistics();
    let way_out = json!({"url": format!("http://{}", simulator.address()), "username": "user", "password": "hunter2"});
    assert_eq!(statistics.solves.last_request["proxy"], way_out);
    assert_eq!((statistics.solves.started, statistics.proxied), (1, 1), "the probe alone goes by it: {statistics:?}");
    sidecar.stop().expect(0);
}

#[test]
fn a_solver_that_has_failed_is_shown_everywhere() {
    let world = World::start();
    let [(dead, first), (_fine, second)] = [(); 2].map(|()| by_proxy(&world.simulator.flaresolverr_url()));
    dead.is(Network::Cut);
    let urls = format!("{first} {second}");
    let (sidecar, _events) = world.ready_sidecar(&[("FLARESOLVERR_URL", &urls)]);
    let address = |url: &str| url.trim_start_matches("http://").trim_end_matches("/v1").to_owned();
    let (dead, fine) = (address(&first), address(&second));
    let status: Value = serde_json::from_str(&sidecar.get("/api/status").body).unwrap();
    let state = |address: &str| {
        let solvers = status["solvers"].as_array().unwrap();
        solvers.iter().find(|solver| solver["address"] == address).unwrap()["state"].clone()
    };
    assert_eq!((state(&dead), state(&fine)), ("open".into(), "closed".into()));
    let metrics = sidecar.get("/metrics").body;
    for line in [
        format!("token_sidecar_solver_state{{solver=\"{dead}\",state=\"open\"}} 1\n"),
        format!("token_sidecar_solver_state{{solver=\"{fine}\",state=\"closed\"}} 1\n"),
    ] {
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let listen = sidecar.address().to_string();
    let here = [("FLARESOLVERR_URL", urls.as_str()), ("SIDECAR_LISTEN", &listen)];
    let shown = world.call_with(&["status"], &here).expect(0);
    assert!(shown.stdout.contains(&format!("solver {dead}  open, left alone for")), "{}", shown.stdout);
    assert!(shown.stdout.contains(&format!("solver {fine}  asked\n")), "{}", shown.stdout);
    let doctor = world.call_with(&["doctor"], &here).expect(1);
    assert!(doctor.stdout.contains(&format!("source flaresolverr at {dead}: ")), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("the sidecar on this machine leaves it alone for"), "{}", doctor.stdout);
    sidecar.stop().expect(0);
}
