//! Defect 10 of the system before: it logged the beginnings of tokens and cookies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use simulator::{CookieKind, Faults, Garbage, SolveError};

use crate::process::{World, keys};

const ADMIN: &str = "admin-hunter1";
const PASSWORD: &str = "redis-hunter2";

/// Every log at its most talkative, through success and every kind of failure.
#[test]
fn nothing_that_is_written_or_served_holds_a_secret() {
    let world = World::start();
    let _: String = world.redis.ask(&format!("ACL SETUSER guest on >{PASSWORD} ~* &* +@all"));
    let url = world.redis.url_with(&format!("guest:{PASSWORD}@"));
    let bootstrap = world.simulator.mint();
    let mut secrets = vec![ADMIN.to_owned(), PASSWORD.to_owned(), bootstrap.token.clone()];
    let events = world.events();
    let sidecar = world.sidecar(&[
        ("REDIS_URL", &url),
        ("RUST_LOG", "trace"),
        ("SIDECAR_ADMIN_TOKEN", ADMIN),
        ("CHITAI_GOROD_BEARER_TOKEN", &bootstrap.token),
        ("CHITAI_GOROD_USER_ID", "user-hunter3"),
        ("SIDECAR_ENV_FILE", "shared.env"),
        ("SIDECAR_SOURCES", "flaresolverr,http"),
        ("SIDECAR_DEBOUNCE", "1ms"),
    ]);
    events.refreshed();
    let collect = |secrets: &mut Vec<String>| {
        let token = world.token().unwrap();
        secrets.extend(token.split('.').filter(|part| part.len() > 40).map(str::to_owned));
        let cookies: BTreeMap<String, String> =
            serde_json::from_str(&world.ask::<String>(&["GET", keys::COOKIES])).unwrap();
        secrets.extend(cookies.into_values().filter(|value| value.len() > 8));
        secrets.push(token);
    };
    collect(&mut secrets);
    for _ in 0..2 {
        world.publish("{\"force\": true}");
        events.refreshed();
        collect(&mut secrets);
    }
    // Whatever fails, fails without quoting.
    let leaky = "{\"status\": \"error\", \"message\": \"Error: cookie access-token=Bearer%20leaked.token.value1\"}";
    for faults in [
        Faults { cookie: CookieKind::Expired, ..Faults::default() },
        Faults { cookie: CookieKind::Dead, ..Faults::default() },
        Faults { cookie: CookieKind::Oversized, ..Faults::default() },
        Faults { solve_garbage: Some(Garbage::Truncated), ..Faults::default() },
        Faults { solve_garbage: Some(Garbage::WrongTypes), ..Faults::default() },
        Faults { api_status: Some(503), ..Faults::default() },
        Faults { solve_error: Some(SolveError::Raw { status: 500, body: leaky.to_owned() }), ..Faults::default() },
    ] {
        world.faults(Faults { remaining: None, ..faults });
        world.publish("{\"force\": true}");
        let event = events.next();
        if event["event"] == "token:updated" {
            collect(&mut secrets);
        }
    }
    for (headers, status) in [
        (String::new(), 401),
        ("Authorization: Bearer wrong-hunter4\r\n".to_owned(), 401),
        (format!("Authorization: Bearer {ADMIN}\r\n"), 202),
    ] {
        let answer = sidecar.ask("POST", "/api/sites/chitai_gorod/refresh", &headers);
        assert_eq!(answer.status, status);
    }
    events.next();
    let mut served = String::new();
    for path in ["/", "/healthz", "/readyz", "/metrics", "/api/status", "/api/history", "/nowhere"] {
        served.push_str(&sidecar.get(path).body);
    }
    served.push_str(&format!("{:?}", world.history()));
    served.push_str(&format!("{:?}", world.ask::<BTreeMap<String, String>>(&["HGETALL", keys::META])));
    for event in events.drain() {
        served.push_str(&event.to_string());
    }
    let ran = sidecar.stop().expect(0);
    assert!(ran.stderr.contains("TRACE"), "the log is as talkative as it can be");
    secrets.extend(["user-hunter3", "wrong-hunter4", "leaked.token.value1"].map(str::to_owned));
    for secret in &secrets {
        // Its beginning is one too.
        let beginning: String = secret.chars().take(24).collect();
        let is_header = beginning.starts_with("eyJhbGciOiJIUzI1NiIsInR5");
        for text in [&ran.stderr, &ran.stdout, &served] {
            assert!(!text.contains(secret.as_str()), "{secret} in\n{}", around(text, secret));
            assert!(is_header || !text.contains(&beginning), "{beginning} in\n{}", around(text, &beginning));
        }
    }
    assert!(!(ran.stderr + &served).contains("eyJhbGciOiJIUzI1NiIsInR5"), "not even the head that all tokens share");
}

fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    text.lines().find(|line| line.contains(secret)).unwrap_or_default()
}
