//! `inspect`: what a page has that may be its token, and the settings that it writes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use simulator::{CookieKind, Faults, SolveError};

use crate::process::{Ran, World, keys};

const API: &str = "/web/api/v2/search/product?phrase=x";

/// With the shop's page as the first argument.
fn inspect(world: &World, args: &[&str]) -> Ran {
    let page = world.simulator.shop_url();
    world.call(&[&["inspect", &page], args].concat())
}

/// Panics where a value of the page is in the output.
#[track_caller]
fn hides(ran: &Ran) {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!all.contains("eyJ") && !all.contains("Bearer%20"), "{all}");
}

/// The FlareSolverr's answer with these cookies.
fn answers(world: &World, cookies: &Value) {
    let solution = json!({"url": world.simulator.shop_url(), "userAgent": "Mozilla/5.0", "cookies": cookies});
    let body = json!({"status": "ok", "version": "3.5.0", "solution": solution}).to_string();
    world.faults(Faults { solve_error: Some(SolveError::Raw { status: 200, body }), ..Faults::default() });
}

#[test]
fn what_the_page_has_is_listed_without_its_values() {
    let world = World::start();
    let ran = inspect(&world, &[]).expect(0);
    hides(&ran);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0])[..4], ["kind", "name", "bytes", "ends"]);
    assert_eq!(words(lines[1])[..2], ["cookie", "access-token"], "the likeliest comes first: {}", ran.stdout);
    assert!(lines[1].contains("JWT of ") && lines[1].contains(", expires in "), "{}", lines[1]);
    assert!(lines[2..].iter().any(|line| words(line)[..2] == ["cookie", "__ddg1_"]), "{}", ran.stdout);
    let ran = ran.stderr_has("flaresolverr opens the page").stderr_has("`browser` alone");
    ran.stderr_has("most likely the token: cookie access-token; --write FILE writes a site with it");
    assert_eq!(world.simulator.statistics().api.started, 0, "without --api none is asked");
    assert_eq!(world.ask::<Vec<String>>(&["KEYS", "*"]), Vec::<String>::new());
    let json = inspect(&world, &["--json", "--api", &world.simulator.url(API)]).expect(0);
    hides(&json);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let first = &json["items"][0];
    assert_eq!((&first["kind"], &first["name"]), (&json!("cookie"), &json!("access-token")));
    assert_eq!((&first["looks_like"]["kind"], &first["verdict"]["state"]), (&json!("jwt"), &json!("accepted")));
    assert_eq!((&json["source"], &json["cookies"]["count"]), (&json!("flaresolverr"), &json!(2)));
}

#[test]
fn the_written_site_works() {
    let world = World::start();
    let api = world.simulator.url(API);
    let ran = inspect(&world, &["--api", &api, "--write", "shop.toml", "--name", "shop"]).expect(0);
    hides(&ran);
    ran.prints("accepts it").stderr_has("token-sidecar --config shop.toml doctor --site shop");
    let file = world.path("shop.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written = world.read("shop.toml");
    assert!(written.contains("cookie = \"access-token\"") && !written.contains("eyJ"), "{written}");
    let config = ["--config", "shop.toml"];
    world.call(&[&["check-config"], &config[..]].concat()).expect(0).prints("sites.shop.cookie_prefix = Bearer ");
    let site = [&config[..], &["--site", "shop"]].concat();
    let doctor = world.call(&[&["doctor"], &site[..]].concat()).expect(0);
    doctor.prints("shop: API: it answers, and refuses a made-up token").prints("shop: source flaresolverr");
    world.call(&[&["refresh"], &site[..]].concat()).expect(0).prints("shop: new token");
    world.call(&[&["doctor"], &site[..]].concat()).expect(0).prints("it accepts the current token");
    // Never over a file, and the page is not opened for nothing.
    let solves = world.solves();
    let refused = inspect(&world, &["--write", "shop.toml"]).expect(2);
    refused.stderr_has("shop.toml is not written: it exists already");
    assert_eq!((world.solves(), world.read("shop.toml")), (solves, written));
}

#[test]
fn without_an_api_the_likeliest_is_written_and_nothing_is_proved() {
    let world = World::start();
    inspect(&world, &["--write", "shop.toml"]).expect(0);
    let settings = world.call(&["check-config", "--config", "shop.toml"]).expect(0);
    settings.prints("sites.127_0_0_1.verify = off").prints("sites.127_0_0_1.cookie = access-token");
    world.call(&["doctor", "--config", "shop.toml", "--site", "127_0_0_1"]).expect(0);
}

#[test]
fn what_the_api_refuses_is_1_and_is_not_written() {
    let world = World::start();
    world.faults(Faults { cookie: CookieKind::Dead, ..Faults::default() });
    let api = world.simulator.url(API);
    let ran = inspect(&world, &["--api", &api, "--write", "shop.toml"]).expect(1);
    hides(&ran);
    ran.prints("the API answers 401: Unauthorized").stderr_has("the API accepts none of them");
    assert!(!world.path("shop.toml").exists());
    // One that accepts anything proves nothing.
    world.faults(Faults { api_status: Some(200), api_body: Some("{}".to_owned()), ..Faults::default() });
    inspect(&world, &["--api", &api]).expect(1).stderr_has("the API accepts a made-up token too");
    answers(&world, &json!([{"name": "lang", "value": "ru"}]));
    inspect(&world, &[]).expect(1).stderr_has("nothing looks like a token; --api URL tries what may be one");
}

/// The page's cookie that the API goes by is none that could be a token.
#[test]
fn cookies_that_the_api_accepts_by_themselves_are_a_product() {
    let world = World::start();
    world.faults(Faults { require_user_agent: true, ..Faults::default() });
    let api = world.simulator.url(API);
    let ran = inspect(&world, &["--api", &api, "--write", "shop.toml", "--name", "shop"]).expect(0);
    // A token alone is blocked, and the cookies have it.
    ran.prints("the API answers 403").stderr_has("the cookies without a token");
    let site = ["--config", "shop.toml", "--site", "shop"];
    world.call(&[&["refresh"], &site[..]].concat()).expect(0);
    world.call(&[&["doctor"], &site[..]].concat()).expect(0).prints("it accepts the current cookies");
    assert!(world.ask::<Option<String>>(&["GET", "shop_cookies"]).is_some());
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::TOKEN]), 0);
}

#[test]
fn an_api_that_says_nothing_of_a_made_up_token_is_asked_once_and_75() {
    let world = World::start();
    world.faults(Faults { api_status: Some(500), ..Faults::default() });
    let before = world.simulator.statistics().api.started;
    let ran = inspect(&world, &["--api", &world.simulator.url(API), "--write", "shop.toml"]).expect(75);
    ran.prints("cookie  access-token").stderr_has("of a made-up token the API says: the API answers 500");
    assert_eq!(world.simulator.statistics().api.started - before, 1);
    assert!(!world.path("shop.toml").exists());
}

#[test]
fn the_file_is_written_whether_or_not_the_report_is_read() {
    let world = World::start();
    let page = world.simulator.shop_url();
    let unread = ["sh", "-c", "\"$@\" | true", "sh"];
    let mut command = world.command_under(&unread, &["inspect", &page, "--write", "shop.toml"], &[]);
    assert!(command.status().unwrap().success());
    assert!(world.read("shop.toml").contains("cookie = \"access-token\""));
}

#[test]
fn a_flood_of_hostile_names_is_shown_escaped_and_cut() {
    let world = World::start();
    let odd = json!({"name": "a\u{202e}b\u{1b}c", "value": "a8f1Zq09KdUv72mNc5Te"});
    let control = json!({"name": "token\u{202e}", "value": "a8f1Zq09KdUv72mNc5Te"});
    let many = (0..500).map(|n| json!({"name": format!("cookie-{n}"), "value": "x"}));
    answers(&world, &[odd, control].into_iter().chain(many).collect());
    let ran = inspect(&world, &[]).expect(1);
    assert!(ran.stdout.contains("token\\u{202e}"), "{}", ran.stdout);
    assert!(!ran.stdout.contains(['\u{202e}', '\u{1b}']), "{}", ran.stdout);
    assert!(ran.stdout.lines().count() < 70, "{}", ran.stdout);
    ran.prints("more, less likely");
}

#[test]
fn a_plain_request_shows_the_cookies_of_its_answer() {
    let world = World::start();
    let ran = inspect(&world, &["--source", "http", "--write", "shop.toml", "--name", "shop"]).expect(0);
    hides(&ran);
    ran.prints("cookie  access-token");
    world.call(&["doctor", "--config", "shop.toml", "--site", "shop"]).expect(0).prints("source http: it answers");
    assert_eq!(world.solves(), 0);
}

#[test]
fn a_page_that_cannot_be_opened_is_75() {
    let world = World::start();
    world.faults(Faults { page: Some(simulator::PageMode::Plain), ..Faults::default() });
    let ran = inspect(&world, &["--source", "http"]).expect(75).stderr_has("http: ");
    ran.stderr_has("--source browser");
    let failed = Faults { solve_error: Some(simulator::RecordedError::Blocked.into()), ..Faults::default() };
    world.faults(failed);
    inspect(&world, &[]).expect(75).stderr_has("the site has blocked this address");
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let waiting = world.begin(&["inspect", &world.simulator.shop_url()], &[]);
    waiting.logs("flaresolverr opens the page");
    world.solve_started(2);
    waiting.signal("INT");
    waiting.end().expect(75).stderr_has("stopped before all was looked at");
}

#[test]
fn wrong_addresses_and_names_are_2_and_are_not_repeated() {
    let world = World::start();
    for (args, error) in [
        (&["inspect", "https://user:hunter2@shop.test/"][..], "URL: user and password cannot stand in this address"),
        (&["inspect", "shop.test"], "URL: expected an address such as https://shop.test/"),
        (&["inspect", "https://shop.test/", "--api", "hunter2"], "--api: expected an address"),
        (&["inspect", "https://shop.test/", "--write", "x", "--name", "Shop"], "--name Shop: a site's name is"),
        (
            &["inspect", "https://shop.test/", "--write", "x", "--name", "chitai_gorod"],
            "there is a site chitai_gorod already",
        ),
        (
            &["inspect", "https://shop.test/", "--write", "x", "--name", "wildberries"],
            "there is a site wildberries already",
        ),
        (&["inspect", "https://shop.test/", "--write", "missing/x"], "there is no folder missing"),
        (&["inspect", "https://shop.test/", "--source", "curl"], "--source"),
        (&["inspect", "https://shop.test/", "--name", "shop"], "--write"),
    ] {
        let ran = world.call(args).expect(2).stderr_has(error);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    assert_eq!(world.solves(), 0);
}
