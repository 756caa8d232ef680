//! How many solves a server may have at once. Nothing cancels a solve: one whose client has left goes on in its
//! browser, so its slot stays taken until its `maxTimeout` is over.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

/// The slots of one server, or of one session of it.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    size: Mutex<usize>,
    abandoned: Mutex<Vec<Abandoned>>,
    more_abandoned: Notify,
}

/// A slot that is held. Dropped in the middle of a solve, it stays taken until that solve is over.
#[derive(Debug)]
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    solving_until: Option<Instant>,
    slots: Arc<Slots>,
}

#[derive(Debug)]
struct Abandoned {
    until: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(size: usize) -> Arc<Self> {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(size)),
            size: Mutex::new(size),
            abandoned: Mutex::default(),
            more_abandoned: Notify::new(),
        })
    }

    /// Sees to it that there are no more than so many. Meant for the time before the first one is taken.
    pub(super) fn narrow(&self, size: usize) {
        let mut held = lock(&self.size);
        let fewer = held.saturating_sub(size.max(1));
        *held -= self.free.forget_permits(fewer);
    }

    /// Waits for a slot, in the order of asking.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Slot, AcquireError> {
        let mut turn = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            let more = self.more_abandoned.notified();
            let next = lock(&self.abandoned).iter().map(|a| a.until).min();
            let reap = async {
                let Some(until) = next else { return more.await };
                tokio::select! {
                    () = Box::pin(sleep_until(until)) => lock(&self.abandoned).retain(|a| a.until > until),
                    () = more => {}
                }
            };
            tokio::select! {
                permit = &mut turn => {
                    return Ok(Slot { permit: Some(permit?), solving_until: None, slots: Arc::clone(self) });
                }
                () = reap => {}
            }
        }
    }
}

impl Slot {
    /// A solve begins that may go on for so long.
    pub(super) fn solving(&mut self, longest: Duration) {
        self.solving_until = Some(sleep(longest).deadline());
    }

    /// The solve has ended, or never began.
    pub(super) fn ended(&mut self) {
        self.solving_until = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let (Some(until), Some(permit)) = (self.solving_until, self.permit.take()) {
            lock(&self.slots.abandoned).push(Abandoned { until, _permit: permit });
            self.slots.more_abandoned.notify_waiters();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_free_again_once_its_solve_has_ended() {
        let slots = Slots::new(1);
        let mut slot = slots.take().await.unwrap();
        slot.solving(MINUTE);
        assert!(timeout(SECOND, slots.take()).await.is_err());
        slot.ended();
        drop(slot);
        assert!(timeout(SECOND, slots.take()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_whose_client_left_stays_taken_until_the_solve_is_over() {
        let slots = Slots::new(1);
        let mut slot = slots.take().await.unwrap();
        slot.solving(MINUTE);
        drop(slot);
        assert!(timeout(MINUTE - SECOND, slots.take()).await.is_err());
        assert!(timeout(2 * SECOND, slots.take()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_already_learn_of_a_solve_that_was_left() {
        let slots = Slots::new(2);
        let mut first = slots.take().await.unwrap();
        let mut second = slots.take().await.unwrap();
        first.solving(MINUTE);
        second.solving(2 * MINUTE);
        let leave = async {
            sleep(SECOND).await;
            drop(second);
            sleep(SECOND).await;
            drop(first);
        };
        let waiting = async {
            let one = slots.take().await.unwrap();
            let at_one = sleep(Duration::ZERO).deadline();
            let two = slots.take().await.unwrap();
            drop((one, two));
            sleep(Duration::ZERO).deadline() - at_one
        };
        let (gap, ()) = tokio::join!(waiting, leave);
        assert_eq!(gap, MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_bound_that_was_asked_for_counts() {
        let slots = Slots::new(3);
        slots.narrow(5);
        slots.narrow(1);
        let _held = slots.take().await.unwrap();
        assert!(timeout(SECOND, slots.take()).await.is_err());
    }
}
