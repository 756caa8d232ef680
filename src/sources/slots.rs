//! How many solves may run at once. One of FlareSolverr cannot be cancelled: if its client goes away, it continues in its
//! browser and keeps its slot until its `maxTimeout` is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

/// The slots of one solver, or of one session of it.
#[derive(Debug)]
pub(super) struct Slots {
    free: Arc<Semaphore>,
    size: Mutex<usize>,
}

/// A slot that is held. If dropped during a solve, it stays taken until that solve is over.
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

    /// Lowers the number of slots to `size` if it is higher. To be called before the first slot is taken.
    pub(super) fn narrow(&self, size: usize) {
        let mut held = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = held.saturating_sub(size.max(1));
        *held -= self.free.forget_permits(surplus);
    }

    /// Waits for a slot, first come, first served.
    pub(super) async fn take(&self) -> Slot {
        // Fails only if the semaphore is closed, which never happens.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        Slot { permit, solving_until: None }
    }
}

impl Slot {
    /// Marks the start of a solve that takes at most `longest`.
    pub(super) fn begin(&mut self, longest: Duration) {
        self.solving_until = Some(sleep(longest).deadline());
    }

    /// The solve has ended, or never began.
    pub(super) fn end(&mut self) {
        self.solving_until = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Without a runtime the process is exiting, and there is nothing to keep.
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
mod tests {
    use super::*;
    use tokio::time::timeout;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_free_again_once_its_solve_has_ended() {
        let slots = Slots::new(1);
        let mut slot = slots.take().await;
        slot.begin(MINUTE);
        assert!(timeout(SECOND, slots.take()).await.is_err());
        slot.end();
        drop(slot);
        assert!(timeout(SECOND, slots.take()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_solve_keeps_its_slot_until_it_is_over() {
        let slots = Slots::new(1);
        let mut slot = slots.take().await;
        slot.begin(MINUTE);
        drop(slot);
        assert!(timeout(MINUTE - SECOND, slots.take()).await.is_err());
        assert!(timeout(2 * SECOND, slots.take()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_solves_free_their_slots_for_solves_that_wait_already() {
        let slots = Slots::new(2);
        let mut first = slots.take().await;
        let mut second = slots.take().await;
        first.begin(MINUTE);
        second.begin(2 * MINUTE);
        let leave = async {
            sleep(SECOND).await;
            drop(second);
            sleep(SECOND).await;
            drop(first);
        };
        let waiting = async {
            let one = slots.take().await;
            let at_one = sleep(Duration::ZERO).deadline();
            let two = slots.take().await;
            drop((one, two));
            sleep(Duration::ZERO).deadline() - at_one
        };
        let (gap, ()) = tokio::join!(waiting, leave);
        assert_eq!(gap, MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_bound_counts() {
        let slots = Slots::new(3);
        slots.narrow(5);
        slots.narrow(1);
        let _held = slots.take().await;
        assert!(timeout(SECOND, slots.take()).await.is_err());
    }
}
