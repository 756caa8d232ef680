//! The outputs of a site: what holds its token beside Redis.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::registry::{Entry, lock};

/// An output as this process knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputStatus {
    pub file: String,
    /// Whether it holds the current token; `None` before there is one.
    pub current: Option<bool>,
    /// Why it does not. Contains no secret.
    pub error: Option<String>,
    /// Where something is done each time that the file has been written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookStatus>,
}

/// What is done once a file has been written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// Whether its last run has; `None` before the first one has ended.
    pub succeeded: Option<bool>,
    /// Why it has failed. Contains no secret.
    pub error: Option<String>,
}

/// Writes the state of one output.
pub struct OutputObserver {
    entry: Arc<Entry>,
    /// Its place among the outputs of the site.
    number: usize,
}

impl OutputObserver {
    /// Adds an output of a site.
    pub(super) fn new(entry: Arc<Entry>, file: String, has_hook: bool) -> Self {
        let mut outputs = lock(&entry.outputs);
        let number = outputs.len();
        outputs.push(OutputStatus { file, current: None, error: None, hook: has_hook.then(HookStatus::default) });
        drop(outputs);
        Self { entry, number }
    }

    /// Notes that it holds the current token, or why it does not.
    pub fn report(&self, written: Result<(), String>) {
        if let Some(output) = lock(&self.entry.outputs).get_mut(self.number) {
            output.current = Some(written.is_ok());
            output.error = written.err();
        }
    }

    /// Notes that its hook has succeeded, or why it has failed.
    pub fn report_hook(&self, done: Result<(), String>) {
        if let Some(output) = lock(&self.entry.outputs).get_mut(self.number) {
            output.hook = Some(HookStatus { succeeded: Some(done.is_ok()), error: done.err() });
        }
    }
}
