//! The checks of `doctor`: Redis, the keys and channels of each site, its sources and its API, and what to do about each
//! failure.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use token_sidecar_client::redis::{Connector, Events, Link, LinkError};
use token_sidecar_client::wire::{Channels, Cookies, Product, Token};

use crate::app::AppError;
use crate::clock::SystemClock;
use crate::config::{Config, SiteConfig};
use crate::domain::site::Verify;
use crate::domain::snapshot::Failing;
use crate::domain::stored::StoredToken;
use crate::domain::token_file::TokenFile;
use crate::domain::verdict::Verdict;
use crate::http::RequestError;
use crate::outputs::token_file;
use crate::redis::RedisStore;
use crate::refresh::ports::Source as _;
use crate::sources::{
    AnySource, BrowserError, BrowserSource, Flaresolverr, FlaresolverrError, Health, HttpSource, HttpSourceError,
    SharedSources,
};
use crate::verify::HttpProbe;

/// The greatest accepted difference between the clocks.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// How long a message may take between two connections.
const ROUND_TRIP: Duration = Duration::from_secs(3);

/// One line: what was checked and what was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub state: State,
    pub text: String,
    pub cure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum State {
    #[serde(rename = "ok")]
    Works,
    /// It works, but needs attention.
    #[serde(rename = "odd")]
    Odd,
    #[serde(rename = "FAIL")]
    Broken,
}

impl Finding {
    pub fn works(what: impl Display, how: impl Display) -> Self {
        Self { state: State::Works, text: format!("{what}: {how}"), cure: None }
    }

    pub fn odd(what: impl Display, why: impl Display, cure: impl Into<String>) -> Self {
        Self { state: State::Odd, text: format!("{what}: {why}"), cure: Some(cure.into()) }
    }

    fn broken(what: impl Display, why: impl Display, cure: impl Into<String>) -> Self {
        Self { state: State::Broken, ..Self::odd(what, why, cure) }
    }
}

pub struct Doctor {
    connector: Connector,
    link: Arc<Link>,
    shared: SharedSources,
}

impl Doctor {
    /// Does not connect yet. Fails where a setting cannot be used.
    pub fn new(config: &Config) -> Result<Self, AppError> {
        let connector = Connector::new(&config.redis)?;
        let link = Arc::new(Link::new(connector.clone()));
        Ok(Self { connector, link, shared: SharedSources::default() })
    }

    /// Checks the connection to Redis, its version and its clock.
    pub async fn redis(&self) -> Vec<Finding> {
        let info: Result<String, LinkError> = self.link.anywhere(redis::cmd("INFO").arg("server")).await;
        let version = match info {
            Ok(info) => version(&info),
            Err(LinkError::Forbidden(_)) => {
                Finding::works("Redis", "reached; its version is unknown (no permission for INFO)")
            }
            // INFO may be renamed.
            Err(error) if error.is_of_the_command() => {
                Finding::works("Redis", format!("reached; its version is unknown (INFO: {error})"))
            }
            // The error names Redis and its address.
            Err(error) => {
                let (state, cure) = (State::Broken, Some(cure_of(&error).to_owned()));
                return vec![Finding { state, text: error.to_string(), cure }];
            }
        };
        let time: Result<(i64, i64), LinkError> = self.link.anywhere(&redis::cmd("TIME")).await;
        let mut findings = vec![version];
        findings.extend(time.ok().map(|(seconds, micros)| {
            let theirs = Timestamp::from_microsecond(seconds * 1_000_000 + micros).unwrap_or_default();
            clock("clock", theirs, "Redis'")
        }));
        findings
    }

    /// Checks a site's keys and channels, and whether sidecars are subscribed.
    pub async fn keys_and_channels(&self, site: &SiteConfig) -> Vec<Finding> {
        let mut findings = self.keys(site).await;
        findings.extend([self.channels(site).await, self.listeners(site).await]);
        findings
    }

    /// Checks a site's sources and its API with the current token, if Redis is reachable and has one. Fails where a setting cannot be used.
    pub async fn outside(&self, site: &SiteConfig, redis_is_reached: bool) -> Result<Vec<Finding>, AppError> {
        let mut findings = Vec::new();
        let snapshot = if redis_is_reached { self.store(site).snapshot().await.ok() } else { None };
        let stored = snapshot.as_ref().and_then(StoredToken::of);
        for source in &site.sources {
            let source = AnySource::new(source, &site.product, &self.shared)?;
            findings.extend(check_source(&source, stored.as_ref(), site).await);
        }
        if site.policy.verify != Verify::Off {
            findings.extend(check_api(stored.as_ref(), &HttpProbe::new(site.probe.clone())?, site).await);
        }
        findings.extend(site.files.iter().flat_map(|file| check_file(site, file)));
        Ok(findings)
    }

    /// Reads the state, and writes a test key that expires.
    async fn keys(&self, site: &SiteConfig) -> Vec<Finding> {
        let what = format!("{}: keys", site.id);
        let trial = redis::cmd("SET").arg(site.keys.companion("doctor")).arg("1").arg("PX").arg(1000).clone();
        let outcome = async {
            let snapshot = self.store(site).snapshot().await?;
            self.link.command::<String>(&trial).await?;
            Ok::<_, LinkError>(snapshot)
        };
        match outcome.await {
            Ok(snapshot) => {
                let product = site.keys.product();
                let found = snapshot.fingerprint().map(|fingerprint| format!("{product} {fingerprint}"));
                let found = found.unwrap_or_else(|| format!("no {product} yet"));
                let mut findings = vec![Finding::works(what, format!("readable and writable, {found}"))];
                findings.extend(snapshot.failing.map(|failing| {
                    let Failing { attempts, stage, error, retry_at, .. } = *failing;
                    let why = format!("{attempts} failed in a row, the next try is at {retry_at}: {stage}: {error}");
                    let cure = "once the cause is fixed: token-sidecar trigger --wait --force";
                    Finding::odd(format!("{}: refreshes", site.id), why, cure)
                }));
                findings
            }
            Err(error) => vec![Finding::broken(what, &error, cure_of(&error))],
        }
    }

    /// Sends a canary from one connection to another.
    async fn channels(&self, site: &SiteConfig) -> Finding {
        let what = format!("{}: channels", site.id);
        let Channels { invalid, updated, failed, canary } = Channels::of(&site.id);
        // All channels of the sidecar: permission to subscribe to a channel includes permission to publish on it.
        let [all_updated, all_failed] = [Channels::ALL_UPDATED, Channels::ALL_FAILED].map(str::to_owned);
        let publish = redis::cmd("PUBLISH").arg(&canary).arg("doctor:0").clone();
        let channels = [invalid, updated, failed, canary, all_updated, all_failed];
        let trip = async {
            let mut events = Events::on(&self.connector, &channels).await?;
            self.link.command::<i64>(&publish).await?;
            events.raw().await
        };
        match tokio::time::timeout(ROUND_TRIP, trip).await {
            Ok(Ok(_)) => Finding::works(what, "a message came back"),
            Ok(Err(error)) => Finding::broken(what, &error, cure_of(&error)),
            Err(_) => Finding::broken(
                what,
                format!("a message did not come back within {} s", ROUND_TRIP.as_secs()),
                "connect to Redis itself, if there is a proxy in between that does not forward pub/sub",
            ),
        }
    }

    async fn listeners(&self, site: &SiteConfig) -> Finding {
        let what = format!("{}: sidecars", site.id);
        let counts = self.link.subscribers(&[Channels::of(&site.id).invalid]).await;
        match counts.map(|counts| counts.values().sum()) {
            Ok(0_usize) => Finding::odd(what, "none listens at the moment", "start one: token-sidecar run"),
            Ok(count) => Finding::works(what, format!("{count} listening")),
            Err(error) => Finding::odd(what, error, "grant PUBSUB NUMSUB to have the sidecars counted"),
        }
    }

    fn store(&self, site: &SiteConfig) -> RedisStore {
        let link = Arc::clone(&self.link);
        RedisStore::new(link, site.id.clone(), site.keys.clone(), site.policy.lock_ttl, String::new())
    }
}

/// Whether a file that the site keeps current can be written, as this user, and its command run.
fn check_file(site: &SiteConfig, file: &TokenFile) -> Vec<Finding> {
    let what = format!("{}: file {}", site.id, file.path.display());
    let written = match token_file::check(file) {
        Ok(()) => Finding::works(&what, "can be written"),
        Err(error) => Finding::broken(&what, error, "let the sidecar's user write in its folder, and mount the folder"),
    };
    let run = token_file::check_command(file).map(|found| match found {
        Ok(program) => Finding::works(&what, format!("{program} can be run after a write")),
        Err(error) => Finding::broken(&what, error, "install the program, or name it with its path"),
    });
    [Some(written), run].into_iter().flatten().collect()
}

fn version(info: &str) -> Finding {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim();
    let version = field("redis_version:");
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    if major >= 6 {
        Finding::works("Redis", format!("version {version}, {} mode", field("redis_mode:")))
    } else {
        Finding::broken("Redis", format!("version {version} does not speak RESP3"), "use Redis 6 or later, or Valkey")
    }
}

/// Compares this machine's clock with another's.
fn clock(what: impl Display, theirs: Timestamp, whose: &str) -> Finding {
    let apart = SystemClock::wall().duration_since(theirs).unsigned_abs();
    if apart <= CLOCK_TOLERANCE {
        return Finding::works(what, format!("{} ms from {whose}", apart.as_millis()));
    }
    let why = format!("{} s from {whose}", apart.as_secs());
    Finding::odd(what, why, "synchronise both machines (NTP): tokens expire by the clock")
}

async fn check_source(source: &AnySource, stored: Option<&StoredToken>, site: &SiteConfig) -> Vec<Finding> {
    let what = format!("{}: source {}", site.id, source.name());
    match source {
        AnySource::Flaresolverr(source) => check_solvers(source, &what).await,
        AnySource::Browser(source) => vec![check_browser(source, what).await],
        AnySource::Http(source) => vec![check_request(source, stored, what).await],
    }
}

async fn check_solvers(source: &Flaresolverr, what: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for solver in 0..source.solvers() {
        let at = if source.solvers() > 1 { format!(" at {}", source.address(solver)) } else { String::new() };
        findings.push(check_solver(source.health(solver).await, format!("{what}{at}")));
    }
    findings
}

async fn check_request(source: &HttpSource, stored: Option<&StoredToken>, what: String) -> Finding {
    if source.uses_stored() {
        return match source.check(stored) {
            Ok(()) => Finding::works(what, "not asked, since that may use up what is stored, which is complete"),
            Err(error) => Finding::odd(what, error, "until that is stored, the next source is asked"),
        };
    }
    match source.fetch(stored).await {
        Ok(_) => Finding::works(what, "it answers"),
        Err(error) => {
            let cure = "check the URL, or leave `http` out of `sources` (SIDECAR_SOURCES)";
            let cure = match &error {
                HttpSourceError::Request(error) => cure_of_request(error, cure),
                HttpSourceError::Answer { .. } | HttpSourceError::Unfilled { .. } => cure,
            };
            Finding::broken(what, error, cure)
        }
    }
}

fn check_solver(health: Result<Health, FlaresolverrError>, what: String) -> Finding {
    match health {
        Ok(health) => {
            let kind: &str = health.kind.map_or("FlareSolverr", Into::into);
            let version = health.version.unwrap_or_else(|| "of unknown version".to_owned());
            let agent = health.user_agent.unwrap_or_else(|| "unknown user agent".to_owned());
            Finding::works(what, format!("{kind} {version}, {agent}"))
        }
        Err(error) => {
            let cure = "start FlareSolverr, and set FLARESOLVERR_URL to its address with /v1 at the end";
            let cure = match &error {
                FlaresolverrError::Request(error) => cure_of_request(error, cure),
                FlaresolverrError::Unable(_) => "use a FlareSolverr for this site, or leave the setting out",
                _ => cure,
            };
            Finding::broken(what, error, cure)
        }
    }
}

async fn check_browser(source: &BrowserSource, what: String) -> Finding {
    let began = SystemClock::wall();
    match source.check().await {
        Ok(version) => {
            let took = SystemClock::wall().duration_since(began).unsigned_abs();
            Finding::works(what, format!("{version}, an empty page after {} ms", took.as_millis()))
        }
        Err(error) => {
            let cure = "install Debian's `chromium`, or set BROWSER_PATH or BROWSER_URL to a browser";
            let cure = match &error {
                BrowserError::Request(error) => cure_of_request(error, cure),
                BrowserError::Sandbox => "allow user namespaces, or run without the sandbox: BROWSER_SANDBOX=false",
                BrowserError::Root => "run as another user than root, or without the sandbox: BROWSER_SANDBOX=false",
                _ => cure,
            };
            Finding::broken(what, error, cure)
        }
    }
}

/// Asks the API about the current token, or else about one that it must refuse.
async fn check_api(stored: Option<&StoredToken>, probe: &HttpProbe, site: &SiteConfig) -> Vec<Finding> {
    let (what, product) = (format!("{}: API", site.id), site.keys.product());
    let (token, cookies, user_agent) = match stored {
        Some(stored) => (Some(stored.token.clone()), stored.cookies.clone(), stored.user_agent.clone()),
        None => {
            let made_up = Cookies::from_iter([("doctor".to_owned(), "doctor".to_owned())]);
            match product {
                Product::Token => (Token::parse("doctor").ok(), Cookies::default(), None),
                Product::Cookies => (Token::of_cookies(&made_up.to_json()).ok(), made_up, None),
            }
        }
    };
    let Some(token) = token else { return vec![Finding::works(what, "not asked")] };
    let unclear = "is the API's URL right, and can it be reached from here?";
    let (verdict, date) = match probe.ask(&token, &cookies, user_agent.as_deref()).await {
        Ok(asked) => asked,
        Err(error) => return vec![Finding::broken(what, &error, cure_of_request(&error, unclear))],
    };
    let finding = match (verdict, stored.is_some()) {
        (Verdict::Accepted, true) => Finding::works(what, format!("it accepts the current {product}")),
        (Verdict::Accepted, false) => Finding::odd(
            what,
            match product {
                Product::Token => "it accepts anything that looks like a token",
                Product::Cookies => "it accepts any cookies",
            },
            "is the site's `api_url`, or its `probe.url`, right? Verification has no effect there",
        ),
        (Verdict::Refused(_), false) => Finding::works(
            what,
            match product {
                Product::Token => "it answers, and refuses a made-up token",
                Product::Cookies => "it answers, and refuses made-up cookies",
            },
        ),
        (Verdict::Refused(why), true) => Finding::odd(
            what,
            format!("it refuses the current {product}: {why}"),
            "ask for a new one: token-sidecar trigger --wait",
        ),
        (Verdict::Blocked(why), _) => Finding::broken(
            what,
            why,
            "the edge blocks this address: let the sidecar use the network of the solver, or another one",
        ),
        (Verdict::Unclear(why), _) => Finding::broken(what, why, unclear),
    };
    let clock = date.map(|date| clock(format!("{}: clock of the API", site.id), date, "the API's"));
    std::iter::once(finding).chain(clock).collect()
}

/// What to do about a request that failed; `otherwise` where TLS is not the cause.
const fn cure_of_request(error: &RequestError, otherwise: &'static str) -> &'static str {
    match error {
        RequestError::Tls { .. } => "SSL_CERT_FILE names a file of the authorities to trust, in place of the system's",
        _ => otherwise,
    }
}

const fn cure_of(error: &LinkError) -> &'static str {
    match error {
        LinkError::Config(_) => "correct the setting",
        LinkError::Away(_) => "start Redis, and set REDIS_URL to its address",
        LinkError::Denied(_) => "set REDIS_PASSWORD (or user and password in REDIS_URL) to what Redis expects",
        LinkError::Forbidden(_) => "give the Redis user the keys, channels and commands of compose/users.acl",
        LinkError::ReadOnly(_) => "this is a replica: point REDIS_URL at the master, or use Sentinel",
        LinkError::OutOfMemory(_) => "give Redis more memory (maxmemory), or let it evict",
        LinkError::SlotMoving(_) => {
            "a slot is being moved to another node: wait, or end an interrupted move with redis-cli --cluster fix"
        }
        LinkError::Untrusted(_) => {
            "its authority must be in REDIS_TLS_CA_FILE, it must name the host of the address, and be valid today"
        }
        LinkError::CertificateRefused(_) => {
            "set REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE to one signed by an authority in Redis' tls-ca-cert-file"
        }
        LinkError::Refused(_) => "see the log of Redis",
    }
}
