//! A Redis that is not there: what stderr says, and when.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::process::World;
use crate::support::listener::Listener;
use crate::support::redis_server::Port;

#[test]
fn a_command_that_waits_for_redis_says_where_it_is_and_why() {
    let world = World::start();
    let nowhere = Port::hold();
    let url = format!("redis://127.0.0.1:{}", nowhere.number());
    let commands = [&["watch"][..], &["token", "--wait"], &["trigger", "--wait"], &["next", "0123456789abcdef"]];
    let running = commands.map(|args| world.begin(args, &[("REDIS_URL", &url)]));
    let error = format!("Redis at 127.0.0.1:{}: connection refused", nowhere.number());
    for command in running {
        let ran = command.end().expect(69);
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(lines, [format!("token-sidecar: {error}; trying for 5 s"), format!("token-sidecar: {error}")]);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn sentinel_and_cluster_name_the_node() {
    let world = World::start();
    let (one, other) = (Port::hold(), Port::hold());
    let nodes = format!("redis://127.0.0.1:{},redis://127.0.0.1:{}", one.number(), other.number());
    let sentinels = format!("redis.sentinel.nodes={nodes}");
    let sentinel = world.begin(&["watch", "--set", &sentinels, "--set", "redis.sentinel.master=mymaster"], &[]);
    let cluster = format!("redis.cluster.nodes={nodes}");
    let in_one_slot = "sites.chitai_gorod.cookies_key={chitai_gorod_token}:cookies";
    let cluster = world.begin(&["token", "--set", &cluster, "--set", in_one_slot], &[]);
    let both = format!("127.0.0.1:{}, 127.0.0.1:{}", one.number(), other.number());
    sentinel.end().expect(69).stderr_has(&format!("Sentinel at {both}: connection refused"));
    cluster.end().expect(69).stderr_has(" (the last of 2 nodes): connection refused");
}

#[test]
fn what_speaks_another_protocol_is_recognised() {
    let world = World::start();
    let cases = [
        (&b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..], "as an HTTP server does"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "as a TLS port does"),
        (b"220 mail.test ESMTP\r\n", "it does not speak Redis' protocol"),
    ];
    let running = cases.map(|(answer, what)| {
        let server = Listener::start(move |mut client| async move {
            let _ = client.read(&mut [0; 1 << 12]).await;
            let _ = client.write_all(answer).await;
        });
        let url = format!("redis://127.0.0.1:{}", server.port());
        (["token", "watch"].map(|command| world.begin(&[command], &[("REDIS_URL", &url)])), server, what)
    });
    for (commands, server, what) in running {
        for command in commands {
            let ran = command.end().expect(69).stderr_has(&format!("Redis at 127.0.0.1:{}: ", server.port()));
            ran.stderr_has(what);
        }
    }
}

#[test]
fn a_silent_redis_is_named_before_the_time_is_over() {
    let world = World::start();
    let server = Listener::start(|client| async move {
        std::future::pending::<()>().await;
        drop(client);
    });
    let url = format!("redis://127.0.0.1:{}", server.port());
    let status = world.begin(&["status"], &[("REDIS_URL", &url)]);
    status.logs(&format!("Redis at 127.0.0.1:{}: no answer yet; trying for 5 s", server.port()));
    status.end().expect(69).stderr_has(&format!("Redis at 127.0.0.1:{}: no answer within", server.port()));
}
