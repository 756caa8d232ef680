//! The gateway: whoever speaks HTTP uses the token, and does not notice when it is replaced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "gateway/api.rs"]
mod api;
#[path = "gateway/client.rs"]
mod client;
#[path = "gateway/passing.rs"]
mod passing;
#[path = "gateway/refusing.rs"]
mod refusing;
#[path = "gateway/renewing.rs"]
mod renewing;

use crate::process::{Running, World};
use api::Api;

const GATEWAY: (&str, &str) = ("SIDECAR_GATEWAY", "127.0.0.1:0");
const NO_DEBOUNCE: (&str, &str) = ("SIDECAR_DEBOUNCE", "0s");
/// A route of the simulated API that needs the token.
const SEARCH: &str = "/chitai_gorod/search/product?phrase=redis";

/// A sidecar with a token, whose API is this one.
fn before(world: &World, api: &Api, more: &[(&str, &str)]) -> Running {
    let url = api.url();
    let env = [GATEWAY, NO_DEBOUNCE, ("CHITAI_GOROD_API_URL", &url), ("SIDECAR_VERIFY", "off")];
    world.ready_sidecar(&[&env[..], more].concat()).0
}
