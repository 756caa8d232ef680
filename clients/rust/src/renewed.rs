//! A value from files that is read again whenever it is used, so that replaced files need no restart.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long reading may take: a file system may hang.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

type Read<T> = Arc<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value that is fixed, or read again from its files.
pub struct Renewed<T> {
    last: Mutex<Last<T>>,
    read: Option<Read<T>>,
    /// One reading at a time: a file system that hangs takes one thread, however often it is tried.
    reading: Arc<Semaphore>,
}

struct Last<T> {
    value: Arc<T>,
    /// Why the last reading failed, which is logged once.
    error: Option<String>,
}

impl<T: Send + 'static> Renewed<T> {
    /// A value that stays as it is.
    pub fn fixed(value: T) -> Self {
        let last = Mutex::new(Last { value: Arc::new(value), error: None });
        Self { last, read: None, reading: Arc::new(Semaphore::new(1)) }
    }

    /// A value that `read` reads again. Its error names the file and holds no secret.
    pub fn new(value: T, read: impl Fn() -> Result<T, String> + Send + Sync + 'static) -> Self {
        Self { read: Some(Arc::new(read)), ..Self::fixed(value) }
    }

    /// Reads the value again. What cannot be read or used leaves the last value in use.
    pub async fn read_again(&self) -> Arc<T> {
        let Some(read) = self.read.clone() else { return self.last() };
        let reading = async {
            let turn = Arc::clone(&self.reading).acquire_owned().await;
            spawn_blocking(move || {
                let _turn = turn;
                read()
            })
            .await
        };
        let read = match timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the files could not be read within {} s", READ_TIMEOUT.as_secs())),
        };
        let mut last = self.lock();
        match read {
            Ok(value) => *last = Last { value: Arc::new(value), error: None },
            Err(error) if last.error.as_ref() == Some(&error) => {}
            Err(error) => {
                tracing::warn!(
                    %error,
                    "a file cannot be used: what was read last stays in use; correct the file, no restart is needed"
                );
                last.error = Some(error);
            }
        }
        Arc::clone(&last.value)
    }

    /// The value that was read last.
    pub fn last(&self) -> Arc<T> {
        Arc::clone(&self.lock().value)
    }

    fn lock(&self) -> MutexGuard<'_, Last<T>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").finish_non_exhaustive()
    }
}
