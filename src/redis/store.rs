//! The keys of one site. Each step is one script; [`scripts`] has them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use redis::{FromRedisValue, Script};
use serde_json::json;
use token_sidecar_client::redis::{Link, LinkError};
use token_sidecar_client::wire::{Channels, Event, KeyNames, SiteId, Trigger, whole_second_down};

use super::scripts;
use crate::domain::pending::Note;
use crate::domain::snapshot::Snapshot;
use crate::domain::verdict::Timings;
use crate::refresh::ports::{
    Announced, ClaimId, Claimed, Commit, Committed, FailedAttempt, KeyTtl, Lease, Recorded, Store, StoreError,
};

/// How far an estimate of Redis' clock may be off.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);

static LOOK: LazyLock<Script> = LazyLock::new(|| Script::new(scripts::LOOK));
static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(scripts::CLAIM));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(scripts::RENEW));
static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(scripts::COMMIT));
static FAIL: LazyLock<Script> = LazyLock::new(|| Script::new(scripts::FAIL));
static ANNOUNCE: LazyLock<Script> = LazyLock::new(|| Script::new(scripts::ANNOUNCE));
static VACATE: LazyLock<Script> = LazyLock::new(|| Script::new(scripts::VACATE));

/// The keys and channels of one site.
#[derive(Debug, Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    site: Arc<StoredSite>,
}

#[derive(Debug)]
struct StoredSite {
    id: SiteId,
    keys: KeyNames,
    lock_ttl: Duration,
    instance: Arc<str>,
}

impl RedisStore {
    /// `instance` names this process in the history.
    pub fn new(link: Arc<Link>, id: SiteId, keys: KeyNames, lock_ttl: Duration, instance: impl Into<Arc<str>>) -> Self {
        Self { link, site: Arc::new(StoredSite { id, keys, lock_ttl, instance: instance.into() }) }
    }

    /// The names of the site's keys.
    pub fn keys(&self) -> &KeyNames {
        &self.site.keys
    }

    /// Runs a script with the site's keys; it reads the arguments by their names.
    async fn run<T: FromRedisValue>(&self, script: &Script, mut args: serde_json::Value) -> Result<T, StoreError> {
        let StoredSite { keys, lock_ttl, .. } = &*self.site;
        args["lock_ttl"] = millis(*lock_ttl).into();
        let mut invocation = script.prepare_invoke();
        invocation
            .key(&keys.token)
            .key(&keys.cookies)
            .key(keys.companion("meta"))
            .key(keys.companion("lock"))
            .key(keys.companion("history"))
            .arg(args.to_string());
        Ok(self.link.script(&invocation).await?)
    }

    /// The lock's value. It states its TTL: other replicas may have another one configured.
    fn lock_value(&self, claim: &ClaimId) -> String {
        format!("{}:px={}", claim.0, millis(self.site.lock_ttl))
    }

    /// The two channels on which an event is published.
    fn channels_for(&self, event: &Event) -> [String; 2] {
        let channels = Channels::of(&self.site.id);
        let (everywhere, here) = channels.for_event(event);
        [everywhere.to_owned(), here.to_owned()]
    }

    /// Fields of the history, as a flat list of names and values.
    fn history(&self, trigger: Trigger, source: &str, timings: &Timings, note: &Note) -> Vec<String> {
        let mut fields = vec![
            ("trigger", trigger.to_string()),
            ("source", source.to_owned()),
            ("solve_ms", millis(timings.solve).to_string()),
            ("extract_ms", millis(timings.extract).to_string()),
            ("verify_ms", millis(timings.verify).to_string()),
            ("instance", self.site.instance.to_string()),
        ];
        fields.extend(note.reason.clone().map(|reason| ("reason", reason)));
        fields.extend(note.source.clone().map(|reporter| ("reporter", reporter)));
        fields.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

impl Store for RedisStore {
    async fn look(&self) -> Result<Snapshot, StoreError> {
        self.run(&LOOK, json!({})).await
    }

    async fn has_token(&self) -> Result<bool, StoreError> {
        Ok(self.link.command(redis::cmd("EXISTS").arg(&self.site.keys.token)).await?)
    }

    async fn claim(&self, etag: &str, claim: &ClaimId) -> Result<Claimed, StoreError> {
        let args = json!({ "claim": self.lock_value(claim), "etag": etag });
        let (outcome, snapshot): (String, Snapshot) = self.run(&CLAIM, args).await?;
        Ok(match outcome.as_str() {
            "taken" => Claimed::Taken(snapshot.at),
            _ => Claimed::Changed(Box::new(snapshot)),
        })
    }

    async fn renew(&self, claim: &ClaimId, seen: u64) -> Result<Lease, StoreError> {
        let args = json!({ "claim": self.lock_value(claim), "seen": seen });
        let outcome: String = self.run(&RENEW, args).await?;
        Ok(if outcome == "held" { Lease::Held } else { Lease::Lost })
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let Commit { candidate, event, .. } = commit;
        let (ttl, adopts) = match commit.ttl {
            KeyTtl::New(ttl) => (ttl, false),
            KeyTtl::Kept(ttl) => (ttl, true),
        };
        let mut history = self.history(event.trigger, &event.source, &commit.timings, &commit.note);
        history.extend(["fingerprint".to_owned(), event.fingerprint.clone()]);
        let event = Event::Updated(event.clone());
        let args = json!({
            "claim": self.lock_value(&commit.claim),
            "seen": commit.seen,
            "floor": commit.floor,
            "now": commit.now.as_millisecond(),
            "tolerance": millis(CLOCK_TOLERANCE),
            "token": candidate.token.expose(),
            "cookies": candidate.cookies.to_json(),
            "ttl": millis(ttl),
            "adopts": adopts,
            "channels": self.channels_for(&event),
            "message": event.to_json(),
            "meta": [
                "fingerprint", commit.event.fingerprint,
                "refreshed_at", instant(commit.event.refreshed_at),
                "refreshed_ms", commit.now.as_millisecond().to_string(),
                "expires_at", instant(commit.event.expires_at),
                "trigger", commit.event.trigger,
                "source", commit.event.source,
                "user_agent", candidate.user_agent.as_deref().unwrap_or_default(),
            ],
            "history": history,
        });
        let (outcome, snapshot): (String, Snapshot) = self.run(&COMMIT, args).await?;
        Ok(match outcome.as_str() {
            "stored" => Committed::Stored(snapshot),
            "clock" => Committed::Clock(snapshot),
            _ => Committed::Superseded(snapshot),
        })
    }

    async fn fail(&self, failed: &FailedAttempt) -> Result<Recorded, StoreError> {
        let event = &failed.event;
        let mut history = self.history(event.trigger, &failed.source, &failed.timings, &failed.note);
        history.extend(["stage", event.stage.into_str(), "error", &event.error].map(str::to_owned));
        let message = Event::Failed(event.clone());
        let args = json!({
            "claim": self.lock_value(&failed.claim),
            "seen": failed.seen,
            "attempt": event.attempt,
            "now": failed.now.as_millisecond(),
            "tolerance": millis(CLOCK_TOLERANCE),
            "channels": self.channels_for(&message),
            "message": message.to_json(),
            "meta": [
                "retry_at", instant(Some(event.retry_at)),
                "retry_trigger", event.trigger,
                "retry_stage", event.stage,
                "last_error", event.error,
            ],
            "history": history,
        });
        let (outcome, snapshot): (String, Snapshot) = self.run(&FAIL, args).await?;
        Ok(match outcome.as_str() {
            "done" => Recorded::Done(snapshot),
            "clock" => Recorded::Clock(snapshot),
            _ => Recorded::Dropped(snapshot),
        })
    }

    async fn announce(&self, etag: &str, event: &Event) -> Result<Announced, StoreError> {
        let args = json!({ "etag": etag, "channels": self.channels_for(event), "message": event.to_json() });
        let (outcome, snapshot): (String, Snapshot) = self.run(&ANNOUNCE, args).await?;
        Ok(if outcome == "announced" { Announced::Done(snapshot) } else { Announced::Changed(snapshot) })
    }

    async fn vacate(&self, claim: &ClaimId) -> Result<(), StoreError> {
        let channel = Channels::of(&self.site.id).canary;
        self.run(&VACATE, json!({ "claim": self.lock_value(claim), "channel": channel })).await
    }

    async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        for channel in self.channels_for(event) {
            let publish = redis::cmd("PUBLISH").arg(channel).arg(event.to_json()).clone();
            self.link.command::<i64>(&publish).await?;
        }
        Ok(())
    }

    fn token_key(&self) -> &str {
        &self.site.keys.token
    }
}

impl From<LinkError> for StoreError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Away(message) | LinkError::Untrusted(message) => Self::Away(message),
            LinkError::Config(message) | LinkError::Refused(message) => Self::Refused(message),
        }
    }
}

impl From<StoreError> for LinkError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Away(message) => Self::Away(message),
            StoreError::Refused(message) => Self::Refused(message),
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn instant(at: Option<Timestamp>) -> String {
    at.map(|at| whole_second_down(at).to_string()).unwrap_or_default()
}
