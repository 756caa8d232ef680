//! Sentinel: the master dies, comes back as a replica, and hands over on request.

use serde_json::Value;
use simulator::Faults;

use crate::example::{Configured, Example, publish, stored, users};
use crate::process::patience::now;
use crate::process::{Events, World, eventually};
use crate::support::measured::measured;
use crate::support::redis_server::{OBSERVER, RedisServer};
use crate::support::sentinel::{MASTER, sentinel_of};

/// A master, its replica and the three Sentinels that watch them.
struct Watched {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Watched {
    fn start(world: &World) -> Self {
        let users = users(world);
        let (user, password) = (format!("masteruser {OBSERVER}"), format!("masterauth {OBSERVER}"));
        let common = [users.as_str(), &user, &password, "repl-diskless-sync-delay 0"];
        let master = RedisServer::start_with(&common);
        let replica_of = format!("replicaof 127.0.0.1 {}", master.port());
        let replica = RedisServer::start_with(&[&common[..], &[&replica_of]].concat());
        follows(&replica);
        let user = format!("sentinel auth-user {MASTER} {OBSERVER}");
        let password = format!("sentinel auth-pass {MASTER} {OBSERVER}");
        let sentinels: Vec<RedisServer> = (0..3).map(|_| sentinel_of(&master, 2, &[&user, &password])).collect();
        for sentinel in &sentinels {
            sentinel.until("INFO sentinel", |info| info.contains("slaves=1,sentinels=3"));
        }
        Self { master, replica, sentinels }
    }

    fn example<'w>(&self, world: &'w World) -> Configured<'w> {
        let places = self.sentinels.iter().zip(["sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"]);
        let example = Example::of("sentinel.toml").with_password(world);
        let example = places.fold(example, |e, (s, place)| e.with(place, &format!("127.0.0.1:{}", s.port())));
        example.install(world)
    }
}

/// Waits until it has its master's data.
fn follows(replica: &RedisServer) {
    replica.until("INFO replication", |info| info.contains("role:slave") && info.contains("master_link_status:up"));
}

/// What is published on this server once it is the master: in the same step Sentinel ends all of its connections.
fn events_of_the_promoted(replica: &RedisServer) -> Events {
    eventually("the promotion", || {
        let info: Option<String> = replica.try_words(&["INFO", "replication"]).ok();
        info.filter(|info| info.contains("role:master"))
    });
    Events::of(replica)
}

/// A trigger on this server, which has just become the master, leads to a new token there.
fn answers(server: &RedisServer, events: &Events, before: &Value) -> Value {
    eventually("the trigger is received", || (publish(server, r#"{"force": true}"#) > 0).then_some(()));
    let event = events.until("a new token", |event| event["cause"] == "refreshed");
    assert!(event["version"].as_u64() > before["version"].as_u64(), "{before} {event}");
    stored(server, &event);
    event
}

#[test]
fn a_master_that_dies_is_replaced_and_its_return_changes_nothing() {
    let world = World::start();
    let mut servers = Watched::start(&world);
    let example = servers.example(&world);
    let (sidecar, events) = example.main_job(&servers.master);
    publish(&servers.master, "now");
    let before = events.refreshed();
    eventually("the replica has the token", || (before["version"] == version(&servers.replica)).then_some(()));

    let began = now();
    servers.master.kill();
    let events = events_of_the_promoted(&servers.replica);
    let second = answers(&servers.replica, &events, &before);
    measured("from the master's death to a new token on the new one", format!("{:?}", began.elapsed()));
    example.all_is_well();

    // It comes back as a master without data, and the Sentinels make it a replica.
    servers.master.revive();
    follows(&servers.master);
    let third = answers(&servers.replica, &events, &second);
    eventually("the returned has the token", || (third["version"] == version(&servers.master)).then_some(()));
    example.all_is_well();
    sidecar.stop().expect(0);
}

#[test]
fn a_failover_that_is_requested_in_mid_solve_loses_nothing() {
    let world = World::start();
    let servers = Watched::start(&world);
    let example = servers.example(&world);
    let (sidecar, _) = example.main_job(&servers.master);
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    publish(&servers.master, "now");
    world.solve_started(3);
    let began = now();
    let _: String = servers.sentinels[0].ask(&format!("SENTINEL FAILOVER {MASTER}"));
    let events = events_of_the_promoted(&servers.replica);
    eventually("it listens to the new master", || (publish(&servers.replica, "now") > 0).then_some(()));
    // And not only ten seconds later, when the old master is made a replica.
    sidecar.logs("the Sentinels name another master");
    measured("from the order to the new master being listened to", format!("{:?}", began.elapsed()));
    world.heal();
    let event = events.until("the token that was under way", |event| event["cause"] == "refreshed");
    stored(&servers.replica, &event);
    assert_eq!(world.solves(), 3, "what was under way is stored, and answers both");
    follows(&servers.master);
    answers(&servers.replica, &events, &event);
    example.all_is_well();
    sidecar.stop().expect(0);
}

fn version(server: &RedisServer) -> Value {
    let version: Option<u64> = server.ask("HGET {chitai_gorod_token}:meta version");
    version.into()
}
