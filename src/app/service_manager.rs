//! What a service manager (systemd) is told by its protocol `sd_notify`. Without one, nothing is done.

use sd_notify::NotifyState;
use tokio::time::interval;

/// The sidecar is subscribed: reports are received from now on.
pub(super) fn ready() {
    notify(NotifyState::Ready);
}

pub(super) fn stopping() {
    notify(NotifyState::Stopping);
}

/// Says that the event loop runs, as often as the service manager asks for it. What Redis, solver and API do does not
/// matter: a restart would not help them.
pub(super) async fn feed_the_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else { return };
    let mut beats = interval(limit / 3);
    loop {
        beats.tick().await;
        notify(NotifyState::Watchdog);
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
