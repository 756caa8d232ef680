//! Notices: what people and other programs are told of a site.

use jiff::Timestamp;
use minijinja::Value;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use token_sidecar_client::wire::{
    Event, Failed, FailedCause, SiteId, Stage, Trigger, Updated, UpdatedCause, whole_second_down,
};

use super::template::{TemplateError, TextTemplate};

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum NoticeKind {
    /// An attempt has failed.
    Failed,
    /// There is a new token after failures that were told of.
    Recovered,
    /// There is a new token.
    Updated,
    /// The token ends soon, and no renewal has succeeded.
    Expiring,
}

/// What has happened to a site.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    Failed(Failed),
    Updated(Updated),
    Expiring { site: SiteId, version: u64, fingerprint: String, ends_at: Timestamp },
}

/// News as a notice tells it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notice {
    pub kind: NoticeKind,
    pub site: String,
    /// One sentence, without secrets.
    pub text: String,
    pub time: Timestamp,
    /// The message of the contract, or what is known of an ending token.
    pub event: serde_json::Value,
}

/// The body of a notice; without a template an event as CloudEvents 1.0 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeBody(Option<TextTemplate>);

/// The values of a template.
const NAMES: [&str; 6] = ["event", "id", "kind", "site", "text", "time"];

/// Why a template makes no body.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("{0}")]
    Template(#[from] TemplateError),
    #[error("what comes out is not JSON, {0}; a text takes the filter json, and no quotes around it")]
    NotJson(serde_json::Error),
}

impl News {
    /// `None` for what answers a report alone.
    pub fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Failed(failed) if failed.cause == FailedCause::Attempt => Some(Self::Failed(failed.clone())),
            Event::Updated(new) if new.cause == UpdatedCause::Refreshed => Some(Self::Updated(new.clone())),
            Event::Failed(_) | Event::Updated(_) => None,
        }
    }

    pub fn site(&self) -> &str {
        match self {
            Self::Failed(Failed { site, .. }) | Self::Updated(Updated { site, .. }) => site,
            Self::Expiring { site, .. } => site.as_str(),
        }
    }

    /// A notice about it, made at `time`. A new token is told of as `kind`.
    pub fn notice(&self, kind: NoticeKind, time: Timestamp) -> Notice {
        let site = self.site();
        let text = match self {
            Self::Failed(Failed { stage, error, attempt, retry_at, valid_until, .. }) => {
                let until = valid_until.map(|end| format!("; the stored token ends {}", whole_second_down(end)));
                let (until, retry_at) = (until.unwrap_or_default(), whole_second_down(*retry_at));
                format!("{site}: no new token, failure {attempt} ({stage}): {error}; next try {retry_at}{until}")
            }
            Self::Updated(Updated { version, trigger, source, .. }) => {
                let again = if kind == NoticeKind::Recovered { " again" } else { "" };
                format!("{site}: there is a new token{again}, version {version}, by {trigger} through {source}")
            }
            Self::Expiring { ends_at, .. } => {
                let end = whole_second_down(*ends_at);
                format!("{site}: the token ends {end}, and no renewal has succeeded")
            }
        };
        let event = match self {
            Self::Failed(failed) => serde_json::to_value(failed).unwrap_or_default(),
            Self::Updated(updated) => serde_json::to_value(updated).unwrap_or_default(),
            Self::Expiring { version, fingerprint, ends_at, .. } => json!({
                "site": site, "version": version, "fingerprint": fingerprint,
                "expires_at": whole_second_down(*ends_at),
            }),
        };
        Notice { kind, site: site.to_owned(), text, time: whole_second_down(time), event }
    }

    /// News of this kind as they may come, to try an address with.
    pub fn sample(kind: NoticeKind, site: &SiteId, at: Timestamp) -> Self {
        let fingerprint = "0123456789abcdef".to_owned();
        match kind {
            NoticeKind::Failed => Self::Failed(Failed {
                site: site.to_string(),
                cause: FailedCause::Attempt,
                stage: Stage::Solve,
                error: "this is a test".to_owned(),
                attempt: 1,
                retry_at: at,
                valid_until: None,
                trigger: Trigger::Manual,
            }),
            NoticeKind::Recovered | NoticeKind::Updated => Self::Updated(Updated {
                site: site.to_string(),
                cause: UpdatedCause::Refreshed,
                version: 1,
                fingerprint,
                key: format!("{site}_token"),
                ttl: None,
                expires_at: None,
                refresh_at: None,
                refreshed_at: Some(at),
                trigger: Trigger::Manual,
                source: "test".to_owned(),
            }),
            NoticeKind::Expiring => Self::Expiring { site: site.clone(), version: 1, fingerprint, ends_at: at },
        }
    }

    /// With texts as odd as they may come, and with all or none of what may be absent.
    fn odd(self, is_full: bool) -> Self {
        let (text, at) = ("it's \"odd\" \\".to_owned(), is_full.then_some(Timestamp::UNIX_EPOCH));
        match self {
            Self::Failed(failed) => {
                let attempt = if is_full { 3 } else { 1 };
                Self::Failed(Failed { error: text, attempt, valid_until: at, ..failed })
            }
            Self::Updated(new) => {
                let ttl = is_full.then_some(1);
                Self::Updated(Updated { key: text, ttl, expires_at: at, refresh_at: at, refreshed_at: at, ..new })
            }
            expiring @ Self::Expiring { .. } => expiring,
        }
    }
}

impl NoticeBody {
    /// Parses the template of a notice of these kinds, and renders it for each, with odd values. What comes out must be
    /// JSON where the settings name no other type.
    pub fn parse(text: Option<&str>, kinds: &[NoticeKind], site: &SiteId, is_json: bool) -> Result<Self, BodyError> {
        let (body, at) = (Self(text.map(TextTemplate::new)), Timestamp::UNIX_EPOCH);
        if let Some(template) = &body.0 {
            template.check_names(&NAMES)?;
        }
        for kind in kinds {
            for is_full in [false, true] {
                let (rendered, _) = body.render(&News::sample(*kind, site, at).odd(is_full).notice(*kind, at), "id")?;
                if is_json {
                    serde_json::from_str::<IgnoredAny>(&rendered).map_err(BodyError::NotJson)?;
                }
            }
        }
        Ok(body)
    }

    /// What is sent, and its media type. `id` tells the notice from all others.
    pub fn render(&self, notice: &Notice, id: &str) -> Result<(String, &'static str), TemplateError> {
        let Notice { kind, site, text, time, event } = notice;
        let kind_name = <&str>::from(*kind);
        match &self.0 {
            Some(template) => {
                let context = minijinja::context! {
                    kind => kind_name, site, text, time => time.to_string(), event => Value::from_serialize(event), id,
                };
                Ok((template.render(&context)?, "application/json"))
            }
            None => {
                let event = json!({
                    "specversion": "1.0", "id": id, "source": "token-sidecar",
                    "type": format!("token-sidecar.token.{kind_name}"), "subject": site, "time": time,
                    "datacontenttype": "application/json", "data": { "text": text, "event": event },
                });
                Ok((event.to_string(), "application/cloudevents+json"))
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    fn site() -> SiteId {
        SiteId::parse("shop").unwrap()
    }

    fn news(kind: NoticeKind) -> News {
        News::sample(kind, &site(), Timestamp::UNIX_EPOCH)
    }

    fn sample(kind: NoticeKind) -> Notice {
        news(kind).notice(kind, "2026-11-29T10:00:00.5Z".parse().unwrap())
    }

    #[test]
    fn each_kind_is_told_in_a_sentence() {
        for (kind, text) in [
            (
                NoticeKind::Failed,
                "shop: no new token, failure 1 (solve): this is a test; next try 1970-01-01T00:00:00Z",
            ),
            (NoticeKind::Recovered, "shop: there is a new token again, version 1, by manual through test"),
            (NoticeKind::Updated, "shop: there is a new token, version 1, by manual through test"),
            (NoticeKind::Expiring, "shop: the token ends 1970-01-01T00:00:00Z, and no renewal has succeeded"),
        ] {
            assert_eq!(sample(kind).text, text);
        }
    }

    #[test]
    fn only_outcomes_are_news() {
        let News::Failed(mut failed) = news(NoticeKind::Failed) else { unreachable!() };
        assert!(News::of(&Event::Failed(failed.clone())).is_some());
        failed.cause = FailedCause::Repeated;
        assert!(News::of(&Event::Failed(failed)).is_none());
        let News::Updated(mut updated) = news(NoticeKind::Updated) else { unreachable!() };
        assert!(News::of(&Event::Updated(updated.clone())).is_some());
        updated.cause = UpdatedCause::Repeated;
        assert!(News::of(&Event::Updated(updated)).is_none());
    }

    fn parse(text: &str, kinds: &[NoticeKind]) -> Result<NoticeBody, String> {
        NoticeBody::parse(Some(text), kinds, &site(), true).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_template_it_is_a_cloud_event() {
        let body = NoticeBody::parse(None, NoticeKind::VARIANTS, &site(), true).unwrap();
        let (text, media_type) = body.render(&sample(NoticeKind::Failed), "17").unwrap();
        assert_eq!(media_type, "application/cloudevents+json");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["type"], "token-sidecar.token.failed");
        assert_eq!(
            (&event["id"], &event["subject"], &event["time"]),
            (&"17".into(), &"shop".into(), &"2026-11-29T10:00:00Z".into())
        );
        assert_eq!(event["data"]["event"]["error"], "this is a test");
    }

    #[test]
    fn a_template_is_tried_with_each_kind_that_it_is_for() {
        let text = r#"{"text": {{ text | json }}, "error": {{ event.error | json }}}"#;
        let (rendered, _) =
            parse(text, &[NoticeKind::Failed]).unwrap().render(&sample(NoticeKind::Failed), "17").unwrap();
        assert!(rendered.ends_with(r#""error": "this is a test"}"#), "{rendered}");
        let refused = parse(text, &[NoticeKind::Failed, NoticeKind::Updated]).unwrap_err();
        assert!(refused.ends_with("it is not known"), "{refused}");
        parse(r#"{"error": {{ event.error | default("none") | json }}}"#, NoticeKind::VARIANTS).unwrap();
    }

    #[test]
    fn a_template_is_tried_with_whatever_may_come() {
        for (text, kind, reason) in [
            ("{{ text }}", NoticeKind::Failed, "needs a filter"),
            (r#"{"key": "{{ event.key }}"}"#, NoticeKind::Updated, "needs a filter"),
            (r#"{"end": "{{ event.valid_until }}"}"#, NoticeKind::Failed, "it is no text"),
            (
                r#"{% if event.attempt > 1 %}{{ event.eror }}{% else %}{}{% endif %}"#,
                NoticeKind::Failed,
                "it is not known",
            ),
            (r#"{"text": "{{ text | json }}"}"#, NoticeKind::Failed, "not JSON, expected `,` or `}`"),
            (r#"{"text": {{ text | json }}"#, NoticeKind::Expiring, "not JSON, EOF"),
        ] {
            let refused = parse(text, &[kind]).unwrap_err();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
        NoticeBody::parse(Some("token={{ site }}"), NoticeKind::VARIANTS, &site(), false).unwrap();
    }
}
