//! What a service manager is told: `sd_notify` on a socket of the test's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::net::UnixDatagram;

use crate::process::world::text;
use crate::process::{DEADLINE, World};

/// Reads what is said until it is this; returns what was said before it.
fn until(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).unwrap_or_else(|error| panic!("{wanted}: {error}: {said:?}"));
        let message = String::from_utf8_lossy(&message[..length]).trim().to_owned();
        if message == wanted {
            return said;
        }
        said.push(message);
    }
}

#[test]
fn systemd_is_told_of_the_subscription_and_the_end_and_that_the_process_runs_without_redis_too() {
    let world = World::start();
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    world.redis.freeze();
    let sidecar = world.begin(&["run"], &[("NOTIFY_SOCKET", text(&path)), ("WATCHDOG_USEC", "300000")]);
    for _ in 0..3 {
        assert_eq!(until(&socket, "WATCHDOG=1"), [""; 0], "it is ready without Redis");
    }
    world.redis.thaw();
    until(&socket, "READY=1");
    until(&socket, "WATCHDOG=1");
    world.redis.freeze();
    until(&socket, "WATCHDOG=1");
    until(&socket, "WATCHDOG=1");
    world.redis.thaw();
    sidecar.signal("TERM");
    let said = until(&socket, "STOPPING=1");
    assert!(said.iter().all(|message| message == "WATCHDOG=1"), "{said:?}");
    sidecar.end().expect(0);
}
