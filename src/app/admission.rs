//! What Redis would refuse later is found out before anything is promised.

use super::AppError;
use super::process::Outside;
use crate::adapters::clock::SystemClock;
use crate::adapters::redis::events::Events;
use crate::adapters::redis::{Channels, Link, LinkError};
use crate::flow::ports::{Store as _, StoreError};
use crate::flow::site::Site;

/// Reads the state of every site, and knocks at the channels on which all of them are announced: whoever may not
/// subscribe to a channel may not publish there either. A Redis that is away refuses nothing, and a key of one site that
/// holds something else must not stop the others: it is waited for.
///
/// # Errors
/// [`AppError::Redis`] where Redis refuses us: no permission.
pub(super) async fn admitted(link: &Link<SystemClock>, sites: &[Site<Outside>]) -> Result<(), AppError> {
    let everywhere = [Channels::ALL_UPDATED, Channels::ALL_FAILED].map(str::to_owned);
    if let Err(error @ LinkError::Refused(_)) = Events::on(link.connector(), &everywhere).await {
        return Err(error.into());
    }
    for site in sites {
        match site.store.look().await {
            Err(StoreError::Refused(error)) if error.contains("WRONGTYPE") => {}
            Err(error @ StoreError::Refused(_)) => return Err(error.into()),
            Ok(_) | Err(StoreError::Away(_)) => {}
        }
    }
    Ok(())
}
