//! One site in Redis: what is read of it and reported to it.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue};

use crate::error::ClientError;
use crate::redis::{Link, LinkError};
use crate::updates::Updates;
use crate::wire::{Channels, KeyNames, Report, SiteId, Token};

/// One site in Redis.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) link: Arc<Link>,
    pub(crate) id: SiteId,
    pub(crate) keys: KeyNames,
    /// Who reports.
    pub(crate) source: String,
}

impl Site {
    /// The token that is stored now, if there is one.
    pub(crate) async fn token(&self) -> Result<Option<Token>, LinkError> {
        let text = self.text(&self.keys.token).await?;
        Ok(text.and_then(|text| self.keys.product().read(&text).ok()))
    }

    /// Publishes a report; returns how many sidecars received it, on a Cluster those of all nodes.
    pub(crate) async fn report(&self, report: &Report) -> Result<usize, ClientError> {
        let channel = Channels::of(&self.id).invalid;
        let report = Report { source: Some(self.source.clone()), ..report.clone() };
        let mut receivers: usize = self.command(redis::cmd("PUBLISH").arg(&channel).arg(report.to_json())).await?;
        if receivers == 0 && self.link.connector().is_cluster() {
            receivers = self.link.subscribers(std::slice::from_ref(&channel)).await?.values().sum();
        }
        if receivers == 0 { Err(ClientError::NoSidecar(channel)) } else { Ok(receivers) }
    }

    pub(crate) fn updates(&self) -> Updates {
        Updates::of(self.link.connector().clone(), [&self.id])
    }

    /// What a key holds, where that is text.
    pub(crate) async fn text(&self, key: &str) -> Result<Option<String>, LinkError> {
        let value: Option<Vec<u8>> = self.command(redis::cmd("GET").arg(key)).await?;
        Ok(value.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Runs a command, and once more where the connection is broken: each command of a client may run twice.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LinkError> {
        match self.link.command(command).await {
            Err(LinkError::Away(_)) => self.link.command(command).await,
            answer => answer,
        }
    }
}
