//! A browser that the sidecar does not start, by its DevTools endpoint.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;
use simulator::{Settings, Simulator};
use tempfile::TempDir;
use token_sidecar::config::{BrowserConfig, BrowserPlace, BrowserProgram};
use tokio::io::AsyncBufReadExt as _;

use crate::machine::Machine;
use crate::places::says_nothing_of_headless;
use crate::process::{Running, World, eventually};
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

    /// Opens a page as another program does.
    fn open(&self, page: &str) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let page = utf8_percent_encode(page, NON_ALPHANUMERIC);
        write!(stream, "PUT /json/new?{page} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = String::new();
        BufReader::new(stream).read_line(&mut head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
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

/// Each runs in a process or thread of its own and is commanded apart from the page.
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_other_sites_and_workers_are_held_to_the_rules_of_their_page() {
    let chromium = Chromium::start();
    let shop = Shop::start(&[]);
    let internal = Simulator::start(Settings::default()).unwrap();
    let elsewhere = BrowserProgram::Connect(SecretString::from(format!("http://{}", chromium.address)));
    for program in [elsewhere, shop.config("/shop").program] {
        for kind in ["frame", "worker", "shared", "service"] {
            let page = format!("/shop/part?kind={kind}&to={}", internal.url("/shop/secret"));
            // It is another site for a browser, and its address is refused where it is not that of the API.
            let host = if kind == "frame" { "localhost" } else { "127.0.0.1" };
            let api = format!("http://{host}:{}/web/api/v2", shop.simulator.address().port());
            let config = BrowserConfig {
                program: program.clone(),
                api: Some(api.parse().unwrap()),
                token: BrowserPlace::Request("authorization".parse().unwrap()),
                ..shop.config(&page)
            };
            let solution = shop.open(&config).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert!(solution.bare.unwrap().0.starts_with("Bearer ey"), "{kind}");
            assert_eq!(internal.statistics().secrets, 0, "{kind}: what is inside is refused");
        }
    }
    let agents = shop.simulator.statistics().api.user_agents;
    assert!(!agents.is_empty() && !agents.iter().any(|agent| agent.contains("Headless")), "{agents:?}");
    shop.end().await;
}

/// Only the browser tells of shared workers, and it has those of other programs' pages too.
#[test]
fn shared_workers_of_other_pages_in_a_browser_elsewhere_run_as_without_the_sidecar() {
    let machine = Machine::start(World::start());
    let (chromium, other) = (Chromium::start(), World::start());
    let address = format!("http://{}", chromium.address);
    let sidecar = machine.sidecar("/shop/hang", &[("BROWSER_URL", &address), ("SIDECAR_SHUTDOWN_GRACE", "1s")]);
    machine.world.when("the page is opened", |all| all.pages > 0);
    chromium.open(&other.simulator.url("/shop/part?kind=shared&to=/shop/secret"));
    let statistics = other.when("its worker has its answers", |all| all.api.started > 0);
    assert_eq!(statistics.secrets, 1);
    sidecar.stop().expect(0);
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

/// Chromium serves no request for the name of another machine.
#[tokio::test]
async fn a_browser_that_an_address_names_by_a_host_is_asked_for_localhost() {
    let shop = Shop::start(&[]);
    let (heads, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Listener::start(move |client| {
        let heads = heads.clone();
        async move {
            let mut lines = tokio::io::BufReader::new(client).lines();
            while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
                if let Some(host) = line.to_lowercase().strip_prefix("host: ") {
                    heads.send(host.to_owned()).unwrap();
                }
            }
        }
    });
    let port = endpoint.port();
    for (host, expected) in [("localhost", "localhost".to_owned()), ("127.0.0.1", format!("127.0.0.1:{port}"))] {
        for scheme in ["http", "ws"] {
            shop.fail(&connect(&shop, "/shop", &format!("{scheme}://{host}:{port}"))).await;
            assert_eq!(asked.recv().await.unwrap(), expected, "{scheme}");
        }
    }
    shop.end().await;
}
