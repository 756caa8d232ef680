//! A solver and an API behind TLS, with an authority of one's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use crate::process::World;
use crate::support::papers::Papers;
use crate::support::tls_front::TlsFront;

/// Points a process at these addresses in place of the world's.
fn behind(front: &TlsFront, world: &World) -> BTreeMap<&'static str, String> {
    let behind = |url: String| {
        let port = format!(":{}/", world.simulator.address().port());
        url.replace("http://", "https://").replace(&port, &format!(":{}/", front.port()))
    };
    let [solver, api] = [world.simulator.flaresolverr_url(), world.simulator.api_url()].map(behind);
    BTreeMap::from([("FLARESOLVERR_URL", solver), ("CHITAI_GOROD_API_URL", api)])
}

#[test]
fn a_solver_and_an_api_behind_tls_are_used_where_their_authority_is_trusted() {
    let (world, papers) = (World::start(), Papers::issue());
    let front = TlsFront::before(world.simulator.address().port(), &papers, "it");
    let addresses = behind(&front, &world);
    let authority = papers.file("ca.crt");
    let with = |sources: &'static str| {
        let trust = [("SSL_CERT_FILE", authority.to_str().unwrap()), ("SIDECAR_SOURCES", sources)];
        addresses.iter().map(|(name, value)| (*name, value.as_str())).chain(trust).collect::<Vec<_>>()
    };
    world.call_with(&["refresh"], &with("flaresolverr")).expect(0);
    world.call_with(&["refresh"], &with("http")).expect(0);
    world.call_with(&["doctor"], &with("flaresolverr,http")).expect(0).prints("it accepts the current token");
}

#[test]
fn an_authority_that_is_not_trusted_is_an_error_with_what_to_do() {
    let (world, papers) = (World::start(), Papers::issue());
    let front = TlsFront::before(world.simulator.address().port(), &papers, "it");
    let addresses = behind(&front, &world);
    let environment: Vec<_> = addresses.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let why = format!("no TLS with 127.0.0.1:{}: its certificate is signed by an authority", front.port());
    world.call_with(&["refresh"], &environment).expect(75).stderr_has(&why).stderr_has("SSL_CERT_FILE");
    let found = world.call_with(&["doctor"], &environment).expect(1);
    let lines: Vec<&str> = found.stdout.lines().collect();
    for what in ["source flaresolverr", "API"] {
        let failure = lines.iter().position(|line| line.starts_with("FAIL") && line.contains(what)).unwrap();
        assert!(lines[failure].contains(&why) && lines[failure + 1].contains("SSL_CERT_FILE"), "{}", found.stdout);
    }
}
