//! Checks the permissions in Redis before the process reports ready.

use tokio::task::JoinSet;

use super::AppError;
use super::process::Site;
use crate::domain::site_state::Reading;
use crate::refresh::ports::Clock as _;
use token_sidecar_client::redis::{Events, Link, LinkError};
use token_sidecar_client::wire::Channels;

/// How many sites are read at once: as many as the connection serves at once.
const LOOKS_AT_ONCE: usize = 256;

/// A site and its first reading, where Redis has answered.
pub(super) type Admitted = (Site, Option<Reading>);

/// Checks the permissions on the channels of all sites, and reads the state of each. Fails where one is missing.
pub(super) async fn admitted(
    link: &Link,
    mut sites: impl ExactSizeIterator<Item = Site>,
) -> Result<Vec<Admitted>, AppError> {
    check_channels(link).await?;
    let mut admitted = Vec::with_capacity(sites.len());
    while sites.len() > 0 {
        let looks: JoinSet<_> = sites.by_ref().take(LOOKS_AT_ONCE).map(look).collect();
        for looked in looks.join_all().await {
            admitted.push(looked?);
        }
    }
    Ok(admitted)
}

/// Subscribes for a moment to the channels that announce all sites: a user without permission to subscribe to a channel
/// cannot publish on it either.
async fn check_channels(link: &Link) -> Result<(), AppError> {
    let everywhere = [Channels::ALL_UPDATED, Channels::ALL_FAILED].map(str::to_owned);
    match Events::on(link.connector(), &everywhere).await {
        Err(error @ (LinkError::Denied(_) | LinkError::Forbidden(_))) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Reads the state of a site. Fails only where a permission is missing. A Redis that is unreachable, or a key of another
/// type at one site, must not stop the other sites: the driver tries again.
async fn look(site: Site) -> Result<Admitted, AppError> {
    let reading = match site.store.snapshot().await {
        Ok(snapshot) => Some(Reading { snapshot, read_at: site.clock.now() }),
        Err(error @ LinkError::Forbidden(_)) => return Err(error.into()),
        Err(_) => None,
    };
    Ok((site, reading))
}
