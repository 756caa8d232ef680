//! What another program may have put into the keys.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use token_sidecar::domain::snapshot::Provenance;
use token_sidecar::redis::history::latest;
use token_sidecar::refresh::ports::{Recorded, Store, StoreError};

use crate::fixture::{
    COOKIES, HISTORY, LOCK, META, TOKEN, claimed, commit, digest, failed, id, keys, link, meta, store,
};
use crate::support::redis_server::RedisServer;

/// Sets one field of meta.
fn set_meta(server: &RedisServer, field: &str, value: &[u8]) {
    let _: i64 = server.ask_words(&[&b"HSET"[..], META.as_bytes(), field.as_bytes(), value]);
}

/// How many bytes Redis has sent to all clients.
fn bytes_sent(server: &RedisServer) -> u64 {
    let info: String = server.ask("INFO stats");
    let line = info.lines().find_map(|l| l.strip_prefix("total_net_output_bytes:")).unwrap().to_owned();
    line.parse().unwrap()
}

#[tokio::test]
async fn a_value_that_is_no_token_is_no_token() {
    let server = RedisServer::start();
    let store = store(&server);
    let long = vec![b'a'; 8 * 1024 + 1];
    let huge = vec![b'a'; 32 << 20];
    for value in [&b""[..], b" ", b"Bearer ", b"a b", b"\xff\xfe\x00", b"Bearer%20abc", &long, &huge] {
        let _: () = server.ask_words(&[&b"SET"[..], TOKEN.as_bytes(), value]);
        let before = store.look().await.unwrap();
        assert_eq!(before.current, None, "{:?}", &value[..value.len().min(20)]);
        assert!(store.heartbeat().await.unwrap().has_token);
    }
    // It is overwritten like an empty key.
    let seen = claimed(&store, "a").await;
    assert!(matches!(store.record(&commit("a", &seen, "new")).await.unwrap(), Recorded::Done(_)));
    assert_eq!(server.ask::<String>(&format!("GET {TOKEN}")), "new");
}

#[tokio::test]
async fn a_huge_value_is_not_read_and_its_change_is_seen_all_the_same() {
    let server = RedisServer::start();
    let store = store(&server);
    let huge = vec![b'a'; 32 << 20];
    let _: () = server.ask_words(&[&b"SET"[..], TOKEN.as_bytes(), &huge]);
    let before = bytes_sent(&server);
    let first = store.look().await.unwrap();
    assert!(bytes_sent(&server) - before < 1 << 20, "the value stays where it is");
    let _: i64 = server.ask(&format!("APPEND {TOKEN} a"));
    assert_ne!(store.look().await.unwrap().etag, first.etag);
}

#[tokio::test]
async fn a_key_of_another_type_is_named() {
    let server = RedisServer::start();
    let store = store(&server);
    let empty = store.look().await.unwrap();
    for (key, command) in [(TOKEN, "RPUSH"), (COOKIES, "SADD"), (META, "RPUSH"), (LOCK, "SADD"), (HISTORY, "RPUSH")] {
        let _: i64 = server.ask(&format!("{command} {key} x"));
        for answer in [store.look().await.map(|_| ()), store.claim(&empty.etag, &id("a")).await.map(|_| ())] {
            let Err(StoreError::Refused(error)) = answer else { panic!("{key}: {answer:?}") };
            assert!(error.contains("WRONGTYPE") && error.contains(key), "{error}");
        }
        let _: i64 = server.ask(&format!("DEL {key}"));
    }
    store.look().await.unwrap();
}

#[tokio::test]
async fn garbage_in_meta_is_read_as_nothing_and_ends_with_the_next_commit() {
    let long = vec![b'9'; 1 << 20];
    for value in [
        &b""[..],
        b"x",
        b"-1",
        b"1.5",
        b"1e3",
        b"0x10",
        b"nan",
        b"inf",
        b"-inf",
        b" 7",
        b"99999999999999999999",
        b"18446744073709551615",
        b"9007199253692417",
        b"9007199254740993",
        b"\xff\xfe",
        b"\n\"}",
        &long,
    ] {
        let server = RedisServer::start();
        let store = store(&server);
        let shown = String::from_utf8_lossy(&value[..value.len().min(30)]).into_owned();
        let _: () = server.ask(&format!("SET {TOKEN} current"));
        for field in [
            "version",
            "fingerprint",
            "refreshed_ms",
            "refreshed_at",
            "trigger",
            "source",
            "user_agent",
            "failures",
            "retry_at",
            "retry_trigger",
            "retry_stage",
            "last_error",
            "claim",
        ] {
            set_meta(&server, field, value);
        }
        let seen = claimed(&store, "a").await;
        assert_eq!((seen.version, &seen.failing), (0, &None), "{shown:?}");
        assert_eq!(seen.current.as_ref().unwrap().provenance, Provenance::Foreign, "{shown:?}");
        let answer = store.record(&failed("a", &seen)).await.unwrap();
        let Recorded::Done(noted) = answer else { panic!("{shown:?}: {answer:?}") };
        assert_eq!(noted.attempts(), 1, "{shown:?}");

        set_meta(&server, "failures", value);
        set_meta(&server, "version", value);
        let seen = claimed(&store, "b").await;
        let answer = store.record(&commit("b", &seen, "new")).await.unwrap();
        let Recorded::Done(stored) = answer else { panic!("{shown:?}: {answer:?}") };
        assert_eq!(meta(&server, "version"), Some(stored.version.to_string()), "{shown:?}");
        assert!(stored.version > 1_000_000_000_000 && stored.failing.is_none(), "{shown:?}");
    }
}

#[tokio::test]
async fn the_greatest_version_counts_and_the_next_one_is_above_it() {
    let server = RedisServer::start();
    let store = store(&server);
    let greatest = (1 << 53) - (1 << 20);
    set_meta(&server, "version", greatest.to_string().as_bytes());
    let seen = claimed(&store, "a").await;
    assert_eq!(seen.version, greatest);
    assert!(matches!(store.record(&commit("a", &seen, "new")).await.unwrap(), Recorded::Done(_)));
    let version: u64 = meta(&server, "version").unwrap().parse().unwrap();
    assert!(version < greatest && version > 1_795_331_400_000, "what is written can be read: {version}");
    set_meta(&server, "version", (greatest - 2).to_string().as_bytes());
    let seen = claimed(&store, "b").await;
    assert!(matches!(store.record(&commit("b", &seen, "newer")).await.unwrap(), Recorded::Done(_)));
    assert_eq!(meta(&server, "version"), Some((greatest - 1).to_string()), "to the last digit");
}

#[tokio::test]
async fn the_greatest_number_of_failures_can_be_counted_on() {
    let server = RedisServer::start();
    let store = store(&server);
    set_meta(&server, "failures", b"999999999");
    for claim in ["a", "b"] {
        let seen = claimed(&store, claim).await;
        let answer = store.record(&failed(claim, &seen)).await.unwrap();
        let Recorded::Done(noted) = answer else { panic!("{answer:?}") };
        assert_eq!(noted.attempts(), 999_999_998);
    }
}

#[tokio::test]
async fn huge_values_stay_where_they_are() {
    let server = RedisServer::start();
    let (store, link) = (store(&server), link(&server));
    let huge = vec![b'a'; 16 << 20];
    let _: () = server.ask(&format!("SET {TOKEN} current"));
    let _: () = server.ask_words(&[&b"SET"[..], COOKIES.as_bytes(), &huge]);
    for field in ["version", "fingerprint", "source", "user_agent", "retry_at", "last_error"] {
        set_meta(&server, field, &huge);
    }
    let _: String = server.ask_words(&[&b"XADD"[..], HISTORY.as_bytes(), b"*", b"outcome", &huge]);
    for _ in 0..400 {
        let fields = [&b"XADD"[..], HISTORY.as_bytes(), b"*", b"error", &huge[..5000], b"outcome", b"failed"];
        let _: String = server.ask_words(&fields);
    }
    let before = bytes_sent(&server);
    store.look().await.unwrap();
    assert!(bytes_sent(&server) - before < 1 << 17, "{}", bytes_sent(&server) - before);
    let entries = latest(&link, &keys(), 1000).await.unwrap();
    let sent = bytes_sent(&server) - before;
    assert!(sent < 2 << 20, "{sent}");
    assert!(entries.len() > 200 && entries[0].outcome == "failed" && entries[0].error.as_ref().unwrap().len() == 4096);
}

#[tokio::test]
async fn a_lock_lasts_no_longer_than_a_setting_allows() {
    let server = RedisServer::start();
    let store = store(&server);
    for value in ["by hand", "a:px=99999999999999"] {
        let _: () = server.ask_words(&["SET", LOCK, value, "PX", "99999999999999"]);
        let left = store.look().await.unwrap().lock.unwrap();
        assert!(left <= Duration::from_secs(3600), "{value}: {left:?}");
    }
}

#[tokio::test]
async fn failures_are_counted_on_where_the_rest_of_meta_is_garbage() {
    let server = RedisServer::start();
    let store = store(&server);
    set_meta(&server, "failures", b"5");
    set_meta(&server, "retry_at", b"soon");
    let seen = claimed(&store, "a").await;
    assert_eq!(seen.attempts(), 5);
    assert!(seen.failing.as_ref().unwrap().retry_at <= seen.at, "an end that cannot be read has passed");
    let answer = store.record(&failed("a", &seen)).await.unwrap();
    let Recorded::Done(noted) = answer else { panic!("{answer:?}") };
    assert_eq!(noted.attempts(), 6);
}

#[tokio::test]
async fn a_user_agent_that_no_header_can_carry_is_none() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    assert!(matches!(store.record(&commit("a", &seen, "new")).await.unwrap(), Recorded::Done(_)));
    let long = vec![b'x'; 1 << 12];
    for (value, read) in
        [(&b"Agent/2"[..], Some("Agent/2")), (b"a\r\nX: y", None), (b"a\x1b[31m", None), (b"a\0", None), (&long, None)]
    {
        set_meta(&server, "user_agent", value);
        let current = store.look().await.unwrap().current.unwrap();
        assert_eq!(current.refresh().unwrap().user_agent.as_deref(), read, "{:?}", &value[..value.len().min(20)]);
    }
}

#[tokio::test]
async fn cookies_that_are_garbage_are_none() {
    let server = RedisServer::start();
    let store = store(&server);
    let _: () = server.ask(&format!("SET {TOKEN} current"));
    let of_length = |length: usize| [br#"{"a":""#, &b"b".repeat(length - 8)[..], br#""}"#].concat();
    let (longest, too_long) = (of_length(64 * 1024), of_length(64 * 1024 + 1));
    for value in [&b""[..], b"x", b"[1]", b"{\"a\":", b"\xff{}", b"null", &too_long] {
        let _: () = server.ask_words(&[&b"SET"[..], COOKIES.as_bytes(), value]);
        let current = store.look().await.unwrap().current.unwrap();
        assert!(current.cookies.is_empty(), "{:?}", String::from_utf8_lossy(&value[..value.len().min(20)]));
    }
    let _: () = server.ask_words(&[&b"SET"[..], COOKIES.as_bytes(), &longest]);
    assert!(store.look().await.unwrap().current.unwrap().cookies.get("a").is_some());
}

#[tokio::test]
async fn a_lock_that_holds_anything_is_held() {
    let server = RedisServer::start();
    let store = store(&server);
    for value in [&b""[..], b"\xff\xfe", b"a"] {
        let _: () = server.ask_words(&[&b"SET"[..], LOCK.as_bytes(), value, b"PX", b"9000"]);
        let before = digest(&server);
        assert!(store.look().await.unwrap().lock.is_some(), "{value:?}");
        store.vacate(&token_sidecar::refresh::ports::ClaimId("b".into())).await.unwrap();
        assert_eq!(digest(&server), before, "{value:?}");
    }
}

#[tokio::test]
async fn a_history_that_another_program_wrote_into_is_read() {
    let server = RedisServer::start();
    let link = link(&server);
    let add = |fields: &[&[u8]]| -> String {
        let words: Vec<&[u8]> =
            [&b"XADD"[..], HISTORY.as_bytes(), b"*"].into_iter().chain(fields.iter().copied()).collect();
        server.ask_words(&words)
    };
    add(&[b"outcome", b"\xff\xfe", b"version", b"many"]);
    add(&[b"\xff", b"", b"", b"\x00"]);
    let seen = claimed(&store(&server), "a").await;
    assert!(matches!(store(&server).record(&failed("a", &seen)).await.unwrap(), Recorded::Done(_)));
    let entries = latest(&link, &keys(), 10).await.unwrap();
    let outcomes: Vec<_> = entries.iter().map(|entry| entry.outcome.as_str()).collect();
    assert_eq!(outcomes, ["failed", "", "\u{fffd}\u{fffd}"], "the newest first");
    assert_eq!((entries[2].version, entries[0].solve_ms), (None, Some(60_000)));
}
