//! The names of keys.

use super::product::Product;

/// The names of a site's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNames {
    /// What parsers read. Where the cookies are the product, this is their key.
    pub token: String,
    pub cookies: String,
}

impl KeyNames {
    /// The names where the cookies are the product: one key holds all.
    #[must_use]
    pub fn of_cookies(cookies: String) -> Self {
        Self { token: cookies.clone(), cookies }
    }

    /// What the first key holds.
    #[must_use]
    pub fn product(&self) -> Product {
        if self.token == self.cookies { Product::Cookies } else { Product::Token }
    }

    /// The key of a companion of the token's key, in the same hash slot.
    pub fn companion(&self, name: &str) -> String {
        let (open, close) = if self.token.contains('{') { ("", ":") } else { ("{", "}:") };
        [open, &self.token, close, name].concat()
    }

    /// Whether both keys lie in the same slot of a Cluster: their hashed parts are the same.
    pub fn share_a_slot(&self) -> bool {
        hashed(&self.token) == hashed(&self.cookies)
    }

    /// Whether the companions are in the slot of the token's key. They are not where its braces are empty.
    pub fn has_companions(&self) -> bool {
        hashed(&self.companion("meta")) == hashed(&self.token)
    }
}

/// The part of a key that a Cluster hashes: the text in its first braces, or all of it where that is empty.
fn hashed(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_share_the_slot_of_their_key() {
        for (token, companion) in
            [("shop_token", "{shop_token}:meta"), ("{shop}:token", "{shop}:token:meta"), ("a{b}c", "a{b}c:meta")]
        {
            let keys = KeyNames { token: token.to_owned(), cookies: "shop_cookies".to_owned() };
            assert_eq!(keys.companion("meta"), companion);
            assert!(keys.has_companions());
        }
    }

    #[test]
    fn cookies_that_are_the_product_have_one_key() {
        let keys = KeyNames::of_cookies("shop_cookies".to_owned());
        assert_eq!((keys.companion("meta").as_str(), keys.product()), ("{shop_cookies}:meta", Product::Cookies));
        assert!(keys.share_a_slot());
    }

    #[test]
    fn what_a_cluster_hashes_is_the_first_tag_or_all() {
        for (key, tag) in
            [("abc", "abc"), ("{a}bc", "a"), ("x{a}{b}", "a"), ("{}bc", "{}bc"), ("{abc", "{abc"), ("a}{b}", "b")]
        {
            assert_eq!(hashed(key), tag);
        }
    }
}
