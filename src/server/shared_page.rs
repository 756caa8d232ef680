//! A page that is rendered once for all clients that ask within a second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use serde::Serialize;
use tokio::time::sleep;

const LIFETIME: Duration = Duration::from_secs(1);

/// A smaller page costs little, and shows the state of this moment.
const LARGE_BYTES: usize = 64 * 1024;

pub(super) type Page = (StatusCode, [(HeaderName, &'static str); 1], Bytes);

#[derive(Default)]
pub(super) struct SharedPage(Arc<Mutex<Option<Page>>>);

impl SharedPage {
    pub(super) fn get(&self, render: impl FnOnce() -> Page) -> Page {
        if let Some(page) = &*lock(&self.0) {
            return page.clone();
        }
        let page = render();
        if page.2.len() >= LARGE_BYTES {
            *lock(&self.0) = Some(page.clone());
            let shared = Arc::clone(&self.0);
            #[expect(clippy::disallowed_methods, reason = "it drops a page, which the end of the process does too")]
            tokio::spawn(async move {
                sleep(LIFETIME).await;
                lock(&shared).take();
            });
        }
        page
    }
}

pub(super) fn json_page(code: StatusCode, body: &impl Serialize) -> Page {
    // Fails only for a map whose keys are no strings, which no answer has.
    (code, [(CONTENT_TYPE, "application/json")], serde_json::to_vec(body).unwrap_or_default().into())
}

fn lock(page: &Mutex<Option<Page>>) -> MutexGuard<'_, Option<Page>> {
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, ask, snapshot};
    use super::LIFETIME;
    use crate::domain::snapshot::Snapshot;

    #[tokio::test(start_paused = true)]
    async fn the_pages_of_many_sites_are_rendered_once_a_second() {
        let names: Vec<String> = (0..2_000).map(|n| format!("s{n}")).collect();
        let trial = Trial::with_sites(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let context = trial.context();
        let missing = Snapshot { current: None, ..snapshot() };
        for (path, next) in [("/metrics", &missing), ("/api/status", &snapshot()), ("/readyz", &missing)] {
            let get = async || ask(&context, "GET", path, &[]).await.text;
            let first = get().await;
            trial.look(next);
            assert_eq!(get().await, first, "{path}");
            tokio::time::sleep(2 * LIFETIME).await;
            assert_ne!(get().await, first, "{path}");
        }
    }
}
