//! What `inspect` prints of a page.

use jiff::Timestamp;
use serde_json::{Value, json};
use token_sidecar_client::wire::Cookies;
use url::Url;

use super::status::span;
use super::{Exit, Stopped, screen};
use crate::domain::inspection::{Item, Kind, Looks};
use crate::domain::verdict::Verdict;
use crate::inspect::Verdicts;

/// How many lines are shown at most, and how much of a name.
const MOST_LINES: usize = 60;
pub(super) const MOST_OF_A_NAME: usize = 60;

/// What was found and what the API says of it.
pub(super) struct Report {
    pub(super) items: Vec<Item>,
    pub(super) jar: Cookies,
    pub(super) verdicts: Option<Verdicts>,
    pub(super) now: Timestamp,
}

/// What holds the site's token.
pub(super) enum Choice<'a> {
    Token(&'a Item),
    Jar,
}

impl<'a> Choice<'a> {
    pub(super) const fn token(&self) -> Option<&'a Item> {
        match self {
            Self::Token(item) => Some(item),
            Self::Jar => None,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Token(item) => format!("{} {}", kind(item), name(item)),
            Self::Jar => "the cookies without a token".to_owned(),
        }
    }
}

impl Report {
    fn verdict(&self, item: &Item) -> Option<&Verdict> {
        self.verdicts.as_ref()?.of_tokens.get(&item.token.as_ref()?.fingerprint())
    }

    /// The likeliest that the API accepts, or, where it was not asked, the likeliest. Otherwise why there is none.
    pub(super) fn choice(&self) -> Result<Choice<'_>, Stopped> {
        let none = |why: &str| Stopped::because(Exit::Unhealthy, why);
        let Some(verdicts) = &self.verdicts else {
            let likely = self.items.iter().find(|item| item.is_likely());
            let why = none("nothing looks like a token; --api URL tries what may be one");
            return likely.map(Choice::Token).ok_or(why);
        };
        match &verdicts.of_made_up {
            Some(Verdict::Accepted) => {
                return Err(none("the API accepts a made-up token too: --api must name what answers 401 to it"));
            }
            Some(Verdict::Unclear(why)) => {
                let why = format!("nothing was tried: of a made-up token the API says: {}", screen::plain(why));
                return Err(Stopped::because(Exit::TryAgain, why + "; --api must name what answers 401 to it"));
            }
            _ => {}
        }
        let accepted = |verdict: Option<&Verdict>| verdict == Some(&Verdict::Accepted);
        if let Some(item) = self.items.iter().find(|item| accepted(self.verdict(item))) {
            return Ok(Choice::Token(item));
        }
        let jar = accepted(verdicts.of_jar.as_ref()).then_some(Choice::Jar);
        jar.ok_or_else(|| none("the API accepts none of them"))
    }

    pub(super) fn print(&self, source: &str, is_json: bool) -> Result<(), Stopped> {
        if is_json {
            screen::line(format!("{:#}", self.json(source)))?;
            return Ok(());
        }
        let verdict = if self.verdicts.is_some() { "the API" } else { "" };
        let mut rows = vec![["kind", "name", "bytes", "ends", "looks like", verdict].map(str::to_owned)];
        rows.extend(self.items.iter().take(MOST_LINES).map(|item| self.row(item)));
        if let Some(verdict) = self.verdicts.as_ref().and_then(|verdicts| verdicts.of_jar.as_ref()) {
            let count = format!("all {}", self.jar.iter().count());
            let bytes = self.jar.to_json().len().to_string();
            rows.push(["cookies".to_owned(), count, bytes, String::new(), String::new(), text_of(verdict)]);
        }
        for (number, row) in screen::aligned(&rows).iter().enumerate() {
            let line = row.join("  ");
            let line = line.trim_end();
            match number {
                0 => screen::line(screen::faint(line))?,
                _ => screen::line(line)?,
            }
        }
        if let Some(more @ 1..) = self.items.len().checked_sub(MOST_LINES) {
            screen::line(format!("… {more} more, less likely"))?;
        }
        Ok(())
    }

    fn row(&self, item: &Item) -> [String; 6] {
        let ends = match (item.kind, item.ends_at) {
            (_, Some(end)) => format!("in {}", span(self.now, end)),
            (Kind::Cookie, None) => "session".to_owned(),
            _ => String::new(),
        };
        let verdict = match (self.verdict(item), &self.verdicts) {
            (Some(verdict), _) => text_of(verdict),
            (None, Some(_)) => "not tried".to_owned(),
            (None, None) => String::new(),
        };
        [kind(item).to_owned(), name(item), item.length.to_string(), ends, self.looks(item), verdict]
    }

    fn looks(&self, item: &Item) -> String {
        let now = self.now;
        let mut text = match &item.looks {
            Looks::Opaque => "opaque".to_owned(),
            Looks::Json => "JSON".to_owned(),
            Looks::Text => "text".to_owned(),
            Looks::Jwt { issuer, issued_at, expires_at } => {
                let issuer = issuer.as_ref().map(|issuer| format!(" of {}", screen::escaped(issuer, MOST_OF_A_NAME)));
                let issued = issued_at.map(|at| format!(", issued {} ago", span(at, now)));
                let expires = expires_at.map(|at| match at <= now {
                    true => format!(", expired {} ago", span(at, now)),
                    false => format!(", expires in {}", span(now, at)),
                });
                ["JWT".to_owned()].into_iter().chain([issuer, issued, expires].into_iter().flatten()).collect()
            }
        };
        if item.is_sent && item.to.is_none() {
            text.push_str(", sent by the page");
        }
        text
    }

    fn json(&self, source: &str) -> Value {
        let item = |item: &Item| {
            let looks = match &item.looks {
                Looks::Jwt { issuer, issued_at, expires_at } => {
                    json!({"kind": "jwt", "issuer": issuer, "issued_at": issued_at, "expires_at": expires_at})
                }
                Looks::Opaque => json!({"kind": "opaque"}),
                Looks::Json => json!({"kind": "json"}),
                Looks::Text => json!({"kind": "text"}),
            };
            json!({
                "kind": kind(item), "name": item.name, "pointer": item.pointer,
                "to": item.to.as_ref().and_then(Url::host_str), "bytes": item.length, "ends_at": item.ends_at,
                "looks_like": looks, "sent": item.is_sent, "likely": item.is_likely(),
                "verdict": self.verdict(item).map(verdict_json),
            })
        };
        let jar = self.verdicts.as_ref().and_then(|verdicts| verdicts.of_jar.as_ref()).map(verdict_json);
        json!({
            "source": source,
            "items": self.items.iter().map(item).collect::<Vec<_>>(),
            "cookies": {"count": self.jar.iter().count(), "verdict": jar},
        })
    }
}

fn kind(item: &Item) -> &'static str {
    item.kind.into()
}

/// The name as the settings have it, and where a header goes.
fn name(item: &Item) -> String {
    let pointer = item.pointer.as_deref().map(|pointer| format!("#{pointer}")).unwrap_or_default();
    let name = screen::escaped(&format!("{}{pointer}", item.name), MOST_OF_A_NAME);
    let host = item.to.as_ref().and_then(Url::host_str).map(|host| format!(" to {}", screen::escaped(host, 40)));
    name + &host.unwrap_or_default()
}

fn text_of(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted => "accepts it".to_owned(),
        Verdict::Refused(why) | Verdict::Blocked(why) | Verdict::Unclear(why) => screen::plain(why),
    }
}

fn verdict_json(verdict: &Verdict) -> Value {
    let state: &str = verdict.into();
    match verdict {
        Verdict::Accepted => json!({"state": state}),
        Verdict::Refused(why) | Verdict::Blocked(why) | Verdict::Unclear(why) => json!({"state": state, "why": why}),
    }
}
