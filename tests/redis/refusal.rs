//! A refused outcome changes nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use token_sidecar::refresh::ports::{Store, StoreError};

use crate::fixture::{
    COOKIES, HISTORY, LOCK, Listener, META, TOKEN, claimed, commit, config, digest, failed, link_of, store, store_on,
};
use crate::support::redis_server::RedisServer;

/// Commits and fails; both are refused, and neither changes anything.
async fn refused_without_a_trace(server: &RedisServer, url: &str, word: &str) {
    let store = store_on(&link_of(&config(url)));
    let before = digest(server);
    let mut listener = Listener::new(server);
    let seen = store.look().await.unwrap();
    let commit = store.record(&commit("a", &seen, "topsecrettoken")).await.map(|_| ());
    let fail = store.record(&failed("a", &seen)).await.map(|_| ());
    for error in [commit, fail] {
        let Err(StoreError::Refused(error)) = error else { panic!("refused it must be: {error:?}") };
        assert!(error.contains(word), "{error:?} has no {word}");
        assert!(!error.contains("topsecrettoken") && !error.contains("redis.call"), "{error:?}");
    }
    assert_eq!(digest(server), before, "nothing was written");
    assert_eq!(listener.received(server), [], "nothing was announced");
}

#[tokio::test]
async fn a_key_of_another_type_stops_an_outcome_before_anything_is_written() {
    for (key, command) in [
        (META, vec!["SET", META, "x"]),
        (HISTORY, vec!["SET", HISTORY, "x"]),
        (LOCK, vec!["RPUSH", LOCK, "x"]),
        (TOKEN, vec!["RPUSH", TOKEN, "x"]),
        (COOKIES, vec!["RPUSH", COOKIES, "x"]),
    ] {
        let server = RedisServer::start();
        let store = store(&server);
        let seen = claimed(&store, "a").await;
        let _: i64 = server.ask(&format!("DEL {key}"));
        let _: redis::Value = server.ask_words(&command);
        let before = digest(&server);
        let mut listener = Listener::new(&server);
        for answer in [
            store.record(&commit("a", &seen, "new")).await.map(|_| ()),
            store.record(&failed("a", &seen)).await.map(|_| ()),
        ] {
            let Err(StoreError::Refused(error)) = answer else { panic!("{key}: {answer:?}") };
            assert!(error.contains(": WRONGTYPE ") && error.contains(key), "{error}");
        }
        assert_eq!(digest(&server), before, "{key}");
        assert!(listener.received(&server).is_empty(), "{key}");
    }
}

#[tokio::test]
async fn a_full_redis_refuses_and_keeps_what_it_has() {
    let server = RedisServer::start_with(&["maxmemory-policy noeviction"]);
    let _: () = server.ask(&format!("SET {TOKEN} old"));
    let _: () = server.ask("CONFIG SET maxmemory 1mb");
    refused_without_a_trace(&server, &server.url(), "OOM").await;
}

#[tokio::test]
async fn a_replica_refuses() {
    let server = RedisServer::start();
    let _: () = server.ask(&format!("SET {TOKEN} old"));
    let _: () = server.ask("REPLICAOF 127.0.0.1 1");
    refused_without_a_trace(&server, &server.url(), "READONLY").await;
}

#[tokio::test]
async fn a_user_who_may_not_do_all_of_a_commit_does_none_of_it() {
    let server = RedisServer::start();
    let _: () = server.ask(&format!("SET {TOKEN} old"));
    for (rules, why) in [
        ("~* resetchannels +@all", "no channel"),
        ("~* resetchannels &token:* +@all", "the common channels alone"),
        ("~* resetchannels &chitai_gorod:* +@all", "the site's channels alone"),
        ("~* &* +@all -publish", "no publishing"),
        ("~* &* +@all -set", "no SET"),
        ("~* &* +@all -hset", "no HSET"),
        ("~* &* +@all -hdel", "no HDEL"),
        ("~* &* +@all -xadd", "no XADD"),
        ("~* &* +@all -del", "no DEL"),
    ] {
        let mut words = vec!["ACL", "SETUSER", "app", "reset", "on", ">pass"];
        words.extend(rules.split(' '));
        let _: () = server.ask_words(&words);
        let before = digest(&server);
        let mut listener = Listener::new(&server);
        let store = store_on(&link_of(&config(&server.url_with("app:pass@"))));
        let seen = store.look().await.unwrap();
        let answer = store.record(&commit("a", &seen, "new")).await;
        let Err(StoreError::Refused(error)) = answer else { panic!("{why}: {answer:?}") };
        assert!(error.contains(": NOPERM "), "{why}: {error}");
        assert_eq!(digest(&server), before, "{why}: nothing is written");
        assert_eq!(listener.received(&server), [], "{why}: nothing is announced");
        let again = store.record(&commit("a", &seen, "new")).await;
        assert!(again.is_err(), "{why}: {again:?}");
    }
}
