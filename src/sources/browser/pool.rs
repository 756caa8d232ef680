//! The browsers of this process. Each serves one page at a time, so that pages share neither processes nor rules.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Message};
use super::error::{BrowserError, COMMAND_TIMEOUT};
use super::process::{Folder, Process, Program, sweep};
use super::remote;
use crate::child;
use crate::config::{BrowserLaunch, BrowserProgram};
use crate::sources::slots::{Slot, Slots};

/// How long a browser may take to close a page that is no longer needed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// All browsers of this process, by the settings that start or reach them.
#[derive(Default)]
pub struct Browsers {
    pools: Mutex<HashMap<String, Arc<Pool>>>,
    shared: Arc<Shared>,
}

/// What the pools have in common.
#[derive(Default)]
struct Shared {
    folder: Mutex<Option<Arc<Folder>>>,
    /// The browsers that are being closed or kept.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The browsers of one kind.
pub(super) struct Pool {
    program: BrowserProgram,
    keep: Duration,
    slots: Slots,
    /// Looked for once, until an upgrade is noticed.
    found: AsyncMutex<Option<Program>>,
    kept: Mutex<Kept>,
    shared: Arc<Shared>,
}

/// The browsers that wait for their next page. Each gets another number each time.
#[derive(Default)]
struct Kept {
    browsers: Vec<(u64, Browser)>,
    last_number: u64,
}

pub(super) struct Browser {
    pub(super) connection: Connection,
    /// `None` for a browser elsewhere.
    process: Option<Process>,
    pub(super) version: Version,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Version {
    /// `Chrome/156.0.8078.108`
    pub(super) product: String,
    pub(super) user_agent: String,
}

/// A browser that is in use. Dropping it closes its page, and the browser or keeps it for the next page.
pub(super) struct Lease {
    browser: Option<Browser>,
    /// Closed with the lease.
    pub(super) context: Option<String>,
    /// Whether the browser may be kept.
    pub(super) is_well: bool,
    slot: Option<Slot>,
    pool: Arc<Pool>,
}

impl Browsers {
    /// The browsers with these settings. Of several values of `concurrency` and `keep` the smallest and the first count.
    pub(super) fn get(&self, program: &BrowserProgram, concurrency: usize, keep: Duration) -> Arc<Pool> {
        let key = match program {
            BrowserProgram::Launch(launch) => format!("{launch:?}"),
            BrowserProgram::Connect(url) => url.expose_secret().to_owned(),
        };
        match self.pools.lock().unwrap_or_else(PoisonError::into_inner).entry(key) {
            Entry::Occupied(entry) => {
                entry.get().slots.narrow(concurrency);
                Arc::clone(entry.get())
            }
            Entry::Vacant(entry) => {
                if matches!(program, BrowserProgram::Launch(_)) {
                    sweep(&std::env::temp_dir());
                }
                Arc::clone(entry.insert(Arc::new(Pool {
                    program: program.clone(),
                    keep,
                    slots: Slots::new(concurrency),
                    found: AsyncMutex::default(),
                    kept: Mutex::default(),
                    shared: Arc::clone(&self.shared),
                })))
            }
        }
    }

    /// Closes all browsers.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    /// The folder of this process, made anew where a cleaner of old files has removed it.
    fn folder(&self) -> Result<Arc<Folder>, BrowserError> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        match &*folder {
            Some(folder) if folder.is_there() => Ok(Arc::clone(folder)),
            _ => Ok(Arc::clone(folder.insert(Arc::new(Folder::make()?)))),
        }
    }
}

impl Pool {
    /// Waits for a slot, first come, first served, then takes a browser that was kept or starts one.
    pub(super) async fn lease(self: &Arc<Self>, patience: Duration) -> Result<Lease, BrowserError> {
        let slot = timeout(patience, self.slots.take()).await.map_err(|_| BrowserError::NoSlot(patience))?;
        let pool = Arc::clone(self);
        Ok(Lease { browser: None, context: None, is_well: false, slot: Some(slot), pool })
    }

    fn lock_kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_kept(&self) -> Option<(u64, Browser)> {
        self.lock_kept().browsers.pop()
    }

    /// The program and its version.
    async fn program(&self, launch: &BrowserLaunch) -> Result<Program, BrowserError> {
        let mut found = self.found.lock().await;
        if found.is_none() {
            *found = Some(Program::find(launch.path.as_deref()).await?);
        }
        found.clone().ok_or(BrowserError::Ended)
    }

    async fn keep_or_end(
        self: Arc<Self>,
        mut browser: Browser,
        context: Option<String>,
        is_well: bool,
        slot: Option<Slot>,
    ) {
        if is_well && !self.keep.is_zero() && browser.dispose(context).await.is_ok() {
            let number = self.lock_kept().add(browser);
            drop(slot);
            tokio::select! {
                () = sleep(self.keep) => {}
                () = self.shared.stop.cancelled() => {}
            }
            let unused = self.lock_kept().take(number);
            if let Some(browser) = unused {
                browser.end().await;
            }
        } else {
            browser.end().await;
        }
    }
}

impl Kept {
    fn add(&mut self, browser: Browser) -> u64 {
        self.last_number += 1;
        self.browsers.push((self.last_number, browser));
        self.last_number
    }

    /// `None` where it serves a page, or has served one since.
    fn take(&mut self, number: u64) -> Option<Browser> {
        let at = self.browsers.iter().position(|(other, _)| *other == number)?;
        Some(self.browsers.swap_remove(at).1)
    }
}

impl Lease {
    /// Takes a browser that was kept, or starts or reaches one.
    pub(super) async fn open(&mut self) -> Result<&mut Browser, BrowserError> {
        while let Some((_, kept)) = self.pool.take_kept() {
            let browser = self.browser.insert(kept);
            let asked = timeout(CLOSE_TIMEOUT, browser.command(None, "Browser.getVersion", json!({}))).await;
            if matches!(asked, Ok(Ok(_))) {
                return self.browser();
            }
            self.end();
        }
        match self.pool.program.clone() {
            BrowserProgram::Connect(url) => {
                let connection = remote::connect(&url).await?;
                let browser = self.browser.insert(Browser { connection, process: None, version: Version::default() });
                browser.version = browser.read("Browser.getVersion", json!({})).await?;
                Ok(browser)
            }
            BrowserProgram::Launch(launch) => {
                let program = self.pool.program(&launch).await?;
                let version = self.start(&program, &launch).await?;
                if !program.is_not(&version.product) {
                    return self.browser();
                }
                // It was upgraded meanwhile: it would say one version in its user agent and another elsewhere.
                self.end();
                *self.pool.found.lock().await = None;
                let program = self.pool.program(&launch).await?;
                self.start(&program, &launch).await?;
                self.browser()
            }
        }
    }

    /// Ends the browser without waiting for that.
    fn end(&mut self) {
        if let Some(browser) = self.browser.take() {
            self.pool.shared.tasks.spawn(browser.end());
        }
    }

    pub(super) fn browser(&mut self) -> Result<&mut Browser, BrowserError> {
        self.browser.as_mut().ok_or(BrowserError::Ended)
    }

    /// Whether the browser is this process's own.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.pool.program, BrowserProgram::Launch(_))
    }

    async fn start(&mut self, program: &Program, launch: &BrowserLaunch) -> Result<Version, BrowserError> {
        let (process, connection, log) = Process::start(program, launch, &*self.pool.shared.folder()?)?;
        let log: JoinHandle<String> = self.pool.shared.tasks.spawn(child::tail_of(log));
        let browser = Browser { connection, process: Some(process), version: Version::default() };
        let browser = self.browser.insert(browser);
        match browser.read::<Version>("Browser.getVersion", json!({})).await {
            Ok(version) => {
                browser.version = version.clone();
                Ok(version)
            }
            Err(BrowserError::Ended) => {
                let log = timeout(CLOSE_TIMEOUT, log).await.ok().and_then(Result::ok).unwrap_or_default();
                Err(BrowserError::of_start(&program.path.display().to_string(), &log))
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(browser) = self.browser.take() else { return };
        let (pool, context, slot) = (Arc::clone(&self.pool), self.context.take(), self.slot.take());
        let tasks = pool.shared.tasks.clone();
        // Without a runtime the process is exiting, and the browser ends with its socket.
        if tokio::runtime::Handle::try_current().is_ok() {
            tasks.spawn(pool.keep_or_end(browser, context, self.is_well, slot));
        }
    }
}

impl Browser {
    /// Sends a command and waits for its answer. Events that come meanwhile are left out.
    pub(super) async fn command(
        &mut self,
        session: Option<&str>,
        method: &'static str,
        params: serde_json::Value,
    ) -> Result<Box<RawValue>, BrowserError> {
        self.command_with(session, method, params, |_, _| {}).await
    }

    /// The same; what else comes meanwhile is handed over.
    pub(super) async fn command_with(
        &mut self,
        session: Option<&str>,
        method: &'static str,
        params: serde_json::Value,
        mut other: impl FnMut(Message, &mut Connection),
    ) -> Result<Box<RawValue>, BrowserError> {
        let sent = self.connection.send(session, method, params);
        let answered = async {
            loop {
                match self.connection.receive().await? {
                    Message::Answer { id, result } if id == sent => {
                        return result.map_err(|reason| BrowserError::refuses(method, &reason));
                    }
                    message => other(message, &mut self.connection),
                }
            }
        };
        timeout(COMMAND_TIMEOUT, answered).await.map_err(|_| BrowserError::Silent)?
    }

    /// Reads the answer to a command to the browser.
    pub(super) async fn read<T: for<'de> Deserialize<'de>>(
        &mut self,
        method: &'static str,
        params: serde_json::Value,
    ) -> Result<T, BrowserError> {
        let answer = self.command(None, method, params).await?;
        serde_json::from_str(answer.get()).map_err(|_| BrowserError::NoCdp)
    }

    async fn dispose(&mut self, context: Option<String>) -> Result<(), BrowserError> {
        let dispose = self.command(None, "Target.disposeBrowserContext", json!({"browserContextId": context}));
        timeout(CLOSE_TIMEOUT, dispose).await.map_err(|_| BrowserError::Silent)?.map(|_| ())
    }

    /// Ends it; one that is elsewhere disposes of our pages when the connection ends.
    async fn end(mut self) {
        if let Some(process) = self.process.take() {
            process.end().await;
        }
    }
}
