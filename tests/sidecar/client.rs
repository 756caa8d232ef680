//! What the shared scenarios do not cover of the Rust client.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use simulator::Faults;
use token_sidecar_client::wire::Token;
use token_sidecar_client::{Client, ClientError};

use crate::process::{DEADLINE, Events, World, keys};

#[test]
fn a_caller_that_times_out_leaves_the_wait_to_the_others() {
    let world = World::start();
    let (sidecar, _events) = world.ready_sidecar(&[("SIDECAR_DEBOUNCE", "0s")]);
    let refused = Token::parse(&world.token().unwrap()).unwrap();
    world.simulator.revoke(&refused.fingerprint().to_string());
    world.faults(Faults { solve_hang: true, ..Faults::default() });
    let reports = Events::on(&world.redis, &[keys::INVALID]);
    let client = Client::new(&world.redis.url(), keys::SITE).unwrap();
    let hasty = async {
        let outcome = client.wait_newer(&refused, Duration::from_secs(1)).await;
        world.simulator.solve_started(2).await;
        world.heal();
        outcome
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (hasty, patient) = runtime.block_on(async { tokio::join!(hasty, client.wait_newer(&refused, DEADLINE)) });
    assert_eq!(hasty, Err(ClientError::TimedOut(Duration::from_secs(1))));
    assert_eq!(patient.unwrap().expose(), world.token().unwrap());
    assert_eq!(reports.drain().len(), 1);
    sidecar.stop().expect(0);
}

#[test]
fn a_bad_url_or_site_is_refused_before_anything_is_sent() {
    for (url, site) in [("redis://127.0.0.1:6379/0", "A Shop"), ("http://127.0.0.1:6379", keys::SITE)] {
        assert!(matches!(Client::new(url, site), Err(ClientError::Config(_))), "{url} {site}");
    }
}
