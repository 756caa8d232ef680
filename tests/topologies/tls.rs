//! TLS with an authority of one's own, and the errors of certificates that are not accepted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use crate::example::{Configured, Example, stored, users};
use crate::process::{Events, Ran, World};
use crate::support::papers::Papers;
use crate::support::redis_server::{Port, RedisServer};

/// A server with the shipped users and the certificate of this name, which requires one of its clients.
fn server(world: &World, papers: &Papers, name: &str, port: &Port) -> RedisServer {
    let mut lines = papers.lines_of(name, port, "yes");
    lines.push(users(world));
    RedisServer::start_with(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The shipped file with these certificates; without those of the client where it has none.
fn example<'w>(world: &'w World, port: &Port, authority: &Path, client: Option<&Papers>) -> Configured<'w> {
    let example = Example::of("tls.toml")
        .with("redis:6379", &format!("127.0.0.1:{}", port.number()))
        .with("/etc/token-sidecar/ca.crt", authority.to_str().unwrap())
        .with_password(world);
    let (cert, key) =
        (r#"tls_cert_file = "/etc/token-sidecar/client.crt""#, r#"tls_key_file = "/etc/token-sidecar/client.key""#);
    match client {
        Some(papers) => example
            .with("/etc/token-sidecar/client.crt", papers.file("it.crt").to_str().unwrap())
            .with("/etc/token-sidecar/client.key", papers.file("it.key").to_str().unwrap()),
        None => example.with(cert, "").with(key, ""),
    }
    .install(world)
}

#[test]
fn an_authority_and_a_client_certificate_of_ones_own() {
    let (world, papers, port) = (World::start(), Papers::issue(), Port::hold());
    let server = server(&world, &papers, "it", &port);
    let example = example(&world, &port, &papers.file("ca.crt"), Some(&papers));
    let (sidecar, _events) = example.main_job(&server);
    sidecar.stop().expect(0);
}

/// `run` ends with 69 and the reason; `doctor` prints it too, and what to do.
fn is_refused(example: &Configured<'_>, why: &str, cure: &str) {
    let ran: Ran = example.call(&["run"]).expect(69).stderr_has(why);
    assert_eq!(ran.stdout, "");
    let found = example.call(&["doctor"]).expect(1);
    let mut lines = found.stdout.lines().skip_while(|line| !line.starts_with("FAIL"));
    let (failure, advice) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    assert!(failure.contains(why), "{failure}");
    assert!(advice.contains(cure), "{advice}");
    example.call(&["status"]).expect(69).stderr_has(why);
}

#[test]
fn a_client_certificate_that_is_missing_or_of_another_authority_is_an_error() {
    let (world, papers, others, port) = (World::start(), Papers::issue(), Papers::issue(), Port::hold());
    let _server = server(&world, &papers, "it", &port);
    is_refused(&example(&world, &port, &papers.file("ca.crt"), None), "CertificateRequired", "REDIS_TLS_CERT_FILE");
    is_refused(
        &example(&world, &port, &papers.file("ca.crt"), Some(&others)),
        "our certificate: ",
        "REDIS_TLS_CERT_FILE",
    );
}

#[test]
fn a_server_certificate_that_is_renewed_too_late_costs_no_more_than_the_gap() {
    let (world, papers, port) = (World::start(), Papers::issue(), Port::hold());
    papers.sign("server", "IP:127.0.0.1", 2);
    let mut server = server(&world, &papers, "server", &port);
    let example = example(&world, &port, &papers.file("ca.crt"), Some(&papers));
    let (sidecar, _) = example.main_job(&server);
    papers.sign("server", "IP:127.0.0.1", -1);
    server.kill();
    server.revive();
    sidecar.logs("its certificate has expired");
    papers.sign("server", "IP:127.0.0.1", 2);
    server.kill();
    server.revive();
    // It came back empty; no back-off is in the way of a new token.
    let events = Events::of(&server);
    stored(&server, &events.refreshed());
    example.all_is_well();
    sidecar.stop().expect(0);
}

#[test]
fn a_server_certificate_that_is_not_to_be_trusted_is_an_error() {
    let (world, papers, others) = (World::start(), Papers::issue(), Papers::issue());
    papers.sign("past", "IP:127.0.0.1", -1);
    papers.sign("elsewhere", "DNS:redis.example", 2);
    papers.sign_without_names();
    for (name, authority, why) in [
        ("it", &others, "signed by an authority that is not trusted here; add that authority to REDIS_TLS_CA_FILE"),
        ("past", &papers, "has expired; renew it"),
        ("elsewhere", &papers, "not for this name but for redis.example"),
        ("ca", &papers, "that of an authority (CA:TRUE)"),
        ("nameless", &papers, "has no subjectAltName"),
        ("old", &papers, "X.509 version 1"),
    ] {
        let port = Port::hold();
        let _server = server(&world, &papers, name, &port);
        is_refused(&example(&world, &port, &authority.file("ca.crt"), Some(&papers)), why, "REDIS_TLS_CA_FILE");
    }
}
