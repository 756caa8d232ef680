//! Looks at everything that the sidecar needs, and says what to do about each failure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use token_sidecar_client::redis::{Connector, Events, LinkError};
use token_sidecar_client::wire::{Channels, Cookies, Token};

use crate::app::AppError;
use crate::clock::SystemClock;
use crate::config::{Config, SiteConfig};
use crate::domain::site::Verify;
use crate::domain::verdict::Verdict;
use crate::redis::{Link, RedisStore};
use crate::refresh::ports::{Probe as _, Source as _, Store as _};
use crate::sources::{AnySource, Solvers};
use crate::verify::HttpProbe;

/// How far the clocks may be apart.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// How long a message may be on its way.
const ROUND_TRIP: Duration = Duration::from_secs(3);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It works.
    Works {
        /// What was looked at.
        what: String,
        /// How it is.
        how: String,
    },
    /// It works, but somebody should look at it.
    Odd {
        /// What was looked at.
        what: String,
        /// What is odd.
        why: String,
        /// What to do.
        cure: String,
    },
    /// It does not work.
    Broken {
        /// What was looked at.
        what: String,
        /// What happened.
        why: String,
        /// What to do.
        cure: String,
    },
}

impl Finding {
    fn works(what: impl Into<String>, how: impl Into<String>) -> Self {
        Self::Works { what: what.into(), how: how.into() }
    }

    fn odd(what: impl Into<String>, why: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Odd { what: what.into(), why: why.into(), cure: cure.into() }
    }

    fn broken(what: impl Into<String>, why: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Broken { what: what.into(), why: why.into(), cure: cure.into() }
    }
}

/// Redis: reach, version, clock.
///
/// # Errors
/// [`AppError::Config`] where a setting cannot be used.
pub async fn redis(config: &Config) -> Result<Vec<Finding>, AppError> {
    let link = Link::new(Connector::new(&config.redis)?, SystemClock::start());
    let mut findings = Vec::new();
    let info: Result<String, LinkError> = link.anywhere(redis::cmd("INFO").arg("server")).await;
    match info {
        Ok(info) => {
            let field = |name: &str| info.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("?").trim().to_owned();
            let version = field("redis_version:");
            let major: u32 = version.split('.').next().and_then(|v| v.parse().ok()).unwrap_or(0);
            findings.push(if major >= 6 {
                Finding::works("Redis", format!("version {version}, {} mode", field("redis_mode:")))
            } else {
                let cure = "use Redis 6 or later, or Valkey";
                Finding::broken("Redis", format!("version {version} does not speak RESP3"), cure)
            });
        }
        Err(LinkError::Refused(error)) if error.contains("NOPERM") => {
            findings.push(Finding::works("Redis", "reached; its version is not ours to ask (no permission for INFO)"));
        }
        Err(error) => {
            findings.push(Finding::broken("Redis", error.to_string(), cure_of(&error)));
            return Ok(findings);
        }
    }
    let time: Result<(i64, i64), LinkError> = link.anywhere(&redis::cmd("TIME")).await;
    if let Ok((seconds, micros)) = time {
        let theirs = Timestamp::from_microsecond(seconds * 1_000_000 + micros).unwrap_or_default();
        let apart = SystemClock::wall().duration_since(theirs).unsigned_abs();
        findings.push(if apart <= CLOCK_TOLERANCE {
            Finding::works("clock", format!("{} ms from Redis'", apart.as_millis()))
        } else {
            let why = format!("{} s from Redis', by which everything is counted", apart.as_secs());
            Finding::odd("clock", why, "let both machines keep time (NTP): tokens expire by the clock")
        });
    }
    Ok(findings)
}

/// One site in Redis: its keys, its channels, who listens.
///
/// # Errors
/// [`AppError::Config`] where a setting cannot be used.
pub async fn keys_and_channels(config: &Config, site: &SiteConfig) -> Result<Vec<Finding>, AppError> {
    let connector = Connector::new(&config.redis)?;
    Ok(vec![keys(&connector, site).await, channels(&connector, site).await, listeners(&connector, site).await])
}

/// One site outside of Redis: every source, and the API, about the current token where Redis is there to tell it.
///
/// # Errors
/// [`AppError::Config`] where a setting cannot be used.
pub async fn outside(config: &Config, site: &SiteConfig, redis_is_reached: bool) -> Result<Vec<Finding>, AppError> {
    let store = store(Connector::new(&config.redis)?, site);
    let mut findings = Vec::new();
    let solvers = Solvers::default();
    for source in &site.sources {
        findings.push(self::source(&AnySource::new(source, &site.cookie, &solvers)?, site).await);
    }
    if site.policy.verify != Verify::Off {
        let store = redis_is_reached.then_some(&store);
        findings.push(api(store, &HttpProbe::new(&site.probe)?, site).await);
    }
    Ok(findings)
}

fn store(connector: Connector, site: &SiteConfig) -> RedisStore<SystemClock> {
    let link = Arc::new(Link::new(connector, SystemClock::start()));
    RedisStore::new(link, site.id.clone(), site.keys.clone(), site.policy.lock_ttl, String::new())
}

/// Reads the state, and writes a companion key that ends by itself.
async fn keys(connector: &Connector, site: &SiteConfig) -> Finding {
    let what = format!("{}: keys", site.id);
    let link = Link::new(connector.clone(), SystemClock::start());
    let trial = redis::cmd("SET").arg(site.keys.companion("doctor")).arg("1").arg("PX").arg(1000).clone();
    match store(connector.clone(), site).look().await.map_err(LinkError::from) {
        Ok(snapshot) => match link.command::<String>(&trial).await {
            Ok(_) => {
                let token = snapshot.fingerprint().map_or_else(|| "no token yet".to_owned(), |f| format!("token {f}"));
                Finding::works(what, format!("readable and writable, {token}"))
            }
            Err(error) => Finding::broken(what, error.to_string(), cure_of(&error)),
        },
        Err(error) => Finding::broken(what, error.to_string(), cure_of(&error)),
    }
}

/// Sends a canary from one connection to another.
async fn channels(connector: &Connector, site: &SiteConfig) -> Finding {
    let what = format!("{}: channels", site.id);
    let names = Channels::of(&site.id);
    let link = Link::new(connector.clone(), SystemClock::start());
    // Whoever may not subscribe to a channel may not publish there either.
    let everywhere = [Channels::ALL_UPDATED, Channels::ALL_FAILED].map(str::to_owned);
    let all = [&[names.invalid, names.updated, names.failed, names.canary.clone()][..], &everywhere].concat();
    let trip = async {
        let mut events = Events::on(connector, &all).await?;
        let publish = redis::cmd("PUBLISH").arg(&names.canary).arg("doctor:0").clone();
        link.command::<i64>(&publish).await?;
        events.raw().await
    };
    match tokio::time::timeout(ROUND_TRIP, trip).await {
        Ok(Ok(_)) => Finding::works(what, "a message came back"),
        Ok(Err(error)) => Finding::broken(what, error.to_string(), cure_of(&error)),
        Err(_) => Finding::broken(
            what,
            format!("a message did not come back within {} s", ROUND_TRIP.as_secs()),
            "is there a proxy in between that does not pass pub/sub on? Connect to Redis itself",
        ),
    }
}

/// Whether a sidecar listens already.
async fn listeners(connector: &Connector, site: &SiteConfig) -> Finding {
    let what = format!("{}: sidecars", site.id);
    match connector.subscribers(&Channels::of(&site.id).invalid).await {
        Ok(0) => Finding::odd(what, "none listens at the moment", "start one: token-sidecar run"),
        Ok(count) => Finding::works(what, format!("{count} listening")),
        Err(error) => Finding::odd(what, error.to_string(), "grant PUBSUB NUMSUB to have the sidecars counted"),
    }
}

async fn source(source: &AnySource, site: &SiteConfig) -> Finding {
    let what = format!("{}: source {}", site.id, source.name());
    match source {
        AnySource::Flaresolverr(solver) => match solver.health().await {
            Ok(health) => {
                let version = health.version.unwrap_or_else(|| "of unknown version".to_owned());
                let agent = health.user_agent.unwrap_or_else(|| "its browser does not say what it is".to_owned());
                Finding::works(what, format!("FlareSolverr {version}, {agent}"))
            }
            Err(error) => Finding::broken(
                what,
                error.message,
                "start FlareSolverr, and set FLARESOLVERR_URL to its address with /v1 at the end",
            ),
        },
        AnySource::Http(request) => match request.solve().await {
            Ok(_) => Finding::works(what, "it answers"),
            Err(error) => Finding::broken(what, error.message, "check the URL, or leave `http` out of SIDECAR_SOURCES"),
        },
    }
}

/// Asks the API about the current token, or about one that it must refuse.
async fn api(store: Option<&RedisStore<SystemClock>>, probe: &HttpProbe, site: &SiteConfig) -> Finding {
    let what = format!("{}: API", site.id);
    let (current, cookies) = match store {
        Some(store) => {
            let current = store.look().await.ok().and_then(|snapshot| snapshot.current);
            (current, store.cookies().await.unwrap_or_default())
        }
        None => (None, Cookies::default()),
    };
    let (token, user_agent) = match &current {
        Some(current) => (Some(current.token.clone()), current.refresh().and_then(|r| r.user_agent.clone())),
        None => (Token::parse("doctor").ok(), None),
    };
    let Some(token) = token else { return Finding::works(what, "not asked") };
    let verdict = probe.verify(&token, &cookies, user_agent.as_deref()).await;
    match (verdict, current.is_some()) {
        (Verdict::Accepted, true) => Finding::works(what, "it accepts the current token"),
        (Verdict::Accepted, false) => Finding::odd(
            what,
            "it accepts anything that looks like a token",
            "is CHITAI_GOROD_API_URL right? Verification proves nothing there",
        ),
        (Verdict::Refused(_), false) => Finding::works(what, "it answers, and refuses a made-up token"),
        (Verdict::Refused(why), true) => Finding::odd(
            what,
            format!("it refuses the current token: {why}"),
            "ask for a new one: token-sidecar trigger --wait",
        ),
        (Verdict::Blocked(why), _) => Finding::broken(
            what,
            why,
            "the edge blocks this address: let the sidecar use the network of the solver, or another one",
        ),
        (Verdict::Unclear(why), _) => {
            Finding::broken(what, why, "is the API's URL right, and can it be reached from here?")
        }
    }
}

fn cure_of(error: &LinkError) -> &'static str {
    match error {
        // The library keeps Redis' own words for a wrong password to itself.
        LinkError::Refused(text)
            if ["WRONGPASS", "NOAUTH", "authentication failed"].iter().any(|word| text.contains(word)) =>
        {
            "set REDIS_PASSWORD (or user and password in REDIS_URL) to what Redis expects"
        }
        LinkError::Refused(text) if text.contains("NOPERM") => {
            "give the Redis user the keys, channels and commands of compose/users.acl"
        }
        LinkError::Untrusted(text) if text.contains("certificate of Redis") => {
            "set REDIS_TLS_CA_FILE to its authority; it must name the host of the address, and be valid today"
        }
        LinkError::Untrusted(_) => {
            "set REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE to one that Redis' tls-ca-cert-file vouches for"
        }
        LinkError::Refused(text) if text.contains("READONLY") => {
            "this is a replica: point REDIS_URL at the master, or use Sentinel"
        }
        LinkError::Refused(text) if text.contains("OOM") => "give Redis more memory (maxmemory), or let it evict",
        LinkError::Refused(_) => "see the log of Redis",
        LinkError::Config(_) => "correct the setting",
        LinkError::Away(text) if text.contains("TRYAGAIN") => {
            "a slot is on its way to another node: wait, or end an interrupted move with redis-cli --cluster fix"
        }
        LinkError::Away(_) => "start Redis, and set REDIS_URL to its address",
    }
}
