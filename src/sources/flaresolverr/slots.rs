//! How many solves a server may have at once. Nothing cancels a solve: one whose client has left goes on in its
//! browser, so its slot stays taken until its `maxTimeout` is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

/// The slots of one server, or of one session of it.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    size: Mutex<usize>,
}

/// A slot that is held. Dropped in the middle of a solve, it stays taken until that solve is over.
#[derive(Debug)]
pub(super) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    solving_until: Option<Instant>,
}

impl Slots {
    pub(super) fn new(size: usize) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(size)), size: Mutex::new(size) }
    }

    /// Sees to it that there are no more than so many. Meant for the time before the first one is taken.
    pub(super) fn narrow(&self, size: usize) {
        let mut held = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let fewer = held.saturating_sub(size.max(1));
        *held -= self.free.forget_permits(fewer);
    }

    /// Waits for a slot, in the order of asking.
    pub(super) async fn take(&self) -> Result<Slot, AcquireError> {
        let permit = Arc::clone(&self.free).acquire_owned().await?;
        Ok(Slot { permit: Some(permit), solving_until: None })
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
        // Without a runtime the process ends, and its slots with it.
        if let (Some(until), Some(permit), Ok(runtime)) =
            (self.solving_until, self.permit.take(), Handle::try_current())
        {
            runtime.spawn(async move {
                sleep_until(until).await;
                drop(permit);
            });
        }
    }
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
