//! One key of the settings: its name, its variable, its default, and what may be shown of it.

use super::keys::KEYS;
use super::redaction::{self, Secrecy};

/// One key of the settings.
#[derive(Debug)]
pub struct Key {
    /// Its dotted path in the TOML file; `*` stands for a site's id, at the end for a header's name.
    pub path: &'static str,
    /// Its environment variable; `{SITE}` stands for a site's id in upper case.
    pub env: Option<&'static str>,
    /// What counts where nobody sets it.
    pub fallback: Fallback,
    /// What may stand in the TOML file.
    pub shape: Shape,
    /// What may be shown of it.
    pub secrecy: Secrecy,
    /// What it means, for the reference.
    pub meaning: &'static str,
}

/// What counts where nobody sets a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing.
    None,
    /// This text; `{site}` and `{SITE}` stand for the site's id.
    Text(&'static str),
    /// What this key of the whole process says.
    As(&'static str),
}

/// What may stand in the TOML file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A string; an integer is read as its digits.
    Text,
    /// `true` or `false`.
    Switch,
    /// An array of strings, or one string with commas.
    List,
}

impl Key {
    pub(super) const fn new(path: &'static str, meaning: &'static str) -> Self {
        let (env, fallback, shape, secrecy) = (None, Fallback::None, Shape::Text, Secrecy::Open);
        Self { path, env, fallback, shape, secrecy, meaning }
    }

    pub(super) const fn env(mut self, name: &'static str) -> Self {
        self.env = Some(name);
        self
    }

    pub(super) const fn or(mut self, text: &'static str) -> Self {
        self.fallback = Fallback::Text(text);
        self
    }

    pub(super) const fn like(mut self, path: &'static str) -> Self {
        self.fallback = Fallback::As(path);
        self
    }

    pub(super) const fn is(mut self, secrecy: Secrecy) -> Self {
        self.secrecy = secrecy;
        self
    }

    pub(super) const fn list(mut self) -> Self {
        self.shape = Shape::List;
        self
    }

    pub(super) const fn switch(mut self) -> Self {
        self.shape = Shape::Switch;
        self
    }

    /// The key to which a full path such as `sites.chitai_gorod.debounce` belongs.
    #[must_use]
    pub fn of(path: &str) -> Option<&'static Self> {
        let of_a_site = path.strip_prefix("sites.").and_then(|rest| rest.split_once('.'));
        KEYS.iter().find(|key| match (key.path.strip_prefix("sites.*."), of_a_site) {
            // The last place takes the rest: a header's name may have dots.
            (Some(own), Some((_, name))) => {
                own == name || own.strip_suffix('*').is_some_and(|head| name.starts_with(head))
            }
            (None, None) => key.path == path,
            _ => false,
        })
    }

    /// Whether the key is one of a site.
    #[must_use]
    pub fn is_of_a_site(&self) -> bool {
        self.path.starts_with("sites.*.")
    }

    /// The path of this key of one site.
    pub(super) fn path_of(&self, site: &str) -> String {
        self.path.replacen('*', site, 1)
    }

    /// The environment variable of this key, of one site where it is a site's.
    pub(super) fn env_of(&self, site: &str) -> Option<String> {
        self.env.map(|name| name.replace("{SITE}", &env_prefix(site)))
    }

    /// Whether the value may come from a file of its own: `…_file`, `…_FILE`.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.secrecy.is_secret()
    }

    /// What may be shown of a value that stands at `path`.
    pub(super) fn show(&self, path: &str, value: &str) -> String {
        redaction::show(self.secrecy, path.rsplit('.').next().unwrap_or_default(), value)
    }
}

/// The head of a site's variables and of its `.env` line: `shop-2` has `SHOP_2`.
pub(super) fn env_prefix(site: &str) -> String {
    let name = site.to_uppercase().replace('-', "_");
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_key() {
        for (path, key) in [
            ("redis.url", Some("redis.url")),
            ("sites.a.debounce", Some("sites.*.debounce")),
            ("sites.a-b.probe.headers.x.y", Some("sites.*.probe.headers.*")),
            ("sites.a", None),
            ("sites.a.debounce.more", None),
            ("redis", None),
            ("", None),
        ] {
            assert_eq!(Key::of(path).map(|key| key.path), key, "{path}");
        }
    }

    #[test]
    fn a_sites_variables_begin_with_its_id_in_upper_case() {
        for (site, prefix) in [("chitai_gorod", "CHITAI_GOROD"), ("shop-2", "SHOP_2"), ("2shop", "_2SHOP")] {
            assert_eq!(env_prefix(site), prefix);
        }
    }
}
