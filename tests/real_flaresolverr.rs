//! The main job with a real FlareSolverr and a real browser; the pages are the simulator's.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod process;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use process::{Events, Running, World, eventually_within, http, keys};
use serde_json::Value;
use simulator::Faults;
use support::redis_server::Port;

/// A browser that does not start or answer costs a solve its 30 s, and the retries follow with growing pauses.
const PATIENCE: Duration = Duration::from_secs(300);

/// A real FlareSolverr; its browsers end with it.
struct FlareSolverr {
    running: Option<Running>,
    port: Port,
}

impl FlareSolverr {
    /// Installs what is missing and starts it.
    fn start() -> Self {
        let port = Port::hold();
        let installed = Running::start(&mut script(&["install"])).end_within_minutes();
        assert_eq!(
            installed.code,
            Some(0),
            "a real FlareSolverr cannot be had: `scripts/real-flaresolverr install` prints:\n{}{}",
            installed.stdout,
            installed.stderr
        );
        let running = Running::start(&mut script(&["run", &port.number().to_string()]));
        let address = ([127, 0, 0, 1], port.number()).into();
        let answers = || std::net::TcpStream::connect(address).is_ok() && http::get(address, "/health").status == 200;
        // It starts a browser before it listens.
        eventually_within(PATIENCE, "FlareSolverr answers /health", || answers().then_some(()));
        Self { running: Some(running), port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port.number())
    }

    /// Ends it as a service manager would; its browsers go with it.
    fn stop(mut self) {
        let running = self.running.take().unwrap();
        running.stop();
    }
}

fn script(args: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/real-flaresolverr"));
    command.args(args);
    command
}

/// One FlareSolverr, one page after the other: each solve takes seconds of the whole machine.
#[test]
fn the_main_job_is_done_with_a_real_browser() {
    let solver = FlareSolverr::start();
    let world = World::start();
    let url = solver.url();

    let doctor = world.call_with(&["doctor"], &[("FLARESOLVERR_URL", &url)]).expect(0);
    assert!(doctor.stdout.contains("source flaresolverr: FlareSolverr 3."), "{}", doctor.stdout);

    // The edge answers 403 to a request without the browser's own user agent and cookies.
    world.faults(Faults { require_user_agent: true, ..Faults::default() });
    main_job(&world, &url, "/shop", &[]);
    world.heal();

    // The script sets the cookie after the page has loaded: without a wait there is none.
    main_job(&world, &url, "/shop/late?ms=4500", &["--set", "sites.chitai_gorod.flaresolverr.wait=10s"]);

    main_job(&world, &url, "/shop/challenge", &[]);

    solver.stop();
    let doctor = world.call_with(&["doctor"], &[("FLARESOLVERR_URL", &url)]).expect(1);
    assert!(doctor.stdout.contains("start FlareSolverr"), "{}", doctor.stdout);
}

/// A sidecar with a token that works receives a message and fetches another one.
fn main_job(world: &World, solver: &str, page: &str, args: &[&str]) {
    let old = world.simulator.mint();
    let _: String = world.ask(&["SET", keys::TOKEN, &old.token]);
    let events = Events::of(&world.redis);
    let page_url = world.simulator.url(page);
    let args = [&["run"], args].concat();
    let env = [
        ("FLARESOLVERR_URL", solver),
        ("CHITAI_GOROD_SITE_URL", &page_url),
        ("SIDECAR_DEBOUNCE", "0s"),
        ("SIDECAR_VERIFY", "strict"),
        ("FLARESOLVERR_MAX_TIMEOUT", "30s"),
    ];
    let sidecar = world.begin(&args, &env).listening();
    events.next();
    assert_eq!(world.publish("now"), 1);
    // A real browser fails now and then; the sidecar's own retry is part of the job.
    let is_new = |event: &Value| event["cause"] == "refreshed" && event["trigger"] == "invalid";
    let event = events.until_within(PATIENCE, "a new token", is_new);
    assert_eq!(event["source"], "flaresolverr", "{page}");
    let token = world.token().unwrap();
    assert_ne!(token, old.token, "{page}");
    assert_eq!(event["fingerprint"], simulator::fingerprint(&token), "{page}");
    let cookies: BTreeMap<String, String> =
        serde_json::from_str(&world.ask::<String>(&["GET", keys::COOKIES])).unwrap();
    assert_eq!(cookies["access-token"], format!("Bearer%20{token}"), "{page}: {cookies:?}");
    assert!(world.meta("user_agent").is_some_and(|agent| agent.contains("Chrom")), "{page}");
    let entry = world.history().pop().unwrap();
    assert!(entry["solve_ms"].parse::<u64>().unwrap() > 100, "{page}: a browser takes longer: {entry:?}");
    assert_eq!(world.solves(), 0, "{page}: the simulator's own solver is not asked");
    sidecar.stop().expect(0);
}
