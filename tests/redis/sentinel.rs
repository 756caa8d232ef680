//! Behind Sentinel: the master is found, and found again after a failover.

use token_sidecar::domain::snapshot::Snapshot;
use token_sidecar::refresh::ports::{Checked, Recorded, Store, StoreError};
use token_sidecar_client::redis::{Connector, LinkError, RedisConfig, Topology};
use token_sidecar_client::wire::{Fingerprint, Trigger};

use crate::fixture::{TestStore, commit, config, id, link_of, parsed, store_on};
use crate::running::{Intervals, Running};
use crate::support::redis_server::RedisServer;
use crate::support::sentinel::{MASTER, sentinel_of};

/// Refreshes as the flow would: tries again while the store is away or refuses.
pub(crate) async fn refreshed(store: &TestStore, claim: &str, token: &str) -> Snapshot {
    let seen = loop {
        let Ok(seen) = store.look().await else { continue };
        match store.claim(&seen.etag, &id(claim)).await {
            Ok(Checked::Done(at)) => break Snapshot { at, ..seen },
            Ok(Checked::Changed(now)) => assert_eq!(now.lock, None, "no other replica works here"),
            Err(_) => {}
        }
    };
    let mut commit = commit(claim, &seen, token);
    loop {
        match store.record(&commit).await {
            Ok(Recorded::Done(stored)) => return stored,
            Ok(Recorded::Clock(now)) => commit.now = now.at,
            Ok(Recorded::Superseded(now)) => panic!("no other replica commits: {now:?}"),
            Err(_) => {}
        }
    }
}

fn by_sentinel(url: &str, sentinel: &RedisServer) -> RedisConfig {
    let topology = Topology::Sentinel { nodes: parsed(&[sentinel.url()]), master: MASTER.into() };
    RedisConfig { topology, ..config(url) }
}

#[tokio::test]
async fn a_refresh_and_its_event_survive_a_failover() {
    let mut master = RedisServer::start();
    let replica_of = format!("replicaof 127.0.0.1 {}", master.port());
    let replica = RedisServer::start_with(&[&replica_of, "repl-diskless-sync-delay 0"]);
    replica.until("INFO replication", |info| info.contains("master_link_status:up"));
    let sentinel = sentinel_of(&master, 1, &[]);
    // The address of the URL is not used.
    let config = by_sentinel("redis://127.0.0.1:1/", &sentinel);
    let subscription = Running::open(&config, Intervals::PRODUCTION).await;
    let store = store_on(&link_of(&config));

    let first = refreshed(&store, "a", "one").await;
    subscription.mailbox_until("the first outcome", |mailbox| mailbox.outcomes() == 1).await;
    replica.until("GET chitai_gorod_token", |token| token == "one");
    sentinel.until("INFO sentinel", |info| info.contains("slaves=1"));

    master.kill();
    subscription.until("the new master", |seen| seen.connected == 2).await;
    assert_eq!(subscription.mailbox().take().implicit, Some(Trigger::Reconnect));
    let second = refreshed(&store, "b", "two").await;
    assert!(second.version > first.version);
    subscription.mailbox_until("the second outcome", |mailbox| mailbox.outcomes() == 2).await;
    assert_eq!(second.fingerprint(), Some(Fingerprint::of("two")));
    assert_eq!(replica.ask::<String>("GET chitai_gorod_token"), "two");
}

#[tokio::test]
async fn the_password_of_the_data_nodes_is_not_sent_to_sentinels() {
    let master = RedisServer::start_with(&["requirepass right", "masterauth right"]);
    let sentinel = sentinel_of(&master, 1, &["sentinel auth-pass mymaster right"]);
    let mut config = by_sentinel("redis://127.0.0.1:1/", &sentinel);
    config.password = Some("wrongsecret".into());
    let answer = store_on(&link_of(&config)).look().await;
    assert!(matches!(&answer, Err(StoreError::Refused(error)) if !error.contains("wrongsecret")), "{answer:?}");
    config.password = Some("right".into());
    refreshed(&store_on(&link_of(&config)), "a", "one").await;
}

#[tokio::test]
async fn sentinels_may_have_a_password_of_their_own_but_all_the_same() {
    let master = RedisServer::start();
    let sentinel = sentinel_of(&master, 1, &["requirepass watch"]);
    let nodes = |passwords: &[&str]| {
        let urls: Vec<_> = passwords.iter().map(|password| sentinel.url_with(&format!(":{password}@"))).collect();
        let topology = Topology::Sentinel { nodes: parsed(&urls), master: MASTER.into() };
        RedisConfig { topology, ..config("redis://127.0.0.1:1/") }
    };
    refreshed(&store_on(&link_of(&nodes(&["watch", "watch"]))), "a", "one").await;
    let Err(LinkError::Config(error)) = Connector::new(&nodes(&["watch", "another"])) else { panic!("they differ") };
    assert!(error.starts_with("redis.sentinel.nodes: ") && !error.contains("another"), "{error}");
}
