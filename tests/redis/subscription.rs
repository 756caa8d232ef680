//! What a subscription receives, and how it is noticed that it receives nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use token_sidecar::clock::SystemClock;
use token_sidecar::domain::pending::Pending;
use token_sidecar::refresh::ports::{Clock as _, Recorded, Store};
use token_sidecar_client::redis::LinkError;
use token_sidecar_client::wire::{Fingerprint, Payload, SiteId, Trigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{Listener, claimed, commit, config, failed, id, site, store};
use crate::running::{Intervals, Running};
use crate::support::listener;
use crate::support::proxy::{Network, Proxy};
use crate::support::redis_server::RedisServer;

const INVALID: &str = "chitai_gorod:token:invalid";

fn publish(server: &RedisServer, channel: &str, payload: &[u8]) {
    let received: i64 = server.ask_words(&[&b"PUBLISH"[..], channel.as_bytes(), payload]);
    assert_eq!(received, 1, "one subscription listens on {channel}");
}

fn report(fingerprint: Fingerprint) -> Vec<u8> {
    format!(r#"{{"fingerprint":"{fingerprint}"}}"#).into_bytes()
}

#[tokio::test]
async fn any_payload_reaches_the_mailbox() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::PRODUCTION).await;
    let mut oversized = br#"{"force":true,"reason":""#.to_vec();
    oversized.resize(64 * 1024 - 1, b'x');
    oversized.extend(b"\"}");
    assert_eq!(oversized.len(), 64 * 1024 + 1);
    let details = br#"{"fingerprint":"9F86D081884C7D65","reason":"401","source":"p1","more":[1]}"#;
    let payloads: [(&[u8], Payload); 8] = [
        (b"", Payload::Bare),
        (b"now", Payload::Bare),
        ("сейчас".as_bytes(), Payload::Bare),
        (b"\x00\xff\xfe\r\n$5\r\n", Payload::Bare),
        (b"{\"force\":", Payload::Bare),
        (details, Payload::Details),
        (&oversized, Payload::Oversized),
        (&vec![b'{'; 1 << 20], Payload::Oversized),
    ];
    for (payload, _) in &payloads {
        publish(&server, INVALID, payload);
    }
    subscription.mailbox_until("all messages", |mailbox| mailbox.pending().uncounted == 8).await;
    let kinds: Vec<_> = payloads.iter().map(|(_, kind)| (site(), *kind)).collect();
    assert_eq!(subscription.observed(|seen| seen.messages.clone()), kinds);
    let inbox = subscription.mailbox().take();
    assert!(inbox.unnamed && inbox.forced().is_none(), "an oversized payload has no details");
    assert_eq!(inbox.reported.iter().collect::<Vec<_>>(), [Fingerprint::of("test")]);
    assert_eq!((inbox.note.reason.as_deref(), inbox.note.source.as_deref()), (Some("401"), Some("p1")));
}

#[tokio::test]
async fn an_outcome_answers_exactly_what_was_published_before_it() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::PRODUCTION).await;
    let store = store(&server);
    let (old, new) = (Fingerprint::of("old"), Fingerprint::of("new"));

    let seen = claimed(&store, "a").await;
    publish(&server, INVALID, &report(old));
    publish(&server, INVALID, b"now");
    assert!(matches!(store.record(&commit("a", &seen, "new")).await.unwrap(), Recorded::Done(_)));
    publish(&server, INVALID, &report(new));
    subscription.mailbox_until("the report on the new token", |mailbox| mailbox.pending().reported.contains(new)).await;
    assert_eq!(subscription.mailbox().outcomes(), 1);
    assert!(subscription.mailbox().take_change(0));
    let inbox = subscription.mailbox().take();
    assert_eq!((inbox.uncounted, inbox.unnamed, inbox.reported.iter().count()), (1, false, 1));

    let seen = claimed(&store, "b").await;
    publish(&server, INVALID, b"before");
    assert!(matches!(store.record(&failed("b", &seen)).await.unwrap(), Recorded::Done(_)));
    publish(&server, INVALID, &report(old));
    subscription.mailbox_until("the report after the failure", |mailbox| !mailbox.is_empty()).await;
    subscription.mailbox_until("the failure", |mailbox| mailbox.outcomes() == 2).await;
    subscription.mailbox_until("the report alone", |mailbox| mailbox.pending().reported.contains(old)).await;
    assert_eq!(subscription.mailbox().take().uncounted, 1);
    assert_eq!(
        subscription.observed(|seen| seen.events.len()),
        2,
        "an event of a site is received once, from its own channel"
    );
}

#[tokio::test]
async fn a_repeated_announcement_and_garbage_answer_nothing() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::PRODUCTION).await;
    publish(&server, INVALID, b"now");
    let repeated = br#"{"event":"token:updated","site":"chitai_gorod","cause":"repeated","version":1,
        "fingerprint":"9f86d081884c7d65","key":"k","ttl":1,"expires_at":null,"refresh_at":null,"refreshed_at":null,
        "trigger":"invalid","source":"s"}"#;
    publish(&server, "chitai_gorod:token:updated", repeated);
    for garbage in [&b""[..], b"null", b"{}", b"\xff", br#"{"event":"token:updated"}"#] {
        publish(&server, "chitai_gorod:token:updated", garbage);
        publish(&server, "chitai_gorod:token:failed", garbage);
        publish(&server, "chitai_gorod:token:canary", b"another:7");
    }
    publish(&server, INVALID, b"now");
    subscription.mailbox_until("both messages", |mailbox| mailbox.pending().uncounted == 2).await;
    assert_eq!((subscription.mailbox().outcomes(), subscription.mailbox().take_change(0)), (0, false));
    assert_eq!(subscription.observed(|seen| seen.events.len()), 1);
}

#[tokio::test]
async fn another_replica_that_gives_up_is_a_hint() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::PRODUCTION).await;
    let store = store(&server);
    claimed(&store, "a").await;
    store.vacate(&id("a")).await.unwrap();
    subscription.mailbox_until("a hint", |mailbox| mailbox.take_change(u64::MAX)).await;
    assert!(subscription.mailbox().is_empty());
}

#[tokio::test]
async fn canaries_are_published_and_received() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::FREQUENT).await;
    subscription.until("ten canaries", |seen| seen.canaries >= 10).await;
    assert_eq!(subscription.observed(|seen| (seen.connected, seen.disconnected.len())), (1, 0));
    assert!(subscription.mailbox().is_empty(), "canaries are no triggers");
}

#[tokio::test]
async fn a_broken_connection_for_commands_does_not_end_the_subscription() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::FREQUENT).await;
    for closed in 1..=5 {
        let before = subscription.observed(|seen| seen.canaries);
        assert_eq!(server.ask::<i64>("CLIENT KILL TYPE normal SKIPME yes"), 1);
        subscription.until("another canary", |seen| seen.canaries > before + 1).await;
        assert_eq!(subscription.observed(|seen| (seen.connected, seen.disconnected.clone())), (1, vec![]), "{closed}");
    }
}

#[tokio::test]
async fn every_site_is_checked_for_the_gap_after_a_restart() {
    let mut server = RedisServer::start();
    let sites: Vec<_> = ["one", "two", "three"].map(|name| SiteId::parse(name).unwrap()).into();
    let subscription = Running::begin(&config(&server.url()), Intervals::PRODUCTION, sites);
    subscription.ready().await;
    assert!(subscription.mailboxes.iter().all(|mailbox| mailbox.is_empty()), "at first there was no gap");
    server.kill();
    subscription.until("the loss", |seen| !seen.disconnected.is_empty()).await;
    server.revive();
    subscription.until("the return", |seen| seen.connected == 2).await;
    for mailbox in &subscription.mailboxes {
        mailbox.changed().await;
        assert_eq!(mailbox.take(), Pending { implicit: Some(Trigger::Reconnect), uncounted: 1, ..Pending::default() });
        assert!(mailbox.take_change(u64::MAX));
    }
    publish(&server, "two:token:invalid", b"now");
    subscription.until("a message after the return", |seen| seen.messages.len() == 1).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_is_opened_again() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::PRODUCTION).await;
    for n in 1..=3 {
        let killed: i64 = server.ask("CLIENT KILL TYPE pubsub");
        assert_eq!(killed, 1);
        subscription.until("the return", |seen| seen.connected == n + 1).await;
        assert_eq!(subscription.mailbox().take().implicit, Some(Trigger::Reconnect));
    }
}

#[tokio::test]
async fn a_frozen_server_is_noticed_by_the_canary() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::IMPATIENT).await;
    server.freeze();
    subscription.until("the loss", |seen| !seen.disconnected.is_empty()).await;
    let reason = subscription.observed(|seen| seen.disconnected[0].clone());
    assert!(reason.contains("did not come back"), "{reason}");
    server.thaw();
    subscription.until("the return", |seen| seen.connected == 2).await;
    assert_eq!(subscription.mailbox().take().implicit, Some(Trigger::Reconnect));
}

#[tokio::test]
async fn with_the_periods_of_production_a_frozen_server_is_noticed_within_20_seconds() {
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::PRODUCTION).await;
    server.freeze();
    tokio::time::pause();
    let noticed = subscription.until("the loss", |seen| !seen.disconnected.is_empty());
    tokio::time::timeout(Duration::from_secs(20) + Duration::from_millis(100), noticed).await.unwrap();
    tokio::time::resume();
    server.thaw();
    subscription.until("the return", |seen| seen.connected == 2).await;
}

#[tokio::test]
async fn a_subscription_that_looks_alive_but_receives_nothing_is_replaced() {
    let server = RedisServer::start();
    let proxy = Proxy::before(server.port());
    let subscription = Running::open(&config(&proxy.url()), Intervals::IMPATIENT).await;
    subscription.until("canaries", |seen| seen.canaries >= 3).await;
    proxy.is(Network::NoMessages);
    subscription.until("the loss", |seen| !seen.disconnected.is_empty()).await;
    proxy.is(Network::Fine);
    subscription.until("the return", |seen| seen.connected == 2).await;
    assert_eq!(subscription.mailbox().take().implicit, Some(Trigger::Reconnect));
    assert_eq!(server.ask::<i64>("PUBLISH chitai_gorod:token:invalid now"), 1, "the silent one is gone");
}

/// Any program may publish on this channel, also a text like that of a later canary.
#[tokio::test]
async fn no_other_program_makes_a_silent_subscription_look_alive() {
    let server = RedisServer::start();
    let proxy = Proxy::before(server.port());
    let mut listener = Listener::new(&server);
    let subscription = Running::open(&config(&proxy.url()), Intervals::IMPATIENT).await;
    subscription.until("canaries", |seen| seen.canaries >= 3).await;
    let canaries: Vec<_> = listener.received(&server).into_iter().map(|(_, canary)| canary).collect();
    let (instance, _) = canaries[0].rsplit_once(':').unwrap();
    for forged in canaries.iter().chain([&format!("{instance}:{}", u64::MAX)]) {
        let _: i64 = server.ask_words(&["PUBLISH", "chitai_gorod:token:canary", forged]);
    }
    let _: i64 = server.ask("PUBLISH chitai_gorod:token:invalid now");
    subscription.until("all of it", |seen| seen.messages.len() == 1).await;
    proxy.is(Network::NoMessages);
    subscription.until("the loss", |seen| !seen.disconnected.is_empty()).await;
}

/// In a flood a canary is delayed for longer than the patience with silence: a reconnect would lose all before it.
#[tokio::test]
async fn a_subscription_whose_canary_is_late_is_kept_while_messages_come_for_four_times_as_long() {
    let server = RedisServer::start();
    let proxy = Proxy::before(server.port());
    let subscription = Running::open(&config(&proxy.url()), Intervals::LESS_IMPATIENT).await;
    proxy.is(Network::Swallows("token:canary"));
    let is_silent = Arc::new(AtomicBool::new(true));
    let clock = SystemClock::start();
    let mut connection = server.connection();
    let is_over = Arc::clone(&is_silent);
    let parser = std::thread::spawn(move || {
        while is_over.load(Ordering::Relaxed) {
            redis::cmd("PUBLISH").arg(INVALID).arg("now").exec(&mut connection).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    subscription.until("the loss", |seen| !seen.disconnected.is_empty()).await;
    let kept = clock.now();
    is_silent.store(false, Ordering::Relaxed);
    parser.join().unwrap();
    assert!(kept >= 4 * Intervals::LESS_IMPATIENT.timeout, "given up after {kept:?}");
}

#[tokio::test]
async fn a_wrong_password_at_the_start_is_the_end() {
    let server = RedisServer::start_with(&["requirepass right"]);
    let mut subscription =
        Running::begin(&config(&server.url_with(":wrongsecret@")), Intervals::PRODUCTION, vec![site()]);
    let Err(LinkError::Denied(error)) = subscription.ended().await else { panic!("it is refused for good") };
    assert!(error.contains("WRONGPASS") && !error.contains("wrongsecret"), "{error}");
    assert!(!subscription.ready.is_cancelled());
}

#[tokio::test]
async fn a_channel_that_is_not_permitted_is_the_end_at_the_start_and_waited_for_later() {
    let server = RedisServer::start_with(&["user app on >pass ~* resetchannels &token:* +@all"]);
    let config = config(&server.url_with("app:pass@"));
    let mut subscription = Running::begin(&config, Intervals::PRODUCTION, vec![site()]);
    let Err(LinkError::Forbidden(error)) = subscription.ended().await else { panic!("it is refused for good") };
    assert!(error.contains("NOPERM") && error.contains("channel"), "{error}");

    let _: () = server.ask("ACL SETUSER app &chitai_gorod:*");
    let subscription = Running::open(&config, Intervals::PRODUCTION).await;
    let _: () = server.ask("ACL SETUSER app resetchannels");
    subscription.until("a refusal", |seen| seen.disconnected.iter().any(|reason| reason.contains("NOPERM"))).await;
    let _: () = server.ask("ACL SETUSER app &chitai_gorod:*");
    subscription.until("the return", |seen| seen.connected == 2).await;
}

#[tokio::test]
async fn publishing_without_permission_is_the_end_at_the_start_too() {
    let server = RedisServer::start_with(&["user app on >pass ~* &* +@all -publish"]);
    let mut subscription = Running::begin(&config(&server.url_with("app:pass@")), Intervals::PRODUCTION, vec![site()]);
    let Err(LinkError::Forbidden(error)) = subscription.ended().await else { panic!("it is refused for good") };
    assert!(error.contains("'publish'"), "{error}");
}

/// A proxy that answers everything with this error on its first connections, and then passes them on.
fn failing_proxy(server: u16, error: &'static str) -> listener::Listener {
    let connections = AtomicUsize::new(0);
    listener::Listener::start(move |mut client| {
        let fails = connections.fetch_add(1, Ordering::Relaxed) < 6;
        async move {
            let mut bytes = vec![0; 1 << 16];
            if fails {
                while client.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                    let _ = client.write_all(format!("-{error}\r\n").repeat(4).as_bytes()).await;
                }
            } else {
                let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        }
    })
}

#[tokio::test]
async fn errors_of_a_proxy_in_front_of_redis_are_waited_for() {
    let server = RedisServer::start_with(&["requirepass right"]);
    for (error, shown) in [("upstream failure", "failure"), ("ERR server closed the connection", "server closed")] {
        let proxy = failing_proxy(server.port(), error);
        let config = config(&format!("redis://:right@127.0.0.1:{}/", proxy.port()));
        let subscription = Running::begin(&config, Intervals::PRODUCTION, vec![site()]);
        subscription.until("an error", |seen| seen.disconnected.iter().any(|why| why.contains(shown))).await;
        subscription.ready().await;
    }
}

#[tokio::test]
async fn a_redis_that_is_away_at_the_start_is_waited_for() {
    let mut server = RedisServer::start();
    server.kill();
    let subscription = Running::begin(&config(&server.url()), Intervals::PRODUCTION, vec![site()]);
    subscription.until("a failed try", |seen| seen.disconnected.len() >= 2).await;
    server.revive();
    subscription.ready().await;
    assert!(subscription.mailbox().is_empty(), "there was no gap: start-up asks by itself");
}

#[tokio::test]
async fn it_stops_at_every_stage() {
    let mut server = RedisServer::start();
    let mut subscription = Running::open(&config(&server.url()), Intervals::PRODUCTION).await;
    subscription.stop.cancel();
    assert_eq!(subscription.ended().await, Ok(()));
    server.until("CLIENT LIST TYPE pubsub", str::is_empty);

    let mut away = Running::open(&config(&server.url()), Intervals::PRODUCTION).await;
    server.kill();
    away.until("the loss", |seen| !seen.disconnected.is_empty()).await;
    away.stop.cancel();
    assert_eq!(away.ended().await, Ok(()));

    server.revive();
    server.freeze();
    let mut connecting = Running::begin(&config(&server.url()), Intervals::PRODUCTION, vec![site()]);
    tokio::task::yield_now().await;
    connecting.stop.cancel();
    assert_eq!(connecting.ended().await, Ok(()));
}

#[tokio::test]
async fn a_flood_is_folded_to_one_summary_and_every_message_counts() {
    const FLOOD: u64 = 200_000;
    let server = RedisServer::start();
    let subscription = Running::open(&config(&server.url()), Intervals::FREQUENT).await;
    let mut publisher = server.connection();
    let flood = std::thread::spawn(move || {
        for _ in 0..FLOOD / 1_000 {
            let mut batch = redis::pipe();
            for n in 0..1_000 {
                let fingerprint = Fingerprint::of(&(n % 20).to_string());
                batch.cmd("PUBLISH").arg(INVALID).arg(format!(r#"{{"fingerprint":"{fingerprint}"}}"#)).ignore();
            }
            batch.exec(&mut publisher).unwrap();
        }
    });
    subscription.mailbox_until("the whole flood", |mailbox| mailbox.pending().uncounted == FLOOD).await;
    flood.join().unwrap();
    let inbox = subscription.mailbox().take();
    assert!(inbox.unnamed, "more fingerprints than fit count as bare");
    assert_eq!(inbox.reported.iter().count(), token_sidecar::domain::pending::MAX_FINGERPRINTS);
    assert_eq!(subscription.observed(|seen| seen.disconnected.len()), 0, "Redis did not throw it out");
}

#[tokio::test]
async fn more_channels_than_one_command_takes_are_all_received() {
    let server = RedisServer::start();
    let sites: Vec<_> = (0..700).map(|n| SiteId::parse(&format!("site-{n}")).unwrap()).collect();
    let subscription = Running::begin(&config(&server.url()), Intervals::PRODUCTION, sites);
    subscription.ready().await;
    for n in [0, 350, 699] {
        publish(&server, &format!("site-{n}:token:invalid"), b"now");
    }
    subscription.until("three messages", |seen| seen.messages.len() == 3).await;
    for n in [0, 350, 699] {
        assert_eq!(subscription.mailboxes[n].pending().uncounted, 1);
    }
}
