//! The site under test, and what the tests read past the adapter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use redis::Connection;

use token_sidecar::domain::announcement;
use token_sidecar::domain::extract::Candidate;
use token_sidecar::domain::pending::Note;
use token_sidecar::domain::snapshot::{Failing, Refresh, Snapshot};
use token_sidecar::domain::verdict::Timings;
use token_sidecar::redis::RedisStore;
use token_sidecar::refresh::ports::{AttemptEnd, Checked, ClaimId, KeyTtl, NewToken, Record, Store};
use token_sidecar_client::redis::{Connector, Link, RedisConfig, RedisUrl, TlsConfig, Topology};
use token_sidecar_client::wire::{Cookies, FailedCause, Fingerprint, KeyNames, SiteId, Stage, Token, Trigger};

use crate::support::redis_server::RedisServer;

pub(crate) const TOKEN: &str = "chitai_gorod_token";
pub(crate) const COOKIES: &str = "chitai_gorod_cookies";
pub(crate) const META: &str = "{chitai_gorod_token}:meta";
pub(crate) const LOCK: &str = "{chitai_gorod_token}:lock";
pub(crate) const HISTORY: &str = "{chitai_gorod_token}:history";
pub(crate) const LOCK_TTL: Duration = Duration::from_secs(15);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) type TestLink = Arc<Link>;
pub(crate) type TestStore = RedisStore;

pub(crate) fn site() -> SiteId {
    SiteId::parse("chitai_gorod").unwrap()
}

pub(crate) fn keys() -> KeyNames {
    KeyNames { token: TOKEN.into(), cookies: COOKIES.into() }
}

pub(crate) fn config(url: &str) -> RedisConfig {
    RedisConfig { url: url.parse().unwrap(), password: None, tls: TlsConfig::default(), topology: Topology::Single }
}

pub(crate) fn parsed(urls: &[String]) -> Vec<RedisUrl> {
    urls.iter().map(|url| url.parse().unwrap()).collect()
}

pub(crate) fn link_of(config: &RedisConfig) -> TestLink {
    Arc::new(Link::new(Connector::new(config).unwrap()))
}

pub(crate) fn link(server: &RedisServer) -> TestLink {
    link_of(&config(&server.url()))
}

pub(crate) fn store_on(link: &TestLink) -> TestStore {
    RedisStore::new(Arc::clone(link), site(), keys(), LOCK_TTL, "one".to_owned())
}

pub(crate) fn store(server: &RedisServer) -> TestStore {
    store_on(&link(server))
}

pub(crate) fn id(name: &str) -> ClaimId {
    ClaimId(name.to_owned())
}

/// The value of the lock of a claim.
pub(crate) fn lock_value(claim: &str) -> String {
    format!("{claim}:px={}", LOCK_TTL.as_millis())
}

/// Looks and claims; panics where the lock is taken.
pub(crate) async fn claimed(store: &TestStore, claim: &str) -> Snapshot {
    let seen = store.look().await.unwrap();
    match store.claim(&seen.etag, &id(claim)).await.unwrap() {
        Checked::Done(at) => Snapshot { at, ..seen },
        Checked::Changed(now) => panic!("the lock was not to be had: {now:?}"),
    }
}

pub(crate) fn commit(claim: &str, seen: &Snapshot, token: &str) -> Record {
    let token = Token::parse(token).unwrap();
    let cookies = format!(r#"{{"access-token":"Bearer%20{}","x":"%2F"}}"#, token.expose());
    let refresh = Refresh { at: seen.at, trigger: Trigger::Invalid, source: "flaresolverr".into(), user_agent: None };
    let new = NewToken {
        minimum_version: 0,
        event: announcement::refreshed(&site(), TOKEN, &token, &refresh, DAY, None),
        candidate: Candidate { token, cookies: Cookies::from_json(&cookies), user_agent: Some("Agent/1".into()) },
        ttl: KeyTtl::New(DAY),
        proxy: Some(Fingerprint::of("proxy.test:3128")),
    };
    Record {
        claim: id(claim),
        version_at_claim: seen.version,
        end: AttemptEnd::Token(Box::new(new)),
        source: "flaresolverr".into(),
        timings: Timings {
            solve: Duration::from_millis(1_500),
            extract: Duration::from_millis(2),
            verify: Duration::from_millis(30),
        },
        now: seen.at,
        note: Note { reason: Some("401 again".into()), source: Some("parser-1".into()) },
    }
}

/// The token of a record.
pub(crate) fn new_token(record: &mut Record) -> &mut NewToken {
    let AttemptEnd::Token(new) = &mut record.end else { panic!("a failure") };
    new
}

pub(crate) fn failed(claim: &str, seen: &Snapshot) -> Record {
    let failing = Failing {
        attempts: seen.attempts() + 1,
        retry_at: Timestamp::from_second(seen.at.as_second() + 60).unwrap(),
        trigger: Trigger::Schedule,
        stage: Stage::Solve,
        error: "FlareSolverr: timeout after 60 s".into(),
    };
    Record {
        claim: id(claim),
        version_at_claim: seen.version,
        end: AttemptEnd::Failure(announcement::failed(&site(), FailedCause::Attempt, &failing, seen)),
        now: seen.at,
        source: "flaresolverr,http".into(),
        timings: Timings { solve: Duration::from_secs(60), ..Timings::default() },
        note: Note::default(),
    }
}

/// Everything published on the channels of tokens from here on.
pub(crate) struct Listener(Connection);

impl Listener {
    pub(crate) fn new(server: &RedisServer) -> Self {
        let mut connection = server.connection();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // Past `PubSub`, which unsubscribes when it is dropped.
        connection.send_packed_command(&redis::cmd("PSUBSCRIBE").arg("*token:*").get_packed_command()).unwrap();
        let _ = connection.recv_response().unwrap();
        Self(connection)
    }

    /// What has come in, up to a mark that is published now.
    pub(crate) fn received(&mut self, server: &RedisServer) -> Vec<(String, String)> {
        let _: i64 = server.ask("PUBLISH token:mark -");
        let mut received = Vec::new();
        loop {
            let message = self.0.recv_response().unwrap();
            let words: Vec<String> = redis::from_redis_value(message).unwrap();
            let [kind, _, channel, payload] = &words[..] else { continue };
            match (kind.as_str(), channel.as_str()) {
                ("pmessage", "token:mark") => return received,
                ("pmessage", _) => received.push((channel.clone(), payload.clone())),
                _ => {}
            }
        }
    }
}

/// A digest of all keys and values.
pub(crate) fn digest(server: &RedisServer) -> String {
    server.ask("DEBUG DIGEST")
}

/// The field of a hash.
pub(crate) fn meta(server: &RedisServer, field: &str) -> Option<String> {
    server.ask_words(&["HGET", META, field])
}

/// The entries of the history, each as its fields in their order.
pub(crate) fn history(server: &RedisServer) -> Vec<Vec<(String, String)>> {
    let entries: Vec<(String, Vec<String>)> = server.ask_words(&["XRANGE", HISTORY, "-", "+"]);
    let pairs = |fields: Vec<String>| fields.chunks(2).map(|p| (p[0].clone(), p[1].clone())).collect();
    entries.into_iter().map(|(_, fields)| pairs(fields)).collect()
}

/// The outcomes in the history.
pub(crate) fn outcomes(server: &RedisServer) -> Vec<String> {
    history(server).into_iter().map(|entry| entry[0].1.clone()).collect()
}
