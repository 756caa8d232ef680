//! Settings as a process gets them: which one counts, what is refused, what is shown.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::process::sidecar::PROGRAM;
use crate::process::{Ran, Running, World, eventually};

/// `check-config` in a folder without other files.
fn check(folder: &std::path::Path, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = std::process::Command::new(PROGRAM);
    command.arg("check-config").args(args).env_clear().envs(env.iter().copied()).current_dir(folder);
    Running::start(&mut command).end()
}

/// The line of a setting.
#[track_caller]
fn line<'a>(ran: &'a Ran, path: &str) -> &'a str {
    let head = format!("{path} = ");
    ran.stdout.lines().find(|line| line.starts_with(&head)).unwrap_or_else(|| panic!("no {path} in\n{}", ran.stdout))
}

#[track_caller]
fn has(ran: &Ran, path: &str, value: &str, origin: &str) {
    let line = line(ran, path);
    let (text, from) = line.split_once("# ").unwrap();
    assert_eq!((text.trim_end(), from), (format!("{path} = {value}").as_str(), origin));
}

#[test]
fn the_defaults_are_the_contracts() {
    let folder = tempfile::tempdir().unwrap();
    let ran = check(folder.path(), &[], &[]).expect(0);
    for (path, value) in [
        ("redis.url", "redis://127.0.0.1:6379/0"),
        ("flaresolverr.url", "http://127.0.0.1:8191/v1"),
        ("flaresolverr.max_timeout", "60s"),
        ("sites.chitai_gorod.page_url", "https://www.chitai-gorod.ru/"),
        ("sites.chitai_gorod.api_url", "https://web-agr.chitai-gorod.ru/web/api/v2"),
        ("sites.chitai_gorod.city_id", "39"),
        ("sites.chitai_gorod.schedule", "0 */3 * * *"),
        ("sites.chitai_gorod.sources", "flaresolverr"),
        ("sites.chitai_gorod.debounce", "10s"),
        ("sites.chitai_gorod.lock_ttl", "15s"),
        ("sites.chitai_gorod.token_ttl", "24h"),
        ("sites.chitai_gorod.backoff_initial", "5s"),
        ("sites.chitai_gorod.backoff_max", "10m"),
        ("sites.chitai_gorod.verify", "strict"),
        ("sites.chitai_gorod.token_key", "chitai_gorod_token"),
        ("sites.chitai_gorod.cookies_key", "chitai_gorod_cookies"),
        ("server.listen", "127.0.0.1:9188"),
        ("shutdown_grace", "8s"),
        ("log.format", "text"),
        ("log.filter", "info"),
    ] {
        let line = line(&ran, path);
        assert_eq!(line.split_once("# ").unwrap().0.trim_end(), format!("{path} = {value}"));
    }
    assert_eq!(ran.stderr, "");
}

#[test]
fn every_variable_of_the_contract_counts() {
    let folder = tempfile::tempdir().unwrap();
    for (variable, value, path) in [
        ("REDIS_URL", "redis://r.test:1/2", "redis.url"),
        ("FLARESOLVERR_URL", "http://f.test:1/v1", "flaresolverr.url"),
        ("FLARESOLVERR_MAX_TIMEOUT", "61s", "flaresolverr.max_timeout"),
        ("CHITAI_GOROD_SITE_URL", "https://s.test/", "sites.chitai_gorod.page_url"),
        ("CHITAI_GOROD_API_URL", "https://a.test/v2", "sites.chitai_gorod.api_url"),
        ("CHITAI_GOROD_USER_ID", "u7", "sites.chitai_gorod.user_id"),
        ("CHITAI_GOROD_CITY_ID", "213", "sites.chitai_gorod.city_id"),
        ("SIDECAR_SCHEDULE", "every 2h", "sites.chitai_gorod.schedule"),
        ("SIDECAR_SOURCES", "http, flaresolverr", "sites.chitai_gorod.sources"),
        ("SIDECAR_DEBOUNCE", "11s", "sites.chitai_gorod.debounce"),
        ("SIDECAR_LOCK_TTL", "16s", "sites.chitai_gorod.lock_ttl"),
        ("SIDECAR_TOKEN_TTL", "23h", "sites.chitai_gorod.token_ttl"),
        ("SIDECAR_BACKOFF_INITIAL", "6s", "sites.chitai_gorod.backoff_initial"),
        ("SIDECAR_BACKOFF_MAX", "11m", "sites.chitai_gorod.backoff_max"),
        ("SIDECAR_VERIFY", "tolerant", "sites.chitai_gorod.verify"),
        ("SIDECAR_ENV_FILE", "shared.env", "sites.chitai_gorod.env_file"),
        ("SIDECAR_LISTEN", "off", "server.listen"),
        ("SIDECAR_SHUTDOWN_GRACE", "9s", "shutdown_grace"),
        ("SIDECAR_LOG_FORMAT", "json", "log.format"),
        ("RUST_LOG", "debug", "log.filter"),
        ("TZ", "Europe/Moscow", "time_zone"),
    ] {
        let ran = check(folder.path(), &[], &[(variable, value)]).expect(0);
        has(&ran, path, value, &format!("environment {variable}"));
    }
}

#[test]
fn flags_beat_the_environment_which_beats_dotenv_which_beats_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = "sites.chitai_gorod.debounce";
    let toml = folder.path().join("sidecar.toml");
    std::fs::write(&toml, "[sites.chitai_gorod]\ndebounce = \"1s\"\n").unwrap();
    let named = [("SIDECAR_CONFIG", "sidecar.toml")];
    has(&check(folder.path(), &[], &named).expect(0), path, "1s", "sidecar.toml");
    has(&check(folder.path(), &["--config", "sidecar.toml"], &[]).expect(0), path, "1s", "sidecar.toml");
    std::fs::write(folder.path().join(".env"), "SIDECAR_DEBOUNCE=2s\nSIDECAR_CONFIG=sidecar.toml\n").unwrap();
    has(&check(folder.path(), &[], &[]).expect(0), path, "2s", ".env SIDECAR_DEBOUNCE");
    let real = [("SIDECAR_DEBOUNCE", "3s")];
    has(&check(folder.path(), &[], &real).expect(0), path, "3s", "environment SIDECAR_DEBOUNCE");
    let ran = check(folder.path(), &["--set", "sites.chitai_gorod.debounce=4s"], &real).expect(0);
    assert!(line(&ran, path).starts_with("sites.chitai_gorod.debounce = 4s"));
    assert!(line(&ran, path).contains("# flag --set"));
    let ran = check(folder.path(), &["--redis-url", "redis://f.test"], &[("REDIS_URL", "redis://e.test")]).expect(0);
    has(&ran, "redis.url", "redis://f.test", "flag --redis-url");
}

#[test]
fn no_secret_is_ever_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("admin"), "hunter3-admin\n").unwrap();
    let env = [
        ("REDIS_URL", "redis://user:hunter1@r.test:6379/0"),
        ("SIDECAR_ADMIN_TOKEN_FILE", "admin"),
        ("CHITAI_GOROD_BEARER_TOKEN", "Bearer hunter4.token"),
        ("FLARESOLVERR_URL", "http://u:hunter5@f.test/v1"),
    ];
    let ran = check(folder.path(), &[], &env).expect(0);
    assert!(!(ran.stdout.clone() + &ran.stderr).contains("hunter"), "{}\n{}", ran.stdout, ran.stderr);
    assert!(line(&ran, "server.admin_token").contains("(hidden)"));
    assert!(line(&ran, "server.admin_token").contains("SIDECAR_ADMIN_TOKEN_FILE"));
    let ran = check(folder.path(), &[], &[("REDIS_PASSWORD", "hunter2")]).expect(0);
    assert!(!(ran.stdout.clone() + &ran.stderr).contains("hunter"));
    // Nor where it is refused.
    for env in [
        ("REDIS_URL", "http://user:hunter1@r.test"),
        ("CHITAI_GOROD_BEARER_TOKEN", "hunter4 with {blanks}"),
        ("SIDECAR_ADMIN_TOKEN", "hunter three"),
        ("FLARESOLVERR_URL", "ftp://u:hunter5@f.test/v1"),
    ] {
        let ran = check(folder.path(), &[], &[env]).expect(64).stderr_has(env.0);
        assert!(!(ran.stdout + &ran.stderr).contains("hunter"));
    }
}

#[test]
fn an_unknown_key_is_refused_with_file_key_and_the_nearest_one() {
    let folder = tempfile::tempdir().unwrap();
    let toml = folder.path().join("sidecar.toml");
    std::fs::write(&toml, "[sites.chitai_gorod]\ndebuonce = \"1s\"\n[reddis]\nurl = \"x\"\n").unwrap();
    let ran = check(folder.path(), &["--config", "sidecar.toml"], &[]).expect(64);
    let ran = ran.stderr_has("sidecar.toml: unknown key sites.chitai_gorod.debuonce: did you mean debounce?");
    ran.stderr_has("sidecar.toml: unknown key reddis: did you mean redis?");
    check(folder.path(), &["--set", "sites.chitai_gorod.debuonce=1s"], &[]).expect(64).stderr_has("debuonce");
    // A variable may be meant for another program: it leads to a warning only.
    let ran = check(folder.path(), &[], &[("SIDECAR_DEBUONCE", "1s")]).expect(0);
    ran.stderr_has("unknown variable SIDECAR_DEBUONCE: did you mean SIDECAR_DEBOUNCE?");
}

#[test]
fn settings_that_cannot_be_used_are_64_for_every_command() {
    let world = World::start();
    let connected = || -> i64 {
        let info: String = world.ask(&["INFO", "stats"]);
        info.lines().find_map(|l| l.strip_prefix("total_connections_received:")).unwrap().trim().parse().unwrap()
    };
    let before = connected();
    let bad = [("SIDECAR_DEBOUNCE", "soon")];
    for command in [
        "run",
        "refresh",
        "trigger",
        "next",
        "token",
        "status",
        "history",
        "watch",
        "doctor",
        "check-config",
        "healthcheck",
        "inspect https://shop.test/",
    ] {
        let ran = world.call_with(&command.split(' ').collect::<Vec<_>>(), &bad).expect(64);
        let ran = ran.stderr_has("SIDECAR_DEBOUNCE").stderr_has("expected a time such as 10s, 5m or 24h");
        assert_eq!(ran.stdout, "", "{command}");
    }
    assert_eq!(connected() - before, 1, "only this test's own question has connected");
    for (bad, named) in [
        (("SIDECAR_SCHEDULE", "99 * * * *"), "SIDECAR_SCHEDULE"),
        (("REDIS_URL", "localhost:6379"), "REDIS_URL"),
        (("SIDECAR_VERIFY", "maybe"), "SIDECAR_VERIFY"),
        (("SIDECAR_SOURCES", "curl"), "SIDECAR_SOURCES"),
        (("SIDECAR_LISTEN", "9188"), "SIDECAR_LISTEN"),
        (("REDIS_URL", "redis://localhost?db=1"), "?db= is not obeyed: write /1 after the host"),
        (("SIDECAR_CONFIG", "missing.toml"), "missing.toml"),
        (("REDIS_PASSWORD_FILE", "missing"), "REDIS_PASSWORD_FILE"),
        (("REDIS_TLS_CA_FILE", "missing.pem"), "REDIS_TLS_CA_FILE"),
        (("CHITAI_GOROD_BEARER_TOKEN", "not a token"), "CHITAI_GOROD_BEARER_TOKEN"),
        (("RUST_LOG", "a=b=c"), "RUST_LOG"),
        (("SIDECAR_LOG_FORMAT", "xml"), "SIDECAR_LOG_FORMAT"),
        (("FLARESOLVERR_MAX_TIMEOUT", "60ms"), "FLARESOLVERR_MAX_TIMEOUT"),
    ] {
        world.call_with(&["run"], &[bad]).expect(64).stderr_has(named);
    }
    // A wrong variable of the system leads to a warning only.
    world
        .call_with(&["check-config"], &[("TZ", "Middle/Earth")])
        .expect(0)
        .stderr_has("TZ = \"Middle/Earth\" is not used");
    world.write("broken.toml", "[redis\n");
    world.call(&["run", "--config", "broken.toml"]).expect(64).stderr_has("broken.toml, line 1");
}

#[test]
fn a_cluster_with_keys_in_two_slots_is_refused_with_the_name_that_would_do() {
    let world = World::start();
    let cluster = "[redis.cluster]\nnodes = [\"redis://127.0.0.1:1\"]\n";
    world.write("sidecar.toml", cluster);
    let ran = world.call(&["run", "--config", "sidecar.toml"]).expect(64);
    ran.stderr_has("sites.chitai_gorod.cookies_key").stderr_has("{chitai_gorod_token}:cookies");
    let fit = format!("{cluster}[sites.chitai_gorod]\ncookies_key = \"{{chitai_gorod_token}}:cookies\"\n");
    world.write("sidecar.toml", &fit);
    world.call(&["check-config", "--config", "sidecar.toml"]).expect(0);
}

#[test]
fn dotenv_of_the_working_folder_is_enough_for_a_sidecar() {
    let world = World::start();
    let lines: Vec<String> = world.environment().iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    world.write(".env", &lines.join("\n"));
    let mut command = std::process::Command::new(PROGRAM);
    command.env_clear().current_dir(world.folder.path());
    let sidecar = Running::start(&mut command).listening();
    eventually("a token", || world.token());
    sidecar.stop().expect(0);
}

#[test]
fn secrets_are_read_from_files() {
    let world = World::start();
    let _: String = world.redis.ask("ACL SETUSER guest on >from-a-file ~* &* +@all");
    world.write("password", "from-a-file\n");
    let url = world.redis.url_with("guest@");
    let with = |variable: (&str, &str)| world.call_with(&["token"], &[("REDIS_URL", &url), variable]);
    with(("REDIS_PASSWORD_FILE", "password")).expect(75);
    with(("REDIS_PASSWORD", "from-a-file")).expect(75);
    with(("REDIS_PASSWORD", "another")).expect(69);
    world.write("sidecar.toml", "[redis]\npassword_file = \"password\"\n");
    with(("SIDECAR_CONFIG", "sidecar.toml")).expect(75);
    let both = [("REDIS_PASSWORD_FILE", "password"), ("REDIS_PASSWORD", "x")];
    world.call_with(&["token"], &both).expect(64).stderr_has("REDIS_PASSWORD_FILE");
}

#[test]
fn check_config_as_json_has_the_same_settings_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let env = [("REDIS_PASSWORD", "hunter2"), ("SIDECAR_DEBOUNCE", "5s")];
    let text = check(folder.path(), &[], &env).expect(0);
    let json = check(folder.path(), &["--json"], &env).expect(0);
    assert!(!json.stdout.contains("hunter2"));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let settings = json["settings"].as_array().unwrap();
    assert_eq!(settings.len(), text.stdout.lines().count());
    let debounce = settings.iter().find(|setting| setting["path"] == "sites.chitai_gorod.debounce").unwrap();
    assert_eq!((&debounce["value"], &debounce["origin"]), (&"5s".into(), &"environment SIDECAR_DEBOUNCE".into()));
}
