//! The keys of one site. Each step is one script; [`scripts`] has them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use redis::FromRedisValue;
use serde_json::json;
use token_sidecar_client::redis::{Link, LinkError};
use token_sidecar_client::wire::{Channels, Event, Failed, KeyNames, SiteId, whole_second_down};

use super::scripts;
use crate::domain::snapshot::Snapshot;
use crate::refresh::ports::{
    AttemptEnd, Checked, ClaimId, Heartbeat, KeyTtl, Lease, NewToken, NoticeStore, Record, Recorded, Store, StoreError,
};

/// How far an estimate of Redis' clock may be off.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);

/// The text of a script, and its SHA-1.
type Script = (&'static str, LazyLock<String>);

static LOOK: Script = (scripts::LOOK, LazyLock::new(|| hash(scripts::LOOK)));
static CLAIM: Script = (scripts::CLAIM, LazyLock::new(|| hash(scripts::CLAIM)));
static RENEW: Script = (scripts::RENEW, LazyLock::new(|| hash(scripts::RENEW)));
static COMMIT: Script = (scripts::COMMIT, LazyLock::new(|| hash(scripts::COMMIT)));
static FAIL: Script = (scripts::FAIL, LazyLock::new(|| hash(scripts::FAIL)));
static ANNOUNCE: Script = (scripts::ANNOUNCE, LazyLock::new(|| hash(scripts::ANNOUNCE)));
static HEARTBEAT: Script = (scripts::HEARTBEAT, LazyLock::new(|| hash(scripts::HEARTBEAT)));
static VACATE: Script = (scripts::VACATE, LazyLock::new(|| hash(scripts::VACATE)));

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

    pub fn keys(&self) -> &KeyNames {
        &self.site.keys
    }

    /// Reads the site's state. The error keeps its kind, which [`Store::look`] does not need.
    pub async fn snapshot(&self) -> Result<Snapshot, LinkError> {
        self.run(&LOOK, json!({})).await
    }

    fn notice_key(&self, name: &str) -> String {
        self.site.keys.companion(&format!("notice:{name}"))
    }

    fn set_notice(&self, name: &str, span: Duration) -> redis::Cmd {
        redis::cmd("SET").arg(self.notice_key(name)).arg(&*self.site.instance).arg("PX").arg(millis(span)).clone()
    }

    /// Runs a script with the site's keys; it reads the arguments by their names.
    async fn run<T: FromRedisValue>(&self, script: &Script, mut args: serde_json::Value) -> Result<T, LinkError> {
        let StoredSite { keys, lock_ttl, .. } = &*self.site;
        args["lock_ttl"] = millis(*lock_ttl).into();
        let args = args.to_string();
        let call = |verb, script: &str| {
            let mut call = redis::cmd(verb);
            call.arg(script).arg(5).arg(&keys.token).arg(&keys.cookies);
            for companion in ["meta", "lock", "history"] {
                call.arg(keys.companion(companion));
            }
            call.arg(&args).clone()
        };
        let (text, hash) = script;
        // Boxed: each of thousands of idle sites would reserve memory for its next command.
        Box::pin(async { self.link.script(&call("EVALSHA", hash), || call("EVAL", text)).await }).await
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
    fn history(&self, record: &Record) -> Vec<String> {
        let Record { source, timings, note, end, .. } = record;
        let trigger = match end {
            AttemptEnd::Token(new) => new.event.trigger,
            AttemptEnd::Failure(failed) => failed.trigger,
        };
        let mut fields = vec![
            ("trigger", trigger.to_string()),
            ("source", source.clone()),
            ("solve_ms", millis(timings.solve).to_string()),
            ("extract_ms", millis(timings.extract).to_string()),
            ("verify_ms", millis(timings.verify).to_string()),
            ("instance", self.site.instance.to_string()),
        ];
        fields.extend(note.reason.clone().map(|reason| ("reason", reason)));
        fields.extend(note.source.clone().map(|reporter| ("reporter", reporter)));
        match end {
            AttemptEnd::Token(new) => fields.push(("fingerprint", new.event.fingerprint.clone())),
            AttemptEnd::Failure(Failed { stage, error, .. }) => {
                fields.extend([("stage", stage.to_string()), ("error", error.clone())]);
            }
        }
        fields.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

impl Store for RedisStore {
    async fn look(&self) -> Result<Snapshot, StoreError> {
        Ok(self.snapshot().await?)
    }

    async fn heartbeat(&self) -> Result<Heartbeat, StoreError> {
        let (has_token, at) = self.run(&HEARTBEAT, json!({})).await?;
        Ok(Heartbeat { has_token, at: at_ms(at) })
    }

    async fn claim(&self, etag: &str, claim: &ClaimId) -> Result<Checked<Timestamp>, StoreError> {
        let args = json!({ "claim": self.lock_value(claim), "etag": etag });
        let (at, changed): (i64, Option<Snapshot>) = self.run(&CLAIM, args).await?;
        Ok(changed.map_or(Checked::Done(at_ms(at)), Checked::Changed))
    }

    async fn renew(&self, claim: &ClaimId, seen: &Snapshot) -> Result<Lease, StoreError> {
        let (claim, attempt) = (self.lock_value(claim), seen.attempts().saturating_add(1));
        let args = json!({ "claim": claim, "version_at_claim": seen.version, "attempt": attempt });
        let outcome: String = self.run(&RENEW, args).await?;
        Ok(if outcome == "held" { Lease::Held } else { Lease::Lost })
    }

    async fn record(&self, record: &Record) -> Result<Recorded, StoreError> {
        let (script, event) = match &record.end {
            AttemptEnd::Token(new) => (&COMMIT, Event::Updated(new.event.clone())),
            AttemptEnd::Failure(failed) => (&FAIL, Event::Failed(failed.clone())),
        };
        let mut args = json!({
            "claim": self.lock_value(&record.claim),
            "version_at_claim": record.version_at_claim,
            "now": record.now.as_millisecond(),
            "tolerance": millis(CLOCK_TOLERANCE),
            "channels": self.channels_for(&event),
            "message": event.to_json(),
            "history": self.history(record),
        });
        match &record.end {
            AttemptEnd::Token(new) => {
                let NewToken { candidate, ttl, event, proxy, minimum_version } = &**new;
                args["token"] = candidate.token.expose().into();
                args["cookies"] = candidate.cookies.to_json().into();
                args["ttl"] = millis(ttl.span()).into();
                args["adopts"] = matches!(ttl, KeyTtl::Kept(_)).into();
                args["minimum_version"] = (*minimum_version).into();
                args["meta"] = json!([
                    "fingerprint",
                    event.fingerprint,
                    "refreshed_at",
                    instant(event.refreshed_at),
                    "refreshed_ms",
                    record.now.as_millisecond().to_string(),
                    "expires_at",
                    instant(event.expires_at),
                    "trigger",
                    event.trigger,
                    "source",
                    event.source,
                    "user_agent",
                    candidate.user_agent.as_deref().unwrap_or_default(),
                    "proxy",
                    proxy.map(|proxy| proxy.to_string()).unwrap_or_default(),
                ]);
            }
            AttemptEnd::Failure(failed) => {
                args["attempt"] = failed.attempt.into();
                args["meta"] = json!([
                    "retry_at",
                    instant(Some(failed.retry_at)),
                    "retry_trigger",
                    failed.trigger,
                    "retry_stage",
                    failed.stage,
                    "last_error",
                    failed.error,
                ]);
            }
        }
        let (outcome, snapshot): (String, Snapshot) = self.run(script, args).await?;
        Ok(match outcome.as_str() {
            "done" => Recorded::Done(snapshot),
            "unrecorded" => {
                let key = self.site.keys.companion("history");
                tracing::warn!(
                    %key,
                    "the history has no entry of this attempt: its stream has the last possible id; delete the key (DEL)"
                );
                Recorded::Done(snapshot)
            }
            "clock" => Recorded::Clock(snapshot),
            _ => Recorded::Superseded(snapshot),
        })
    }

    async fn announce(&self, etag: &str, event: &Event) -> Result<Checked<Snapshot>, StoreError> {
        let args = json!({ "etag": etag, "channels": self.channels_for(event), "message": event.to_json() });
        let (outcome, snapshot): (String, Snapshot) = self.run(&ANNOUNCE, args).await?;
        Ok(if outcome == "done" { Checked::Done(snapshot) } else { Checked::Changed(snapshot) })
    }

    async fn vacate(&self, claim: &ClaimId) -> Result<(), StoreError> {
        let channel = Channels::of(&self.site.id).canary;
        Ok(self.run(&VACATE, json!({ "claim": self.lock_value(claim), "channel": channel })).await?)
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

impl NoticeStore for RedisStore {
    async fn is_failing(&self) -> Result<bool, StoreError> {
        Ok(self.snapshot().await?.failing.is_some())
    }

    async fn claim(&self, name: &str, span: Duration) -> Result<bool, StoreError> {
        let set = self.set_notice(name, span).arg("NX").clone();
        Ok(self.link.command::<Option<String>>(&set).await?.is_some())
    }

    async fn note(&self, name: &str, span: Duration) -> Result<(), StoreError> {
        Ok(self.link.command::<()>(&self.set_notice(name, span)).await?)
    }

    async fn release(&self, name: &str) -> Result<bool, StoreError> {
        let delete = redis::cmd("DEL").arg(self.notice_key(name)).clone();
        Ok(self.link.command::<u64>(&delete).await? > 0)
    }
}

impl From<LinkError> for StoreError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Away(_)
            | LinkError::SlotMoving(_)
            | LinkError::Untrusted(_)
            | LinkError::CertificateRefused(_) => Self::Away(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

fn hash(script: &str) -> String {
    redis::Script::new(script).get_hash().to_owned()
}

/// Redis' clock in milliseconds; the epoch where that is no time.
fn at_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn instant(at: Option<Timestamp>) -> String {
    at.map(|at| whole_second_down(at).to_string()).unwrap_or_default()
}
