//! The keys of one site, each step one script.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use redis::{Script, ScriptInvocation};
use token_sidecar_client::redis::{Link, LinkError};
use token_sidecar_client::wire::{
    Channels, Cookies, Event, Failed, FailedCause, KeyNames, SiteId, Trigger, Updated, UpdatedCause, whole_second_down,
};

use super::lua;
use super::state::{State, read, text};
use crate::domain::pending::Note;
use crate::domain::snapshot::Snapshot;
use crate::domain::verdict::Timings;
use crate::refresh::ports::{
    Announced, ClaimId, Claimed, Commit, Committed, FailedAttempt, KeyTtl, Lease, Recorded, Store, StoreError,
};

/// How far an estimate of Redis' clock may be off before it is made anew.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);

static LOOK: LazyLock<Script> = LazyLock::new(|| Script::new(lua::LOOK));
static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(lua::CLAIM));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(lua::RENEW));
static COMMIT: LazyLock<Script> = LazyLock::new(|| Script::new(lua::COMMIT));
static FAIL: LazyLock<Script> = LazyLock::new(|| Script::new(lua::FAIL));
static ANNOUNCE: LazyLock<Script> = LazyLock::new(|| Script::new(lua::ANNOUNCE));
static VACATE: LazyLock<Script> = LazyLock::new(|| Script::new(lua::VACATE));

/// The keys and channels of one site.
#[derive(Debug, Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    place: Arc<Place>,
    instance: Arc<str>,
}

/// Where a site is kept.
#[derive(Debug)]
struct Place {
    site: SiteId,
    keys: KeyNames,
    lock_ttl: Duration,
}

impl RedisStore {
    /// The store of one site; `instance` names this process in the history.
    pub fn new(
        link: Arc<Link>,
        site: SiteId,
        keys: KeyNames,
        lock_ttl: Duration,
        instance: impl Into<Arc<str>>,
    ) -> Self {
        Self { link, place: Arc::new(Place { site, keys, lock_ttl }), instance: instance.into() }
    }

    /// The names of the site's keys.
    pub fn keys(&self) -> &KeyNames {
        &self.place.keys
    }

    /// The invocation with its keys and the first argument of every script.
    fn prepare<'s>(&self, script: &'s Script) -> ScriptInvocation<'s> {
        let Place { keys, lock_ttl, .. } = &*self.place;
        let mut invocation = script.prepare_invoke();
        invocation
            .key(&keys.token)
            .key(&keys.cookies)
            .key(keys.companion("meta"))
            .key(keys.companion("lock"))
            .key(keys.companion("history"))
            .arg(millis(*lock_ttl));
        invocation
    }

    fn history_fields<'a>(
        &'a self,
        trigger: Trigger,
        source: &'a str,
        timings: &Timings,
        note: &'a Note,
    ) -> Vec<(&'static str, std::borrow::Cow<'a, str>)> {
        let mut fields = vec![
            ("trigger", trigger.as_str().into()),
            ("source", source.into()),
            ("solve_ms", millis(timings.solve).to_string().into()),
            ("extract_ms", millis(timings.extract).to_string().into()),
            ("verify_ms", millis(timings.verify).to_string().into()),
            ("instance", (&*self.instance).into()),
        ];
        if let Some(reason) = &note.reason {
            fields.push(("reason", reason.as_str().into()));
        }
        if let Some(reporter) = &note.source {
            fields.push(("reporter", reporter.as_str().into()));
        }
        fields
    }
}

impl Store for RedisStore {
    async fn look(&self) -> Result<Snapshot, StoreError> {
        Ok(read(self.link.script::<State>(&self.prepare(&LOOK)).await?))
    }

    async fn has_token(&self) -> Result<bool, StoreError> {
        Ok(self.link.command(redis::cmd("EXISTS").arg(&self.place.keys.token)).await?)
    }

    async fn claim(&self, etag: &str, claim: &ClaimId) -> Result<Claimed, StoreError> {
        let mut invocation = self.prepare(&CLAIM);
        invocation.arg(etag).arg(&claim.0);
        Ok(self.link.script(&invocation).await?)
    }

    async fn renew(&self, claim: &ClaimId, seen: u64) -> Result<Lease, StoreError> {
        let mut invocation = self.prepare(&RENEW);
        invocation.arg(&claim.0).arg(seen);
        let held: bool = self.link.script(&invocation).await?;
        Ok(if held { Lease::Held } else { Lease::Lost })
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let channels = Channels::of(&self.place.site);
        let (mode, ttl) = match commit.ttl {
            KeyTtl::New(ttl) => ("new", ttl),
            KeyTtl::Kept(ttl) => ("kept", ttl),
        };
        let token = &commit.candidate.token;
        let fingerprint = token.fingerprint().to_string();
        let event = Event::Updated(Updated {
            site: self.place.site.to_string(),
            cause: UpdatedCause::Refreshed,
            version: 0,
            fingerprint: fingerprint.clone(),
            key: self.place.keys.token.clone(),
            ttl: Some(ttl.as_secs()),
            expires_at: commit.expires_at,
            refresh_at: commit.refresh_at,
            refreshed_at: Some(commit.now),
            trigger: commit.trigger,
            source: commit.source.clone(),
        });
        // The version is decided in the same atomic step: the script puts it in.
        let message = event.to_json();
        let (head, tail) = message.split_once("\"version\":0,").unwrap_or((&message, ""));
        let meta = [
            ("fingerprint", fingerprint.as_str()),
            ("refreshed_at", &instant(Some(commit.now))),
            ("refreshed_ms", &commit.now.as_millisecond().to_string()),
            ("expires_at", &instant(commit.expires_at)),
            ("trigger", commit.trigger.as_str()),
            ("source", &commit.source),
            ("user_agent", commit.candidate.user_agent.as_deref().unwrap_or_default()),
        ];
        let mut invocation = self.prepare(&COMMIT);
        invocation
            .arg(&commit.claim.0)
            .arg(commit.seen)
            .arg(commit.floor)
            .arg(commit.now.as_millisecond())
            .arg(millis(CLOCK_TOLERANCE))
            .arg(token.expose())
            .arg(commit.candidate.cookies.to_json())
            .arg(mode)
            .arg(millis(ttl))
            .arg(Channels::ALL_UPDATED)
            .arg(&channels.updated)
            .arg(format!("{head}\"version\":"))
            .arg(format!(",{tail}"))
            .arg(meta.len() * 2)
            .arg(&meta[..]);
        for (name, value) in self.history_fields(commit.trigger, &commit.source, &commit.timings, &commit.note) {
            invocation.arg(name).arg(&*value);
        }
        invocation.arg("fingerprint").arg(&fingerprint);
        let (word, state): (String, State) = self.link.script(&invocation).await?;
        let snapshot = read(state);
        Ok(match word.as_str() {
            "stored" => Committed::Stored(snapshot),
            "clock" => Committed::Clock(snapshot),
            _ => Committed::Superseded(snapshot),
        })
    }

    async fn fail(&self, failed: &FailedAttempt) -> Result<Recorded, StoreError> {
        let channels = Channels::of(&self.place.site);
        let event = Event::Failed(Failed {
            site: self.place.site.to_string(),
            cause: FailedCause::Attempt,
            stage: failed.failure.stage,
            error: failed.failure.error.clone(),
            attempt: failed.attempt,
            retry_at: failed.retry_at,
            valid_until: failed.valid_until,
            trigger: failed.trigger,
        });
        let meta = [
            ("retry_at", instant(Some(failed.retry_at))),
            ("retry_trigger", failed.trigger.as_str().to_owned()),
            ("retry_stage", failed.failure.stage.as_str().to_owned()),
            ("last_error", failed.failure.error.clone()),
        ];
        let mut invocation = self.prepare(&FAIL);
        invocation
            .arg(&failed.claim.0)
            .arg(failed.seen)
            .arg(failed.attempt)
            .arg(failed.now.as_millisecond())
            .arg(millis(CLOCK_TOLERANCE))
            .arg(Channels::ALL_FAILED)
            .arg(&channels.failed)
            .arg(event.to_json())
            .arg(meta.len() * 2)
            .arg(&meta[..]);
        for (name, value) in self.history_fields(failed.trigger, &failed.source, &failed.timings, &failed.note) {
            invocation.arg(name).arg(&*value);
        }
        invocation.arg("stage").arg(failed.failure.stage.as_str()).arg("error").arg(&failed.failure.error);
        let (word, state): (String, State) = self.link.script(&invocation).await?;
        let snapshot = read(state);
        Ok(match word.as_str() {
            "done" => Recorded::Done(snapshot),
            "clock" => Recorded::Clock(snapshot),
            _ => Recorded::Dropped(snapshot),
        })
    }

    async fn announce(&self, etag: &str, event: &Event) -> Result<Announced, StoreError> {
        let channels = Channels::of(&self.place.site);
        let (everywhere, here) = channels.for_event(event);
        let mut invocation = self.prepare(&ANNOUNCE);
        invocation.arg(etag).arg(everywhere).arg(here).arg(event.to_json());
        let (done, state): (bool, State) = self.link.script(&invocation).await?;
        let snapshot = read(state);
        Ok(if done { Announced::Done(snapshot) } else { Announced::Changed(snapshot) })
    }

    async fn vacate(&self, claim: &ClaimId) -> Result<(), StoreError> {
        let mut invocation = self.prepare(&VACATE);
        invocation.arg(&claim.0).arg(Channels::of(&self.place.site).canary);
        Ok(self.link.script::<bool>(&invocation).await.map(|_| ())?)
    }

    async fn cookies(&self) -> Result<Cookies, StoreError> {
        let json: Option<Vec<u8>> = self.link.command(redis::cmd("GET").arg(&self.place.keys.cookies)).await?;
        Ok(json.as_deref().and_then(text).map(Cookies::from_json).unwrap_or_default())
    }

    async fn publish(&self, event: &Event) -> Result<(), StoreError> {
        let channels = Channels::of(&self.place.site);
        let (everywhere, here) = channels.for_event(event);
        for channel in [everywhere, here] {
            let publish = redis::cmd("PUBLISH").arg(channel).arg(event.to_json()).clone();
            self.link.command::<i64>(&publish).await?;
        }
        Ok(())
    }

    fn token_key(&self) -> &str {
        &self.place.keys.token
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
