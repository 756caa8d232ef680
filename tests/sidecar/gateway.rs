//! The gateway: whoever speaks HTTP uses the token, and does not notice when it is replaced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "gateway/api.rs"]
pub(crate) mod api;
#[path = "gateway/client.rs"]
mod client;
#[path = "gateway/passing.rs"]
mod passing;
#[path = "gateway/refusing.rs"]
mod refusing;
#[path = "gateway/renewing.rs"]
mod renewing;

use crate::process::{Events, Running, World, eventually, keys};
use api::Api;

const GATEWAY: (&str, &str) = ("SIDECAR_GATEWAY", "127.0.0.1:0");
const NO_DEBOUNCE: (&str, &str) = ("SIDECAR_DEBOUNCE", "0s");
/// A route of the simulated API that needs the token.
const SEARCH: &str = "/chitai_gorod/search/product?phrase=redis";

/// A sidecar with a token, which its gateway sends.
fn ready(world: &World, env: &[(&str, &str)]) -> (Running, Events) {
    let (sidecar, events) = world.ready_sidecar(env);
    knows_the_token(world, &sidecar);
    (sidecar, events)
}

/// Waits until the sidecar itself knows the token that is stored: `updated` is published before it has the answer of
/// Redis.
fn knows_the_token(world: &World, sidecar: &Running) {
    knows(sidecar, &world.meta("version").unwrap());
}

pub(crate) fn knows(sidecar: &Running, version: &str) {
    let line = format!("token_sidecar_token_version{{site=\"{}\"}} {version}\n", keys::SITE);
    eventually("the sidecar knows the token", || sidecar.get("/metrics").body.contains(&line).then_some(()));
}

/// A sidecar with a token, whose API is this one.
fn before(world: &World, api: &Api, more: &[(&str, &str)]) -> Running {
    let url = api.url();
    let env = [GATEWAY, NO_DEBOUNCE, ("CHITAI_GOROD_API_URL", &url), ("SIDECAR_VERIFY", "off")];
    ready(world, &[&env[..], more].concat()).0
}
