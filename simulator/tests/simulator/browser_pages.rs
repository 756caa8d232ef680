//! The pages for real browsers alone, and the simulator as an HTTP proxy, as far as the server's part goes.

use simulator::{Faults, Simulator};
use tokio::io::AsyncReadExt as _;

use crate::http::{Reply, ask, search, send, start, with};

async fn get(simulator: &Simulator, target: &str, headers: &[(&str, &str)]) -> Reply {
    ask(simulator.address(), &format!("GET {target}"), headers, "").await.unwrap()
}

/// The token after this mark.
fn token_after<'a>(text: &'a str, mark: &str) -> &'a str {
    let rest = text.split_once(mark).unwrap_or_else(|| panic!("no {mark} in {text}")).1;
    rest.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).next().unwrap()
}

#[tokio::test]
async fn each_page_has_a_live_token_in_its_place() {
    let simulator = start();
    let cookie = "access-token=Bearer%20";
    let by_script = "document.cookie='access-token=Bearer%20";
    let in_head =
        ["/shop/opened", "/shop/edge-late", "/shop/download-frame", "/shop/fetch", "/shop/status?code=403&token=1"];
    let in_body = [
        ("/shop/local", "localStorage.setItem('token','"),
        ("/shop/local", "localStorage.setItem('auth',JSON.stringify({user:{'a/b':{token:'Bearer "),
        ("/shop/session", "sessionStorage.setItem('token','"),
        ("/shop/request", "{Authorization:'Bearer "),
        ("/shop/never-loaded", by_script),
        ("/shop/alert", by_script),
        ("/shop/popup", by_script),
        ("/shop/agent", by_script),
        ("/shop/fetch?late=1", by_script),
    ];
    for page in in_head {
        let reply = get(&simulator, page, &[]).await;
        assert_eq!(search(&simulator, token_after(&reply.head, cookie)).await, 200, "{page}");
    }
    for (page, mark) in in_body {
        let reply = get(&simulator, page, &[]).await;
        assert!(!reply.head.contains(cookie), "{page}: {}", reply.head);
        assert_eq!(search(&simulator, token_after(&reply.body, mark)).await, 200, "{page}");
    }
    let statistics = simulator.statistics();
    assert_eq!((statistics.pages, statistics.minted), (14, 14));
}

#[tokio::test]
async fn scripts_wait_for_as_long_as_the_address_says() {
    let simulator = start();
    for (page, end) in [
        ("/shop/local?ms=70", "},70)"),
        ("/shop/session", "},0)"),
        ("/shop/request?ms=80", "},80)"),
        ("/shop/edge-late", "},300)"),
        ("/shop/edge-late?ms=90", "},90)"),
    ] {
        let body = get(&simulator, page, &[]).await.body;
        assert!(body.contains(end), "{page}: {body}");
    }
}

#[tokio::test]
async fn the_api_waits_for_the_late_cookie_of_the_edge() {
    let simulator = with(Faults { require_user_agent: true, ..Faults::default() });
    let page = get(&simulator, "/shop/edge-late", &[("user-agent", "Browser")]).await;
    assert!(!page.head.contains("__ddg1_"), "{}", page.head);
    assert!(!page.body.contains("HttpOnly"), "a script may not set such a cookie: {}", page.body);
    let authorization = format!("Bearer {}", token_after(&page.head, "access-token=Bearer%20"));
    let edge = format!("__ddg1_={}", token_after(&page.body, "document.cookie='__ddg1_="));
    for (cookie, status) in [("", 403), (edge.as_str(), 200)] {
        let headers = [("authorization", authorization.as_str()), ("user-agent", "Browser"), ("cookie", cookie)];
        assert_eq!(get(&simulator, "/web/api/v2/search/product", &headers).await.status, status, "{cookie:?}");
    }
}

#[tokio::test]
async fn pages_without_a_token_set_nothing() {
    let simulator = start();
    for (page, status, part) in [
        ("/shop/status?code=403", 403, "<h1>403</h1>"),
        ("/shop/status?code=429&token=0", 429, "<h1>429</h1>"),
        ("/shop/status?code=503", 503, "<h1>503</h1>"),
        ("/shop/spin", 200, "<script>for(;;);</script>"),
        ("/shop/memory", 200, "kept.push("),
        ("/shop/status?code=100", 404, ""),
        ("/shop/status?code=x", 400, ""),
        ("/shop/elsewhere", 404, ""),
    ] {
        let reply = get(&simulator, page, &[]).await;
        assert_eq!((reply.status, reply.headers("set-cookie").len()), (status, 0), "{page}");
        assert!(reply.body.contains(part), "{page}: {}", reply.body);
    }
    assert_eq!((simulator.statistics().pages, simulator.statistics().minted), (5, 0));
}

#[tokio::test]
async fn redirects_go_where_the_address_says_or_round_in_a_loop() {
    let simulator = start();
    for (page, location) in [
        ("/shop/redirect?to=http%3A%2F%2F127.0.0.1%3A1%2Fa%3Fb%3Dc%26d", "http://127.0.0.1:1/a?b=c&d"),
        ("/shop/redirect?to=file:///etc/passwd", "file:///etc/passwd"),
        ("/shop/loop", "/shop/loop"),
    ] {
        let reply = get(&simulator, page, &[]).await;
        assert_eq!((reply.status, reply.headers("location")), (302, vec![location]), "{page}");
    }
}

#[tokio::test]
async fn a_download_is_an_attachment_of_one_mebibyte() {
    let reply = get(&start(), "/shop/download", &[]).await;
    assert_eq!(reply.headers("content-disposition"), ["attachment; filename=\"books.bin\""]);
    assert_eq!((reply.body.len(), reply.headers("set-cookie").len()), (1 << 20, 0));
}

#[tokio::test]
async fn the_clients_hints_come_back_in_a_cookie() {
    let hints = ("sec-ch-ua", "\"Chromium\";v=\"156\"");
    let reply = get(&start(), "/shop/agent", &[hints]).await;
    assert_eq!(reply.headers("set-cookie"), ["hints=%22Chromium%22%3Bv%3D%22156%22; Path=/"]);
}

#[tokio::test]
async fn a_request_for_the_secret_is_counted_apart_whatever_its_kind() {
    let simulator = start();
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    for (line, headers) in [("GET /shop/secret", &[][..]), ("GET /shop/secret?a", &upgrade), ("HEAD /shop/secret", &[])]
    {
        assert!(ask(simulator.address(), line, headers, "").await.is_some(), "{line}");
    }
    assert_eq!((simulator.statistics().secrets, simulator.statistics().pages), (3, 0));
}

#[tokio::test]
async fn a_page_that_hangs_is_never_answered() {
    let simulator = start();
    let mut stream = send(simulator.address(), "GET /shop/hang", &[], "").await;
    simulator.when(|all| all.pages == 1).await;
    simulator.stop().await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    assert!(received.is_empty());
}

#[tokio::test]
async fn half_a_page_comes_and_then_nothing() {
    let simulator = start();
    let mut stream = send(simulator.address(), "GET /shop/half", &[], "").await;
    let mut received = Vec::new();
    while !received.ends_with(b"book book ") {
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
    simulator.stop().await;
    let _ = stream.read_to_end(&mut received).await;
    let text = String::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(length.parse::<usize>().unwrap() / 2, body.len());
    assert!(!head.contains("set-cookie"), "{head}");
}

#[tokio::test]
async fn a_huge_page_goes_on_and_on() {
    let simulator = start();
    let stream = send(simulator.address(), "GET /shop/huge", &[], "").await;
    let read = tokio::io::copy(&mut stream.take(32 << 20), &mut tokio::io::sink()).await.unwrap();
    assert_eq!(read, 32 << 20);
}

#[tokio::test]
async fn a_proxy_serves_every_host_and_may_ask_for_a_login() {
    let simulator = start();
    let shop = "http://books.test/shop";
    assert_eq!(get(&simulator, shop, &[]).await.status, 200);
    simulator.faults(Faults { proxy_login: Some("user:password".to_owned()), ..Faults::default() });
    let wrong = ("proxy-authorization", "Basic dXNlcjp3cm9uZw==");
    for headers in [&[][..], &[wrong], &[("authorization", "Basic dXNlcjpwYXNzd29yZA==")]] {
        let reply = get(&simulator, shop, headers).await;
        assert_eq!((reply.status, reply.headers("proxy-authenticate")), (407, vec!["Basic realm=\"simulator\""]));
    }
    let right = ("proxy-authorization", "Basic dXNlcjpwYXNzd29yZA==");
    assert_eq!(get(&simulator, shop, &[right]).await.status, 200);
    assert_eq!(get(&simulator, "/shop", &[]).await.status, 200);
    let statistics = simulator.statistics();
    assert_eq!((statistics.proxied, statistics.pages), (5, 3));
}
