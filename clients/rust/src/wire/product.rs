//! What the parsers of a site read, and report once it is refused.

use serde::{Deserialize, Serialize};

use super::token::{Token, TokenError};

/// What the parsers of a site read, and report once it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, strum::Display, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase", const_into_str)]
pub enum Product {
    /// A bearer token, beside which lie its cookies.
    #[default]
    Token,
    /// The cookies themselves.
    Cookies,
}

impl Product {
    /// Reads what the key of the product holds.
    ///
    /// # Errors
    /// [`TokenError`] where that is no such product.
    pub fn read(self, stored: &str) -> Result<Token, TokenError> {
        match self {
            Self::Token => Token::parse(stored),
            Self::Cookies => Token::of_cookies(stored),
        }
    }
}
