//! The cookies that belong to a token.

use std::collections::BTreeMap;

/// Cookie name → raw value. Its `Debug` shows the names alone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Cookies(BTreeMap<String, String>);

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Cookies {
    /// Reads the JSON object that the cookies key holds; anything else is no cookies.
    #[must_use]
    pub fn from_json(json: &str) -> Self {
        serde_json::from_str(json).map(Self).unwrap_or_default()
    }

    /// The JSON object for the cookies key.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// The raw value of one cookie.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names and raw values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sets the raw value of one cookie.
    pub fn insert(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }

    /// The `Cookie` header that a browser would send.
    #[must_use]
    pub fn header(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, String)> for Cookies {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(cookies: I) -> Self {
        Self(cookies.into_iter().collect())
    }
}
