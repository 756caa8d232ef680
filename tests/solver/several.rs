//! Several solvers of one site, and solvers that can do less.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use token_sidecar::clock::SystemClock;
use token_sidecar::config::{FlaresolverrConfig, ProxyConfig, SolverKind};
use token_sidecar::domain::breaker::BreakerState;
use token_sidecar::domain::extract::Solution;
use token_sidecar::domain::round::{Round, Turn};
use token_sidecar::refresh::ports::{Clock as _, SourceError};
use token_sidecar::sources::{Flaresolverr, FlaresolverrError, Solvers};

use crate::stub::{Act, Stub, config, failure, page, redirect};

fn several(urls: &[&str]) -> FlaresolverrConfig {
    FlaresolverrConfig { urls: urls.iter().map(|url| (*url).into()).collect(), ..config("") }
}

fn good() -> Stub {
    Stub::new(|_, _| page("3.5.0", &[("access-token", "abc")]))
}

/// An attempt with a source.
struct Attempt<'a> {
    source: &'a Flaresolverr,
    round: Round,
    turn: Turn,
    clock: SystemClock,
}

impl<'a> Attempt<'a> {
    fn begin(source: &'a Flaresolverr) -> Self {
        Self { source, round: source.begin(), turn: Turn::default(), clock: SystemClock::start() }
    }

    /// Asks the next solver.
    async fn next(&mut self) -> Result<Solution, SourceError> {
        self.turn = self.round.next(self.clock.now()).unwrap();
        self.source.solve(self.turn).await
    }
}

/// An address where nothing listens.
fn closed() -> String {
    format!("http://{}/v1", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

#[tokio::test]
async fn a_solver_that_is_away_costs_the_next_one_no_time_and_is_left_alone() {
    let (away, good, solvers) = (closed(), good(), Solvers::default());
    let source = Flaresolverr::new(&several(&[&away, &good.url]), &solvers).unwrap();
    let mut attempt = Attempt::begin(&source);
    let error = attempt.next().await.unwrap_err().message;
    assert!(error.starts_with("FlareSolverr at 127.0.0.1:") && error.contains("is it running?"), "{error}");
    attempt.next().await.unwrap();
    let max_timeout = good.seen()[0].body["maxTimeout"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&max_timeout), "{max_timeout}");
    let mut states: Vec<_> = solvers.states().into_iter().map(|solver| solver.state).collect();
    states.sort_by_key(|state| *state == BreakerState::Open);
    assert_eq!(states, [BreakerState::Closed, BreakerState::Open]);
    // The next attempt begins with the other one.
    let mut attempt = Attempt::begin(&source);
    attempt.next().await.unwrap();
    attempt.next().await.unwrap_err();
}

#[tokio::test]
async fn a_solver_that_hangs_has_its_share_of_the_time_and_no_more() {
    let (hung, good) = (Stub::new(|_, _| Act::Silence(Vec::new())), good());
    let config = FlaresolverrConfig { max_timeout: Duration::from_secs(4), ..several(&[&hung.url, &good.url]) };
    let source = Flaresolverr::new(&config, &Solvers::default()).unwrap();
    let mut attempt = Attempt::begin(&source);
    let error = attempt.next().await.unwrap_err().message;
    assert!(error.ends_with("no answer within 2s, its share of flaresolverr.max_timeout"), "{error}");
    let max_timeout = |stub: &Stub| stub.seen()[0].body["maxTimeout"].as_u64().unwrap();
    assert!((1000..=2000).contains(&max_timeout(&hung)), "the time in the queue is taken off");
    attempt.next().await.unwrap();
    assert!(max_timeout(&good) <= 2000);
}

#[tokio::test]
async fn the_solver_whose_token_proved_good_is_asked_first() {
    let (one, other) = (good(), good());
    let source = Flaresolverr::new(&several(&[&one.url, &other.url]), &Solvers::default()).unwrap();
    let mut attempt = Attempt::begin(&source);
    attempt.next().await.unwrap();
    attempt.next().await.unwrap();
    source.proved(attempt.turn);
    Attempt::begin(&source).next().await.unwrap();
    assert_eq!((one.seen().len(), other.seen().len()), (1, 2));
}

#[tokio::test]
async fn what_the_page_fails_with_is_no_fault_of_the_solver() {
    let (blocked, solvers) =
        (Stub::new(|_, _| failure("3.5.0", "Cloudflare has blocked this request.")), Solvers::default());
    let source = Flaresolverr::new(&several(&[&blocked.url, &closed()]), &solvers).unwrap();
    Attempt::begin(&source).next().await.unwrap_err();
    assert!(solvers.states().iter().all(|state| state.state == BreakerState::Closed));
}

/// Byparr ignores what it does not know, and its check of health opens a page.
fn byparr() -> Stub {
    Stub::new(|request, _| match request.line.as_str() {
        "GET / HTTP/1.1" => redirect(307, "/docs"),
        "POST /v1 HTTP/1.1" => page("2.0", &[("access-token", "abc")]),
        _ => Act::Json(500, json!({})),
    })
}

fn proxied(config: FlaresolverrConfig) -> FlaresolverrConfig {
    let proxy = ProxyConfig { url: "http://proxy.test:3128".into(), username: None, password: None };
    FlaresolverrConfig { proxy: Some(proxy), ..config }
}

#[tokio::test]
async fn a_byparr_opens_no_page_for_a_site_that_needs_what_it_lacks() {
    let needs: [fn(FlaresolverrConfig) -> FlaresolverrConfig; 3] = [
        proxied,
        |config| FlaresolverrConfig { session: Some("s".into()), ..config },
        |config| FlaresolverrConfig { wait: Some(Duration::from_secs(1)), ..config },
    ];
    for (need, name) in needs.into_iter().zip(["proxy", "session", "wait"]) {
        let byparr = byparr();
        let source = Flaresolverr::new(&need(config(&byparr.url)), &Solvers::default()).unwrap();
        let error = source.solve(Turn::default()).await.unwrap_err().message;
        assert!(error.starts_with(&format!("FlareSolverr: it is a Byparr, which has no `{name}`")), "{error}");
        assert!(matches!(source.health(0).await, Err(FlaresolverrError::Unable(_))));
        // As FlareSolverr's own sites of this process find it.
        source.solve(Turn::default()).await.unwrap_err();
        assert!(byparr.commands().iter().all(|command| command == "GET / HTTP/1.1"), "{:?}", byparr.commands());
    }
}

#[tokio::test]
async fn a_byparr_serves_a_site_that_needs_nothing_more() {
    let byparr = byparr();
    let source = Flaresolverr::new(&config(&byparr.url), &Solvers::default()).unwrap();
    source.solve(Turn::default()).await.unwrap();
    assert_eq!(byparr.commands(), ["request.get"]);
    assert_eq!(source.health(0).await.unwrap().kind, Some(SolverKind::Byparr));
    assert_eq!(byparr.commands().last().unwrap(), "GET / HTTP/1.1");
}

#[tokio::test]
async fn a_solver_that_cannot_serve_the_site_is_skipped_for_one_that_can() {
    let (byparr, good) = (byparr(), good());
    let source = Flaresolverr::new(&proxied(several(&[&byparr.url, &good.url])), &Solvers::default()).unwrap();
    let mut attempt = Attempt::begin(&source);
    attempt.next().await.unwrap_err();
    attempt.next().await.unwrap();
    assert!(good.seen().last().unwrap().body["maxTimeout"].as_u64().unwrap() > 50_000);
}

#[tokio::test]
async fn the_setting_decides_what_a_solver_is() {
    let unasked = Stub::new(|_, _| page("3.5.0", &[("access-token", "abc")]));
    let byparr = FlaresolverrConfig { kind: Some(SolverKind::Byparr), ..proxied(config(&unasked.url)) };
    Flaresolverr::new(&byparr, &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap_err();
    assert!(unasked.seen().is_empty());
    let redirecting = self::byparr();
    let set = FlaresolverrConfig { kind: Some(SolverKind::Flaresolverr), ..proxied(config(&redirecting.url)) };
    Flaresolverr::new(&set, &Solvers::default()).unwrap().solve(Turn::default()).await.unwrap();
    assert_eq!(redirecting.commands(), ["request.get"]);
}

#[tokio::test]
async fn the_queue_of_other_sites_is_no_fault_of_a_solver() {
    let (slow, good, solvers) = (Stub::new(|_, _| Act::Silence(Vec::new())), good(), Solvers::default());
    let other = Flaresolverr::new(&config(&slow.url), &solvers).unwrap();
    let short = FlaresolverrConfig { max_timeout: Duration::from_secs(4), ..several(&[&slow.url, &good.url]) };
    let source = Flaresolverr::new(&short, &solvers).unwrap();
    let queued = async {
        let mut attempt = Attempt::begin(&source);
        let error = attempt.next().await.unwrap_err().message;
        assert!(error.contains("no turn within"), "{error}");
        attempt.next().await.unwrap();
    };
    tokio::select! {
        biased;
        _ = other.solve(Turn::default()) => panic!("it does not answer"),
        () = queued => {}
    }
    assert!(solvers.states().iter().all(|state| state.state == BreakerState::Closed));
}

#[tokio::test]
async fn a_session_that_was_given_up_is_destroyed() {
    let (destroyed, destroying) = std::sync::mpsc::channel();
    let old = Stub::new(move |request, _| match (request.line.as_str(), request.command()) {
        ("GET / HTTP/1.1", _) => Act::Json(200, json!({"version": "3.5.0"})),
        (_, "sessions.destroy") => {
            let _ = destroyed.send(());
            Act::Json(200, json!({"status": "ok"}))
        }
        _ => Act::Silence(Vec::new()),
    });
    let late = FlaresolverrConfig {
        max_timeout: Duration::from_secs(4),
        wait: Some(Duration::from_millis(10)),
        ..several(&[&old.url, &closed()])
    };
    let source = Flaresolverr::new(&late, &Solvers::default()).unwrap();
    Attempt::begin(&source).next().await.unwrap_err();
    let waiting = tokio::task::spawn_blocking(move || destroying.recv_timeout(Duration::from_secs(60)));
    waiting.await.unwrap().unwrap();
}
