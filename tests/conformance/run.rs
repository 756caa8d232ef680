//! One scenario with one client.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value, json};

use token_sidecar_client::wire::Product;

use crate::Client;
use crate::child::Child;
use crate::exchange::{Answer, Exchange};
use crate::process::{Running, World, eventually, keys};
use crate::reports::Reports;
use crate::scenario::{Connections, Count, Restart, Scenario, Step, Through};
use crate::support::contract;
use crate::support::proxy::{Network, Proxy};

/// The processes of a scenario.
struct Stage {
    world: World,
    proxy: Proxy,
    reports: Reports,
    sidecars: BTreeMap<String, Running>,
    tokens: BTreeMap<String, String>,
    product: Product,
    parser: Parser,
}

/// The client at work.
enum Parser {
    /// One process, which has all calls.
    OfRedis(Child),
    /// A process for each request.
    OfGateway(Client, BTreeMap<u64, Exchange>),
}

pub(crate) fn run(client: &Client, scenario: &Scenario) {
    let world = World::start();
    let proxy = Proxy::before(world.redis.port());
    let reports = Reports::of(&world.redis);
    let parser = match client.through {
        Through::Redis => Parser::OfRedis(Child::start(client, &proxy.url(), scenario.product)),
        Through::Gateway => Parser::OfGateway(*client, BTreeMap::new()),
    };
    let (sidecars, tokens) = (BTreeMap::new(), BTreeMap::new());
    let mut stage = Stage { world, proxy, reports, sidecars, tokens, product: scenario.product, parser };
    for (number, step) in scenario.steps.iter().enumerate() {
        let what = format!("{}, step {}: {step:?}", scenario.name, number + 1);
        stage.step(step, &what);
    }
    if let Parser::OfRedis(child) = stage.parser {
        child.end();
    }
}

impl Stage {
    fn step(&mut self, step: &Step, what: &str) {
        match step {
            Step::Sidecar { name, env, set } => self.start(name, env, set),
            Step::Kill(name) => {
                self.sidecars.remove(name).unwrap().kill();
            }
            Step::Stored(name) => {
                let token = eventually("a new token is stored", || {
                    self.stored().filter(|token| self.tokens.values().all(|known| known != token))
                });
                if let Some(gateway) = self.gateway() {
                    gateway.logs(&format!("fingerprint={}", simulator::fingerprint(&token)));
                }
                self.tokens.insert(name.clone(), token);
            }
            Step::Mint(name) => {
                self.tokens.insert(name.clone(), self.world.simulator.mint().token);
            }
            // The simulator knows the token in them, and no other.
            Step::Revoke(_) if self.product == Product::Cookies => {
                assert_ne!(self.world.simulator.revoke_all(), 0, "{what}");
            }
            Step::Revoke(name) => {
                assert!(self.world.simulator.revoke(&simulator::fingerprint(&self.tokens[name])), "{what}");
            }
            Step::Faults(faults) => self.world.faults(faults.clone()),
            Step::Solves(count) => {
                self.world.solve_started(*count);
                assert_eq!(self.world.solves(), *count, "{what}");
            }
            Step::Called(count) => {
                self.world.when(what, |all| all.api.started >= *count);
            }
            Step::Redis(restart) => {
                match restart {
                    Restart::Full => self.world.redis.restart_with_data(),
                    Restart::Empty => self.world.redis.restart_empty(),
                }
                self.reports.begin();
            }
            Step::Connections(Connections::Cut) => {
                self.proxy.is(Network::Cut);
                if let Some(gateway) = self.gateway() {
                    gateway.logs("not subscribed to Redis");
                }
            }
            Step::Connections(Connections::Mend) => self.proxy.is(Network::Fine),
            Step::Listeners(count) => {
                let sidecars = i64::try_from(self.sidecars.len()).unwrap();
                eventually(what, || {
                    let subscribers: (String, i64) = self.world.ask(&["PUBSUB", "NUMSUB", keys::UPDATED]);
                    (subscribers.1 == sidecars + count).then_some(())
                });
            }
            Step::Repeat(name) => self.repeat(name),
            Step::Report(name) => {
                let report = json!({ "fingerprint": simulator::fingerprint(&self.tokens[name]) });
                assert_eq!(self.world.publish(report.to_string()), 1, "{what}");
            }
            Step::Call { times, line } => self.call(*times, line),
            Step::Answer { id, times, ok, error, within, after } => {
                let ok = ok.as_ref().map(|value| self.named(value));
                for id in *id..id + times {
                    let (answer, took) = self.child().answer(id);
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
            Step::Request { id, times, path } => self.request(*id..id + times, path),
            Step::Response { id, times, status, headers, body } => {
                for answer in self.responses(*id..id + times) {
                    assert_eq!(answer.status, *status, "{what}: {answer:?}");
                    for (name, value) in headers {
                        let (shown, wanted) = (answer.headers.get(name), value.as_ref());
                        let is_right = match (shown, wanted) {
                            (Some(shown), Some(wanted)) => shown.contains(wanted),
                            _ => shown == wanted,
                        };
                        assert!(is_right, "{what}: {answer:?}");
                    }
                    assert!(body.is_empty() || holds(&answer.json(), &body.clone().into()), "{what}: {answer:?}");
                }
            }
            Step::Update { id, has } => {
                let has = self.named(has);
                let update = self.child().update(*id, what, |update| holds(update, &has));
                contract::event(&update).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            Step::Reports(count) => self.count(count, what),
        }
    }

    fn start(&mut self, name: &str, env: &BTreeMap<String, String>, set: &[String]) {
        let redis = self.proxy.url();
        let mut env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if let Parser::OfGateway(..) = self.parser {
            env.extend([("SIDECAR_GATEWAY", "127.0.0.1:0"), ("REDIS_URL", &redis)]);
        }
        let set = set.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<&str> = ["run"].into_iter().chain(set).collect();
        self.sidecars.insert(name.to_owned(), self.world.begin(&args, &env).listening());
    }

    /// What parsers read.
    fn stored(&self) -> Option<String> {
        match self.product {
            Product::Token => self.world.token(),
            Product::Cookies => self.world.ask(&["GET", keys::COOKIES]),
        }
    }

    fn child(&mut self) -> &mut Child {
        match &mut self.parser {
            Parser::OfRedis(child) => child,
            Parser::OfGateway(client, _) => panic!("{} has no such calls", client.name),
        }
    }

    /// The sidecar whose gateway the client uses.
    fn gateway(&self) -> Option<&Running> {
        self.sidecars.values().next().filter(|_| matches!(self.parser, Parser::OfGateway(..)))
    }

    fn request(&mut self, ids: Range<u64>, path: &str) {
        let address = format!("http://{}/{}{path}", self.gateway().unwrap().gateway(), keys::SITE);
        let Parser::OfGateway(client, exchanges) = &mut self.parser else { panic!("it has calls") };
        exchanges.extend(ids.map(|id| (id, Exchange::begin(client, &address))));
    }

    fn responses(&mut self, ids: Range<u64>) -> Vec<Answer> {
        let Parser::OfGateway(_, exchanges) = &mut self.parser else { panic!("it has calls") };
        ids.map(|id| exchanges.remove(&id).unwrap().end()).collect()
    }

    fn call(&mut self, times: u64, line: &Map<String, Value>) {
        let mut line = self.named(&Value::Object(line.clone()));
        let first = line["id"].as_u64().unwrap();
        for id in first..first + times {
            line["id"] = id.into();
            self.child().call(&line);
        }
    }

    fn count(&self, count: &Count, what: &str) {
        if let Some(gateway) = self.gateway() {
            let wanted = count.exactly.unwrap();
            let received = eventually(what, || Some(received(gateway)).filter(|received| *received >= wanted));
            assert_eq!(received, wanted, "{what}");
            return;
        }
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

/// How many reports a sidecar has received: it counts every trigger once, of which its own start is one.
fn received(sidecar: &Running) -> usize {
    let page = sidecar.get("/metrics").body;
    let lines = page.lines().filter(|line| line.starts_with("token_sidecar_triggers_total{"));
    let counts = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap());
    counts.sum::<usize>().saturating_sub(1)
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
