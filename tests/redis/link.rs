//! The shared connection for commands: how it breaks and comes back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use token_sidecar::clock::SystemClock;
use token_sidecar::refresh::ports::Clock;
use token_sidecar_client::redis::LinkError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fixture::{TestLink, config, link, link_of};
use crate::support::redis_server::{Port, RedisServer};

async fn ping(link: &TestLink) -> Result<String, LinkError> {
    link.command(&redis::cmd("PING")).await
}

/// Pings until there is an answer; errors before it must be `Away`.
async fn until_back(link: &TestLink) -> u32 {
    let mut absences = 0;
    loop {
        match ping(link).await {
            Ok(_) => return absences,
            Err(LinkError::Away(_)) => absences += 1,
            Err(other) => panic!("{other:?}"),
        }
        assert!(absences < 1_000_000);
    }
}

#[tokio::test]
async fn it_comes_back_after_the_server_has_died() {
    let mut server = RedisServer::start();
    let link = link(&server);
    ping(&link).await.unwrap();
    server.kill();
    for _ in 0..3 {
        assert!(matches!(ping(&link).await, Err(LinkError::Away(_))));
    }
    server.revive();
    until_back(&link).await;
}

#[tokio::test]
async fn it_comes_back_after_its_connection_was_closed() {
    let server = RedisServer::start();
    let link = link(&server);
    ping(&link).await.unwrap();
    for _ in 0..5 {
        let _: i64 = server.ask("CLIENT KILL TYPE normal");
        assert!(until_back(&link).await <= 1, "one call may meet the broken connection, the next gets a new one");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_away_in_bounded_time() {
    let server = RedisServer::start();
    let (open, fresh) = (link(&server), link(&server));
    ping(&open).await.unwrap();
    server.freeze();
    tokio::time::pause();
    for link in [&open, &fresh] {
        let answer = tokio::time::timeout(Duration::from_secs(7), ping(link)).await;
        assert!(matches!(answer, Ok(Err(LinkError::Away(_)))), "{answer:?}");
    }
    tokio::time::resume();
    server.thaw();
    until_back(&open).await;
    until_back(&fresh).await;
}

#[tokio::test]
async fn thousands_of_calls_while_it_is_down_end_fast_and_try_seldom() {
    // Closes every connection at once and counts them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = link_of(&config(&format!("redis://{}/", listener.local_addr().unwrap())));
    let tries = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let tries = Arc::clone(&tries);
        async move {
            loop {
                listener.accept().await.unwrap();
                tries.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let clock = SystemClock::start();
    let mut calls = JoinSet::new();
    for _ in 0..5_000 {
        let link = Arc::clone(&link);
        calls.spawn(async move { ping(&link).await });
    }
    while let Some(answer) = calls.join_next().await {
        assert!(matches!(answer.unwrap(), Err(LinkError::Away(_))));
    }
    let spent = clock.now();
    assert!(spent < Duration::from_secs(5), "{spent:?}");
    let (tries, fair) = (tries.load(Ordering::Relaxed), spent.as_millis() / 200 + 1);
    assert!(u128::from(tries) <= fair, "{tries} tries in {spent:?}");
}

#[tokio::test]
async fn thousands_of_calls_to_a_silent_server_wait_for_one_connection() {
    let server = RedisServer::start();
    let link = link(&server);
    server.freeze();
    tokio::time::pause();
    let mut calls = JoinSet::new();
    for _ in 0..2_000 {
        let link = Arc::clone(&link);
        calls.spawn(async move { ping(&link).await });
    }
    let all = async {
        while let Some(answer) = calls.join_next().await {
            assert!(matches!(answer.unwrap(), Err(LinkError::Away(_))));
        }
    };
    // Of the paused clock: one time-out for all of them, not one each.
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    server.thaw();
}

#[tokio::test]
async fn a_port_without_a_listener_is_away() {
    let port = Port::hold();
    let answer = ping(&link_of(&config(&format!("redis://127.0.0.1:{}/", port.number())))).await;
    assert!(matches!(answer, Err(LinkError::Away(_))), "{answer:?}");
}

#[tokio::test]
async fn a_refusal_ends_when_the_cause_is_repaired() {
    let server = RedisServer::start();
    let link = link_of(&config(&server.url_with("app:right@")));
    assert!(matches!(ping(&link).await, Err(LinkError::Denied(_))));
    let _: () = server.ask("ACL SETUSER app on >right ~* &* +@all");
    loop {
        match ping(&link).await {
            Ok(_) => break,
            Err(LinkError::Denied(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn it_connects_over_a_unix_socket() {
    let mut server = RedisServer::start();
    let link = link_of(&config(&server.socket_url()));
    ping(&link).await.unwrap();
    server.kill();
    assert!(matches!(ping(&link).await, Err(LinkError::Away(_))));
    server.revive();
    until_back(&link).await;
}

#[tokio::test]
async fn a_password_may_be_escaped_in_the_url_or_stand_beside_it() {
    let password = "p@ss:/?#%+ word";
    let server = RedisServer::start();
    let _: () = server.ask_words(&["ACL", "SETUSER", "app", "on", &format!(">{password}"), "~*", "&*", "+@all"]);
    let _: () = server.ask_words(&["CONFIG", "SET", "requirepass", "default-secret"]);
    let whoami = |link: TestLink| async move { link.command::<String>(redis::cmd("ACL").arg("WHOAMI")).await };
    let escaped = config(&server.url_with("app:p%40ss%3A%2F%3F%23%25%2B%20word@"));
    assert_eq!(whoami(link_of(&escaped)).await.unwrap(), "app");

    let mut beside = config(&server.url_with("app@"));
    beside.password = Some(password.into());
    assert_eq!(whoami(link_of(&beside)).await.unwrap(), "app");

    let mut alone = config(&server.url());
    alone.password = Some("default-secret".into());
    assert_eq!(whoami(link_of(&alone)).await.unwrap(), "default");

    let mut both = config(&server.url_with(":default-secret@"));
    both.password = Some("another".into());
    assert_eq!(whoami(link_of(&both)).await.unwrap(), "default", "the URL's own counts");

    let mut socket = config(&server.socket_url());
    socket.password = Some("default-secret".into());
    assert_eq!(whoami(link_of(&socket)).await.unwrap(), "default");
}

#[tokio::test]
async fn the_database_of_the_url_is_the_one_that_is_used() {
    let server = RedisServer::start();
    let link = link_of(&config(&format!("redis://127.0.0.1:{}/3", server.port())));
    let _: String = link.command(redis::cmd("SET").arg("k").arg("v")).await.unwrap();
    let keyspace: String = server.ask("INFO keyspace");
    assert!(keyspace.contains("db3:keys=1"), "{keyspace}");
}

#[tokio::test]
async fn a_connection_carries_our_name() {
    // A server of our own, since only 7.2 and later show it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let link = link_of(&config(&format!("redis://{}/", listener.local_addr().unwrap())));
    let reading = async {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !String::from_utf8_lossy(&received).contains("LIB-VER") {
            client.read_buf(&mut received).await.unwrap();
        }
        client.write_all(b"+OK\r\n+OK\r\n+PONG\r\n").await.unwrap();
        String::from_utf8(received).unwrap()
    };
    let (received, _) = tokio::join!(reading, ping(&link));
    assert!(received.contains("SETINFO") && received.contains("token-sidecar"), "{received}");
}

#[tokio::test]
async fn the_subscribers_of_a_channel_are_counted() {
    let server = RedisServer::start();
    let link = link(&server);
    let channel = ["s:token:invalid".to_owned()];
    let count = async || link.subscribers(&channel).await.unwrap()[&channel[0]];
    assert_eq!(count().await, 0);
    let mut subscription = [server.connection(), server.connection()];
    for subscriber in &mut subscription {
        subscriber.send_packed_command(&redis::cmd("SUBSCRIBE").arg("s:token:invalid").get_packed_command()).unwrap();
        subscriber.recv_response().unwrap();
    }
    assert_eq!(count().await, 2);
}
