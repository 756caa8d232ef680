//! The stored token as one value, as outputs receive it.

use jiff::Timestamp;
use token_sidecar_client::wire::{Cookies, Token};

use super::snapshot::Snapshot;

/// A token that a sidecar has stored, with what outputs write beside it.
#[derive(Debug, Clone)]
pub struct StoredToken {
    pub token: Token,
    pub cookies: Cookies,
    /// Grows with every stored token.
    pub version: u64,
    pub user_agent: Option<String>,
    /// When it stops working, where that is known.
    pub ends_at: Option<Timestamp>,
}

impl StoredToken {
    /// The stored token of a state; `None` where there is none, or where another program wrote it.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let current = snapshot.current.as_ref()?;
        let refresh = current.refresh()?;
        Some(Self {
            token: current.token.clone(),
            cookies: current.cookies.clone(),
            version: snapshot.version,
            user_agent: refresh.user_agent.clone(),
            ends_at: current.ends_at(),
        })
    }

    /// Whether both are the outcome of the same refresh.
    pub fn is_same(&self, other: &Self) -> bool {
        self.version == other.version && self.token == other.token
    }
}
