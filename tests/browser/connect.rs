//! A browser that the sidecar does not start, by its DevTools endpoint.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use secrecy::SecretString;
use simulator::{Settings, Simulator};
use tempfile::TempDir;
use token_sidecar::config::{BrowserConfig, BrowserProgram};

use crate::places::says_nothing_of_headless;
use crate::process::{Running, eventually};
use crate::shop::Shop;
use crate::support::listener::Listener;

/// A Chromium with an open DevTools port.
struct Chromium {
    address: String,
    /// The path of its web socket.
    path: String,
    _running: Running,
    _folder: TempDir,
}

impl Chromium {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("/usr/bin/chromium");
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]);
        command.arg(format!("--user-data-dir={}", folder.path().display()));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder.path()).current_dir(folder.path());
        let running = Running::start(&mut command);
        let port = folder.path().join("DevToolsActivePort");
        let (port, path) = eventually("Chromium has its port", || {
            let text = std::fs::read_to_string(&port).ok()?;
            let (port, path) = text.split_once('\n')?;
            (!path.is_empty()).then(|| (port.to_owned(), path.to_owned()))
        });
        Self { address: format!("127.0.0.1:{port}"), path, _running: running, _folder: folder }
    }

    /// Its pages, as `/json/list` has them.
    fn pages(&self) -> usize {
        let mut stream = BufReader::new(TcpStream::connect(&self.address).unwrap());
        stream.get_mut().write_all(b"GET /json/list HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let head = stream.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty());
        let length = head.filter_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.last().unwrap()];
        stream.read_exact(&mut body).unwrap();
        serde_json::from_slice::<Vec<serde_json::Value>>(&body).unwrap().len()
    }
}

fn connect(shop: &Shop, page: &str, address: &str) -> BrowserConfig {
    let program = BrowserProgram::Connect(SecretString::from(address));
    BrowserConfig { program, keep: Duration::ZERO, ..shop.config(page) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_elsewhere_is_reached_by_either_address_and_keeps_nothing() {
    let chromium = Chromium::start();
    let shop = Shop::start(&[]);
    let pages = chromium.pages();
    for address in [format!("http://{}", chromium.address), format!("ws://{}{}", chromium.address, chromium.path)] {
        let solution = shop.open(&connect(&shop, "/shop/agent", &address)).await.unwrap();
        says_nothing_of_headless(&solution);
        eventually("the page is closed", || (chromium.pages() == pages).then_some(()));
    }
    // Its own pages are its own affair; those of the solve are held to the same rules.
    let internal = Simulator::start(Settings::default()).unwrap();
    let page = format!("/shop/redirect?to=http://{}/shop/secret", internal.address());
    let error = shop.fail(&connect(&shop, &page, &format!("http://{}", chromium.address))).await;
    assert!(error.message.contains("an address of this machine or its network, which is refused"), "{error}");
    assert_eq!(internal.statistics().secrets, 0);
    eventually("the page is closed", || (chromium.pages() == pages).then_some(()));
    shop.end().await;
}

#[tokio::test]
async fn what_is_no_browser_is_told() {
    let shop = Shop::start(&[]);
    let peer = shop.simulator.address();
    let silent = Listener::start(|client| async move {
        let _open = client;
        std::future::pending().await
    });
    let silent = format!("127.0.0.1:{}", silent.port());
    let is_told = async |address: String, words: String| {
        let error = shop.fail(&connect(&shop, "/shop", &address)).await;
        assert!(error.message.contains(&words), "{address}: {error}");
    };
    let cure = || "is a browser with an open DevTools port at BROWSER_URL?".to_owned();
    let unanswered = || format!("no answer from {silent} within 20s; {}", cure());
    tokio::join!(
        is_told(format!("http://{peer}"), format!("{peer}: HTTP 404 to /json/version, and no browser's address")),
        is_told(format!("ws://{peer}/x"), format!("{peer}: HTTP 404, and no web socket")),
        is_told("http://127.0.0.1:1".to_owned(), cure()),
        is_told(format!("http://{silent}"), unanswered()),
        is_told(format!("ws://{silent}"), unanswered()),
    );
    shop.end().await;
}
