//! What passes through the gateway, and how.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use simulator::Faults;
use token_sidecar_client::wire::Fingerprint;

use super::api::{Api, answer, json};
use super::client::{Connection, ask, get, send};
use super::{GATEWAY, NO_DEBOUNCE, SEARCH, before, ready};
use crate::process::{World, eventually, keys};
use crate::support::redis_server::Port;

/// Far more than any buffer on the way holds.
const LARGE: usize = 256 << 20;
const PIECE: usize = 1 << 16;
/// By how much a large body may raise the memory in use.
const FLAT_KIB: u64 = 16 << 10;

#[test]
fn the_api_gets_the_token_its_cookies_and_the_users_agent_and_not_what_concerns_the_gateway() {
    let world = World::start();
    let api = Api::answering(|_| answer(204, "", ""));
    let sidecar = before(&world, &api, &[]);
    let headers = "Authorization: Bearer mine\r\nCookie: mine=1\r\nUser-Agent: curl/8\r\nX-Gateway-Key: k\r\n\
                   Accept-Encoding: br\r\nX-Mine: 1\r\n";
    assert_eq!(send(sidecar.gateway(), "PUT", "/chitai_gorod/a%20b/?c=d&e[]=%D1%81", headers, b"body").status, 204);
    let sent = api.last();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("PUT", "/v2/a%20b/?c=d&e[]=%D1%81"));
    assert_eq!(sent.body, b"body");
    assert_eq!(sent.header("authorization"), format!("Bearer {}", world.token().unwrap()));
    assert!(sent.header("cookie").contains("__ddg1_=") && !sent.header("cookie").contains("mine"), "{sent:?}");
    assert_eq!(sent.header("user-agent"), world.meta("user_agent").unwrap());
    assert_eq!((sent.header("accept-encoding"), sent.header("x-mine")), ("br", "1"));
    assert!(!sent.has("x-gateway-key") && !sent.has("via") && !sent.has("connection"), "{sent:?}");
    assert!(api.url().contains(sent.header("host")) && sent.has("host"));
    sidecar.stop().expect(0);
}

/// The proxy answers as the shop, whose name leads nowhere: what does not go through it finds nothing.
#[test]
fn the_way_out_of_a_site_is_that_of_its_source_its_probe_and_the_gateway() {
    const API: &str = "http://api.shop.invalid/web/api";
    let world = World::start();
    let token = world.simulator.mint().token;
    let proxy = Api::answering(move |request| match request.method.as_str() {
        "POST" => json(&format!("{{\"token\": {{\"accessToken\": \"{token}\"}}}}")),
        _ => json("{}"),
    });
    let address = proxy.url().trim_start_matches("http://").trim_end_matches("/v2").to_owned();
    let (way_out, api) = (format!("http://user:hunter2@{address}"), format!("{API}/v2"));
    let env =
        [GATEWAY, ("SIDECAR_SOURCES", "http"), ("CHITAI_GOROD_API_URL", &api), ("CHITAI_GOROD_PROXY_URL", &way_out)];
    let (sidecar, _events) = world.ready_sidecar(&env);
    assert_eq!(get(sidecar.gateway(), SEARCH).status, 200);
    let asked: Vec<_> = proxy.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(asked[0], format!("{API}/v1/auth/anonymous"));
    assert!(asked[1].starts_with(&format!("{API}/v2/search/product")), "{asked:?}");
    assert_eq!(asked[2], format!("{API}/v2/search/product?phrase=redis"));
    assert_eq!(asked.len(), 3);
    // Parsers can tell whether they go the same way.
    assert_eq!(world.meta("proxy").unwrap(), Fingerprint::of(&address).to_string());
    sidecar.stop().expect(0);
}

#[test]
fn the_length_of_an_empty_body_reaches_the_api_and_a_length_beside_chunks_no_client() {
    let world = World::start();
    let api = Api::with(true, |_, stream| {
        let both = "Content-Length: 100\r\nTransfer-Encoding: chunked\r\n";
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{both}\r\n3\r\nabc\r\n0\r\n\r\n").as_bytes()).is_ok()
    });
    let sidecar = before(&world, &api, &[]);
    for method in ["POST", "PUT", "PATCH"] {
        let answer = ask(sidecar.gateway(), method, "/chitai_gorod/x", "Content-Length: 0\r\n");
        assert_eq!((answer.text(), answer.header("content-length")), ("abc", ""));
        let sent = api.last();
        assert_eq!((sent.header("content-length"), sent.has("transfer-encoding")), ("0", false), "{method}");
    }
    assert_eq!(get(sidecar.gateway(), "/chitai_gorod/x").text(), "abc");
    assert!(!api.last().has("content-length"));
    sidecar.stop().expect(0);
}

#[test]
fn an_answer_passes_as_it_is_without_what_is_the_gateways_business() {
    let world = World::start();
    let api = Api::answering(|request| {
        let there = format!("Location: http://{}/v2/there?x=1\r\n", request.header("host"));
        let more = "Set-Cookie: a=1\r\nAccess-Control-Allow-Origin: *\r\nContent-Encoding: br\r\nX-Theirs: 1\r\n";
        answer(302, &(there + more), "not brotli")
    });
    let sidecar = before(&world, &api, &[]);
    let answer = get(sidecar.gateway(), "/chitai_gorod/here");
    assert_eq!((answer.status, answer.text()), (302, "not brotli"), "no redirect is followed, nothing is decompressed");
    assert_eq!(answer.header("location"), "/chitai_gorod/there?x=1");
    assert_eq!((answer.header("content-encoding"), answer.header("x-theirs")), ("br", "1"));
    for dropped in ["set-cookie", "access-control-allow-origin"] {
        assert_eq!(answer.header(dropped), "", "{dropped}");
    }
    assert_eq!(api.requests().len(), 1);
    let mut connection = Connection::open(sidecar.gateway());
    connection.send("GET /chitai_gorod/here HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let whole = String::from_utf8(connection.rest()).unwrap();
    assert!(whole.starts_with("HTTP/1.1 302 X\r\n"), "the API's own words: {whole}");
    sidecar.stop().expect(0);
}

#[test]
fn connections_are_kept_on_both_sides_and_head_and_expect_work() {
    let world = World::start();
    let ports = Arc::new(std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let seen = Arc::clone(&ports);
    let api = Api::with(true, move |request, stream| {
        seen.lock().unwrap().insert(stream.peer_addr().unwrap().port());
        let body = if request.method == "HEAD" { "" } else { "0123456789" };
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{body}").as_bytes()).is_ok()
    });
    let sidecar = before(&world, &api, &[]);
    let mut connection = Connection::open(sidecar.gateway());
    connection.send("HEAD /chitai_gorod/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let head = connection.head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, "10"));
    connection
        .send("POST /chitai_gorod/x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(connection.head().unwrap().status, 100);
    connection.send("abc");
    assert_eq!(connection.answer().text(), "0123456789");
    for _ in 0..10 {
        connection.send("GET /chitai_gorod/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(connection.answer().text(), "0123456789");
    }
    assert_eq!((api.requests().len(), ports.lock().unwrap().len()), (12, 1));
    sidecar.stop().expect(0);
}

/// An API that takes in a body of any size, and answers with how many bytes that were; or sends `LARGE` bytes.
fn bulk() -> Api {
    Api::with(false, |request, stream| {
        if request.method == "GET" {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            let piece = [b'x'; PIECE];
            return (0..LARGE / PIECE).all(|_| stream.write_all(&piece).is_ok());
        }
        // The last of them may have been read with the head.
        let mut reader = stream.try_clone().unwrap();
        let (mut all, mut piece) = (0_usize, [0; PIECE]);
        while let Ok(length @ 1..) = reader.read(&mut piece) {
            all += length;
            if piece[..length].ends_with(b"end") || piece[..length].ends_with(b"0\r\n\r\n") {
                break;
            }
        }
        stream.write_all(&answer(200, "", &(all >> 20).to_string())).is_ok()
    })
}

#[test]
fn large_bodies_pass_in_both_directions_at_flat_memory() {
    let world = World::start();
    let api = bulk();
    let sidecar = before(&world, &api, &[]);
    let idle = sidecar.rss_kib();
    let piece = vec![b'x'; PIECE];
    let mut down = Connection::open(sidecar.gateway());
    down.send("GET /chitai_gorod/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(down.head().unwrap().status, 200);
    for _ in 0..LARGE / PIECE {
        assert!(down.read_exactly(PIECE) == piece);
    }
    let mut up = Connection::open(sidecar.gateway());
    up.send(format!("PUT /chitai_gorod/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", LARGE + 3));
    for _ in 0..LARGE / PIECE {
        up.send(&piece);
    }
    up.send("end");
    let arrived: usize = up.answer().text().parse().unwrap();
    assert!(arrived + 1 >= LARGE >> 20, "{arrived} MiB");
    let mut chunked = Connection::open(sidecar.gateway());
    chunked.send("PUT /chitai_gorod/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..LARGE / PIECE {
        chunked.send(format!("{PIECE:x}\r\n"));
        chunked.send(&piece);
        chunked.send("\r\n");
    }
    chunked.send("0\r\n\r\n");
    let arrived: usize = chunked.answer().text().parse().unwrap();
    assert!(arrived + 1 >= LARGE >> 20, "{arrived} MiB");
    let peak = sidecar.peak_kib();
    crate::support::measured::measured("3 × 256 MiB through the gateway: KiB more than idle", peak - idle);
    assert!(peak < idle + FLAT_KIB, "{idle} KiB idle, {peak} KiB at most");
    sidecar.stop().expect(0);
}

#[test]
fn a_client_that_stops_reading_stops_the_api() {
    let world = World::start();
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let api = Api::with(true, move |_, stream| {
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes());
        (0..LARGE / PIECE).all(|_| {
            counted.fetch_add(PIECE as u64, SeqCst);
            stream.write_all(&[b'x'; PIECE]).is_ok()
        })
    });
    let sidecar = before(&world, &api, &[]);
    let mut client = Connection::open(sidecar.gateway());
    client.send("GET /chitai_gorod/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 200);
    let mut last = u64::MAX;
    eventually("the API has stopped", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = sent.load(SeqCst);
        (std::mem::replace(&mut last, now) == now).then_some(())
    });
    assert!(last < LARGE as u64 / 2, "{last} bytes were sent to a client that reads nothing");
    let ran = sidecar.signal_until_its_end("TERM");
    assert!(ran.code.is_some());
}

#[test]
fn a_request_whose_connection_breaks_is_not_sent_twice() {
    let world = World::start();
    // The first request of a connection is answered, and the second one breaks it.
    let api = Api::answering(|request| match request.target.as_str() {
        "/v2/break" => vec![],
        _ => json("{}"),
    });
    let sidecar = before(&world, &api, &[]);
    for method in ["GET", "POST"] {
        assert_eq!(get(sidecar.gateway(), "/chitai_gorod/x").status, 200);
        let broken = ask(sidecar.gateway(), method, "/chitai_gorod/break", "");
        assert_eq!((broken.status, broken.header("content-type")), (502, "application/problem+json"));
        assert!(!broken.text().contains("break"), "no path: {}", broken.text());
    }
    assert_eq!(api.requests().iter().filter(|request| request.target == "/v2/break").count(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn an_answer_that_breaks_off_is_not_made_whole() {
    let world = World::start();
    let api = Api::with(true, |request, stream| {
        let length = if request.target == "/v2/chunks" { "Transfer-Encoding: chunked" } else { "Content-Length: 100" };
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n3\r\nabc\r\n").as_bytes());
        false
    });
    let sidecar = before(&world, &api, &[]);
    for target in ["/chitai_gorod/length", "/chitai_gorod/chunks"] {
        let mut client = Connection::open(sidecar.gateway());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(client.head().unwrap().status, 200);
        let rest = client.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n") && rest.len() < 100, "{target}: {rest:?}");
    }
    sidecar.stop().expect(0);
}

#[test]
fn an_api_that_is_away_is_502() {
    let world = World::start();
    let nowhere = Port::hold();
    let url = format!("http://127.0.0.1:{}", nowhere.number());
    let env = [GATEWAY, ("CHITAI_GOROD_API_URL", url.as_str()), ("SIDECAR_VERIFY", "off")];
    let (sidecar, _events) = ready(&world, &env);
    let away = get(sidecar.gateway(), "/chitai_gorod/x");
    assert_eq!(away.status, 502);
    assert!(away.text().contains("connection refused"), "{}", away.text());
    assert_eq!(world.solves(), 1);
    sidecar.stop().expect(0);
}

#[test]
fn a_403_and_a_429_pass_and_cost_no_solve() {
    let world = World::start();
    let (sidecar, _events) = ready(&world, &[GATEWAY, NO_DEBOUNCE]);
    for status in [403, 429] {
        world.faults(Faults { api_status: Some(status), ..Faults::default() });
        assert_eq!(get(sidecar.gateway(), SEARCH).status, status);
        let line = format!("token_sidecar_gateway_answers_total{{site=\"{}\",status=\"{status}\"}} 1\n", keys::SITE);
        assert!(sidecar.get("/metrics").body.contains(&line), "{line}");
    }
    assert_eq!(world.solves(), 1);
    sidecar.stop().expect(0);
}

#[test]
fn at_the_end_an_answer_that_is_under_way_is_finished() {
    let world = World::start();
    let (sidecar, _events) = ready(&world, &[GATEWAY]);
    let address = sidecar.gateway();
    let before = world.simulator.statistics().api.started;
    world.faults(Faults { api_hang: true, ..Faults::default() });
    // A connection that is kept without a request does not delay the end.
    let _idle = Connection::open(address);
    std::thread::scope(|scope| {
        let under_way = scope.spawn(move || get(address, SEARCH));
        world.when("it is under way", |all| all.api.started > before);
        sidecar.signal("TERM");
        eventually("no new one is accepted", || std::net::TcpStream::connect(address).err());
        world.heal();
        assert_eq!(under_way.join().unwrap().status, 200);
    });
    sidecar.end().expect(0);
}

/// Secrets and the paths of clients are in no log, even with all of it.
#[test]
fn no_path_and_no_secret_is_logged() {
    let world = World::start();
    let (sidecar, _events) = ready(&world, &[GATEWAY, ("RUST_LOG", "trace")]);
    let headers = "Cookie: mine=hunter2\r\nAuthorization: Bearer hunter2\r\n";
    assert_eq!(ask(sidecar.gateway(), "GET", &format!("{SEARCH}&q=secretive"), headers).status, 200);
    sidecar.logs("the gateway answers");
    let token = world.token().unwrap();
    let ran = sidecar.stop().expect(0);
    for secret in [token.as_str(), "hunter2", "secretive", "phrase="] {
        assert!(!ran.stderr.contains(secret), "{secret}: {}", ran.stderr);
    }
}
