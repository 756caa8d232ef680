//! The keys of one site, each step one script.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use redis::{Script, ScriptInvocation};
use token_sidecar_client::redis::{Link, LinkError};
use token_sidecar_client::wire::{Channels, Event, KeyNames, SiteId, Trigger, whole_second_down};

use super::lua;
use super::state::{State, read};
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
        let event = &commit.event;
        let candidate = &commit.candidate;
        let meta = [
            ("fingerprint", event.fingerprint.as_str()),
            ("refreshed_at", &instant(event.refreshed_at)),
            ("refreshed_ms", &commit.now.as_millisecond().to_string()),
            ("expires_at", &instant(event.expires_at)),
            ("trigger", event.trigger.as_str()),
            ("source", &event.source),
            ("user_agent", candidate.user_agent.as_deref().unwrap_or_default()),
        ];
        let mut invocation = self.prepare(&COMMIT);
        invocation
            .arg(&commit.claim.0)
            .arg(commit.seen)
            .arg(commit.floor)
            .arg(commit.now.as_millisecond())
            .arg(millis(CLOCK_TOLERANCE))
            .arg(candidate.token.expose())
            .arg(candidate.cookies.to_json())
            .arg(mode)
            .arg(millis(ttl))
            .arg(Channels::ALL_UPDATED)
            .arg(&channels.updated)
            .arg(Event::Updated(event.clone()).to_json())
            .arg(meta.len() * 2)
            .arg(&meta[..]);
        for (name, value) in self.history_fields(event.trigger, &event.source, &commit.timings, &commit.note) {
            invocation.arg(name).arg(&*value);
        }
        invocation.arg("fingerprint").arg(&event.fingerprint);
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
        let event = &failed.event;
        let meta = [
            ("retry_trigger", event.trigger.as_str()),
            ("retry_at", &instant(Some(event.retry_at))),
            ("retry_stage", event.stage.as_str()),
            ("last_error", &event.error),
        ];
        let mut invocation = self.prepare(&FAIL);
        invocation
            .arg(&failed.claim.0)
            .arg(failed.seen)
            .arg(event.attempt)
            .arg(failed.now.as_millisecond())
            .arg(millis(CLOCK_TOLERANCE))
            .arg(Channels::ALL_FAILED)
            .arg(&channels.failed)
            .arg(Event::Failed(event.clone()).to_json())
            .arg(meta.len() * 2)
            .arg(&meta[..]);
        for (name, value) in self.history_fields(event.trigger, &failed.source, &failed.timings, &failed.note) {
            invocation.arg(name).arg(&*value);
        }
        invocation.arg("stage").arg(event.stage.as_str()).arg("error").arg(&event.error);
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
