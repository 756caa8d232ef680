//! Defect 10 of the system before: it logged the beginnings of tokens and cookies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use simulator::{CookieKind, Faults, Garbage, SolveError};

use crate::process::{World, eventually, http, keys};
use crate::renewal::{self, RefreshEndpoint, cookie};

const ADMIN: &str = "admin-hunter1";
const PASSWORD: &str = "redis-hunter2";

/// The log at `trace`, through success and every kind of failure.
#[test]
fn nothing_that_is_written_or_served_holds_a_secret() {
    let world = World::start();
    let _: String = world.redis.ask(&format!("ACL SETUSER guest on >{PASSWORD} ~* &* +@all"));
    let url = world.redis.url_with(&format!("guest:{PASSWORD}@"));
    let bootstrap = world.simulator.mint();
    let mut secrets = vec![ADMIN.to_owned(), PASSWORD.to_owned(), bootstrap.token.clone()];
    let events = world.events();
    // By a proxy, as its libraries log too.
    let proxy = world.simulator.url("/");
    let sidecar = world.sidecar(&[
        ("REDIS_URL", &url),
        ("RUST_LOG", "trace"),
        ("HTTP_PROXY", &proxy),
        ("CHITAI_GOROD_API_URL", "http://shop.test/web/api/v2"),
        ("SIDECAR_ADMIN_TOKEN", ADMIN),
        ("CHITAI_GOROD_BEARER_TOKEN", &bootstrap.token),
        ("CHITAI_GOROD_USER_ID", "user-hunter3"),
        ("SIDECAR_ENV_FILE", "shared.env"),
        ("SIDECAR_SOURCES", "flaresolverr,http"),
        ("SIDECAR_DEBOUNCE", "0s"),
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
    // Errors quote no secret.
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
    let address = sidecar.address();
    let follower = std::thread::spawn(move || http::get(address, "/api/events").body);
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
    served.push_str(&follower.join().unwrap());
    assert!(ran.stderr.contains("TRACE"), "the log is as talkative as it can be");
    secrets.extend(["user-hunter3", "wrong-hunter4", "leaked.token.value1"].map(str::to_owned));
    for text in [&ran.stderr, &ran.stdout, &served] {
        has_none(text, &secrets);
    }
}

/// The log at `trace`, where what is stored is in the address, the headers and the body of a plain request, and the server
/// echoes it.
#[test]
fn a_renewal_with_what_is_stored_shows_nothing_of_it() {
    let world = World::start();
    let shop = RefreshEndpoint::of(&world);
    let env = [&renewal::ENV[..], &[("RUST_LOG", "trace")]].concat();
    let (sidecar, events) = world.ready_sidecar(&env);
    let mut secrets = Vec::new();
    let mut renew = |refuses: bool| {
        secrets.extend([world.token().unwrap(), cookie(&world, renewal::REFRESH)]);
        shop.refuses(refuses);
        world.publish("{\"force\": true}");
        events.next().to_string()
    };
    let mut shown = renew(false) + &renew(false);
    world.faults(Faults { solve_reset: true, remaining: None, ..Faults::default() });
    shown += &renew(true);
    assert!(shown.contains("HTTP 400") && shop.api.last().target.contains("rotated"), "{shown}");
    for path in ["/", "/metrics", "/api/status", "/api/history"] {
        shown += &sidecar.get(path).body;
    }
    shown += &format!("{:?}", world.history());
    for command in ["doctor", "status", "check-config"] {
        let ran = world.call_with(&[command], &env);
        shown += &(ran.stdout + &ran.stderr);
    }
    let ran = sidecar.stop().expect(0);
    assert!(ran.stderr.contains("TRACE"));
    for text in [&ran.stderr, &ran.stdout, &shown] {
        has_none(text, &secrets);
        has_none(&text.replace("%2E", ".").replace("%2D", "-").replace("%5F", "_"), &secrets);
    }
}

/// Every command at `trace`, on success and on failure.
#[test]
fn no_command_writes_a_secret_but_the_one_that_prints_the_token() {
    let world = World::start();
    let _: String = world.redis.ask(&format!("ACL SETUSER guest on >{PASSWORD} ~* &* +@all"));
    let login = |password: &str| world.redis.url_with(&format!("guest:{password}@"));
    let (right, wrong) = (login(PASSWORD), login("wrong-hunter4"));
    let solver = world.simulator.flaresolverr_url().replace("://", "://user:solver-hunter5@");
    world.write(
        "sidecar.toml",
        "flaresolverr.proxy = { url = 'http://proxy:3128', username = 'u', password = 'proxy-hunter6' }\n\
         [sites.chitai_gorod]\nhttp.headers.x-key = 'header-hunter7'\nprobe.headers.x-key = 'header-hunter7'\n",
    );
    let bootstrap = world.simulator.mint().token;
    let proxy = world.simulator.url("/");
    let (sidecar, events) = world.ready_sidecar(&[("REDIS_URL", &right)]);
    let listen = sidecar.address().to_string();
    let env = |over: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        let usual = [
            ("REDIS_URL", right.as_str()),
            ("RUST_LOG", "trace"),
            ("SIDECAR_CONFIG", "sidecar.toml"),
            ("SIDECAR_LISTEN", &listen),
            ("SIDECAR_ADMIN_TOKEN", ADMIN),
            ("SIDECAR_SOURCES", "flaresolverr,http"),
            ("FLARESOLVERR_URL", &solver),
            ("CHITAI_GOROD_BEARER_TOKEN", &bootstrap),
            ("HTTP_PROXY", &proxy),
            ("CHITAI_GOROD_API_URL", "http://shop.test/web/api/v2"),
        ];
        let over_name = |name: &str| over.iter().find(|(other, _)| *other == name);
        usual.iter().map(|(name, value)| (*name, over_name(name).map_or(*value, |(_, v)| v).to_owned())).collect()
    };
    let begin = |args: &[&str], over: &[(&'static str, &str)]| {
        let env = env(over);
        let pairs: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.begin(args, &pairs)
    };
    let mut written = String::new();
    let mut tokens = vec![world.token().unwrap()];
    let watch = begin(&["watch"], &[]);
    eventually("it watches", || {
        let subscribers: (String, i64) = world.ask(&["PUBSUB", "NUMSUB", keys::UPDATED]);
        (subscribers.1 == 3).then_some(())
    });
    for (args, code) in [
        (&["trigger", "--wait", "--force", "--reason", "a deploy"][..], 0),
        (&["refresh"], 0),
        (&["status"], 0),
        (&["status", "--json"], 0),
        (&["token"], 0),
        (&["doctor"], 0),
        (&["check-config"], 0),
        (&["healthcheck"], 0),
    ] {
        let ran = begin(args, &[]).end().expect(code);
        tokens.push(world.token().unwrap());
        let stdout = if args == ["token"] { ran.stdout.replace(tokens.last().unwrap(), "") } else { ran.stdout };
        written += &(stdout + &ran.stderr);
    }
    events.until("the refresh by hand", |event| event["trigger"] == "manual");
    watch.prints("manual");
    watch.signal("INT");
    let ended = watch.end();
    written += &(ended.stdout + &ended.stderr);
    // An error names what is wrong, never the value.
    let closed = format!("redis://guest:{PASSWORD}@127.0.0.1:1");
    let absent = "http://user:solver-hunter5@127.0.0.1:1/v1";
    let failing: Vec<_> = [
        (&["run"][..], ("REDIS_URL", wrong.as_str()), 69),
        (&["status"], ("REDIS_URL", &wrong), 69),
        (&["doctor"], ("REDIS_URL", &wrong), 1),
        (&["token"], ("REDIS_URL", &closed), 69),
        (&["doctor"], ("REDIS_URL", &closed), 1),
        (&["doctor"], ("FLARESOLVERR_URL", absent), 1),
        (&["check-config"], ("REDIS_URL", "redis://guest:redis-hunter2@:x"), 64),
        (&["run"], ("FLARESOLVERR_URL", "user:solver-hunter5@127.0.0.1"), 64),
        (&["run"], ("SIDECAR_CONFIG", "broken.toml"), 64),
    ]
    .into_iter()
    .map(|(args, over, code)| {
        world.write("broken.toml", "server.admin_token = \"admin-hunter1\nredis.password = 'redis-hunter2'\n");
        (begin(args, &[over]), code)
    })
    .collect();
    for (running, code) in failing {
        let ran = running.end().expect(code);
        written += &(ran.stdout + &ran.stderr);
    }
    sidecar.stop().expect(0);
    assert!(written.contains("TRACE") && written.contains("(hidden)"), "it is as talkative as it can be");
    let mut secrets = vec![ADMIN.to_owned(), PASSWORD.to_owned(), bootstrap];
    secrets.extend(["wrong-hunter4", "solver-hunter5"].map(str::to_owned));
    secrets.extend(["proxy-hunter6", "header-hunter7"].map(str::to_owned));
    secrets.extend(tokens);
    has_none(&written, &secrets);
}

/// It contains none of the secrets, nor the beginning of one.
#[track_caller]
fn has_none(text: &str, secrets: &[String]) {
    for secret in secrets {
        let beginning: String = secret.chars().take(24).collect();
        assert!(!text.contains(secret.as_str()), "{secret} in\n{}", around(text, secret));
        assert!(!text.contains(&beginning), "{beginning} in\n{}", around(text, &beginning));
    }
    assert!(!text.contains("eyJhbGciOiJIUzI1NiIsInR5"), "not even the head that all tokens share");
}

fn around<'a>(text: &'a str, secret: &str) -> &'a str {
    text.lines().find(|line| line.contains(secret)).unwrap_or_default()
}
