//! A site whose product is the cookies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::Timestamp;
use serde_json::{Value, json};
use simulator::{CookieKind, Faults};
use token_sidecar_client::Client;
use token_sidecar_client::wire::{Cookies, Fingerprint};

use super::gateway::api::{Api, answer};
use super::gateway::knows;
use crate::process::{DEADLINE, Events, Running, World, http, keys};

const META: &str = "{chitai_gorod_cookies}:meta";
const ENV: [(&str, &str); 2] = [("SIDECAR_CONFIG", "sidecar.toml"), ("SIDECAR_DEBOUNCE", "0s")];

/// With the settings of such a site.
fn world() -> World {
    let world = World::start();
    world.write("sidecar.toml", "[sites.chitai_gorod]\nproduct = \"cookies\"\ncookies = [\"access-token\"]\n");
    world
}

fn ready(world: &World, more: &[(&str, &str)]) -> (Running, Events) {
    let (sidecar, events) = world.ready_sidecar(&[&ENV[..], more].concat());
    knows(&sidecar, &world.ask::<String>(&["HGET", META, "version"]));
    (sidecar, events)
}

fn jar(world: &World) -> Option<String> {
    world.ask(&["GET", keys::COOKIES])
}

fn named(world: &World) -> String {
    Fingerprint::of(&jar(world).unwrap()).to_string()
}

fn report(fingerprint: &str) -> String {
    json!({ "fingerprint": fingerprint }).to_string()
}

#[test]
fn the_jar_is_what_parsers_read_report_and_wait_for() {
    let world = world();
    let (sidecar, events) = ready(&world, &[]);
    let first = jar(&world).unwrap();
    let cookies: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(cookies.to_string(), first, "the names are sorted");
    assert!(cookies["access-token"].as_str().unwrap().starts_with("Bearer%20") && cookies["__ddg1_"].is_string());
    let written: Vec<String> = world.ask(&["KEYS", "*"]);
    assert!(written.iter().all(|key| key.contains(keys::COOKIES)), "{written:?}");
    let meta = |field: &str| world.ask::<String>(&["HGET", META, field]);
    assert_eq!(meta("fingerprint"), named(&world));
    assert!(!meta("user_agent").is_empty());

    world.simulator.revoke_all();
    world.publish(report(&named(&world)));
    let event = events.refreshed();
    assert_eq!((&event["key"], &event["fingerprint"]), (&keys::COOKIES.into(), &named(&world).into()));
    let expires_at = event["expires_at"].as_str().unwrap();
    assert_eq!(expires_at, meta("expires_at"), "the end of the cookie that must be there");
    assert_ne!(jar(&world).unwrap(), first);
    world.publish(report(&Fingerprint::of(&first).to_string()));
    let again = events.repeated();
    assert_eq!((&again["expires_at"], &again["fingerprint"]), (&expires_at.into(), &named(&world).into()));
    assert_eq!(world.solves(), 2, "a late report costs nothing");

    let _: i64 = world.ask(&["DEL", keys::COOKIES]);
    assert_eq!(events.refreshed()["trigger"], "vanished");
    sidecar.stop().expect(0);
}

#[test]
fn the_commands_speak_of_the_cookies() {
    let world = world();
    let call = |args: &[&str], code| world.call_with(args, &ENV).expect(code);
    call(&["status"], 1).prints("chitai_gorod  no token");
    let (sidecar, _events) = ready(&world, &[]);
    let (stored, fingerprint) = (jar(&world).unwrap(), named(&world));
    assert_eq!(call(&["token"], 0).stdout, format!("{stored}\n"));
    call(&["status"], 0).prints(&format!("cookies     {fingerprint}  version "));
    call(&["doctor"], 0)
        .prints(&format!("readable and writable, cookies {fingerprint}"))
        .prints("accepts the current cookies");
    let status: Value = serde_json::from_str(&call(&["status", "--json"], 0).stdout).unwrap();
    assert_eq!(status["sites"][0]["token"]["product"], "cookies");
    let cookies: Value = serde_json::from_str(&stored).unwrap();
    let pairs = cookies.as_object().unwrap().iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap()));
    let header = pairs.collect::<Vec<_>>().join("; ");
    assert_eq!(call(&["token", "--cookie"], 0).stdout, format!("{header}\n"));
    assert_eq!(call(&["token", "--header"], 0).stdout, format!("Cookie: {header}\n"));
    let curl = call(&["token", "--curl"], 0).prints(&format!("header = \"Cookie: {header}\"")).stdout;
    assert!(!curl.contains("Authorization") && curl.contains("User-Agent: "), "{curl}");
    let shown: Value = serde_json::from_str(&call(&["token", "--json"], 0).stdout).unwrap();
    assert_eq!((&shown["token"], &shown["cookies"]), (&stored.clone().into(), &cookies));

    world.simulator.revoke_all();
    let next = call(&["next", &stored], 0).stdout;
    assert_eq!(next, format!("{}\n", jar(&world).unwrap()));
    assert_ne!(next.trim_end(), stored);
    call(&["trigger", "--wait", "--refused", &stored], 0).prints("the cookies are fresh already:");
    call(&["trigger", "--wait", "--force"], 0).prints("chitai_gorod: new cookies ");
    call(&["next", "abc"], 2).stderr_has("the refused cookies: the value is no JSON object of cookies");
    sidecar.stop().expect(0);
}

#[test]
fn a_jar_without_a_named_cookie_is_a_failure_that_names_it() {
    let world = world();
    world.faults(Faults { cookie: CookieKind::Absent, ..Faults::default() });
    let events = world.events();
    let sidecar = world.sidecar(&ENV);
    let failed = events.failed("extract");
    assert_eq!(failed["error"], "no cookie `access-token` among the 2 of the answer");
    assert_eq!(jar(&world), None);
    sidecar.stop().expect(0);
}

#[test]
fn a_jar_of_another_program_is_adopted_as_it_stands_where_it_has_what_must_be_there() {
    let world = world();
    let token = world.simulator.mint().token;
    // As Python writes it.
    let foreign = format!(r#"{{"z": "1", "access-token": "Bearer%20{token}"}}"#);
    let _: () = world.ask(&["SET", keys::COOKIES, &foreign, "EX", "43200"]);
    let (sidecar, events) = ready(&world, &[]);
    assert_eq!((jar(&world).as_deref(), world.solves()), (Some(foreign.as_str()), 0));
    assert_eq!(world.ask::<String>(&["HGET", META, "fingerprint"]), Fingerprint::of(&foreign).to_string());
    let ttl: i64 = world.ask(&["TTL", keys::COOKIES]);
    assert!((43_000..=43_200).contains(&ttl), "{ttl}");
    sidecar.stop().expect(0);

    let _: () = world.ask(&["SET", keys::COOKIES, r#"{"z": "1"}"#]);
    let sidecar = world.sidecar(&ENV);
    assert_eq!(events.refreshed()["trigger"], "startup");
    assert_eq!(world.solves(), 1);
    sidecar.stop().expect(0);
}

#[test]
fn a_plain_request_renews_the_jar_with_what_is_stored() {
    let world = world();
    let simulator = std::sync::Arc::clone(&world.simulator);
    let (seconds, _): (i64, i64) = world.ask(&["TIME"]);
    let date = Timestamp::from_second(seconds).unwrap().strftime("Date: %a, %d %b %Y %H:%M:%S GMT").to_string();
    let shop = Api::answering(move |_| {
        let cookie = format!("access-token=Bearer%20{}; Path=/; Max-Age=600", simulator.mint().token);
        answer(200, &format!("{date}\r\nSet-Cookie: {cookie}\r\n"), "{}")
    });
    world.write(
        "sidecar.toml",
        &format!(
            "[sites.chitai_gorod]\nproduct = \"cookies\"\ncookies = [\"access-token\", \"__ddg1_\"]\n\
             http = {{ url = \"{}/visit\", token = \"cookie\", headers.Cookie = \"{{cookies}}\" }}\n",
            shop.url(),
        ),
    );
    let (sidecar, events) = ready(&world, &[("SIDECAR_SOURCES", "http,flaresolverr")]);
    let cookies = || serde_json::from_str::<Value>(&jar(&world).unwrap()).unwrap();
    let visitor = cookies()["__ddg1_"].clone();
    world.publish("{\"force\": true}");
    let event = events.refreshed();
    let ttl = event["ttl"].as_u64().unwrap();
    assert!(event["source"] == "http" && (400..=600).contains(&ttl), "{event}");
    assert!(shop.last().header("cookie").contains("access-token=Bearer%20"));
    assert_eq!(cookies()["__ddg1_"], visitor, "what the answer does not replace stays");
    sidecar.stop().expect(0);
}

#[test]
fn the_gateway_sends_the_jar_and_no_token_and_replaces_a_refused_one() {
    let world = world();
    let (sidecar, events) = ready(&world, &[("SIDECAR_GATEWAY", "127.0.0.1:0")]);
    let search = || http::ask(sidecar.gateway(), "GET", "/chitai_gorod/search/product", "Cookie: of=client\r\n");
    assert_eq!(search().status, 200);
    let first = named(&world);
    world.simulator.revoke_all();
    assert_eq!(search().status, 200);
    assert_eq!(events.refreshed()["fingerprint"], named(&world));
    assert_ne!(named(&world), first);
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn the_rust_client_waits_for_the_next_jar() {
    let world = world();
    let (sidecar, _events) = ready(&world, &[]);
    let client = Client::of_cookies(&world.redis.url(), keys::SITE).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let first = client.get(DEADLINE).await.unwrap();
        assert_eq!(Some(first.expose().to_owned()), jar(&world));
        assert_eq!(client.cookies().await.unwrap(), Cookies::from_json(first.expose()));
        assert!(client.user_agent().await.unwrap().is_some() && first.bearer().is_none());
        world.simulator.revoke_all();
        let next = client.wait_newer(&first, DEADLINE).await.unwrap();
        assert_eq!(Some(next.expose().to_owned()), jar(&world));
        assert_ne!(next, first);
    });
    sidecar.stop().expect(0);
}

#[test]
fn settings_of_a_token_are_refused_where_they_cannot_mean_anything() {
    let world = world();
    let refused = |env: &[(&str, &str)]| world.call_with(&["check-config"], &[&ENV[..1], env].concat()).expect(64);
    refused(&[("CHITAI_GOROD_BEARER_TOKEN", "abc")]).stderr_has("bootstrap_token: the cookies are the product");
    let bad = |more: &str, error: &str| {
        world.write("sidecar.toml", &format!("[sites.chitai_gorod]\nproduct = \"cookies\"\n{more}\n"));
        refused(&[("SIDECAR_SOURCES", "http,browser")]).stderr_has(error);
    };
    bad("browser.token = \"local:key\"", "sites.chitai_gorod.browser.token: the cookies are the product: set it to");
    bad("", "sites.chitai_gorod.http.token: the cookies are the product: set it to");
}
