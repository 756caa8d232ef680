//! The stored token as one value, as the outputs and the gateway receive it.

use jiff::Timestamp;
use token_sidecar_client::wire::{Cookies, Token};

use super::snapshot::Snapshot;

/// The token that parsers read now, with what belongs to it.
#[derive(Debug, Clone)]
pub struct StoredToken {
    pub token: Token,
    pub cookies: Cookies,
    /// Grows with every token that a sidecar stores; 0 where another program wrote it.
    pub version: u64,
    pub user_agent: Option<String>,
    /// When it stops working, where that is known.
    pub ends_at: Option<Timestamp>,
}

/// Shorter values of cookies are words that a message may hold.
pub const SHORTEST_SECRET: usize = 8;

/// What must not be shown of a token and its cookies.
pub fn secrets<'a>(token: &'a Token, cookies: &'a Cookies) -> impl Iterator<Item = &'a str> {
    let long = cookies.iter().map(|(_, value)| value).filter(|value| value.len() >= SHORTEST_SECRET);
    std::iter::once(token.expose()).chain(long)
}

impl StoredToken {
    /// The stored token of a state; `None` where there is none.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let current = snapshot.current.as_ref()?;
        let refresh = current.refresh();
        Some(Self {
            token: current.token.clone(),
            cookies: current.cookies.clone(),
            version: refresh.map_or(0, |_| snapshot.version),
            user_agent: refresh.and_then(|refresh| refresh.user_agent.clone()),
            ends_at: current.ends_at(),
        })
    }

    /// Whether a sidecar has stored it, and not another program.
    pub const fn is_ours(&self) -> bool {
        self.version > 0
    }

    /// Whether both are the outcome of the same refresh.
    pub fn is_same(&self, other: &Self) -> bool {
        self.version == other.version && self.token == other.token
    }
}
