//! `/api/history` and `/api/histories`: the latest attempts of one site, and of many at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use token_sidecar_client::wire::SiteId;
use tokio::time::timeout;

use super::api::known;
use super::context::Context;
use super::problem::Problem;
use crate::status::{HistoryEntry, StatusRegistry};

/// How many entries are given by default.
const ENTRIES: usize = 50;

const MAX_ENTRIES: usize = 500;

/// The same for each of many sites.
const ENTRIES_OF_EACH: usize = 24;

const MAX_ENTRIES_OF_EACH: usize = 50;

/// The histories of how many sites are given at once.
const SITES: usize = 100;

/// How many sites are read at once.
const AT_ONCE: usize = 8;

/// The query of `/api/history`.
#[derive(Debug, Deserialize)]
pub(super) struct OneQuery {
    /// Optional if there is only one site.
    site: Option<String>,
    limit: Option<usize>,
}

/// The query of `/api/histories`.
#[derive(Debug, Deserialize)]
pub(super) struct ManyQuery {
    /// Separated by commas; by default all sites, as far as they are given at once.
    sites: Option<String>,
    limit: Option<usize>,
}

/// The history of one of many sites, which may be unreadable while the others are not.
#[derive(Debug, Serialize)]
struct SiteHistory {
    site: String,
    /// How many sidecars are subscribed to its reports; `null` where that cannot be read.
    listening: Option<usize>,
    entries: Vec<HistoryEntry>,
    error: Option<String>,
}

/// `GET /api/history?site=S&limit=50`: the latest attempts, newest first.
pub(super) async fn one(
    State(context): State<Arc<Context>>,
    query: Result<Query<OneQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| Problem(StatusCode::BAD_REQUEST, e.body_text()))?;
    let site = match query.site {
        Some(name) => known(&context.status, &name)?,
        None => only(&context.status)?,
    };
    let limit = query.limit.unwrap_or(ENTRIES).clamp(1, MAX_ENTRIES);
    let entries = in_turn(&context, context.store.latest(&site, limit)).await.and_then(|read| read);
    let entries = entries.map_err(|e| Problem::unavailable(format!("the history cannot be read: {e}")))?;
    Ok(Json(json!({ "site": site.as_str(), "entries": entries })).into_response())
}

/// `GET /api/histories?sites=S,T&limit=24`: the same for many sites, in the order in which they are asked for.
pub(super) async fn many(
    State(context): State<Arc<Context>>,
    query: Result<Query<ManyQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| Problem(StatusCode::BAD_REQUEST, e.body_text()))?;
    let sites: Vec<SiteId> = match &query.sites {
        Some(names) => names.split(',').map(|name| known(&context.status, name)).collect::<Result<_, _>>()?,
        None => context.status.site_ids().take(SITES).cloned().collect(),
    };
    if sites.len() > SITES {
        return Err(Problem(
            StatusCode::BAD_REQUEST,
            format!("these are more than {SITES} sites: ask for a part of them"),
        ));
    }
    let limit = query.limit.unwrap_or(ENTRIES_OF_EACH).clamp(1, MAX_ENTRIES_OF_EACH);
    let reading = async {
        let listening = context.store.listening(&sites).await.ok();
        let reads: Vec<_> = sites.iter().map(|site| context.store.latest(site, limit)).collect();
        let read: Vec<_> = stream::iter(reads).buffered(AT_ONCE).collect().await;
        let counts = (0..).map(|n| listening.as_ref().and_then(|counts| counts.get(n)).copied());
        let history = |((site, entries), listening): ((&SiteId, Result<_, _>), _)| {
            let (entries, error) = entries.map_or_else(|error| (Vec::new(), Some(error)), |entries| (entries, None));
            SiteHistory { site: site.to_string(), listening, entries, error }
        };
        sites.iter().zip(read).zip(counts).map(history).collect::<Vec<_>>()
    };
    let histories = in_turn(&context, reading).await;
    // Where none can be read it is not for what is in it.
    let histories = histories.and_then(|read| match read.first() {
        Some(SiteHistory { error: Some(error), .. }) if read.iter().all(|one| one.error.is_some()) => {
            Err(error.clone())
        }
        _ => Ok(read),
    });
    let histories = histories.map_err(|e| Problem::unavailable(format!("the histories cannot be read: {e}")))?;
    Ok(Json(json!({ "histories": histories })).into_response())
}

/// Reads for a few clients at a time: many requests must not cause many commands to Redis.
async fn in_turn<T>(context: &Context, reading: impl Future<Output = T>) -> Result<T, String> {
    let reading = async {
        let _turn = context.readers.acquire().await.map_err(|e| e.to_string())?;
        Ok(reading.await)
    };
    timeout(context.limits.history, reading).await.unwrap_or_else(|_| Err("the store takes too long".to_owned()))
}

fn only(status: &StatusRegistry) -> Result<SiteId, Problem> {
    let mut sites = status.site_ids();
    match (sites.next(), sites.next()) {
        (Some(site), None) => Ok(site.clone()),
        _ => Err(Problem(StatusCode::BAD_REQUEST, "there are several sites: add `?site=…`".into())),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::trial::{ModelHistory, Trial};
    use serde_json::{Value, json};
    use std::time::Duration;

    #[tokio::test]
    async fn the_history_is_given_in_bounds() {
        let trial = Trial::new();
        for (path, count) in [
            ("/api/history?site=shop", 50),
            ("/api/history", 50),
            ("/api/history?site=shop&limit=3", 3),
            ("/api/history?limit=0", 1),
            ("/api/history?limit=999999", 500),
        ] {
            let answer = trial.get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.json()["entries"].as_array().unwrap().len(), count, "{path}");
            assert_eq!(answer.json()["site"], "shop");
        }
    }

    #[tokio::test]
    async fn a_history_that_cannot_be_given_is_refused_with_a_reason() {
        let mut trial = Trial::with_sites(&["books"]);
        trial.limits.history = Duration::from_millis(20);
        for (history, path, status, error) in [
            (ModelHistory::Entries(1), "/api/history", 400, "there are several sites: add `?site=…`"),
            (ModelHistory::Entries(1), "/api/history?site=other", 404, "there is no such site"),
            (ModelHistory::Entries(1), "/api/history?site=..%2F", 404, "there is no such site"),
            (ModelHistory::Away, "/api/history?site=shop", 503, "the history cannot be read: connection refused"),
            (
                ModelHistory::Silence,
                "/api/history?site=shop",
                503,
                "the history cannot be read: the store takes too long",
            ),
        ] {
            trial.history = history;
            let answer = trial.get(path).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (status, json!({ "error": error })), "{path}");
        }
        let answer = trial.get("/api/history?limit=many").await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["error"].is_string());
    }

    #[tokio::test]
    async fn the_histories_of_many_sites_are_given_at_once_and_in_bounds() {
        let trial = Trial::with_sites(&["books", "toys"]);
        for (path, sites, count) in [
            ("/api/histories", vec!["books", "shop", "toys"], 24),
            ("/api/histories?sites=toys,shop&limit=3", vec!["toys", "shop"], 3),
            ("/api/histories?sites=shop&limit=0", vec!["shop"], 1),
            ("/api/histories?limit=999", vec!["books", "shop", "toys"], 50),
        ] {
            let answer = trial.get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            let histories = answer.json()["histories"].as_array().unwrap().clone();
            assert_eq!(histories.iter().map(|one| one["site"].as_str().unwrap()).collect::<Vec<_>>(), sites, "{path}");
            for history in histories {
                assert_eq!(history["entries"].as_array().unwrap().len(), count, "{path}");
                assert_eq!((&history["listening"], &history["error"]), (&2.into(), &Value::Null), "{path}");
            }
        }
        let names: Vec<String> = (0..120).map(|n| format!("s{n}")).collect();
        let trial = Trial::with_sites(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(trial.get("/api/histories").await.json()["histories"].as_array().unwrap().len(), 100);
        let answer = trial.get(&format!("/api/histories?sites={}", names.join(","))).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (400, json!({ "error": "these are more than 100 sites: ask for a part of them" }))
        );
    }

    #[tokio::test]
    async fn a_site_whose_history_cannot_be_read_does_not_hide_the_others() {
        let mut trial = Trial::with_sites(&["books"]);
        trial.limits.history = Duration::from_millis(20);
        trial.history = ModelHistory::Without("books");
        let histories = trial.get("/api/histories").await.json()["histories"].clone();
        let broken = json!({ "site": "books", "listening": 2, "entries": [], "error": "wrong type" });
        assert_eq!((&histories[0], &histories[1]["error"]), (&broken, &Value::Null));
        assert_eq!(histories[1]["entries"].as_array().unwrap().len(), 24);
        trial.history = ModelHistory::Away;
        let answer = trial.get("/api/histories").await;
        let error = json!({ "error": "the histories cannot be read: connection refused" });
        assert_eq!((answer.status.as_u16(), answer.json()), (503, error));
        trial.history = ModelHistory::Silence;
        assert_eq!(trial.get("/api/histories").await.status, 503);
        assert_eq!(trial.get("/api/histories?sites=shop,other").await.status, 404);
        assert_eq!(trial.get("/api/histories?sites=").await.status, 404);
        assert_eq!(trial.get("/api/histories?limit=many").await.status, 400);
    }
}
