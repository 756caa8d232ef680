//! Requests that the gateway does not send on.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use super::api::{Api, json};
use super::client::{Connection, ask, get};
use super::{GATEWAY, NO_DEBOUNCE, SEARCH, before, ready};
use crate::process::world::text;
use crate::process::{Running, World};
use crate::server::redis_is_reached_beside_idle_clients;

#[test]
fn what_leaves_the_prefix_or_names_no_site_never_reaches_the_api() {
    let world = World::start();
    let api = Api::answering(|_| json("{}"));
    let sidecar = before(&world, &api, &[]);
    for (method, target, status) in [
        ("GET", "/chitai_gorod/../admin", 400),
        ("GET", "/chitai_gorod/%2e%2E/admin", 400),
        ("GET", "/chitai_gorod/a%2f..%2f..%2fadmin", 400),
        ("GET", "/chitai_gorod//evil.test/", 400),
        ("GET", "/chitai_gorod/%2fevil.test/", 400),
        ("GET", "/chitai_gorod/..\\admin", 400),
        ("GET", "http://evil.test/chitai_gorod/x", 400),
        ("CONNECT", "evil.test:443", 400),
        ("OPTIONS", "*", 400),
        ("TRACE", "/chitai_gorod/x", 400),
        ("GET", "/", 404),
        ("GET", "/other/x", 404),
        ("GET", "/Chitai_Gorod/x", 404),
    ] {
        assert_eq!(ask(sidecar.gateway(), method, target, "").status, status, "{method} {target}");
    }
    let unknown = get(sidecar.gateway(), "/other/x");
    assert!(unknown.text().contains(r#""sites":["chitai_gorod"]"#), "{}", unknown.text());
    assert_eq!(api.requests().len(), 0);
    sidecar.stop().expect(0);
}

#[test]
fn a_web_page_may_not_use_the_token() {
    let world = World::start();
    let api = Api::answering(|_| json("{}"));
    let sidecar = before(&world, &api, &[]);
    for headers in ["Origin: https://evil.test\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_eq!(ask(sidecar.gateway(), "GET", "/chitai_gorod/x", headers).status, 403, "{headers}");
    }
    let mut rebound = Connection::open(sidecar.gateway());
    rebound.send("GET /chitai_gorod/x HTTP/1.1\r\nHost: evil.test\r\n\r\n");
    assert_eq!(rebound.answer().status, 403);
    assert_eq!(api.requests().len(), 0);
    sidecar.stop().expect(0);
}

#[test]
fn an_address_that_others_reach_needs_a_key() {
    let world = World::start();
    let open = ("SIDECAR_GATEWAY", "0.0.0.0:0");
    world.call_with(&["run"], &[open]).expect(64).stderr_has("set gateway.key (SIDECAR_GATEWAY_KEY)");
    let (sidecar, _events) = ready(&world, &[open, ("SIDECAR_GATEWAY_KEY", "hunter2")]);
    let address = (std::net::Ipv4Addr::LOCALHOST, sidecar.gateway().port()).into();
    for headers in ["", "X-Gateway-Key: hunter\r\n", "Authorization: Bearer hunter2\r\n"] {
        let refused = ask(address, "GET", SEARCH, headers);
        assert_eq!((refused.status, refused.header("proxy-authenticate")), (407, "Bearer realm=\"token-sidecar\""));
    }
    for headers in ["X-Gateway-Key: hunter2\r\n", "Proxy-Authorization: Bearer hunter2\r\n"] {
        assert_eq!(ask(address, "GET", SEARCH, headers).status, 200, "{headers}");
    }
    let ran = sidecar.stop().expect(0);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[test]
fn a_replaced_key_counts_from_the_next_connection_on() {
    let world = World::start();
    let file = world.write("key", "one\n");
    let (sidecar, _events) = ready(&world, &[GATEWAY, ("SIDECAR_GATEWAY_KEY_FILE", text(&file))]);
    let address = sidecar.gateway();
    let request = |key: &str| format!("GET {SEARCH} HTTP/1.1\r\nHost: any\r\nX-Gateway-Key: {key}\r\n\r\n");
    let mut kept = Connection::open(address);
    kept.send(request("one"));
    assert_eq!(kept.answer().status, 200);
    world.write("key", "two\n");
    let mut next = Connection::open(address);
    next.send(request("two"));
    assert_eq!(next.answer().status, 200);
    kept.send(request("one"));
    assert_eq!(kept.answer().status, 407);
    sidecar.stop().expect(0);
}

#[test]
fn a_unix_socket_has_its_permissions_replaces_a_forgotten_one_and_goes_with_the_process() {
    let world = World::start();
    let path = world.path("gateway.sock");
    let address = format!("unix:{}", text(&path));
    let env = [("SIDECAR_GATEWAY", address.as_str())];
    let (crashed, _events) = ready(&world, &env);
    crashed.kill();
    assert!(path.exists(), "a crash leaves it");
    let sidecar = world.sidecar(&env);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(format!("GET {SEARCH} HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // Another process does not take it away.
    world.call_with(&["run"], &env).expect(69).stderr_has("address in use");
    sidecar.stop().expect(0);
    assert!(!path.exists());
    world.write("gateway.sock", "something else");
    world.call_with(&["run"], &env).expect(69);
    assert_eq!(world.read("gateway.sock"), "something else");
}

/// What a server that counts a request's length otherwise would take for a second request.
#[test]
fn no_request_is_smuggled() {
    let world = World::start();
    let api = Api::answering(|_| json("{}"));
    let sidecar = before(&world, &api, &[]);
    let post = "POST /chitai_gorod/x HTTP/1.1\r\nHost: localhost\r\n";
    for wrong in [
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "Content-Length: 3, 4\r\n\r\nabcd",
        "Content-Length: +3\r\n\r\nabc",
        "X: a\r\n b\r\n\r\n",
        "X : a\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut connection = Connection::open(sidecar.gateway());
        connection.send(format!("{post}{wrong}"));
        assert_eq!(connection.answer().status, 400, "{wrong}");
        assert!(connection.is_closed(), "{wrong}");
    }
    assert_eq!(api.requests().len(), 0);
    let smuggled = "GET /chitai_gorod/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for both in
        ["Content-Length: 100\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"]
    {
        let mut connection = Connection::open(sidecar.gateway());
        connection.send(format!("{post}{both}\r\n3\r\nabc\r\n0\r\n\r\n{smuggled}"));
        assert_eq!(connection.answer().status, 200);
        assert!(connection.is_closed(), "{both}");
        let sent = api.last();
        assert_eq!((sent.target.as_str(), sent.body.as_slice()), ("/v2/x", &b"abc"[..]), "{both}");
        assert_eq!((sent.header("content-length"), sent.has("transfer-encoding")), ("3", false), "the gateway's own");
    }
    assert_eq!(api.requests().len(), 2, "nothing after a body reaches the API");
    sidecar.stop().expect(0);
}

#[test]
fn what_cannot_be_told_for_sure_is_refused() {
    let world = World::start();
    let api = Api::answering(|_| json("{}"));
    let sidecar = before(&world, &api, &[]);
    for (headers, status) in [
        ("Host: localhost\r\nHost: shop.test\r\n\r\n", 400),
        ("\r\n", 400),
        ("Host: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 501),
    ] {
        let mut connection = Connection::open(sidecar.gateway());
        connection.send(format!("POST /chitai_gorod/x HTTP/1.1\r\n{headers}"));
        assert_eq!(connection.answer().status, status, "{headers}");
    }
    assert_eq!(api.requests().len(), 0);
    sidecar.stop().expect(0);
}

#[test]
fn with_few_descriptors_clients_leave_enough_for_redis() {
    let world = World::start();
    let under = ["sh", "-c", "ulimit -n 64 && exec \"$@\"", "sh"];
    let env = [GATEWAY, NO_DEBOUNCE, ("SIDECAR_LISTEN", "off")];
    let sidecar = Running::start(&mut world.command_under(&under, &["run"], &env)).listening();
    sidecar.logs("token updated");
    redis_is_reached_beside_idle_clients(&world, &sidecar, sidecar.gateway());
    assert_eq!(get(sidecar.gateway(), SEARCH).status, 200, "those that wait for a place get one");
    let ran = sidecar.stop().expect(0);
    assert!(!ran.stderr.contains("Too many open files"), "{}", ran.stderr);
}

#[test]
fn heads_are_bounded() {
    let world = World::start();
    let (sidecar, _events) = ready(&world, &[GATEWAY]);
    let many = "X: y\r\n".repeat(200);
    let long = format!("X: {}\r\n", "x".repeat(64 * 1024));
    for headers in [many, long] {
        let mut connection = Connection::open(sidecar.gateway());
        // The gateway may close before all of it is sent.
        let _ = connection
            .stream()
            .write_all(format!("GET {SEARCH} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
        assert!(connection.head().is_none_or(|answer| answer.status == 431));
    }
    assert_eq!(get(sidecar.gateway(), SEARCH).status, 200);
    sidecar.stop().expect(0);
}
