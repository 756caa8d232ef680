//! Who is told of what happens to the sites.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::Deserialize;
use serde_json::json;
use token_sidecar_client::wire::{Fingerprint, SiteId};

use super::reader::Section;
use super::redaction::{Address, Secrecy, Secret};
use super::source::{Headers, named};
use super::value::{self, BaseAddress, BotToken, ChatId, DAY, NoticeAddress, NoticeSecret, SECOND, Span};
use crate::domain::notice::{NoticeBody, NoticeKind};

/// An address that is told of what happens.
#[derive(Debug, Clone)]
pub struct NoticeConfig {
    /// `notices.0`, in the order of the settings, or `telegram`.
    pub name: String,
    /// Tells its keys in Redis from those of other addresses.
    pub id: String,
    /// A secret as a whole: who knows it can send there.
    pub url: SecretString,
    pub kinds: Vec<NoticeKind>,
    /// Without any, all.
    pub sites: Vec<SiteId>,
    pub headers: HeaderMap,
    pub body: NoticeBody,
    /// After this a site that keeps failing is told of again.
    pub repeat: Duration,
    /// Signs each notice, as Standard Webhooks has it.
    pub key: Option<SigningKey>,
}

/// Of any length.
pub type SigningKey = SecretSlice<u8>;

impl NoticeConfig {
    /// Whether the site is one of its sites.
    pub fn is_about(&self, site: &str) -> bool {
        self.sites.is_empty() || self.sites.iter().any(|one| one.as_str() == site)
    }
}

/// `[[notices]]`
#[derive(Deserialize)]
pub(super) struct NoticeSection {
    url: Secret<Option<NoticeAddress>>,
    on: Option<Vec<NoticeKind>>,
    sites: Vec<String>,
    headers: Headers,
    body: Secret<Option<String>>,
    repeat: Option<Span<SECOND, { 365 * DAY }>>,
    secret: Secret<Option<NoticeSecret>>,
}

/// `[telegram]`
#[derive(Deserialize)]
pub(super) struct TelegramSection {
    bot_token: Secret<Option<BotToken>>,
    chat_id: Option<ChatId>,
    api_url: Address<BaseAddress>,
    on: Option<Vec<NoticeKind>>,
    repeat: Span<SECOND, { 365 * DAY }>,
}

/// How often a site that keeps failing is told of where nothing is said.
const REPEAT: Duration = Duration::from_secs(3_600);
const KINDS: [NoticeKind; 3] = [NoticeKind::Failed, NoticeKind::Recovered, NoticeKind::Expiring];

impl NoticeSection {
    /// The notice with this number; errors are noted.
    pub(super) fn build(self, process: &mut Section, number: usize, known: &[SiteId]) -> Option<NoticeConfig> {
        let at = |name: &str| format!("notices.{number}.{name}");
        let kinds = kinds(self.on, &at("on"), process);
        if self.url.0.is_none() {
            process.missing(&at("url"), "expected the address that the notice is sent to");
        }
        let mut sites = Vec::new();
        for name in self.sites {
            match known.iter().find(|site| site.as_str() == name) {
                Some(site) => sites.push(site.clone()),
                None => {
                    let names = known.iter().map(SiteId::as_str).collect::<Vec<_>>().join(", ");
                    process.conflict(
                        &[&at("sites")],
                        format!("{}: there is no site {name:?}; the sites are {names}", at("sites")),
                    );
                }
            }
        }
        let headers: HeaderMap = named(self.headers, &at("headers"), process, value::header).into_iter().collect();
        let text = self.body.0.as_deref();
        let body = process.check(&at("body"), Secrecy::Secret, body(text, &kinds, !headers.contains_key(CONTENT_TYPE)));
        let (body, url) = (body?, self.url.0?.0);
        Some(NoticeConfig {
            name: format!("notices.{number}"),
            id: id(&url, &format!("{kinds:?} {sites:?} {text:?} {}", digest(&headers))),
            url,
            kinds,
            sites,
            headers,
            body,
            repeat: self.repeat.map_or(REPEAT, |repeat| repeat.0),
            key: self.secret.0.map(|key| key.0),
        })
    }
}

impl TelegramSection {
    /// The notices to a chat, where one is set.
    pub(super) fn build(self, process: &mut Section) -> Option<NoticeConfig> {
        let (token, chat) = match (self.bot_token.0, self.chat_id) {
            (None, None) => return None,
            (Some(token), Some(chat)) => (token.0, chat.0),
            (Some(_), None) => {
                process.missing("telegram.chat_id", "expected the chat that the bot writes to");
                return None;
            }
            (None, Some(_)) => {
                process.missing("telegram.bot_token", "expected the token of the bot that writes to the chat");
                return None;
            }
        };
        let url = format!("{}/bot{}/sendMessage", self.api_url.0.0, token.expose_secret()).into();
        let text = format!("{{\"chat_id\": {}, \"text\": {{{{ text | json }}}}}}", json!(chat));
        let kinds = kinds(self.on, "telegram.on", process);
        Some(NoticeConfig {
            name: "telegram".to_owned(),
            id: id(&url, &format!("{kinds:?} {text}")),
            url,
            body: body(Some(&text), &kinds, true).ok()?,
            kinds,
            sites: Vec::new(),
            headers: HeaderMap::new(),
            repeat: self.repeat.0,
            key: None,
        })
    }
}

/// In a fixed order, each once.
fn kinds(given: Option<Vec<NoticeKind>>, path: &str, process: &mut Section) -> Vec<NoticeKind> {
    let mut kinds = given.unwrap_or_else(|| KINDS.to_vec());
    kinds.sort_unstable();
    kinds.dedup();
    let names = "expected one or more of failed, recovered, updated and expiring";
    let some = if kinds.is_empty() { Err(names.to_owned()) } else { Ok(kinds) };
    process.check(path, Secrecy::Open, some).unwrap_or_default()
}

fn body(text: Option<&str>, kinds: &[NoticeKind], is_json: bool) -> Result<NoticeBody, String> {
    let site = SiteId::parse("site").ok_or_else(|| "no site".to_owned())?;
    NoticeBody::parse(text, kinds, &site, is_json).map_err(|error| error.to_string())
}

/// The same for every replica, and another for each notice: several may go to one address.
fn id(url: &SecretString, rest: &str) -> String {
    Fingerprint::of(&format!("{} {rest}", url.expose_secret())).to_string()
}

/// A digest of headers, whose values are secrets.
fn digest(headers: &HeaderMap) -> Fingerprint {
    let lines = headers.iter().map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    Fingerprint::of(&lines.collect::<String>())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::fixture::Given;
    use super::*;

    #[test]
    fn an_address_is_enough() {
        let given = Given::nothing().toml("[[notices]]\nurl = \"https://user:hunter2@hooks.test/hunter2\"\n");
        let [notice] = given.loaded().config.notices.try_into().unwrap();
        assert_eq!((notice.name.as_str(), notice.repeat), ("notices.0", REPEAT));
        assert_eq!(notice.kinds, KINDS);
        assert!(notice.is_about("any"));
        assert_eq!(given.setting("notices.0.url").0, "(hidden)");
        let given = Given::nothing();
        let file = given.write("url", "https://hooks.test/hunter2\n");
        let toml = format!(
            "[[notices]]\nurl_file = {file:?}\non = [\"updated\"]\nsites = [\"chitai_gorod\"]\nrepeat = \"5m\"\n"
        );
        let [notice] = given.toml(&toml).loaded().config.notices.try_into().unwrap();
        assert_eq!(notice.url.expose_secret(), "https://hooks.test/hunter2");
        assert!(notice.is_about("chitai_gorod") && !notice.is_about("other"));
    }

    #[test]
    fn several_notices_to_one_address_claim_each_its_own() {
        let notice = |more: &str| format!("[[notices]]\nurl = \"https://hooks.test/\"\n{more}\n");
        let more = ["on = [\"failed\"]", "on = [\"recovered\"]", "body = \"{}\"", "headers.x-topic = \"1\""];
        let toml = [more.map(notice).concat(), notice("headers.x-topic = \"2\"")].concat();
        let notices = Given::nothing().toml(&toml).loaded().config.notices;
        let ids: std::collections::BTreeSet<_> = notices.iter().map(|notice| &notice.id).collect();
        assert_eq!(ids.len(), 5);
    }

    #[test]
    fn a_chat_needs_a_bot_and_a_number() {
        let given = Given::nothing()
            .variable("TELEGRAM_NOTIFICATION_BOT_TOKEN", "123:ABC-d_e")
            .variable("TELEGRAM_NOTIFICATION_CHAT_ID", "-100200");
        let [notice] = given.loaded().config.notices.try_into().unwrap();
        assert_eq!(notice.url.expose_secret(), "https://api.telegram.org/bot123:ABC-d_e/sendMessage");
        let given = Given::nothing().variable("TELEGRAM_NOTIFICATION_BOT_TOKEN", "123:hunter2");
        assert!(
            given.refused().contains("(TELEGRAM_NOTIFICATION_CHAT_ID) is not set: expected the chat"),
            "{}",
            given.refused()
        );
        let given = given.variable("TELEGRAM_NOTIFICATION_CHAT_ID", "me");
        assert!(given.refused().contains("expected the number of a chat, or @name"), "{}", given.refused());
        let given = Given::nothing().variable("TELEGRAM_NOTIFICATION_CHAT_ID", "7");
        assert!(given.refused().contains("(TELEGRAM_NOTIFICATION_BOT_TOKEN) is not set"), "{}", given.refused());
    }

    #[test]
    fn every_wrong_notice_is_named_with_its_place_and_without_its_address() {
        let url = "url = \"https://hooks.test/hunter2\"\n";
        for (notice, error) in [
            ("on = [\"failed\"]".to_owned(), "notices.0.url is not set: expected the address"),
            ("url = \"hooks.test/hunter2\"".to_owned(), "notices.0.url = (hidden): expected"),
            (format!("{url}on = [\"faled\"]"), "expected failed, recovered, updated or expiring"),
            (
                format!("{url}sites = [\"other\"]"),
                "notices.0.sites: there is no site \"other\"; the sites are chitai_gorod",
            ),
            (
                format!("{url}body = \"{{{{ txt }}}}\""),
                "notices.0.body = (hidden): line 1, column 4: txt: it is not known",
            ),
            (format!("{url}body = \"{{{{ text }}}}\""), "needs a filter"),
            (format!("{url}headers = {{ \"a b\" = \"1\" }}"), "notices.0.headers.a b"),
            (format!("{url}repeat = \"never\""), "notices.0.repeat = \"never\": expected a time"),
            (format!("{url}secret = \"whsec_%\""), "notices.0.secret = (hidden): expected a text, or whsec_"),
            (format!("{url}secret = \"whsec_\""), "notices.0.secret = (hidden): expected a text, or whsec_"),
            (format!("{url}on = []"), "notices.0.on = []: expected one or more of failed"),
            (format!("{url}headers = {{ content-length = \"5\" }}"), "notices.0.headers.content-length"),
            (format!("{url}bodi = \"\""), "unknown key notices.0.bodi: did you mean body?"),
        ] {
            let refused = Given::nothing().toml(&format!("[[notices]]\n{notice}\n")).refused();
            assert!(refused.contains(error) && !refused.contains("hunter2"), "{notice}: {refused}");
        }
    }

    #[test]
    fn a_flag_sets_one_key_of_one_table() {
        let toml = "[[notices]]\nurl = \"https://one.test/\"\n[[notices]]\nurl = \"https://two.test/\"\n";
        let given = |path: &str, value: &str| Given::nothing().toml(toml).flag("--set", path, value);
        let notices = given("notices.1.repeat", "2h").loaded().config.notices;
        let read: Vec<_> = notices.iter().map(|one| (one.url.expose_secret(), one.repeat.as_secs() / 3_600)).collect();
        assert_eq!(read, [("https://one.test/", 1), ("https://two.test/", 2)]);
        let notices = given("notices.2.url", "https://three.test/").loaded().config.notices;
        assert_eq!(notices.last().map(|last| last.url.expose_secret()), Some("https://three.test/"));
        for (path, error) in [
            ("notices.3.url", "the tables of a list are counted from 0 on, and .2 is missing"),
            ("notices.0", "a list is set as a whole"),
            ("notices.one.url", "a list is set as a whole"),
            ("notices.01.url", "a list is set as a whole"),
        ] {
            let refused = given(path, "http").refused();
            assert!(refused.contains(error), "{path}: {refused}");
        }
        let text = Given::nothing().flag("--set", "sites.chitai_gorod.sources.1", "http").refused();
        assert!(text.contains("sources = (hidden): expected a list of tables"), "{text}");
        let empty = Given::nothing().toml("notices = []").flag("--set", "notices.0.url", "https://one.test/");
        assert_eq!(empty.loaded().config.notices.len(), 1);
    }

    #[test]
    fn one_table_is_not_taken_for_a_list() {
        let given = Given::nothing().toml("[notices]\nurl = \"https://hooks.test/hunter2\"\n");
        assert!(
            given.refused().contains("notices = (hidden): expected a list of tables: [[notices]]"),
            "{}",
            given.refused()
        );
    }
}
