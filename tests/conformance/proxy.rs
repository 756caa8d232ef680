//! What stands between a client and Redis, to be cut without touching anybody else's connection.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Passes everything on, until it is cut. Its threads end with the test's process.
pub(crate) struct Proxy {
    address: SocketAddr,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    is_cut: bool,
    open: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::new(Mutex::new(Lines::default()));
        let shared = Arc::clone(&lines);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut lines = shared.lock().unwrap();
                if lines.is_cut {
                    continue;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                lines.open.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                pass(far, near);
            }
        });
        Self { address, lines }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Breaks every connection, and each that is tried from now on.
    pub(crate) fn cut(&self) {
        let mut lines = self.lines.lock().unwrap();
        lines.is_cut = true;
        for line in lines.open.drain(..) {
            let _gone_already = line.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn mend(&self) {
        self.lines.lock().unwrap().is_cut = false;
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ends_with_either_side = io::copy(&mut from, &mut to);
        let _gone_already = to.shutdown(Shutdown::Both);
        let _gone_already = from.shutdown(Shutdown::Both);
    });
}
