//! Cluster: the slot of a site's keys moves to another node, and its master dies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use redis::FromRedisValue;
use simulator::Faults;

use crate::example::{Configured, Example, publish, stored, users};
use crate::process::patience::now;
use crate::process::{Events, World, eventually, keys};
use crate::support::cluster::{Cluster, id};
use crate::support::measured::measured;
use crate::support::redis_server::{OBSERVER, RedisServer};

/// The name that the example has for the cookies.
const COOKIES: &str = "{chitai_gorod_token}:cookies";

/// A Cluster with the shipped users.
fn cluster(world: &World) -> Cluster {
    let (user, password) = (format!("masteruser {OBSERVER}"), format!("masterauth {OBSERVER}"));
    let failover = "cluster-node-timeout 2000";
    Cluster::start(&[&users(world), &user, &password, failover, "repl-diskless-sync-delay 0"])
}

fn example<'w>(world: &'w World, cluster: &Cluster) -> Configured<'w> {
    let places = cluster.nodes.iter().zip(["node-1:6379", "node-2:6379", "node-3:6379"]);
    let example = Example::of("cluster.toml").with_password(world);
    places.fold(example, |e, (node, place)| e.with(place, &format!("127.0.0.1:{}", node.port()))).install(world)
}

/// The slot of the site's keys.
fn slot(cluster: &Cluster) -> u16 {
    cluster.nodes[0].ask_words(&["CLUSTER", "KEYSLOT", keys::TOKEN])
}

/// Which of the masters has it at the beginning.
fn owner(cluster: &Cluster) -> usize {
    usize::from(slot(cluster) / 5461)
}

fn ask<T: FromRedisValue>(node: &RedisServer, words: &[&str]) -> T {
    node.ask_words(words)
}

#[test]
fn a_trigger_and_its_outcome_go_by_any_node() {
    let world = World::start();
    let cluster = cluster(&world);
    let example = example(&world, &cluster);
    let (sidecar, _events) = example.main_job(&cluster.nodes[owner(&cluster)]);
    for node in &cluster.nodes {
        let events: Vec<Events> = cluster.nodes.iter().map(Events::of).collect();
        publish(node, "now");
        let versions: Vec<_> = events.iter().map(|events| events.refreshed()["version"].as_u64()).collect();
        assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
    }
    example.call(&["trigger", "--wait"]).expect(0);
    sidecar.stop().expect(0);
}

/// A slot on its way from one node to another.
struct Moving<'c> {
    cluster: &'c Cluster,
    from: &'c RedisServer,
    to: &'c RedisServer,
    slot: String,
}

impl<'c> Moving<'c> {
    /// From now on what is no longer on the old node is read from the new one.
    fn begin(cluster: &'c Cluster) -> Self {
        let from = owner(cluster);
        let (from, to) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
        let slot = slot(cluster).to_string();
        let _: () = ask(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
        let _: () = ask(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
        Self { cluster, from, to, slot }
    }

    fn carry(&self, keys: &[&str]) {
        let port = self.to.port().to_string();
        let head = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "AUTH2", OBSERVER, OBSERVER, "KEYS"];
        let _: String = ask(self.from, &[&head[..], keys].concat());
    }

    /// The new node has all of it, and all nodes know.
    fn end(self) {
        let left: Vec<String> = ask(self.from, &["CLUSTER", "GETKEYSINSLOT", &self.slot, "100"]);
        if !left.is_empty() {
            self.carry(&left.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for node in [self.to, self.from].into_iter().chain(&self.cluster.nodes) {
            let _: () = ask(node, &["CLUSTER", "SETSLOT", &self.slot, "NODE", &id(self.to)]);
        }
    }
}

#[test]
fn a_slot_that_moves_loses_neither_a_token_under_way_nor_a_trigger() {
    let world = World::start();
    let cluster = cluster(&world);
    let example = example(&world, &cluster);
    let (sidecar, _) = example.main_job(&cluster.nodes[owner(&cluster)]);
    let to = &cluster.nodes[(owner(&cluster) + 1) % 3];
    let events = Events::of(to);

    // A refresh is under way; half of the keys are carried when its token comes.
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    publish(to, "now");
    world.solve_started(3);
    let moving = Moving::begin(&cluster);
    moving.carry(&[keys::TOKEN, COOKIES]);
    world.heal();
    sidecar.logs("failed to write the outcome: trying again");

    // All keys are on the new node, but the old one still has the slot: it answers ASK.
    let began = now();
    moving.carry(&[keys::META, keys::LOCK, keys::HISTORY]);
    let event = events.refreshed();
    measured("from the last key's move to the token that waited for it", format!("{:?}", began.elapsed()));
    assert_eq!(world.solves(), 3, "what was fetched is not fetched again");

    // From now on it answers MOVED.
    moving.end();
    stored(to, &event);
    publish(to, "now");
    stored(to, &events.refreshed());
    example.all_is_well();
    sidecar.stop().expect(0);
}

#[test]
fn a_trigger_in_the_midst_of_a_move_is_answered_after_it() {
    let world = World::start();
    let cluster = cluster(&world);
    let example = example(&world, &cluster);
    let (sidecar, _) = example.main_job(&cluster.nodes[owner(&cluster)]);
    let to = &cluster.nodes[(owner(&cluster) + 1) % 3];
    let events = Events::of(to);
    let moving = Moving::begin(&cluster);
    moving.carry(&[keys::TOKEN]);
    publish(to, "now");
    sidecar.logs("Redis did not answer; what is pending stays pending");
    let found = example.call(&["doctor"]).expect(1);
    assert!(found.stdout.contains("TRYAGAIN") && found.stdout.contains("--cluster fix"), "{}", found.stdout);
    let began = now();
    moving.end();
    let event = events.refreshed();
    measured("from the end of the move to the answer", format!("{:?}", began.elapsed()));
    stored(to, &event);
    assert_eq!(world.solves(), 3);
    example.all_is_well();
    sidecar.stop().expect(0);
}

#[test]
fn a_master_that_dies_is_replaced_by_its_replica() {
    let world = World::start();
    let mut cluster = cluster(&world);
    let dying = owner(&cluster);
    cluster.add_replica_of(dying);
    let example = example(&world, &cluster);
    let (sidecar, events) = example.main_job(&cluster.nodes[dying]);
    publish(&cluster.nodes[dying], "now");
    let before = events.refreshed();
    let version = |replica: &RedisServer| {
        let version: Vec<Option<String>> = {
            let mut connection = replica.connection();
            redis::cmd("READONLY").exec(&mut connection).unwrap();
            redis::cmd("HMGET").arg(keys::META).arg("version").query(&mut connection).unwrap()
        };
        version[0].clone()
    };
    eventually("the replica has it", || {
        (version(&cluster.nodes[3]) == Some(before["version"].to_string())).then_some(())
    });
    let began = now();
    cluster.nodes[dying].kill();
    let replica = &cluster.nodes[3];
    let events = Events::of(replica);
    eventually("it takes over", || {
        let role: String = replica.ask("INFO replication");
        role.contains("role:master").then_some(())
    });
    measured("from the master's death to the replica in its place", format!("{:?}", began.elapsed()));
    publish(replica, "now");
    let event = events.until("a new token", |event| event["cause"] == "refreshed");
    measured("from the master's death to a new token", format!("{:?}", began.elapsed()));
    assert!(event["version"].as_u64() > before["version"].as_u64());
    stored(replica, &event);
    example.all_is_well();
    sidecar.stop().expect(0);
}
