//! Files that are made of the token by templates.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::process::{World, eventually};

const TOML: &str = r#"
[[sites.chitai_gorod.files]]
path = "token.conf"
template = """
proxy_set_header Authorization "Bearer {{ token }}";
proxy_set_header Cookie {{ cookie_header | ini }};
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
    assert!(world.read("token.conf").contains("\nproxy_set_header Cookie \""), "{}", world.read("token.conf"));

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
        proxy_set_header Cookie \"name=hidden; name=hidden\";\n\
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
