//! Looking, claiming, renewing, announcing and vacating.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use token_sidecar::domain::snapshot::Provenance;
use token_sidecar::redis::RedisStore;
use token_sidecar::refresh::ports::{Checked, Lease, Recorded, Store};
use token_sidecar_client::wire::{Event, Fingerprint, Trigger, Updated, UpdatedCause};

use crate::fixture::{
    COOKIES, DAY, LOCK, LOCK_TTL, Listener, META, TOKEN, claimed, commit, digest, failed, id, keys, link, lock_value,
    meta, site, store,
};
use crate::support::redis_server::RedisServer;

fn lock_ttl(server: &RedisServer) -> Duration {
    Duration::from_millis(server.ask::<i64>(&format!("PTTL {LOCK}")).try_into().unwrap())
}

fn is_full(ttl: Duration) -> bool {
    ttl <= LOCK_TTL && ttl > LOCK_TTL - Duration::from_secs(10)
}

#[tokio::test]
async fn an_empty_redis_is_a_site_without_anything() {
    let server = RedisServer::start();
    let store = store(&server);
    let snapshot = store.look().await.unwrap();
    assert_eq!((snapshot.version, &snapshot.current, snapshot.lock, &snapshot.failing), (0, &None, None, &None));
    let time: (i64, i64) = server.ask("TIME");
    assert!((time.0 - snapshot.at.as_second()).abs() <= 1, "the snapshot has Redis' own clock");
    assert!(!store.heartbeat().await.unwrap().has_token);
    assert_eq!(server.ask::<i64>("DBSIZE"), 0, "looking writes nothing");
}

#[tokio::test]
async fn a_token_that_another_program_wrote_is_the_current_one() {
    let server = RedisServer::start();
    let store = store(&server);
    let _: () = server.ask(&format!("SET {TOKEN} foreign EX 100"));
    let _: () = server.ask_words(&["SET", COOKIES, r#"{"a":"b%20c"}"#]);
    let snapshot = store.look().await.unwrap();
    let current = snapshot.current.unwrap();
    assert_eq!((current.token.fingerprint(), current.provenance), (Fingerprint::of("foreign"), Provenance::Foreign));
    let left = current.key_ends_at.unwrap().as_second() - snapshot.at.as_second();
    assert!((98..=100).contains(&left), "{left}");
    assert_eq!(snapshot.version, 0);
    assert!(store.heartbeat().await.unwrap().has_token);
    assert_eq!(current.cookies.get("a"), Some("b%20c"));

    let _: () = server.ask(&format!("PERSIST {TOKEN}"));
    assert_eq!(store.look().await.unwrap().current.unwrap().key_ends_at, None);

    // Ours, until another program overwrites it.
    let seen = claimed(&store, "c").await;
    assert!(matches!(store.record(&commit("c", &seen, "ours")).await.unwrap(), Recorded::Done(_)));
    let Provenance::Sidecar(refresh) = store.look().await.unwrap().current.unwrap().provenance else {
        panic!("the sidecar stored it")
    };
    assert_eq!((refresh.trigger, refresh.source.as_str()), (Trigger::Invalid, "flaresolverr"));
    assert_eq!(refresh.user_agent.as_deref(), Some("Agent/1"));
    let _: () = server.ask(&format!("SET {TOKEN} theirs"));
    assert_eq!(store.look().await.unwrap().current.unwrap().provenance, Provenance::Foreign);
}

#[tokio::test]
async fn a_free_lock_is_taken_and_a_held_one_is_not() {
    let server = RedisServer::start();
    let (one, two) = (store(&server), store(&server));
    let seen = one.look().await.unwrap();
    let Checked::Done(at) = one.claim(&seen.etag, &id("a")).await.unwrap() else { panic!("it was free") };
    assert!(at >= seen.at);
    assert_eq!(server.ask::<String>(&format!("GET {LOCK}")), lock_value("a"));
    assert!(is_full(lock_ttl(&server)));

    let Checked::Changed(now) = two.claim(&seen.etag, &id("b")).await.unwrap() else { panic!("it is held") };
    assert!(is_full(now.lock.unwrap()), "the answer holds the time left");
    assert_eq!(server.ask::<String>(&format!("GET {LOCK}")), lock_value("a"));

    // The answer was lost: on the second try it is still ours, for as long as if it were taken now.
    let _: i64 = server.ask(&format!("PEXPIRE {LOCK} 500"));
    assert!(matches!(one.claim(&seen.etag, &id("a")).await.unwrap(), Checked::Done(_)));
    assert!(is_full(lock_ttl(&server)));
}

/// Redis' clock was set back: the lock of a sidecar that died must not last as long as that step.
#[tokio::test]
async fn a_lock_that_lasts_longer_than_its_value_states_is_shortened() {
    let server = RedisServer::start();
    let store = store(&server);
    claimed(&store, "a").await;
    let _: i64 = server.ask(&format!("PEXPIRE {LOCK} 3600000"));
    assert!(is_full(store.look().await.unwrap().lock.unwrap()));
    assert!(is_full(lock_ttl(&server)));
}

/// Replicas may have different lock TTLs, as while the setting is being changed.
#[tokio::test]
async fn the_lock_of_a_replica_with_a_longer_ttl_is_left_as_it_is() {
    let server = RedisServer::start();
    let own = Duration::from_secs(60);
    let slow = RedisStore::new(link(&server), site(), keys(), own, "two".to_owned());
    let other = store(&server);
    claimed(&slow, "a").await;
    assert!(other.look().await.unwrap().lock.unwrap() > own - Duration::from_secs(10));
    let _: i64 = server.ask(&format!("PEXPIRE {LOCK} 3600000"));
    let left = other.look().await.unwrap().lock.unwrap();
    assert!(left <= own && left > own - Duration::from_secs(10), "{left:?}: its own TTL is the longest");
    assert!(lock_ttl(&server) > own - Duration::from_secs(10));
}

#[tokio::test]
async fn a_lock_that_an_operator_gave_an_end_is_left_as_it_is() {
    let server = RedisServer::start();
    let store = store(&server);
    let _: () = server.ask(&format!("SET {LOCK} deploy:4242 PX 3600000"));
    assert!(store.look().await.unwrap().lock.unwrap() > Duration::from_secs(3_500));
    assert!(lock_ttl(&server) > Duration::from_secs(3_500));
}

#[tokio::test]
async fn a_claim_on_a_state_that_has_changed_is_not_taken() {
    let server = RedisServer::start();
    let store = store(&server);
    let mut seen = store.look().await.unwrap();
    for (change, why) in [
        (vec!["SET", TOKEN, "foreign"], "a token appeared"),
        (vec!["HSET", META, "version", "7"], "a newer version"),
        (vec!["HSET", META, "failures", "1", "retry_at", "2030-01-01T00:00:00Z"], "a failure"),
        (vec!["HSET", META, "retry_at", "2031-01-01T00:00:00Z"], "another retry"),
        (vec!["DEL", TOKEN], "the token is gone"),
    ] {
        let _: i64 = if change[0] == "SET" {
            let _: () = server.ask_words(&change);
            0
        } else {
            server.ask_words(&change)
        };
        let Checked::Changed(now) = store.claim(&seen.etag, &id("c")).await.unwrap() else { panic!("{why}") };
        assert_ne!(now.etag, seen.etag, "{why}");
        assert_eq!(now.lock, None, "{why}");
        seen = now;
    }
    assert!(matches!(store.claim(&seen.etag, &id("c")).await.unwrap(), Checked::Done(_)));
}

#[tokio::test]
async fn of_many_replicas_one_gets_the_lock() {
    let server = RedisServer::start();
    let stores: Vec<_> = (0..20).map(|_| store(&server)).collect();
    let seen = stores[0].look().await.unwrap();
    let mut taken = 0;
    let claims = stores.iter().enumerate().map(|(n, store)| {
        let etag = seen.etag.clone();
        async move { store.claim(&etag, &id(&n.to_string())).await.unwrap() }
    });
    for claim in claims.collect::<Vec<_>>() {
        taken += u32::from(matches!(claim.await, Checked::Done(_)));
    }
    assert_eq!(taken, 1);
}

#[tokio::test]
async fn a_lock_is_renewed_while_it_is_ours() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let _: i64 = server.ask(&format!("PEXPIRE {LOCK} 1000"));
    assert_eq!(store.renew(&id("a"), &seen).await.unwrap(), Lease::Held);
    assert!(is_full(lock_ttl(&server)));
    let _: () = server.ask(&format!("SET {LOCK} b PX 1000"));
    assert_eq!(store.renew(&id("a"), &seen).await.unwrap(), Lease::Lost);
    assert!(lock_ttl(&server) <= Duration::from_secs(1), "another's lock is left alone");
}

#[tokio::test]
async fn a_lock_that_is_gone_is_taken_again_unless_the_work_has_ended() {
    let mut server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    server.restart_empty();
    while store.renew(&id("a"), &seen).await.is_err() {}
    assert_eq!(server.ask::<String>(&format!("GET {LOCK}")), lock_value("a"));
    assert!(is_full(lock_ttl(&server)));

    assert!(matches!(store.record(&commit("a", &seen, "new")).await.unwrap(), Recorded::Done(_)));
    assert_eq!(store.renew(&id("a"), &seen).await.unwrap(), Lease::Lost);
    let newest = store.look().await.unwrap();
    assert_eq!(store.renew(&id("a"), &newest).await.unwrap(), Lease::Lost, "its outcome is known");
    assert_eq!(store.renew(&id("b"), &seen).await.unwrap(), Lease::Lost, "a newer version is stored");
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0);

    // The same after a failure.
    let seen = claimed(&store, "c").await;
    assert!(matches!(store.record(&failed("c", &seen)).await.unwrap(), Recorded::Done(_)));
    assert_eq!(store.renew(&id("c"), &seen).await.unwrap(), Lease::Lost);
    assert_eq!(store.renew(&id("d"), &seen).await.unwrap(), Lease::Lost, "another replica has failed meanwhile");
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0);
}

#[tokio::test]
async fn a_lock_without_an_end_is_given_one() {
    let server = RedisServer::start();
    let store = store(&server);
    let _: () = server.ask(&format!("SET {LOCK} by-hand"));
    let snapshot = store.look().await.unwrap();
    assert_eq!(snapshot.lock, Some(LOCK_TTL));
    assert!(is_full(lock_ttl(&server)));
    // It is set once: looking does not prolong it.
    let _: i64 = server.ask(&format!("PEXPIRE {LOCK} 1000"));
    assert!(store.look().await.unwrap().lock.unwrap() <= Duration::from_secs(1));
    // It lasts no longer where Redis' clock is set back.
    let _: i64 = server.ask(&format!("PEXPIRE {LOCK} 3600000"));
    assert!(is_full(store.look().await.unwrap().lock.unwrap()));
    assert!(is_full(lock_ttl(&server)));
}

#[tokio::test]
async fn vacating_frees_only_our_lock_and_notifies_the_others() {
    let server = RedisServer::start();
    let store = store(&server);
    claimed(&store, "a").await;
    let mut listener = Listener::new(&server);
    store.vacate(&id("b")).await.unwrap();
    assert_eq!(server.ask::<String>(&format!("GET {LOCK}")), lock_value("a"));
    assert!(listener.received(&server).is_empty());
    store.vacate(&id("a")).await.unwrap();
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0);
    assert_eq!(listener.received(&server), [("chitai_gorod:token:canary".to_owned(), "vacated".to_owned())]);
}

fn repeated(fingerprint: &str) -> Event {
    Event::Updated(Updated {
        site: "chitai_gorod".into(),
        cause: UpdatedCause::Repeated,
        version: 7,
        fingerprint: Fingerprint::of(fingerprint).to_string(),
        key: TOKEN.into(),
        ttl: Some(DAY.as_secs()),
        expires_at: None,
        refresh_at: None,
        refreshed_at: None,
        trigger: Trigger::Invalid,
        source: "flaresolverr".into(),
    })
}

#[tokio::test]
async fn the_state_is_announced_while_it_is_true_and_no_refresh_runs() {
    let server = RedisServer::start();
    let store = store(&server);
    let _: () = server.ask(&format!("SET {TOKEN} foreign"));
    let seen = store.look().await.unwrap();
    let before = digest(&server);
    let mut listener = Listener::new(&server);
    let event = repeated("foreign");
    assert!(matches!(store.announce(&seen.etag, &event).await.unwrap(), Checked::Done(_)));
    let sent: Vec<_> = ["token:updated", "chitai_gorod:token:updated"].map(|c| (c.to_owned(), event.to_json())).into();
    assert_eq!(listener.received(&server), sent);
    assert_eq!(digest(&server), before, "an announcement writes nothing");

    let _: () = server.ask(&format!("SET {TOKEN} another"));
    let Checked::Changed(now) = store.announce(&seen.etag, &event).await.unwrap() else { panic!("it has changed") };
    claimed(&store, "a").await;
    assert!(matches!(store.announce(&now.etag, &event).await.unwrap(), Checked::Changed(_)), "a refresh runs");
    assert!(listener.received(&server).is_empty());

    store.publish(&event).await.unwrap();
    assert_eq!(listener.received(&server), sent, "the last resort asks nothing");
}

#[tokio::test]
async fn where_script_is_forbidden_a_script_is_run_by_its_text() {
    let server = RedisServer::start_with(&["rename-command SCRIPT \"\""]);
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    assert!(matches!(store.record(&commit("a", &seen, "new")).await.unwrap(), Recorded::Done(_)));
}

#[tokio::test]
async fn scripts_that_were_flushed_are_loaded_again() {
    let server = RedisServer::start();
    let store = store(&server);
    let flush = || {
        let _: () = server.ask("SCRIPT FLUSH SYNC");
    };
    flush();
    let seen = store.look().await.unwrap();
    flush();
    assert!(matches!(store.claim(&seen.etag, &id("a")).await.unwrap(), Checked::Done(_)));
    flush();
    assert_eq!(store.renew(&id("a"), &seen).await.unwrap(), Lease::Held);
    flush();
    assert!(matches!(store.record(&commit("a", &seen, "new")).await.unwrap(), Recorded::Done(_)));
    let seen = claimed(&store, "b").await;
    flush();
    assert!(matches!(store.record(&failed("b", &seen)).await.unwrap(), Recorded::Done(_)));
    flush();
    store.vacate(&id("b")).await.unwrap();
    assert_eq!(meta(&server, "failures").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_restart_with_data_keeps_what_was_stored() {
    let mut server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let Recorded::Done(stored) = store.record(&commit("a", &seen, "kept")).await.unwrap() else { panic!("stored") };
    server.restart_with_data();
    let after = loop {
        if let Ok(after) = store.look().await {
            break after;
        }
    };
    assert_eq!((after.version, after.fingerprint()), (stored.version, stored.fingerprint()));
    assert_eq!(after.etag, stored.etag);
}
