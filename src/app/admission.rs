//! What Redis would refuse later is found out before anything is promised.

use super::AppError;
use super::process::Outside;
use crate::adapters::clock::SystemClock;
use crate::adapters::redis::client::Events;
use crate::adapters::redis::{Channels, Link, LinkError};
use crate::flow::ports::{Store as _, StoreError};
use crate::flow::site::Site;

/// Reads the state of every site, and knocks at the channels on which all of them are announced: whoever may not
/// subscribe to a channel may not publish there either. A Redis that is away refuses nothing.
///
/// # Errors
/// [`AppError::Redis`] where Redis refuses: no permission, a key that holds something else.
pub(super) async fn admitted(link: &Link<SystemClock>, sites: &[Site<Outside>]) -> Result<(), AppError> {
    let everywhere = [Channels::ALL_UPDATED, Channels::ALL_FAILED].map(str::to_owned);
    if let Err(error @ LinkError::Refused(_)) = Events::on(link.connector(), &everywhere).await {
        return Err(error.into());
    }
    for site in sites {
        if let Err(error @ StoreError::Refused(_)) = site.store.look().await {
            return Err(error.into());
        }
    }
    Ok(())
}
