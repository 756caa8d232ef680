//! On a Cluster: the keys of a site share a slot, messages go everywhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use token_sidecar::redis::RedisStore;
use token_sidecar::refresh::ports::{Store, StoreError};
use token_sidecar_client::redis::{Connector, Link, LinkError, RedisConfig, Topology};
use token_sidecar_client::wire::KeyNames;

use crate::fixture::{LOCK_TTL, TestLink, TestStore, config, link_of, parsed, site};
use crate::running::{Intervals, Running};
use crate::sentinel::refreshed;
use crate::support::cluster::Cluster;
use crate::support::redis_server::Port;

fn config_of(cluster: &Cluster, seeds: &[usize]) -> RedisConfig {
    let urls: Vec<String> = seeds.iter().map(|n| cluster.nodes[*n].url()).collect();
    RedisConfig { topology: Topology::Cluster { nodes: parsed(&urls) }, ..config("redis://127.0.0.1:1/") }
}

pub(crate) fn store_in_one_slot(link: &TestLink) -> TestStore {
    let keys = KeyNames { token: "chitai_gorod_token".into(), cookies: "{chitai_gorod_token}:cookies".into() };
    RedisStore::new(Arc::clone(link), site(), keys, LOCK_TTL, "one".to_owned())
}

#[tokio::test]
async fn a_refresh_is_received_on_every_node() {
    let cluster = Cluster::start(&[]);
    let link = link_of(&config_of(&cluster, &[0]));
    assert!(link.connector().is_cluster());
    let store = store_in_one_slot(&link);
    let mut subscription = Vec::new();
    for seed in 0..3 {
        subscription.push(Running::open(&config_of(&cluster, &[seed]), Intervals::PRODUCTION).await);
    }
    refreshed(&store, "a", "one").await;
    for subscription in &subscription {
        subscription.mailbox_until("the outcome", |mailbox| mailbox.outcomes() == 1).await;
    }
    assert_eq!(store.look().await.unwrap().current.unwrap().cookies.get("x"), Some("%2F"));

    // Whichever nodes they listen on, all of them are counted.
    let channels = ["chitai_gorod:token:invalid", "other:token:invalid"].map(str::to_owned);
    let counts = link.subscribers(&channels).await.unwrap();
    assert_eq!(channels.map(|channel| counts[&channel]), [3, 0]);

    // A connection that is dropped ends its tasks.
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    drop(link.connector().commands().await.unwrap());
    let gone = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();

    // Keys that do not share a slot are refused, with nothing written.
    let keys = KeyNames { token: "chitai_gorod_token".into(), cookies: "chitai_gorod_cookies".into() };
    let apart = RedisStore::new(Arc::clone(&link), site(), keys, LOCK_TTL, "one".to_owned());
    let answer = apart.look().await;
    assert!(matches!(&answer, Err(StoreError::Refused(error)) if error.contains("slot")), "{answer:?}");
}

#[tokio::test]
async fn a_node_that_is_cut_off_from_the_others_is_not_listened_to_for_ever() {
    let cluster = Cluster::start(&["cluster-require-full-coverage no"]);
    let subscription = Running::open(&config_of(&cluster, &[0, 1]), Intervals::IMPATIENT).await;
    let listening: String = cluster.nodes[0].ask("CLIENT LIST TYPE pubsub");
    let on = usize::from(listening.is_empty());
    // They forget each other; each goes on answering its clients.
    let name = |n: usize| -> String { cluster.nodes[n].ask("CLUSTER MYID") };
    for other in (0..3).filter(|n| *n != on) {
        let _: () = cluster.nodes[other].ask(&format!("CLUSTER FORGET {}", name(on)));
        let _: () = cluster.nodes[on].ask(&format!("CLUSTER FORGET {}", name(other)));
    }
    let received = async {
        while subscription.observed(|seen| seen.messages.is_empty()) {
            let _: i64 = cluster.nodes[2].ask("PUBLISH chitai_gorod:token:invalid now");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), received).await.unwrap();
    subscription.until("a subscribed node", |seen| seen.connected >= 2).await;
}

#[tokio::test]
async fn a_wrong_password_is_a_refusal_on_a_cluster_too() {
    let cluster = Cluster::start(&["requirepass right"]);
    let mut config = config_of(&cluster, &[0, 1, 2]);
    config.password = Some("wrongsecret".into());
    let link = link_of(&config);
    let Err(LinkError::Denied(error)) = link.connector().commands().await else { panic!("it is refused for good") };
    assert!(!error.contains("wrongsecret"), "{error}");
    let Err(LinkError::Denied(_)) = link.subscribers(&["c".to_owned()]).await else { panic!("it is refused for good") };
    config.password = Some("right".into());
    refreshed(&store_in_one_slot(&link_of(&config)), "a", "one").await;
}

#[tokio::test]
async fn a_replaced_password_is_used_for_the_nodes_of_a_cluster_too() {
    let cluster = Cluster::start(&["user guest on >one ~* &* +@all"]);
    let password = Arc::new(Mutex::new("one"));
    let config = RedisConfig { url: "redis://guest@127.0.0.1:1/".parse().unwrap(), ..config_of(&cluster, &[0, 1, 2]) };
    let read = {
        let (config, password) = (config.clone(), Arc::clone(&password));
        move || Ok(RedisConfig { password: Some((*password.lock().unwrap()).into()), ..config.clone() })
    };
    let connector = Connector::renewed(&read().unwrap(), read).unwrap();
    let link = Arc::new(Link::new(connector));
    let store = store_in_one_slot(&link);
    store.look().await.unwrap();
    *password.lock().unwrap() = "two";
    for node in &cluster.nodes {
        let _: String = node.ask("ACL SETUSER guest resetpass >two");
        let _: i64 = node.ask("CLIENT KILL USER guest");
    }
    let works = async {
        while let Err(error) = store.look().await {
            assert!(matches!(error, StoreError::Away(_)), "{error}");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), works).await.unwrap();
}

#[tokio::test]
async fn a_cluster_of_which_no_node_answers_is_away() {
    let port = Port::hold();
    let nodes = parsed(&[format!("redis://127.0.0.1:{}/", port.number())]);
    let config = RedisConfig { topology: Topology::Cluster { nodes }, ..config("redis://127.0.0.1:1/") };
    let link: Arc<Link> = link_of(&config);
    assert!(matches!(store_in_one_slot(&link).look().await, Err(StoreError::Away(_))));
}
