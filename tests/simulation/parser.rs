//! A parser: reads the token, uses it, and reports it if it does not work.

use std::time::Duration;

use token_sidecar_client::wire::Fingerprint;

use crate::world::{INVALID, TOKEN_KEY, World};

/// How long a parser waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs until the story becomes quiet.
pub(crate) async fn work(world: World, mut dice: fastrand::Rng) {
    loop {
        tokio::time::sleep(Duration::from_millis(dice.u64(200..15_000))).await;
        if world.state().is_quiet {
            return;
        }
        let token = world.get(TOKEN_KEY);
        if token.as_deref().is_some_and(|token| world.state().shop.works(token)) {
            continue;
        }
        let payload = match token {
            Some(token) if dice.u8(..4) > 0 => report(&token),
            _ => String::new(),
        };
        if let Some(asked) = ask(&world, &payload) {
            world.until(PATIENCE, |state| state.laws.is_answered(asked)).await;
        }
    }
}

/// The report of a token.
pub(crate) fn report(token: &str) -> String {
    format!(r#"{{"fingerprint":"{}"}}"#, Fingerprint::of(token))
}

/// Publishes on `S:token:invalid`; returns the report's number if a sidecar is subscribed.
pub(crate) fn ask(world: &World, payload: &str) -> Option<u64> {
    let received_by = world.state().listeners();
    world.command(&["PUBLISH", INVALID, payload])?;
    let at = world.elapsed();
    let received = !received_by.is_empty();
    let number = world.state().laws.asked(at, received_by, payload);
    received.then_some(number)
}
