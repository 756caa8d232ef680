//! Renewals with what is stored: the plain request sends the refresh cookie, and the answer replaces it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::gateway::api::{Api, answer};
use crate::process::{World, keys};

/// The cookie that the shop's page sets beside the token, here in the part of a refresh cookie.
pub(crate) const REFRESH: &str = "__ddg1_";
pub(crate) const ENV: [(&str, &str); 3] =
    [("SIDECAR_CONFIG", "sidecar.toml"), ("SIDECAR_SOURCES", "http,flaresolverr"), ("SIDECAR_DEBOUNCE", "0s")];
const FORCE: &str = "{\"force\": true}";

/// It exchanges a refresh cookie for a token and the next refresh cookie, each once.
pub(crate) struct RefreshEndpoint {
    pub(crate) api: Api,
    refuses: Arc<AtomicBool>,
}

impl RefreshEndpoint {
    /// With the settings that renew by it, in `sidecar.toml`.
    pub(crate) fn of(world: &World) -> Self {
        let (refuses, issued) = (Arc::new(AtomicBool::new(false)), Mutex::new(Vec::<String>::new()));
        let (simulator, is_refused) = (Arc::clone(&world.simulator), Arc::clone(&refuses));
        let api = Api::answering(move |request| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let (old, mut issued) = (body["refresh"].as_str().unwrap().to_owned(), issued.lock().unwrap());
            let is_last = issued.last().is_none_or(|last| *last == old);
            if is_refused.load(Ordering::SeqCst) || !is_last {
                let echo = json!({"message": format!("no {old} {} {}", request.target, request.header("cookie"))});
                return answer(400, "Content-Type: application/json\r\n", &echo.to_string());
            }
            let next = format!("rotated-hunter{}", issued.len());
            let cookie = format!("Set-Cookie: {REFRESH}={next}; Path=/; HttpOnly\r\n");
            issued.push(next);
            answer(200, &cookie, &json!({"token": simulator.mint().token}).to_string())
        });
        let (url, body) = (api.url(), format!("{{\"refresh\": \"{{cookie:{REFRESH}}}\"}}"));
        world.write(
            "sidecar.toml",
            &format!(
                "[sites.chitai_gorod.http]\nurl = \"{url}/renew?old={{token}}&with={{cookie:{REFRESH}}}\"\nbody = '{body}'\n\
                 token = \"json:/token\"\nheaders.Cookie = \"{{cookies}}\"\n"
            ),
        );
        Self { api, refuses }
    }

    pub(crate) fn refuses(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

/// A stored cookie.
pub(crate) fn cookie(world: &World, name: &str) -> String {
    let cookies: Value = serde_json::from_str(&world.ask::<String>(&["GET", keys::COOKIES])).unwrap();
    cookies[name].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_token_is_renewed_with_what_is_stored_and_by_a_browser_where_that_is_refused() {
    let world = World::start();
    let shop = RefreshEndpoint::of(&world);
    let (sidecar, events) = world.ready_sidecar(&ENV);
    assert_eq!(world.meta("source").as_deref(), Some("flaresolverr"), "nothing is stored at the first start");
    assert!(shop.api.requests().is_empty());
    let (visitor, browser) = (cookie(&world, REFRESH), world.meta("user_agent").unwrap());
    assert!(!visitor.is_empty() && !browser.is_empty());
    let mut refresh = visitor.clone();
    for rotated in ["rotated-hunter0", "rotated-hunter1"] {
        let token = world.token().unwrap();
        world.publish(FORCE);
        assert_eq!(events.refreshed()["source"], "http");
        let request = shop.api.last();
        assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), json!({"refresh": refresh}));
        for part in [format!("access-token=Bearer%20{token}"), format!("{REFRESH}={refresh}")] {
            assert!(request.header("cookie").contains(&part), "{} has no {part}", request.header("cookie"));
        }
        assert_eq!(request.header("user-agent"), browser);
        assert_eq!((cookie(&world, REFRESH).as_str(), world.meta("user_agent").as_ref()), (rotated, Some(&browser)));
        assert_eq!(cookie(&world, "access-token"), format!("Bearer%20{}", world.token().unwrap()));
        rotated.clone_into(&mut refresh);
    }
    assert_eq!(world.solves(), 1, "renewals need no browser");
    shop.refuses(true);
    world.publish(FORCE);
    assert_eq!(events.refreshed()["source"], "flaresolverr");
    assert_eq!(world.solves(), 2);
    assert!(!cookie(&world, REFRESH).starts_with("rotated"), "the bundle is that of the new visit");
    sidecar.stop().expect(0);
}

/// `doctor` may be run at any time: a refresh cookie that it used up would be lost.
#[test]
fn doctor_does_not_use_up_what_is_stored() {
    let world = World::start();
    let shop = RefreshEndpoint::of(&world);
    let doctor = |world: &World| world.call_with(&["doctor"], &ENV).expect(0);
    doctor(&world).prints("http.url cannot be filled in: nothing is stored for {token} yet");
    let (sidecar, _events) = world.ready_sidecar(&ENV);
    doctor(&world).prints("source http: not asked");
    assert!(shop.api.requests().is_empty());
    sidecar.stop().expect(0);
}
