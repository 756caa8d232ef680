//! A model of a site's keys: each method is one script of the real store, down to the order of its checks.

use std::time::Duration;

use jiff::Timestamp;
use token_sidecar::domain::lifetime::later;
use token_sidecar::domain::snapshot::{Current, Failing, Provenance, Refresh, Snapshot};
use token_sidecar::refresh::ports::{
    AttemptEnd, Checked, ClaimId, Heartbeat, KeyTtl, Lease, NewToken, Record, Recorded,
};
use token_sidecar_client::wire::{Cookies, Event, Failed, Fingerprint, Token, Trigger, Updated, whole_second_down};

/// How far an estimate of the store's clock may be off, in ms.
const TOLERANCE: i64 = 500;

/// The key of the token.
pub(crate) const TOKEN_KEY: &str = "shop_token";

/// The keys of one site, and what its scripts have published and is not delivered yet.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) token: Option<Value>,
    pub(crate) cookies: Option<Value>,
    pub(crate) meta: Meta,
    pub(crate) lock: Option<Lock>,
    pub(crate) history: Vec<Entry>,
    pub(crate) published: Vec<Wire>,
    lock_ttl: Duration,
}

/// A string with a TTL.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) text: String,
    /// When it ends, in ms of the store's clock.
    pub(crate) ends: Option<i64>,
}

/// The lock.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    pub(crate) holder: String,
    /// `None` where it was set by hand.
    pub(crate) ends: Option<i64>,
}

/// The hash beside the token.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meta {
    pub(crate) version: u64,
    pub(crate) claim: String,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) refresh: Option<Refresh>,
    pub(crate) failing: Option<Failing>,
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) outcome: &'static str,
    pub(crate) trigger: Trigger,
    pub(crate) source: String,
    pub(crate) stage: &'static str,
    pub(crate) error: String,
    pub(crate) version: u64,
}

/// What goes over the channels of the site.
#[derive(Debug, Clone)]
pub(crate) enum Wire {
    /// On `S:token:invalid`.
    Invalid(Vec<u8>),
    /// On `S:token:updated` or `S:token:failed`.
    Event(Event),
    /// On `S:token:canary`: a lock was freed without an outcome.
    Vacated,
}

impl Keys {
    pub(crate) fn new(lock_ttl: Duration) -> Self {
        Self {
            token: None,
            cookies: None,
            meta: Meta::default(),
            lock: None,
            history: Vec::new(),
            published: Vec::new(),
            lock_ttl,
        }
    }

    /// A Redis that restarts empty.
    pub(crate) fn flush(&mut self) {
        (self.token, self.cookies, self.lock) = (None, None, None);
        self.meta = Meta::default();
        self.history.clear();
    }

    pub(crate) fn look(&mut self, now: i64) -> Snapshot {
        self.expire(now);
        let longest = now + millis(self.lock_ttl);
        if let Some(lock) = &mut self.lock {
            lock.ends = Some(lock.ends.unwrap_or(longest));
        }
        let at = instant(now);
        let token = self.token.as_ref().and_then(|v| Token::parse(&v.text).ok().map(|t| (t, v.ends)));
        let current = token.map(|(token, ends)| {
            let ours = self.meta.fingerprint == Some(token.fingerprint());
            let refresh = self.meta.refresh.clone().filter(|_| ours);
            let provenance = refresh.map_or(Provenance::Foreign, Provenance::Sidecar);
            let cookies = self.cookies.as_ref().map(|v| Cookies::from_json(&v.text)).unwrap_or_default();
            Current { cookies, key_ends_at: ends.map(instant), provenance, token }
        });
        let lock = self.lock.as_ref().and_then(|l| l.ends);
        Snapshot {
            at,
            etag: self.etag(),
            version: self.meta.version,
            current,
            lock: lock.and_then(|end| u64::try_from(end - now).ok()).map(Duration::from_millis),
            failing: self.meta.failing.clone().map(Box::new),
        }
    }

    pub(crate) fn heartbeat(&mut self, now: i64) -> Heartbeat {
        self.expire(now);
        Heartbeat { has_token: self.token.is_some(), at: instant(now) }
    }

    pub(crate) fn claim(&mut self, now: i64, etag: &str, claim: &ClaimId) -> Checked {
        let before = self.look(now);
        match &self.lock {
            Some(lock) if lock.holder == claim.0 => {}
            None if before.etag == etag => {}
            _ => return Checked::Changed(before),
        }
        self.take_lock(now, claim);
        Checked::Done(before)
    }

    pub(crate) fn renew(&mut self, now: i64, claim: &ClaimId, version_at_claim: u64) -> Lease {
        self.expire(now);
        let ours = match &self.lock {
            Some(lock) => lock.holder == claim.0,
            None => self.meta.version <= version_at_claim && self.meta.claim != claim.0,
        };
        if !ours {
            return Lease::Lost;
        }
        self.take_lock(now, claim);
        Lease::Held
    }

    pub(crate) fn record(&mut self, now: i64, record: &Record) -> Recorded {
        self.expire(now);
        if self.meta.claim == record.claim.0 {
            return Recorded::Done(self.look(now));
        }
        match &record.end {
            AttemptEnd::Token(new) => self.commit(now, record, new),
            AttemptEnd::Failure(failed) => self.fail(now, record, failed),
        }
    }

    fn commit(&mut self, now: i64, record: &Record, new: &NewToken) -> Recorded {
        let NewToken { candidate, ttl: key_ttl, event, minimum_version } = new;
        let mut entry = Entry {
            outcome: "superseded",
            trigger: event.trigger,
            source: record.source.clone(),
            stage: "",
            error: String::new(),
            version: self.meta.version,
        };
        if self.meta.version > record.version_at_claim {
            self.history.push(entry);
            self.free(&record.claim);
            return Recorded::Superseded(self.look(now));
        }
        let mut ttl = millis(key_ttl.span());
        if matches!(key_ttl, KeyTtl::Kept(_)) {
            let Some(held) = self.token.as_ref().filter(|v| v.text == candidate.token.expose()) else {
                self.free(&record.claim);
                return Recorded::Superseded(self.look(now));
            };
            ttl = held.ends.map_or(ttl, |ends| ends - now);
        }
        if (now - record.now.as_millisecond()).abs() > TOLERANCE {
            return Recorded::Clock(self.look(now));
        }
        let version = u64::try_from(now).unwrap().max(self.meta.version + 1).max(minimum_version + 1);
        (entry.outcome, entry.version) = ("refreshed", version);
        self.history.push(entry);
        self.published.push(Wire::Event(Event::Updated(Updated { version, ..event.clone() })));
        let refresh = Refresh {
            at: record.now,
            trigger: event.trigger,
            source: event.source.clone(),
            user_agent: candidate.user_agent.clone(),
        };
        self.meta = Meta {
            version,
            claim: record.claim.0.clone(),
            fingerprint: Some(candidate.token.fingerprint()),
            refresh: Some(refresh),
            failing: None,
        };
        let ends = Some(now + ttl);
        self.token = Some(Value { text: candidate.token.expose().to_owned(), ends });
        self.cookies = Some(Value { text: candidate.cookies.to_json(), ends });
        self.free(&record.claim);
        Recorded::Done(self.look(now))
    }

    fn fail(&mut self, now: i64, record: &Record, event: &Failed) -> Recorded {
        let held_by_another = self.lock.as_ref().is_some_and(|l| l.holder != record.claim.0);
        let noted = self.meta.failing.as_ref().map_or(0, |f| f.attempts);
        if held_by_another || self.meta.version > record.version_at_claim || noted >= event.attempt {
            self.free(&record.claim);
            return Recorded::Superseded(self.look(now));
        }
        if (now - record.now.as_millisecond()).abs() > TOLERANCE {
            return Recorded::Clock(self.look(now));
        }
        self.history.push(Entry {
            outcome: "failed",
            trigger: event.trigger,
            source: record.source.clone(),
            stage: event.stage.into_str(),
            error: event.error.clone(),
            version: self.meta.version,
        });
        self.published.push(Wire::Event(Event::Failed(event.clone())));
        self.meta.claim.clone_from(&record.claim.0);
        self.meta.failing = Some(Failing {
            attempts: event.attempt,
            retry_at: whole_second_down(event.retry_at),
            trigger: event.trigger,
            stage: event.stage,
            error: event.error.clone(),
        });
        self.free(&record.claim);
        Recorded::Done(self.look(now))
    }

    pub(crate) fn announce(&mut self, now: i64, etag: &str, event: &Event) -> Checked {
        let before = self.look(now);
        if before.lock.is_some() || before.etag != etag {
            return Checked::Changed(before);
        }
        self.published.push(Wire::Event(event.clone()));
        Checked::Done(before)
    }

    pub(crate) fn vacate(&mut self, now: i64, claim: &ClaimId) {
        self.expire(now);
        if self.lock.as_ref().is_some_and(|l| l.holder == claim.0) {
            self.lock = None;
            self.published.push(Wire::Vacated);
        }
    }

    pub(crate) fn publish(&mut self, event: &Event) {
        self.published.push(Wire::Event(event.clone()));
    }

    fn etag(&self) -> String {
        let token = self.token.as_ref().map_or("", |v| v.text.as_str());
        let failing = self.meta.failing.as_ref().map(|f| (f.attempts, f.retry_at));
        format!("{token}\n{}\n{failing:?}", self.meta.version)
    }

    fn take_lock(&mut self, now: i64, claim: &ClaimId) {
        self.lock = Some(Lock { holder: claim.0.clone(), ends: Some(now + millis(self.lock_ttl)) });
    }

    fn free(&mut self, claim: &ClaimId) {
        if self.lock.as_ref().is_some_and(|l| l.holder == claim.0) {
            self.lock = None;
        }
    }

    pub(crate) fn expire(&mut self, now: i64) {
        let ended = |ends: Option<i64>| ends.is_some_and(|end| end <= now);
        self.token.take_if(|v| ended(v.ends));
        self.cookies.take_if(|v| ended(v.ends));
        self.lock.take_if(|l| ended(l.ends));
    }
}

/// An instant of the store's clock.
pub(crate) fn instant(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// A span in the store's ms.
pub(crate) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap()
}

/// The end of what is stored now.
pub(crate) fn ends(now: i64, ttl: Duration) -> Option<i64> {
    Some(later(instant(now), ttl).as_millisecond())
}
