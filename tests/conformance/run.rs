//! One scenario with one client.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Client;
use crate::child::Child;
use crate::process::{Running, World, eventually, keys};
use crate::reports::Reports;
use crate::scenario::{Connections, Count, Restart, Scenario, Step};
use crate::support::contract;
use crate::support::proxy::{Network, Proxy};

/// The processes of a scenario.
struct Stage {
    world: World,
    proxy: Proxy,
    reports: Reports,
    sidecars: BTreeMap<String, Running>,
    tokens: BTreeMap<String, String>,
    child: Child,
}

pub(crate) fn run(client: &Client, scenario: &Scenario) {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let reports = Reports::of(&world.redis);
    let child = Child::start(client, &proxy.url());
    let (sidecars, tokens) = (BTreeMap::new(), BTreeMap::new());
    let mut stage = Stage { world, proxy, reports, sidecars, tokens, child };
    for (number, step) in scenario.steps.iter().enumerate() {
        let what = format!("{}, step {}: {step:?}", scenario.name, number + 1);
        stage.step(step, &what);
    }
    stage.child.end();
}

impl Stage {
    fn step(&mut self, step: &Step, what: &str) {
        match step {
            Step::Sidecar { name, env } => {
                let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                self.sidecars.insert(name.clone(), self.world.sidecar(&env));
            }
            Step::Kill(name) => {
                self.sidecars.remove(name).unwrap().kill();
            }
            Step::Stored(name) => {
                let token = eventually("a new token is stored", || {
                    self.world.token().filter(|token| self.tokens.values().all(|known| known != token))
                });
                self.tokens.insert(name.clone(), token);
            }
            Step::Mint(name) => {
                self.tokens.insert(name.clone(), self.world.simulator.mint().token);
            }
            Step::Revoke(name) => {
                assert!(self.world.simulator.revoke(&simulator::fingerprint(&self.tokens[name])), "{what}");
            }
            Step::Faults(faults) => self.world.faults(faults.clone()),
            Step::Solves(count) => self.world.solve_started(*count),
            Step::Redis(restart) => {
                match restart {
                    Restart::Full => self.world.redis.restart_with_data(),
                    Restart::Empty => self.world.redis.restart_empty(),
                }
                self.reports.begin();
            }
            Step::Connections(Connections::Cut) => self.proxy.is(Network::Cut),
            Step::Connections(Connections::Mend) => self.proxy.is(Network::Fine),
            Step::Listeners(count) => {
                let sidecars = i64::try_from(self.sidecars.len()).unwrap();
                eventually(what, || {
                    let subscribers: (String, i64) = self.world.ask(&["PUBSUB", "NUMSUB", keys::UPDATED]);
                    (subscribers.1 == sidecars + count).then_some(())
                });
            }
            Step::Repeat(name) => self.repeat(name),
            Step::Call { times, line } => self.call(*times, line),
            Step::Answer { id, times, ok, error, within, after } => {
                let ok = ok.as_ref().map(|value| self.named(value));
                for id in *id..id + times {
                    let (answer, took) = self.child.answer(id);
                    match (&ok, error) {
                        (Some(ok), None) => assert!(holds(&answer["ok"], ok), "{what}: {answer}, not {ok}"),
                        (None, Some(error)) => assert!(holds(&answer["error"], error), "{what}: {answer}"),
                        _ => assert_eq!(answer.get("ok"), Some(&Value::Null), "{what}"),
                    }
                    let bound = |seconds: &Option<f64>| seconds.map(Duration::from_secs_f64);
                    assert!(bound(within).is_none_or(|most| took <= most), "{what}: {took:?}");
                    assert!(bound(after).is_none_or(|least| took >= least), "{what}: {took:?}");
                }
            }
            Step::Update { id, has } => {
                let has = self.named(has);
                let update = self.child.update(*id, what, |update| holds(update, &has));
                contract::event(&update).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            Step::Reports(count) => self.count(count, what),
        }
    }

    fn call(&mut self, times: u64, line: &Map<String, Value>) {
        let mut line = self.named(&Value::Object(line.clone()));
        let first = line["id"].as_u64().unwrap();
        for id in first..first + times {
            line["id"] = id.into();
            self.child.call(&line);
        }
    }

    fn count(&self, count: &Count, what: &str) {
        if let Some(least) = count.at_least {
            eventually(what, || (self.reports.all(&self.world.redis).len() >= least).then_some(()));
        }
        let reports = self.reports.all(&self.world.redis);
        if let Some(exactly) = count.exactly {
            assert_eq!(reports.len(), exactly, "{what}: {reports:?}");
        }
        let fingerprint = count.fingerprint.as_ref().map_or(Value::Null, |name| self.named(&json!(name)));
        for report in reports {
            assert_eq!(report["fingerprint"], fingerprint, "{what}: {report}");
        }
    }

    /// What a sidecar announces to a parser that reported a token that was replaced by this one.
    fn repeat(&self, name: &str) {
        let fingerprint = simulator::fingerprint(&self.tokens[name]);
        let sample = include_str!("../../contract/samples/updated-repeated.json");
        let mut event: Value = serde_json::from_str(sample).unwrap();
        event["fingerprint"] = fingerprint.into();
        let _: i64 = self.world.ask(&["PUBLISH", keys::UPDATED, &event.to_string()]);
    }

    /// The value with tokens in place of their names.
    fn named(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let named = self.tokens.iter().fold(text.clone(), |text, (name, token)| {
                    let fingerprint = simulator::fingerprint(token);
                    text.replace(&format!("${name}"), token).replace(&format!("#{name}"), &fingerprint)
                });
                named.into()
            }
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), self.named(value))).collect(),
            other => other.clone(),
        }
    }
}

/// Whether it is the wanted value; of an object at least the fields, of a text at least the part.
fn holds(value: &Value, wanted: &Value) -> bool {
    match (value, wanted) {
        (Value::Object(fields), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| fields.get(name).is_some_and(|value| holds(value, wanted)))
        }
        (Value::String(text), Value::String(wanted)) => text.contains(wanted),
        _ => value == wanted,
    }
}
