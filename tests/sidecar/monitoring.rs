//! What is shipped for Prometheus and Grafana, in a real Prometheus that scrapes a sidecar.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use simulator::Faults;

use crate::process::world::text;
use crate::process::{Running, World, eventually, http};
use crate::solver::by_proxy;

fn shipped(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "deploy", name].iter().collect()
}

/// A Prometheus that scrapes one sidecar each second.
struct Prometheus(Running);

impl Prometheus {
    fn start(world: &World, sidecar: &Running) -> Self {
        let settings = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{:?}]\nscrape_configs:\n- job_name: \
             token-sidecar\n  static_configs: [{{targets: [\"{}\"]}}]\n",
            shipped("prometheus/rules.yml"),
            sidecar.address(),
        );
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", text(&world.write("prometheus.yml", &settings))));
        command.arg(format!("--storage.tsdb.path={}", text(&world.path("series"))));
        let running = Running::start(command.arg("--web.listen-address=127.0.0.1:0"));
        running.logs("Server is ready to receive web requests");
        Self(running)
    }

    fn get(&self, path: &str) -> Value {
        let log = self.0.written();
        let line = log.lines().find(|line| line.contains("\"Listening on\"")).unwrap();
        let address = line.rsplit_once("address=").unwrap().1.trim().parse().unwrap();
        http::get(address, path).json()
    }

    /// The series of an expression, once there are some.
    fn series(&self, what: &str, expression: &str) -> Vec<Value> {
        let query = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        eventually(&format!("{what}: {expression} has a value"), || {
            let answer = self.get(&format!("/api/v1/query?query={query}"));
            assert_eq!(answer["status"], "success", "{what}: {expression}: {answer}");
            let series = answer["data"]["result"].as_array().unwrap();
            (!series.is_empty()).then(|| series.clone())
        })
    }
}

/// The metrics of an expression, each with the labels that choose among its series.
fn selectors(expression: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_part) {
        let name = &rest[start..];
        let name = &name[..name.find(|c| !is_part(c)).unwrap_or(name.len())];
        rest = &rest[start + name.len()..];
        let labels = if rest.starts_with('{') { &rest[..=rest.find('}').unwrap()] } else { "" };
        rest = &rest[labels.len()..];
        if name.contains("token_sidecar_") || name.starts_with("process_") {
            found.push(format!("{name}{labels}"));
        }
    }
    found
}

#[test]
fn prometheus_tests_every_alert() {
    let mut tool = Command::new("promtool");
    let ran = tool.args(["test", "rules", "rules_test.yml"]).current_dir(shipped("prometheus")).output().unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}

/// The expressions of the rules and of the dashboard have values, and the dashboard's legends name labels that are there.
#[test]
fn prometheus_has_all_that_the_rules_and_the_dashboard_ask_for() {
    let world = World::start();
    let [(_one, first), (_other, second)] = [(); 2].map(|()| by_proxy(&world.simulator.flaresolverr_url()));
    let (urls, env_file) = (format!("{first}, {second}"), world.path(".env"));
    let file = "[[sites.chitai_gorod.files]]\npath = \"token\"\ntemplate = \"{{ token }}\"\ncommand = [\"true\"]\n";
    world.write("sidecar.toml", file);
    let env = [
        ("FLARESOLVERR_URL", urls.as_str()),
        ("SIDECAR_GATEWAY", "127.0.0.1:0"),
        ("SIDECAR_ENV_FILE", text(&env_file)),
        ("SIDECAR_CONFIG", "sidecar.toml"),
        ("SIDECAR_BACKOFF_INITIAL", "50ms"),
    ];
    // A recovery has a metric once there was one.
    world.faults(Faults { solve_reset: true, ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&env);
    events.failed("solve");
    world.heal();
    events.until("a new token", |event| event["cause"] == "refreshed");
    let prometheus = Prometheus::start(&world, &sidecar);

    let rules = eventually("the rules are evaluated", || {
        let answer = prometheus.get("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules: Vec<Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        rules.iter().all(|rule| rule["health"] == "ok").then_some(rules)
    });
    assert!(rules.len() > 10, "{rules:?}");
    for rule in &rules {
        let (name, expression) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
        for selector in selectors(expression) {
            prometheus.series(name, &selector);
        }
    }

    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(shipped("grafana/dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| Some((panel["title"].as_str()?, panel["targets"].as_array()?)));
    let mut seen = 0;
    for (title, target) in targets.flat_map(|(title, targets)| targets.iter().map(move |target| (title, target))) {
        seen += 1;
        let expression = target["expr"].as_str().unwrap();
        let expression = expression.replace("$__rate_interval", "1m").replace("$site", ".*");
        assert!(!expression.contains('$'), "{title}: {expression}");
        for selector in selectors(&expression) {
            prometheus.series(title, &selector);
        }
        let series = prometheus.series(title, &expression);
        for label in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
            let (label, _) = label.split_once("}}").unwrap();
            assert!(series.iter().all(|one| one["metric"][label].is_string()), "{title}: no label {label}: {series:?}");
        }
    }
    assert!(seen > 25, "{seen}");
    sidecar.stop().expect(0);
}
