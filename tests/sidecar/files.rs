//! Files that are made of the token by templates.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Running, World, eventually, keys};
use crate::support::skipped;

const TOML: &str = r#"
[[sites.chitai_gorod.files]]
path = "token.conf"
template = """
proxy_set_header Authorization "Bearer {{ token }}";
proxy_set_header User-Agent {{ user_agent | ini }};
"""
mode = "0640"

[[sites.chitai_gorod.files]]
path = "token.json"
template_file = "token.json.j2"

[[sites.chitai_gorod.files]]
path = "parser.env"
env_key = "API_TOKEN"

# The simulated shop has no such cookie.
[[sites.chitai_gorod.files]]
path = "never"
template = "{{ cookies.no_such_cookie }}"
"#;

#[test]
fn each_file_is_written_in_its_own_form_and_the_status_says_which_is_not_current() {
    let world = World::start();
    world.write("sidecar.toml", TOML);
    world.write("token.json.j2", r#"{"token": {{ token | json }}, "site": "{{ site }}", "version": {{ version }}}"#);
    world.write("parser.env", "A=1\n");
    world.write("never", "what was there");
    let env = [("SIDECAR_CONFIG", "sidecar.toml"), ("SIDECAR_DEBOUNCE", "0s")];
    let (one, events) = world.ready_sidecar(&env);
    // Both processes write the same files.
    let other = world.sidecar(&env);
    let are_current = |version: u64| {
        let token = world.token().unwrap_or_default();
        let json = format!(r#"{{"token": "{token}", "site": "chitai_gorod", "version": {version}}}"#);
        eventually("each file is current", || {
            let conf = fs::read_to_string(world.path("token.conf")).ok()?;
            let is_current = conf.starts_with(&format!("proxy_set_header Authorization \"Bearer {token}\";\n"))
                && world.read("parser.env") == format!("A=1\nAPI_TOKEN={token}\n")
                && fs::read_to_string(world.path("token.json")).is_ok_and(|text| text == json);
            is_current.then_some(())
        });
    };
    are_current(world.meta("version").unwrap().parse().unwrap());
    assert_eq!(fs::metadata(world.path("token.conf")).unwrap().mode() & 0o777, 0o640);
    assert!(
        world.read("token.conf").contains("\nproxy_set_header User-Agent \"Mozilla/"),
        "{}",
        world.read("token.conf")
    );

    world.publish("now");
    let event = events.until("a refresh", |event| event["trigger"] == "invalid" && event["cause"] == "refreshed");
    are_current(event["version"].as_u64().unwrap());
    assert_eq!(world.read("never"), "what was there");

    let outputs = eventually("the state of each is known", || {
        let status = one.get("/api/status").json();
        let outputs = status["sites"][0]["outputs"].as_array().unwrap().clone();
        outputs.iter().all(|output| output["current"].is_boolean()).then_some(outputs)
    });
    let states: Vec<_> = outputs.iter().map(|o| (o["file"].as_str().unwrap(), o["current"] == true)).collect();
    assert_eq!(states, [("token.conf", true), ("token.json", true), ("parser.env", true), ("never", false)]);
    let error = outputs[3]["error"].as_str().unwrap();
    assert_eq!(error, "its template, line 1, column 4: cookies.no_such_cookie: it is not known");
    let metrics = one.get("/metrics").body;
    for (file, current) in states {
        let sample =
            format!(r#"token_sidecar_output_current{{site="chitai_gorod",file="{file}"}} {}"#, u8::from(current));
        assert!(metrics.contains(&sample), "{sample}");
    }
    let token = world.token().unwrap();
    for ran in [one.stop().expect(0), other.stop().expect(0)] {
        assert!(ran.stderr.contains("cookies.no_such_cookie") && !ran.stderr.contains(&token), "{}", ran.stderr);
    }
}

#[test]
fn what_would_be_written_is_shown_without_a_secret_and_what_is_wrong_with_its_place() {
    let world = World::start();
    world.write("sidecar.toml", TOML);
    world.write("token.json.j2", "{{ token | json }}");
    let env = [("SIDECAR_CONFIG", "sidecar.toml")];
    let shown = world.call_with(&["check-config", "--render", "chitai_gorod"], &env).expect(0).stdout;
    let expected = "# token.conf, mode 0640\n\
        proxy_set_header Authorization \"Bearer hidden\";\n\
        proxy_set_header User-Agent \"hidden (user agent)\";\n\
        # token.json\n\"hidden\"\n\
        # parser.env, one line\nAPI_TOKEN=hidden\n\
        # never\nhidden\n";
    assert_eq!(shown, expected);
    let refused = world.call_with(&["check-config", "--render", "other"], &env).expect(2).stderr;
    assert!(refused.contains("there is no site `other`; configured: chitai_gorod"), "{refused}");

    world.write("token.json.j2", "{\n  \"token\": {{ tokn | json }}\n}\n");
    let refused = world.call_with(&["check-config"], &env).expect(64).stderr;
    let place = "sites.chitai_gorod.files.1.template_file = \"token.json.j2\": line 2, column ";
    assert!(refused.contains(place) && refused.contains("it is not known"), "{refused}");
}

/// The steps of a write.
const CALLS: [&str; 9] = ["openat", "flock", "fchmod", "fchown", "write", "fsync", "rename", "renameat", "renameat2"];

#[test]
fn a_kill_at_any_step_of_a_write_leaves_the_old_file_or_the_new() {
    if !Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        skipped("strace may not trace here");
        return;
    }
    let world = World::start();
    let file =
        "[[sites.chitai_gorod.files]]\npath = \"folder/file\"\ntemplate = \"{{ token }} and more\"\nmode = \"0644\"\n";
    world.write("sidecar.toml", file);
    fs::create_dir(world.path("folder")).unwrap();
    let env = [("SIDECAR_CONFIG", "sidecar.toml")];
    // Whether the kill came before or after the new file was there.
    let mut killed = BTreeSet::new();
    for call in CALLS {
        for step in 1.. {
            fs::write(world.path("folder/file"), "what was there").unwrap();
            // Calls on the old file, on the new one beside it and on their folder.
            let inject = format!("inject={call}:signal=KILL:when={step}");
            let traced = ["strace", "-f", "-qq", "-o", "trace", "-e", &inject];
            let ran = Running::start(&mut world.command_under(&traced, &["refresh"], &env)).end();
            let token = world.token().unwrap_or_default();
            match fs::read_to_string(world.path("folder/file")).unwrap().as_str() {
                "what was there" => killed.insert((call, "before")),
                content if content == format!("{token} and more") => killed.insert((call, "after")),
                content => panic!("killed at {call} {step}: {content}"),
            };
            if ran.code == Some(0) {
                break;
            }
        }
    }
    let expected = ["openat", "flock", "fchmod", "write", "fsync"].map(|call| (call, "before"));
    assert!(expected.iter().all(|step| killed.contains(step)), "{killed:?}");
    assert!(killed.contains(&("fsync", "after")), "{killed:?}");
}

const HOOKS: &str = r#"
[[sites.chitai_gorod.files]]
path = "good"
template = "{{ version }}"
command = ["cp", "good", "seen"]

[[sites.chitai_gorod.files]]
path = "fails"
template = "{{ token }}"
command = ["sh", "-c", "cat fails >&2; exit 3"]

[[sites.chitai_gorod.files]]
path = "hangs"
template = "{{ token }}"
command = ["sleep", "1000"]
timeout = "1s"

[[sites.chitai_gorod.files]]
path = "forks"
template = "{{ token }}"
command = ["sh", "-c", "sleep 1000 & env >environment"]
pass_env = ["OF_THE_HOOK"]

[[sites.chitai_gorod.files]]
path = "signals"
template = "{{ token }}"
signal = "USR1"
pid_file = "pid"
"#;

/// The processes that run in the folder of the world, and their command lines.
fn running_in(world: &World) -> Vec<String> {
    let folder = fs::canonicalize(world.path("")).unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let ours = processes.filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == folder));
    ours.filter_map(|process| fs::read_to_string(process.join("cmdline")).ok()).collect()
}

fn hooks(sidecar: &Running) -> Vec<Value> {
    let status = sidecar.get("/api/status").json();
    status["sites"][0]["outputs"].as_array().unwrap().iter().map(|output| output["hook"].clone()).collect()
}

#[test]
fn commands_that_fail_hang_and_fork_delay_nothing_and_the_last_run_is_of_the_last_version() {
    let world = World::start();
    world.write("sidecar.toml", HOOKS);
    let env = [("SIDECAR_CONFIG", "sidecar.toml"), ("SIDECAR_DEBOUNCE", "0s"), ("OF_THE_HOOK", "a value of ours")];
    let (sidecar, events) = world.ready_sidecar(&env);
    eventually("a command runs", || running_in(&world).join(" ").contains("sleep").then_some(()));
    let (mut version, mut tokens) = (0, Vec::new());
    for commit in 0..1_000 {
        world.publish(json!({"force": true}).to_string());
        version = events.refreshed()["version"].as_u64().unwrap();
        if commit % 100 == 0 {
            tokens.push(world.token().unwrap());
            let processes = running_in(&world).join(" ");
            assert!(!tokens.iter().any(|token| processes.contains(token)), "{processes}");
        }
    }
    eventually("the last command has seen the last version", || {
        (fs::read_to_string(world.path("seen")).ok()? == version.to_string()).then_some(())
    });
    tokens.push(world.token().unwrap());
    for file in ["fails", "hangs", "forks", "signals"] {
        eventually("each file has the last token", || (world.read(file) == *tokens.last().unwrap()).then_some(()));
    }
    let ended = |text: &str| json!({"succeeded": false, "error": text});
    let good = json!({"succeeded": true, "error": null});
    let killed = ended("sleep was killed, as it had not ended within 1s");
    let expected = [good.clone(), ended("sh ended with exit status: 3: …"), killed, good.clone(), good];
    eventually("the state of each is known", || (hooks(&sidecar) == expected).then_some(()));
    let address = sidecar.address().to_string();
    let here = [("SIDECAR_CONFIG", "sidecar.toml"), ("SIDECAR_LISTEN", &*address)];
    let shown = world.call_with(&["status"], &here).expect(0).stdout;
    for line in [
        "  files       good  current  after a write: succeeded\n",
        "              fails  current  after a write: failed  sh ended with exit status: 3: …\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let shown: Value = serde_json::from_str(&world.call_with(&["status", "--json"], &here).expect(0).stdout).unwrap();
    assert_eq!(shown["sites"][0]["outputs"][0]["hook"], json!({"succeeded": true, "error": null}));
    assert_eq!(world.read("environment").lines().filter(|line| line.starts_with("OF_THE_HOOK=a value")).count(), 1);
    assert!(!world.read("environment").contains("REDIS_URL"), "{}", world.read("environment"));
    let metrics = sidecar.get("/metrics").body;
    let sample = r#"token_sidecar_output_hook_succeeded{site="chitai_gorod",file="fails"} 0"#;
    assert!(metrics.contains(sample), "{metrics}");

    let log = sidecar.stop().expect(0).stderr;
    assert!(log.contains("sh ended with exit status: 3") && !tokens.iter().any(|token| log.contains(token)), "{log}");
    eventually("nothing is left behind", || running_in(&world).is_empty().then_some(()));
    assert_eq!(world.ask::<i64>(&["EXISTS", keys::LOCK]), 0);
}

#[test]
fn a_command_that_failed_is_run_again_until_it_succeeds_and_once_after_a_start() {
    let world = World::start();
    let hook = "command = [\"sh\", \"-c\", \"echo >>runs; test -e allowed\"]";
    let file = format!("[[sites.chitai_gorod.files]]\npath = \"file\"\ntemplate = \"{{{{ token }}}}\"\n{hook}\n");
    world.write("sidecar.toml", &file);
    let env = [("SIDECAR_CONFIG", "sidecar.toml")];
    let (sidecar, _events) = world.ready_sidecar(&env);
    sidecar.logs("the hook of the file has failed: it is tried again");
    world.write("allowed", "");
    let succeeds = |sidecar: &Running| {
        eventually("it succeeds", || (hooks(sidecar)[0]["succeeded"] == true).then_some(()));
    };
    succeeds(&sidecar);
    let runs = || world.read("runs").lines().count();
    let before = runs();
    assert!(before > 1);
    // The process before may have been killed between a write and its command.
    sidecar.kill();
    let sidecar = world.sidecar(&env);
    succeeds(&sidecar);
    sidecar.stop().expect(0);
    assert_eq!(runs(), before + 1);
}
