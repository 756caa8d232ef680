//! What each answer of a real server means, away or a refusal, and its text.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use redis::PushInfo;
use token_sidecar::refresh::ports::{Store, StoreError};
use token_sidecar_client::redis::{Connector, LinkError};

use crate::cluster::store_in_one_slot;
use crate::fixture::{TestLink, commit, config, id, link, link_of, store, store_on};
use crate::support::redis_server::RedisServer;

async fn ping(link: &TestLink) -> Result<String, LinkError> {
    link.command(&redis::cmd("PING")).await
}

fn away<T: std::fmt::Debug>(answer: Result<T, StoreError>, word: &str) {
    let Err(StoreError::Away(error)) = answer else { panic!("{word} passes: {answer:?}") };
    assert!(error.contains(word), "{error}");
}

fn denied<T: std::fmt::Debug>(answer: Result<T, LinkError>, word: &str) -> String {
    let Err(LinkError::Denied(error)) = answer else { panic!("{word} stays: {answer:?}") };
    assert!(error.contains(word), "{error}");
    error
}

fn ignore(_: PushInfo) {}

#[tokio::test]
async fn wrong_credentials_are_a_refusal_on_either_connection() {
    let server = RedisServer::start_with(&["requirepass right", "user app on >right ~* &* +@all"]);
    for (credentials, word) in [
        ("", "NOAUTH"),
        (":wrongsecret@", "WRONGPASS"),
        ("app:wrongsecret@", "WRONGPASS"),
        ("stranger:wrongsecret@", "WRONGPASS"),
    ] {
        let config = config(&server.url_with(credentials));
        let error = denied(ping(&link_of(&config)).await, word);
        assert!(!error.contains("wrongsecret"), "{error}");
        let word = if credentials.is_empty() { "NOAUTH" } else { "WRONGPASS" };
        let error = denied(Connector::new(&config).unwrap().subscription(ignore).await.map(|_| ()), word);
        assert!(!error.contains("wrongsecret"), "{error}");
    }
    ping(&link_of(&config(&server.url_with("app:right@")))).await.unwrap();
}

#[tokio::test]
async fn a_missing_permission_is_a_refusal_that_names_it() {
    let server = RedisServer::start_with(&["user app on >right ~* resetchannels -@all +ping +hello"]);
    let link = link_of(&config(&server.url_with("app:right@")));
    let answer = link.command::<String>(redis::cmd("GET").arg("k")).await;
    let Err(LinkError::Forbidden(error)) = answer else { panic!("{answer:?}") };
    assert!(error.starts_with(&format!("Redis at 127.0.0.1:{}: ", server.port())), "{error}");
    assert!(error.contains(": NOPERM ") && error.contains("'get'"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_loading_is_away() {
    let mut server = RedisServer::start();
    let fill = "for i = 1, 2000 do redis.call('SET', i, i) end";
    let _: () = server.ask_words(&["EVAL", fill, "0"]);
    let _: String = server.ask("SAVE");
    server.kill();
    // The file is there already; the last line counts.
    let file = server.folder().join("redis.conf");
    let lines = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, lines + "key-load-delay 10000\nloading-process-events-interval-bytes 1024\n").unwrap();
    server.revive_unready();
    let store = store(&server);
    let answer = loop {
        match store.look().await {
            // Its port does not listen yet.
            Err(StoreError::Away(error)) if !error.contains("LOADING") => {}
            other => break other,
        }
    };
    away(answer, "LOADING");
    let connector = Connector::new(&config(&server.url())).unwrap();
    let connected = connector.subscription(ignore).await;
    assert!(!matches!(connected, Err(LinkError::Refused(_))));
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_is_away() {
    let server = RedisServer::start_with(&["busy-reply-threshold 10"]);
    let store = store(&server);
    store.look().await.unwrap();
    let mut busy = server.connection();
    let endless = redis::cmd("EVAL").arg("while true do end").arg(0).get_packed_command();
    busy.send_packed_command(&endless).unwrap();
    let answer = loop {
        match store.look().await {
            Ok(_) => {}
            other => break other,
        }
    };
    away(answer, "BUSY");
    let _: () = server.ask("SCRIPT KILL");
    // The script ends a moment after the answer.
    while store.look().await.is_err() {}
}

#[tokio::test]
async fn a_master_without_its_replicas_is_away() {
    let server = RedisServer::start_with(&["min-replicas-to-write 1"]);
    let store = store(&server);
    let seen = store.look().await.unwrap();
    away(store.claim(&seen.etag, &id("a")).await, "NOREPLICAS");
    away(store.record(&commit("a", &seen, "new")).await, "NOREPLICAS");
}

#[tokio::test]
async fn a_replica_without_its_master_is_away() {
    let server = RedisServer::start();
    let _: () = server.ask("CONFIG SET replica-serve-stale-data no");
    let _: () = server.ask("REPLICAOF 127.0.0.1 1");
    away(store(&server).look().await, "MASTERDOWN");
}

#[tokio::test]
async fn a_cluster_that_is_down_is_away() {
    let bus = crate::support::redis_server::Port::hold();
    let port = format!("cluster-port {}", bus.number());
    let server = RedisServer::start_with(&["cluster-enabled yes", &port]);
    away(store_in_one_slot(&link(&server)).heartbeat().await, "CLUSTERDOWN");
}

#[tokio::test]
async fn a_server_that_has_no_room_for_another_client_is_away() {
    let server = RedisServer::start_with(&["maxclients 1"]);
    let _held = server.connection();
    for _ in 0..20 {
        let answer = ping(&link(&server)).await;
        assert!(matches!(answer, Err(LinkError::Away(_))), "{answer:?}");
        let connector = Connector::new(&config(&server.url())).unwrap();
        let answer = connector.subscription(ignore).await.map(|_| ());
        assert!(matches!(answer, Err(LinkError::Away(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_disk_that_fails_is_a_refusal() {
    let server = RedisServer::start();
    let folder = server.folder().join("gone");
    std::fs::create_dir(&folder).unwrap();
    let _: () = server.ask_words(&["CONFIG", "SET", "dir", folder.to_str().unwrap()]);
    let _: () = server.ask_words(&["CONFIG", "SET", "save", "900 1"]);
    std::fs::remove_dir(&folder).unwrap();
    let _: () = server.ask("SET x y");
    let _: redis::Value = server.ask("BGSAVE");
    server.until("INFO persistence", |info| info.contains("rdb_last_bgsave_status:err"));
    let store = store(&server);
    let seen = store.look().await.unwrap();
    let answer = store.record(&commit("a", &seen, "topsecrettoken")).await;
    let Err(StoreError::Refused(error)) = answer else { panic!("{answer:?}") };
    assert!(error.contains(": MISCONF ") && !error.contains("topsecret"), "{error}");
}

#[tokio::test]
async fn no_error_repeats_what_was_sent() {
    // On an unknown command Redis answers with its arguments: here the user and the password.
    let server = RedisServer::start_with(&[
        "user app on >right ~* &* +@all",
        "rename-command HELLO \"\"",
        "rename-command EVALSHA \"\"",
    ]);
    let config = config(&server.url_with("app:right@"));
    let connector = Connector::new(&config).unwrap();
    let answer = connector.subscription(ignore).await.map(|_| ());
    let Err(LinkError::Away(error)) = answer else { panic!("{answer:?}") };
    assert!(error.contains("HELLO"), "{error}");
    assert!(!error.contains("right") && !error.contains("app"), "{error}");
    let store = store_on(&link_of(&config));
    let answer = store.look().await;
    let Err(StoreError::Refused(error)) = answer else { panic!("{answer:?}") };
    assert!(error.contains("EVALSHA") && !error.contains("chitai_gorod"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named_with_its_setting() {
    let mut files = config("rediss://127.0.0.1:1/");
    files.tls.ca_file = Some("no/such/file".into());
    let Err(LinkError::Config(error)) = Connector::new(&files) else { panic!("there is no such file") };
    assert!(error.starts_with("redis.tls_ca_file = no/such/file: "), "{error}");
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_password() {
    let config = config("redis://u:topsecret@127.0.0.1:1/");
    let connector = Connector::new(&config).unwrap();
    let link = link_of(&config);
    let error = ping(&link).await.unwrap_err();
    for text in [format!("{config:?}"), format!("{connector:?}"), format!("{link:?}"), format!("{error:?} {error}")] {
        assert!(!text.contains("topsecret"), "{text}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_away() {
    let answer = ping(&link_of(&config("redis://no-such-host.invalid:1/"))).await;
    assert!(matches!(answer, Err(LinkError::Away(_))), "{answer:?}");
}

#[tokio::test]
async fn a_dropped_connection_ends_its_tasks() {
    let server = RedisServer::start();
    let connector = Connector::new(&config(&server.url())).unwrap();
    let clients =
        || server.ask::<String>("CLIENT LIST TYPE normal").lines().filter(|l| l.contains("127.0.0.1:")).count();
    let commands = connector.commands().await.unwrap();
    let kept = Arc::new(());
    let held = Arc::clone(&kept);
    let subscription = connector.subscription(move |_| drop(Arc::clone(&held))).await.unwrap();
    assert_eq!((clients(), Arc::strong_count(&kept)), (2, 2));
    drop((commands, subscription));
    let gone = async {
        while clients() > 0 || Arc::strong_count(&kept) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}
