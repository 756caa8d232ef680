//! A server in place of Redis that answers with garbage.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::process::{DEADLINE, Ran, Running, World};

/// Far above what the sidecar needs, far below what any of these servers sends.
const MOST_KIB: u64 = 256 * 1024;

const PASSWORD: &str = "redis-hunter2";

/// The answer to every piece.
#[derive(Clone, Copy)]
struct Answer {
    bytes: &'static [u8],
    times: usize,
}

/// A server that gives this answer to every piece that it is sent, and how many connections it had.
struct Server {
    url: String,
    connections: Arc<(Mutex<usize>, Condvar)>,
}

impl Server {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://guest:{PASSWORD}@{}", listener.local_addr().unwrap());
        let connections = Arc::new((Mutex::new(0), Condvar::new()));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *counted.0.lock().unwrap() += 1;
                counted.1.notify_all();
                thread::spawn(move || answer.give(stream));
            }
        });
        Self { url, connections }
    }

    /// Waits until it was tried so often.
    fn was_tried(&self, times: usize) {
        let (count, changed) = &*self.connections;
        let waited = changed.wait_timeout_while(count.lock().unwrap(), DEADLINE, |count| *count < times).unwrap();
        assert!(!waited.1.timed_out(), "it was tried {} times", waited.0);
    }
}

impl Answer {
    fn give(self, mut stream: TcpStream) {
        let mut piece = [0; 4096];
        while let Ok(1..) = stream.read(&mut piece) {
            for _ in 0..self.times {
                if stream.write_all(self.bytes).is_err() {
                    return;
                }
            }
        }
    }
}

/// It neither panics nor grows nor gives up, shows no secret, and ends on SIGTERM.
#[test]
fn no_answer_of_a_server_that_is_no_redis_harms_the_sidecar() {
    let cases = [
        ("silence", &b""[..], 1),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 1),
        ("binary", b"\x00\xff\x16\x03\x01\r\n\r\n", 1),
        ("agreement", b"+OK\r\n", 20),
        ("a number", b":7\r\n", 20),
        ("nothing", b"_\r\n", 20),
        ("a map", b"%1\r\n+a\r\n+b\r\n", 20),
        ("an echo", b"-ERR what is AUTH guest eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9?\r\n", 20),
        ("pushes", b">3\r\n+message\r\n+chitai_gorod:token:invalid\r\n+now\r\n", 20),
        ("a promise of 2 GiB", b"$2147483647\r\nx", 1),
        ("a promise of more than there is", b"*9223372036854775807\r\n", 1),
        ("depth", b"*1\r\n", 100_000),
        ("a line without an end", b"+xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 100_000),
    ];
    for (name, sidecar, server) in begin(&World::start(), &cases) {
        sidecar.logs("token-sidecar starts");
        server.was_tried(2);
        let taken = sidecar.rss_kib();
        assert!(taken < MOST_KIB, "{name}: {taken} KiB");
        is_tidy(name, &sidecar.stop().expect(0));
    }
}

type Case = (&'static str, &'static [u8], usize);

fn begin(world: &World, cases: &[Case]) -> Vec<(&'static str, Running, Server)> {
    let begin = |(name, bytes, times): &Case| {
        let server = Server::start(Answer { bytes, times: *times });
        let running = world.begin(&["run"], &[("REDIS_URL", server.url.as_str()), ("RUST_LOG", "trace")]);
        (*name, running, server)
    };
    cases.iter().map(begin).collect()
}

fn is_tidy(name: &str, ran: &Ran) {
    for part in ["panicked", PASSWORD, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"] {
        assert!(!ran.stderr.contains(part) && !ran.stdout.contains(part), "{name}: {part} in\n{}", ran.stderr);
    }
}
