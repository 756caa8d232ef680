//! What Redis would refuse later is found out before anything is promised.

use tokio::task::JoinSet;

use super::AppError;
use super::process::ProductionPorts;
use crate::domain::site_state::Reading;
use crate::refresh::ports::{Clock as _, Store as _, StoreError};
use crate::refresh::site::SiteContext;
use token_sidecar_client::redis::{Events, Link, LinkError};
use token_sidecar_client::wire::Channels;

/// How many sites are looked at at once: as many as have their turn on the connection.
const LOOKS_AT_ONCE: usize = 256;

/// A site, and its state where Redis has told it: what its driver starts from.
pub(super) type Admitted = (Box<SiteContext<ProductionPorts>>, Option<Reading>);

/// Knocks at the channels of all sites, and reads the state of each.
///
/// # Errors
/// [`AppError::Redis`] where Redis refuses us: no permission.
pub(super) async fn admitted(
    link: &Link,
    mut sites: impl ExactSizeIterator<Item = Box<SiteContext<ProductionPorts>>>,
) -> Result<Vec<Admitted>, AppError> {
    knock(link).await?;
    let mut admitted = Vec::with_capacity(sites.len());
    while sites.len() > 0 {
        let looks: JoinSet<_> = sites.by_ref().take(LOOKS_AT_ONCE).map(look).collect();
        for looked in looks.join_all().await {
            admitted.push(looked?);
        }
    }
    Ok(admitted)
}

/// Subscribes for a moment to the channels on which all sites are announced: whoever may not subscribe to a channel may
/// not publish there either.
///
/// # Errors
/// [`AppError::Redis`] where Redis refuses us: no permission.
pub(super) async fn knock(link: &Link) -> Result<(), AppError> {
    let everywhere = [Channels::ALL_UPDATED, Channels::ALL_FAILED].map(str::to_owned);
    match Events::on(link.connector(), &everywhere).await {
        Err(error @ LinkError::Refused(_)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Reads the state of a site. A Redis that is away refuses nothing, and a key of one site that holds something else must
/// not stop the others: it is waited for.
///
/// # Errors
/// [`AppError::Redis`] where Redis refuses us: no permission.
pub(super) async fn look(site: Box<SiteContext<ProductionPorts>>) -> Result<Admitted, AppError> {
    let reading = match site.store.look().await {
        Ok(snapshot) => Some(Reading { snapshot, read_at: site.clock.now() }),
        Err(StoreError::Away(_)) => None,
        Err(StoreError::Refused(error)) if error.contains("WRONGTYPE") => None,
        Err(error @ StoreError::Refused(_)) => return Err(error.into()),
    };
    Ok((site, reading))
}
