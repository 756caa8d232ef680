//! How a refresh ends: `commit` and `fail`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use token_sidecar::domain::lifetime::later;
use token_sidecar::domain::snapshot::Snapshot;
use token_sidecar::refresh::ports::{AttemptEnd, Checked, KeyTtl, Record, Recorded, Store, StoreError};
use token_sidecar_client::wire::{Fingerprint, Stage};

use crate::fixture::{
    COOKIES, DAY, HISTORY, LOCK, Listener, META, TOKEN, claimed, commit, digest, failed, history, id, lock_value, meta,
    new_token, outcomes, store,
};
use crate::support::redis_server::RedisServer;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap().to_string()
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn ttl_of(server: &RedisServer, key: &str) -> i64 {
    server.ask(&format!("PTTL {key}"))
}

#[tokio::test]
async fn a_commit_writes_announces_and_frees_the_lock() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let mut listener = Listener::new(&server);
    let mut commit = commit("a", &seen, "abc.def");
    new_token(&mut commit).event.expires_at = Some(at("2036-11-24T05:53:05Z"));
    new_token(&mut commit).event.refresh_at = Some(at("2036-11-22T09:00:00Z"));
    let Recorded::Done(stored) = store.record(&commit).await.unwrap() else { panic!("it is to be stored") };

    assert_eq!(server.ask::<String>(&format!("GET {TOKEN}")), "abc.def");
    assert_eq!(server.ask::<String>(&format!("GET {COOKIES}")), r#"{"access-token":"Bearer%20abc.def","x":"%2F"}"#);
    for key in [TOKEN, COOKIES] {
        let ttl = ttl_of(&server, key);
        assert!((86_390_000..=86_400_000).contains(&ttl), "{key}: {ttl}");
    }
    assert_eq!(ttl_of(&server, META), -1, "the version outlives the token");
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0);
    let ends_at = |snapshot: &Snapshot| snapshot.current.as_ref().and_then(|current| current.key_ends_at);
    // Redis reads its clock once for a script's TTLs, and again for TIME.
    let off = ends_at(&stored).unwrap().as_millisecond() - later(stored.at, DAY).as_millisecond();
    assert!(off.abs() < 1_000, "{off}");
    let look = store.look().await.unwrap();
    let mut known = stored.clone();
    (known.at, known.current.as_mut().unwrap().key_ends_at) = (look.at, ends_at(&look));
    assert_eq!(known, look, "the answer is the state");

    let version = stored.version.to_string();
    assert!(stored.version >= u64::try_from(seen.at.as_millisecond()).unwrap(), "Redis' own time in ms");
    let fingerprint = Fingerprint::of("abc.def").to_string();
    for (field, value) in [
        ("version", version.as_str()),
        ("fingerprint", &fingerprint),
        ("refreshed_at", &second(seen.at)),
        ("expires_at", "2036-11-24T05:53:05Z"),
        ("trigger", "invalid"),
        ("source", "flaresolverr"),
        ("user_agent", "Agent/1"),
        ("proxy", &Fingerprint::of("proxy.test:3128").to_string()),
        ("failures", "0"),
    ] {
        assert_eq!(meta(&server, field).as_deref(), Some(value), "{field}");
    }
    let entry = pairs(&[
        ("outcome", "refreshed"),
        ("version", &version),
        ("trigger", "invalid"),
        ("source", "flaresolverr"),
        ("solve_ms", "1500"),
        ("extract_ms", "2"),
        ("verify_ms", "30"),
        ("instance", "one"),
        ("reason", "401 again"),
        ("reporter", "parser-1"),
        ("fingerprint", &fingerprint),
    ]);
    assert_eq!(history(&server), [entry]);

    let message = format!(
        concat!(
            r#"{{"event":"token:updated","site":"chitai_gorod","cause":"refreshed","version":{},"#,
            r#""fingerprint":"{}","key":"chitai_gorod_token","ttl":86400,"#,
            r#""expires_at":"2036-11-24T05:53:05Z","refresh_at":"2036-11-22T09:00:00Z","refreshed_at":"{}","#,
            r#""trigger":"invalid","source":"flaresolverr"}}"#
        ),
        version,
        fingerprint,
        second(seen.at)
    );
    let sent = [("token:updated", message.as_str()), ("chitai_gorod:token:updated", &message)];
    assert_eq!(listener.received(&server), pairs(&sent));
    let now = store.look().await.unwrap();
    assert_eq!(
        (stored.etag, stored.version, stored.lock),
        (now.etag, now.version, None),
        "the answer is the state after it"
    );
}

#[tokio::test]
async fn a_read_of_the_key_on_the_message_gives_this_version_or_a_later_one() {
    const COMMITS: usize = 300;
    let server = RedisServer::start();
    let store = store(&server);
    let mut reader = server.connection();
    let mut subscription = server.connection();
    subscription.send_packed_command(&redis::cmd("SUBSCRIBE").arg("token:updated").get_packed_command()).unwrap();
    subscription.recv_response().unwrap();
    let checking = std::thread::spawn(move || {
        for _ in 0..COMMITS {
            let (_, _, message): (String, String, String) =
                redis::from_redis_value(subscription.recv_response().unwrap()).unwrap();
            let message: serde_json::Value = serde_json::from_str(&message).unwrap();
            let (token, version): (String, u64) =
                redis::pipe().atomic().get(TOKEN).hget(META, "version").query(&mut reader).unwrap();
            let known = message["version"].as_u64().unwrap();
            assert!(version >= known, "read {version} after {known}");
            let same = Fingerprint::of(&token).to_string() == message["fingerprint"].as_str().unwrap();
            assert!(same || version > known);
        }
    });
    let mut last = 0;
    for n in 0..COMMITS {
        let claim = n.to_string();
        let seen = claimed(&store, &claim).await;
        let Recorded::Done(stored) = store.record(&commit(&claim, &seen, &format!("token-{n}"))).await.unwrap() else {
            panic!("it is to be stored")
        };
        assert!(stored.version > last);
        last = stored.version;
    }
    checking.join().unwrap();
}

#[tokio::test]
async fn a_commit_that_is_repeated_is_done_once() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let commit = commit("a", &seen, "new");
    let Recorded::Done(first) = store.record(&commit).await.unwrap() else { panic!("it is to be stored") };
    let before = digest(&server);
    let mut listener = Listener::new(&server);
    let Recorded::Done(second) = store.record(&commit).await.unwrap() else { panic!("it was stored") };
    assert_eq!((first.version, first.etag), (second.version, second.etag));
    assert_eq!(digest(&server), before);
    assert!(listener.received(&server).is_empty(), "nothing is published twice");
    // Not even while another replica holds the lock.
    claimed(&store, "b").await;
    assert!(matches!(store.record(&commit).await.unwrap(), Recorded::Done(_)));
    assert_eq!(server.ask::<String>(&format!("GET {LOCK}")), lock_value("b"));
}

#[tokio::test]
async fn a_late_commit_is_fenced_off_by_a_newer_version() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "late").await;
    let _: i64 = server.ask(&format!("DEL {LOCK}"));
    let theirs = claimed(&store, "quick").await;
    let Recorded::Done(stored) = store.record(&commit("quick", &theirs, "newer")).await.unwrap() else {
        panic!("no other replica has stored")
    };
    let before: Vec<Option<String>> = [TOKEN, COOKIES].map(|k| server.ask(&format!("GET {k}"))).into();
    let fields: Vec<(String, String)> = server.ask(&format!("HGETALL {META}"));
    let mut listener = Listener::new(&server);
    let Recorded::Superseded(now) = store.record(&commit("late", &seen, "older")).await.unwrap() else {
        panic!("the fence is down")
    };
    assert_eq!((now.version, now.fingerprint()), (stored.version, Some(Fingerprint::of("newer"))));
    let after: Vec<Option<String>> = [TOKEN, COOKIES].map(|k| server.ask(&format!("GET {k}"))).into();
    assert_eq!(after, before);
    assert_eq!(server.ask::<Vec<(String, String)>>(&format!("HGETALL {META}")), fields);
    assert!(listener.received(&server).is_empty(), "it announces nothing");
    assert_eq!(outcomes(&server), ["refreshed", "superseded"]);
    assert_eq!(history(&server)[1][1], ("version".to_owned(), stored.version.to_string()));
}

#[tokio::test]
async fn a_late_commit_without_its_lock_counts_while_no_other_is_stored() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "late").await;
    let _: () = server.ask(&format!("SET {LOCK} another PX 9000"));
    assert!(matches!(store.record(&commit("late", &seen, "late")).await.unwrap(), Recorded::Done(_)));
    assert_eq!(server.ask::<String>(&format!("GET {LOCK}")), "another", "a lock is freed by its holder alone");
}

#[tokio::test]
async fn a_redis_that_came_back_empty_counts_as_version_0() {
    let mut server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let Recorded::Done(first) = store.record(&commit("a", &seen, "one")).await.unwrap() else { panic!("stored") };
    let seen = claimed(&store, "b").await;
    server.restart_empty();
    let mut commit = commit("b", &seen, "two");
    new_token(&mut commit).minimum_version = first.version + 1_000_000_000;
    let stored = loop {
        match store.record(&commit).await {
            Ok(Recorded::Done(stored)) => break stored,
            Ok(Recorded::Clock(now)) => commit.now = now.at,
            Ok(Recorded::Superseded(_)) => panic!("an empty Redis has nothing newer"),
            Err(_) => {}
        }
    };
    assert_eq!(stored.version, new_token(&mut commit).minimum_version + 1, "above all that this process has seen");
}

#[tokio::test]
async fn a_version_is_above_the_stored_one_even_where_the_clock_is_behind() {
    let server = RedisServer::start();
    let store = store(&server);
    let ahead = 9_000_000_000_000_u64;
    let _: i64 = server.ask(&format!("HSET {META} version {ahead}"));
    let seen = claimed(&store, "a").await;
    assert_eq!(seen.version, ahead);
    let Recorded::Done(stored) = store.record(&commit("a", &seen, "new")).await.unwrap() else { panic!("stored") };
    assert_eq!(stored.version, ahead + 1);
}

#[tokio::test]
async fn an_outcome_under_a_wrong_clock_is_refused_with_the_right_one() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let before = digest(&server);
    let mut listener = Listener::new(&server);
    for off in [-5_000, 5_000] {
        let wrong = Timestamp::from_millisecond(seen.at.as_millisecond() + off).unwrap();
        let mut commit = commit("a", &seen, "new");
        commit.now = wrong;
        let Recorded::Clock(now) = store.record(&commit).await.unwrap() else { panic!("the clock is off by {off} ms") };
        assert!(now.at >= seen.at && now.at.as_second() - seen.at.as_second() <= 2);
        let mut failed = failed("a", &seen);
        failed.now = wrong;
        assert!(matches!(store.record(&failed).await.unwrap(), Recorded::Clock(_)), "the clock is off by {off} ms");
    }
    assert_eq!(digest(&server), before, "the lock included");
    assert!(listener.received(&server).is_empty());
}

#[tokio::test]
async fn adopting_keeps_the_ttl_that_the_key_has() {
    for (written, ttl) in [("foreign", 100_000), ("Bearer foreign", 100_000), (" bearer  foreign\n", 100_000)] {
        let server = RedisServer::start();
        let store = store(&server);
        let _: () = server.ask_words(&["SET", TOKEN, written, "PX", &ttl.to_string()]);
        let seen = claimed(&store, "a").await;
        let mut commit = commit("a", &seen, "foreign");
        new_token(&mut commit).ttl = KeyTtl::Kept(DAY);
        let Recorded::Done(_) = store.record(&commit).await.unwrap() else { panic!("{written:?} is the same token") };
        for key in [TOKEN, COOKIES] {
            let left = ttl_of(&server, key);
            assert!((ttl - 10_000..=ttl).contains(&left), "{key}: {left}");
        }
        assert_eq!(server.ask::<String>(&format!("GET {TOKEN}")), "foreign", "the bare token");
    }
}

#[tokio::test]
async fn adopting_gives_a_ttl_to_a_key_without_one_and_stops_at_another_token() {
    let server = RedisServer::start();
    let store = store(&server);
    let _: () = server.ask(&format!("SET {TOKEN} foreign"));
    let seen = claimed(&store, "a").await;
    let mut commit = commit("a", &seen, "foreign");
    new_token(&mut commit).ttl = KeyTtl::Kept(DAY);
    assert!(matches!(store.record(&commit).await.unwrap(), Recorded::Done(_)));
    assert!((86_390_000..=86_400_000).contains(&ttl_of(&server, TOKEN)));

    let seen = claimed(&store, "b").await;
    let _: () = server.ask(&format!("SET {TOKEN} yet-another"));
    commit.claim = id("b");
    commit.version_at_claim = seen.version;
    let mut listener = Listener::new(&server);
    assert!(matches!(store.record(&commit).await.unwrap(), Recorded::Superseded(_)));
    assert_eq!(server.ask::<String>(&format!("GET {TOKEN}")), "yet-another");
    assert!(listener.received(&server).is_empty());
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0);
}

#[tokio::test]
async fn a_failure_is_noted_announced_and_frees_the_lock() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let mut listener = Listener::new(&server);
    let failed = failed("a", &seen);
    let Recorded::Done(noted) = store.record(&failed).await.unwrap() else { panic!("it is to be noted") };

    let AttemptEnd::Failure(event) = &failed.end else { panic!("a token") };
    let failing = noted.failing.clone().unwrap();
    assert_eq!((failing.attempts, failing.retry_at), (1, event.retry_at));
    assert_eq!((failing.trigger, failing.stage), (event.trigger, Stage::Solve));
    assert_eq!(failing.error, "FlareSolverr: timeout after 60 s");
    let retry_at = event.retry_at.to_string();
    for (field, value) in [
        ("failures", "1"),
        ("retry_at", retry_at.as_str()),
        ("retry_trigger", "schedule"),
        ("retry_stage", "solve"),
        ("last_error", "FlareSolverr: timeout after 60 s"),
    ] {
        assert_eq!(meta(&server, field).as_deref(), Some(value), "{field}");
    }
    let message = format!(
        concat!(
            r#"{{"event":"token:failed","site":"chitai_gorod","cause":"attempt","stage":"solve","#,
            r#""error":"FlareSolverr: timeout after 60 s","attempt":1,"retry_at":"{}","valid_until":null,"#,
            r#""trigger":"schedule"}}"#
        ),
        retry_at
    );
    let sent = [("token:failed", message.as_str()), ("chitai_gorod:token:failed", &message)];
    assert_eq!(listener.received(&server), pairs(&sent));
    let entry = pairs(&[
        ("outcome", "failed"),
        ("trigger", "schedule"),
        ("source", "flaresolverr,http"),
        ("solve_ms", "60000"),
        ("extract_ms", "0"),
        ("verify_ms", "0"),
        ("instance", "one"),
        ("stage", "solve"),
        ("error", "FlareSolverr: timeout after 60 s"),
    ]);
    assert_eq!(history(&server), [entry]);
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0);
    assert_eq!(server.ask::<i64>(&format!("EXISTS {TOKEN}")), 0);

    // Called again, as after a lost answer.
    let before = digest(&server);
    assert!(matches!(store.record(&failed).await.unwrap(), Recorded::Done(_)));
    assert_eq!(digest(&server), before);
    assert!(listener.received(&server).is_empty());
}

#[tokio::test]
async fn failures_are_counted_until_a_token_is_stored() {
    let server = RedisServer::start();
    let store = store(&server);
    for attempt in 1..=3 {
        let claim = format!("f{attempt}");
        let seen = claimed(&store, &claim).await;
        assert!(matches!(store.record(&failed(&claim, &seen)).await.unwrap(), Recorded::Done(_)));
        assert_eq!(store.look().await.unwrap().attempts(), attempt);
    }
    let seen = claimed(&store, "a").await;
    let Recorded::Done(stored) = store.record(&commit("a", &seen, "new")).await.unwrap() else { panic!("stored") };
    assert_eq!(stored.failing, None);
    for field in ["retry_at", "last_error", "retry_trigger", "retry_stage"] {
        assert_eq!(meta(&server, field), None, "{field}");
    }
}

#[tokio::test]
async fn a_failure_is_dropped_where_another_replica_has_the_site() {
    let server = RedisServer::start();
    let store = store(&server);

    // Another replica works on it.
    let seen = claimed(&store, "a").await;
    let _: () = server.ask(&format!("SET {LOCK} {} PX 9000", lock_value("b")));
    let before = digest(&server);
    let mut listener = Listener::new(&server);
    assert!(matches!(store.record(&failed("a", &seen)).await.unwrap(), Recorded::Superseded(_)));
    assert_eq!(digest(&server), before);

    // Another replica has failed meanwhile.
    assert!(matches!(store.record(&failed("b", &seen)).await.unwrap(), Recorded::Done(_)));
    listener.received(&server);
    let before = digest(&server);
    assert!(matches!(store.record(&failed("a", &seen)).await.unwrap(), Recorded::Superseded(_)));
    assert_eq!(digest(&server), before);

    // Another replica has stored a newer token.
    let seen = claimed(&store, "c").await;
    let _: i64 = server.ask(&format!("HSET {META} version 9000000000000"));
    assert!(matches!(store.record(&failed("c", &seen)).await.unwrap(), Recorded::Superseded(_)));
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0, "but the lock is freed");
    assert!(listener.received(&server).is_empty());
    assert_eq!(outcomes(&server), ["failed"]);
}

#[tokio::test]
async fn a_failure_without_its_lock_is_noted_while_no_other_replica_works_on_it() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let _: i64 = server.ask(&format!("DEL {LOCK}"));
    assert!(matches!(store.record(&failed("a", &seen)).await.unwrap(), Recorded::Done(_)));
}

#[tokio::test]
async fn the_history_is_capped() {
    let server = RedisServer::start();
    let store = store(&server);
    let fill = "for i = 1, 3000 do redis.call('XADD', KEYS[1], '*', 'outcome', 'old') end";
    let _: () = server.ask_words(&["EVAL", fill, "1", HISTORY]);
    for n in 0..150 {
        let claim = format!("a{n}");
        let seen = claimed(&store, &claim).await;
        assert!(matches!(store.record(&commit(&claim, &seen, "new")).await.unwrap(), Recorded::Done(_)));
    }
    let length: i64 = server.ask(&format!("XLEN {HISTORY}"));
    assert!((1000..1200).contains(&length), "{length}");
    assert_eq!(outcomes(&server).last().map(String::as_str), Some("refreshed"));
}

#[tokio::test]
async fn a_history_with_the_last_possible_id_stops_no_outcome() {
    let server = RedisServer::start();
    let store = store(&server);
    let greatest = u64::MAX;
    let _: String = server.ask(&format!("XADD {HISTORY} {greatest}-{greatest} outcome old"));
    let mut listener = Listener::new(&server);
    let seen = claimed(&store, "a").await;
    assert!(matches!(store.record(&failed("a", &seen)).await.unwrap(), Recorded::Done(_)));
    let seen = claimed(&store, "b").await;
    let Recorded::Done(stored) = store.record(&commit("b", &seen, "new")).await.unwrap() else {
        panic!("it is stored")
    };
    assert_eq!(stored.fingerprint(), Some(Fingerprint::of("new")));
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0);
    assert_eq!(listener.received(&server).len(), 4, "each is announced on two channels");
    let late = Record { version_at_claim: 0, ..commit("c", &seen, "late") };
    assert!(matches!(store.record(&late).await.unwrap(), Recorded::Superseded(_)));
    assert_eq!(outcomes(&server), ["old"]);
}

#[tokio::test]
async fn two_late_holders_store_one_token() {
    let server = RedisServer::start();
    let stores = [store(&server), store(&server)];
    for round in 0..50 {
        let seen = stores[0].look().await.unwrap();
        let commits = [commit(&format!("a{round}"), &seen, "one"), commit(&format!("b{round}"), &seen, "two")];
        let answers = tokio::join!(stores[0].record(&commits[0]), stores[1].record(&commits[1]));
        let stored = [answers.0.unwrap(), answers.1.unwrap()]
            .into_iter()
            .filter(|answer| matches!(answer, Recorded::Done(_)))
            .count();
        assert_eq!(stored, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_done() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    let mut listener = Listener::new(&server);
    // The server works, but its answers come too late for the first call.
    let lost = {
        server.freeze();
        tokio::time::pause();
        let lost = store.record(&commit("a", &seen, "new")).await;
        tokio::time::resume();
        server.thaw();
        lost
    };
    assert!(matches!(lost, Err(StoreError::Away(_))), "{lost:?}");
    let mut again = commit("a", &seen, "new");
    let stored = loop {
        match store.record(&again).await.unwrap() {
            Recorded::Done(stored) => break stored,
            Recorded::Clock(now) => again.now = now.at,
            Recorded::Superseded(_) => panic!("it is its own commit"),
        }
    };
    assert_eq!(stored.fingerprint(), Some(Fingerprint::of("new")));
    assert_eq!(listener.received(&server).len(), 2, "one message on each channel");
    assert_eq!(outcomes(&server), ["refreshed"]);
}

#[tokio::test]
async fn a_claim_that_is_repeated_after_its_outcome_is_not_taken() {
    let server = RedisServer::start();
    let store = store(&server);
    let seen = claimed(&store, "a").await;
    assert!(matches!(store.record(&commit("a", &seen, "new")).await.unwrap(), Recorded::Done(_)));
    assert!(matches!(store.claim(&seen.etag, &id("a")).await.unwrap(), Checked::Changed(_)));
    assert_eq!(server.ask::<i64>(&format!("EXISTS {LOCK}")), 0);
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_commit_leaves_all_or_nothing() {
    let mut server = RedisServer::start_with(&["appendonly yes", "appendfsync always"]);
    let store = store(&server);
    let working = async {
        for n in 0.. {
            let Ok(seen) = store.look().await else { return };
            if store.record(&commit(&format!("c{n}"), &seen, &format!("token-{n}"))).await.is_err() {
                return;
            }
        }
    };
    let killing = async {
        while server.ask::<i64>(&format!("EXISTS {TOKEN}")) == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        server.kill();
    };
    tokio::join!(working, killing);
    server.revive();
    let token: String = server.ask(&format!("GET {TOKEN}"));
    assert_eq!(meta(&server, "fingerprint"), Some(Fingerprint::of(&token).to_string()));
    assert!(server.ask::<String>(&format!("GET {COOKIES}")).contains(&token));
    let last = history(&server).pop().unwrap();
    assert_eq!(Some(&last[1].1), meta(&server, "version").as_ref());
}
