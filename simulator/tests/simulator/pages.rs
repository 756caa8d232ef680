//! The pages, with requests like a real browser's.

use simulator::{CookieKind, Faults, PageMode, Simulator};

use crate::http::{Reply, ask, search, start, with};

async fn get(simulator: &Simulator, path: &str, cookies: &str) -> Reply {
    ask(simulator.address(), &format!("GET {path}"), &[("cookie", cookies)], "").await.unwrap()
}

fn token(text: &str) -> &str {
    text.split_once("access-token=Bearer%20").unwrap().1.split(';').next().unwrap()
}

#[tokio::test]
async fn the_page_sets_the_token_by_header() {
    let simulator = start();
    let reply = get(&simulator, "/shop", "").await;
    let cookies = reply.headers("set-cookie");
    assert!(cookies[0].starts_with("__ddg1_=") && cookies[0].ends_with("; Path=/; HttpOnly"), "{cookies:?}");
    assert_eq!(cookies[1], "refresh-token=; Path=/");
    assert!(cookies[2].contains("; Path=/; Expires=") && cookies[2].ends_with(" GMT"), "{cookies:?}");
    assert_eq!(search(&simulator, token(cookies[2])).await, 200);
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn the_late_page_sets_it_by_script() {
    let simulator = start();
    let reply = get(&simulator, "/shop/late?ms=400", "").await;
    assert!(!reply.head.contains("access-token"));
    assert!(reply.body.contains("},400)"), "{}", reply.body);
    assert_eq!(search(&simulator, token(&reply.body)).await, 200);
}

#[tokio::test]
async fn the_challenge_gives_way_to_its_own_cookie() {
    let simulator = start();
    let challenge = get(&simulator, "/shop/challenge", "").await;
    assert_eq!((challenge.status, challenge.headers("set-cookie").len()), (403, 0));
    assert!(challenge.body.contains("<title>Just a moment...</title>"));
    assert!(challenge.body.contains("document.cookie='cf_clearance=ok;") && challenge.body.contains("},3000)"));
    let page = get(&simulator, "/shop/challenge", "cf_clearance=ok").await;
    assert!(page.status == 200 && page.head.contains("access-token=Bearer%20"));
}

#[tokio::test]
async fn other_pages_set_nothing() {
    let simulator = start();
    for (path, status) in [("/shop/plain", 200), ("/shop/denied", 403), ("/shop/none", 404), ("/shopping", 404)] {
        let reply = get(&simulator, path, "").await;
        assert_eq!((reply.status, reply.headers("set-cookie").len()), (status, 0), "{path}");
    }
    assert_eq!(simulator.statistics().pages, 2);
}

#[tokio::test]
async fn one_address_can_be_any_page() {
    let simulator = with(Faults { page: Some(PageMode::Challenge), ..Faults::default() });
    assert!(get(&simulator, "/shop", "").await.body.contains("Just a moment..."));
    simulator.faults(Faults { page: Some(PageMode::Late), cookie: CookieKind::Absent, ..Faults::default() });
    assert!(!get(&simulator, "/shop", "").await.body.contains("access-token"));
}
