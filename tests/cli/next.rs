//! `next`, the forms of `token`, `trigger --refused` and `history`: what a parser in a shell needs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use serde_json::Value;
use token_sidecar_client::wire::Fingerprint;

use crate::process::sidecar::PROGRAM;
use crate::process::{World, keys};
use crate::support::contract;

/// What a reader of the README types, with the program in the `PATH`.
fn shell(world: &World, script: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = std::path::Path::new(PROGRAM).parent().unwrap();
    let script = format!("PATH=\"{}:$PATH\"\n{script}", folder.display());
    let mut command = Command::new("sh");
    command.args(["-ec", &script]).env_clear().envs(world.environment());
    let ran = command.envs(variables.iter().copied()).current_dir(world.path(".")).output().unwrap();
    (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
}

/// The recipe of the README gave the refused token back, with exit code 0, inside the debounce window.
#[test]
fn the_recipe_for_a_shell_gives_another_token_than_the_refused_one() {
    const RECIPE: &str = "TOKEN=$(printf %s \"$TOKEN\" | token-sidecar next)";
    for guide in ["README.md", "README.ru.md"] {
        assert!(std::fs::read_to_string(guide).unwrap().contains(RECIPE), "{guide}");
    }
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "1s")]);
    let old = world.token().unwrap();
    world.simulator.revoke_all();
    let script = format!("{RECIPE}; echo \"$TOKEN\"");
    let (code, printed) = shell(&world, &script, &[("TOKEN", &old)]);
    let new = world.token().unwrap();
    assert_eq!((code, printed.trim_end()), (Some(0), new.as_str()));
    assert_ne!(new, old);
    // One that was replaced already costs nothing, named in any way.
    let fingerprint = Fingerprint::of(&old).to_string();
    for refused in [old.as_str(), fingerprint.as_str(), &format!("Bearer {old}")] {
        assert_eq!(world.call(&["next", refused]).expect(0).stdout.trim_end(), new, "{refused}");
    }
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn next_says_what_it_lacks() {
    let world = World::start();
    // Standard input is empty.
    for args in [&["next"][..], &["next", "-"], &["next", ""], &["trigger", "--refused", "-"]] {
        let ran = world.call(args).expect(2).stderr_has("the refused token is empty");
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    world.call(&["next", "two words"]).expect(2).stderr_has("the refused token");
    world.call(&["next", "abc"]).expect(69).stderr_has("no sidecar listens on chitai_gorod:token:invalid");
    let (sidecar, _events) = world.ready_sidecar(&[]);
    let current = world.token().unwrap();
    world.call(&["next", &current, "--wait=1s"]).expect(75).stderr_has("1 s");
    sidecar.stop().expect(0);
}

#[test]
fn a_trigger_that_names_another_token_than_the_stored_one_is_answered_without_a_solve() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let fingerprint = Fingerprint::of("another").to_string();
    for refused in ["another", &fingerprint] {
        let ran = world.call(&["trigger", "--wait", "--refused", refused]).expect(0);
        assert!(ran.stdout.contains("the token is fresh already"), "{}", ran.stdout);
    }
    let current = world.token().unwrap();
    let ran = world.call(&["trigger", "--wait", "--refused", &current]).expect(0);
    assert!(ran.stdout.contains("new token"), "{}", ran.stdout);
    assert_eq!(world.solves(), 2);
    sidecar.stop().expect(0);
}

#[test]
fn the_token_is_printed_in_the_form_that_is_needed() {
    let world = World::start();
    for form in ["--header", "--cookie", "--curl", "--json"] {
        world.call(&["token", form]).expect(75).stderr_has("there is no token of chitai_gorod");
    }
    world.call(&["token", "--header", "--json"]).expect(2);
    let (sidecar, _events) = world.ready_sidecar(&[]);
    let (token, agent) = (world.token().unwrap(), world.meta("user_agent").unwrap());
    let form = |form: &str| world.call(&["token", form]).expect(0).stdout.trim_end().to_owned();
    assert_eq!(form("--header"), format!("Authorization: Bearer {token}"));
    let bundle: Value = serde_json::from_str(&form("--json")).unwrap();
    assert_eq!((bundle["token"].as_str(), bundle["user_agent"].as_str()), (Some(&*token), Some(&*agent)));
    assert_eq!(bundle["fingerprint"].as_str().unwrap(), Fingerprint::of(&token).to_string());
    let cookies = bundle["cookies"].as_object().unwrap();
    let pairs: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap())).collect();
    assert_eq!(form("--cookie"), pairs.join("; "));
    let url = format!("{}/search/product?phrase=redis", world.simulator.api_url());
    let script = "token-sidecar token --curl | curl -sSK - -o /dev/null -w '%{http_code}' \"$URL\"";
    assert_eq!(shell(&world, script, &[("URL", &url)]), (Some(0), "200".to_owned()));
    // Quotes and backslashes of a cookie stay within it.
    let _: String = world.ask(&["SET", keys::COOKIES, r#"{"a":"x\"\nurl = \"http://evil.test/","b":"\\"}"#]);
    let lines = form("--curl");
    assert_eq!(lines.lines().nth(1), Some(r#"header = "Cookie: b=\\""#), "{lines}");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    sidecar.stop().expect(0);
}

#[test]
fn the_history_shows_who_asked_and_how_it_ended() {
    let world = World::start();
    let none = world.call(&["history"]).expect(0).stderr_has("no attempts");
    assert_eq!(none.stdout, "");
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    world.call(&["trigger", "--wait", "--reason", "deploy"]).expect(0);
    let shown = world.call(&["history"]).expect(0).stdout;
    assert_eq!(shown.lines().count(), 2);
    assert!(shown.lines().next().unwrap().contains("refreshed  invalid  flaresolverr  for token-sidecar"), "{shown}");
    assert!(shown.lines().nth(1).unwrap().contains("refreshed  startup"), "{shown}");
    let entries = |args: &[&str]| {
        let json = world.call(&[&["history", "--json"], args].concat()).expect(0).stdout;
        let json: Value = serde_json::from_str(&json).unwrap();
        contract::conforms("history.schema.json", &json).unwrap();
        json["entries"].as_array().unwrap().clone()
    };
    assert_eq!(entries(&[])[0]["reason"], "deploy");
    for (args, count) in [
        (["--limit", "1"], 1),
        (["--since", "1h"], 2),
        (["--since", "2999-01-01T00:00:00Z"], 0),
        (["--since", "2000-01-01T00:00:00Z"], 2),
    ] {
        assert_eq!(entries(&args).len(), count, "{args:?}");
    }
    for wrong in [["--limit", "0"], ["--limit", "1001"], ["--since", "yesterday"]] {
        world.call(&[&["history"], &wrong[..]].concat()).expect(2);
    }
    sidecar.stop().expect(0);
}
