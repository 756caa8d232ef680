//! Every recorded answer of a real server, replayed through the real source.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use token_sidecar::domain::extract::{CookieRule, candidate};
use token_sidecar::domain::pending::Fingerprints;
use token_sidecar::domain::round::Turn;
use token_sidecar::sources::{Flaresolverr, Solvers};
use tracing_subscriber::fmt::MakeWriter;

use crate::stub::{Act, PAGE, Stub, answer, config};

struct Case {
    name: String,
    status: u16,
    body: Value,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The cases, and each single answer of those that are measurements of several.
fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flaresolverr");
    let index: Value = serde_json::from_slice(&fs::read(root.join("index.json")).unwrap()).unwrap();
    let mut cases = Vec::new();
    let mut count = 0;
    for path in files(&root) {
        if path.extension().is_none_or(|end| end != "json") || path.ends_with("index.json") {
            continue;
        }
        count += 1;
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let mut add = |one: &Value| {
            let status = one["http_status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
            cases.push(Case { name: name.clone(), status, body: one["response"].clone() });
        };
        add(&case);
        case["response"]["answers"].as_array().into_iter().flatten().for_each(&mut add);
    }
    assert_eq!(count, index.as_array().unwrap().len(), "the index names every case");
    assert_eq!(count, 303);
    cases
}

/// A server that gives the answers one after the other, each as often as `times`.
fn replay(cases: &[Case], times: usize) -> Stub {
    let answers: Vec<Vec<u8>> = cases
        .iter()
        .map(|case| match &case.body {
            Value::String(text) => answer(case.status, "text/plain", text),
            body => answer(case.status, "application/json", &body.to_string()),
        })
        .collect();
    Stub::new(move |_, count| Act::Bytes(answers[count / times % answers.len()].clone()))
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn rule() -> CookieRule {
    CookieRule { name: "access-token".into(), fallbacks: vec![], prefix: "Bearer ".into(), ..CookieRule::default() }
}

#[tokio::test]
async fn every_recorded_answer_is_cookies_or_a_short_reason() {
    let cases = cases();
    let stub = replay(&cases, 1);
    let source = Flaresolverr::new(&config(&stub.url), &Solvers::default()).unwrap();
    let (mut solved, mut tokens) = (0, 0);
    for case in &cases {
        let recorded = case.body["solution"]["cookies"].as_array().filter(|_| case.body["status"] == "ok");
        match (source.solve(Turn::default()).await, recorded) {
            (Ok(solution), Some(cookies)) => {
                solved += 1;
                assert_eq!(solution.cookies.len(), cookies.len(), "{}", case.name);
                assert_eq!(
                    solution.user_agent.as_deref(),
                    case.body["solution"]["userAgent"].as_str(),
                    "{}",
                    case.name
                );
                let has_token = cookies.iter().any(|c| c["name"] == "access-token" && c["value"] != "");
                let found = candidate(&solution, &rule(), PAGE, &Fingerprints::default(), DAY, Timestamp::UNIX_EPOCH);
                assert_eq!(found.is_ok(), has_token, "{}: {found:?}", case.name);
                tokens += usize::from(found.is_ok());
            }
            (Err(error), None) => {
                let message = error.message;
                assert!(message.starts_with("FlareSolverr: "), "{}: {message}", case.name);
                assert!(message.chars().count() <= 400, "{}: {message}", case.name);
                assert!(!message.contains(char::is_control) && !message.contains("\\n"), "{}: {message}", case.name);
                assert!(!message.contains("Stacktrace") && !message.contains("Session info"), "{message}");
            }
            (outcome, _) => panic!("{}: {outcome:?} of {}", case.name, case.body),
        }
    }
    assert!(solved > 140 && tokens > 90, "{solved} solved, {tokens} tokens");
}

#[tokio::test]
async fn every_recorded_answer_ends_a_solve_that_waits_or_has_a_session_too() {
    let cases = cases();
    let stub = replay(&cases, 5);
    let mut waiting = config(&stub.url);
    waiting.wait = Some(Duration::from_millis(1));
    let mut in_session = waiting.clone();
    in_session.session = Some("ours".into());
    let solvers = Solvers::default();
    for config in [waiting, in_session] {
        let source = Flaresolverr::new(&config, &solvers).unwrap();
        for case in &cases {
            if let Err(error) = source.solve(Turn::default()).await {
                assert!(error.message.chars().count() <= 400, "{}: {}", case.name, error.message);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The old design logged the first characters of tokens and cookies.
#[tokio::test]
async fn defect_10_no_beginning_of_a_token_is_logged_or_shown() {
    use token_sidecar::domain::stored::StoredToken;
    use token_sidecar::domain::token_file::{Access, Content, TokenFile};
    use token_sidecar::jitter::Delays;
    use token_sidecar::outputs::token_file::TokenFileWriter;
    use token_sidecar_client::wire::{Cookies, SiteId, Token};
    use tokio::sync::watch;

    async fn write(path: PathBuf, token: &Token) {
        let (sender, receiver) = watch::channel(None);
        let (token, cookies) = (token.clone(), Cookies::default());
        let stored = StoredToken { token, cookies, version: 1, user_agent: None, ends_at: None };
        sender.send_replace(Some(Arc::new(stored)));
        drop(sender);
        let delays = Delays::new(Duration::ZERO, Duration::ZERO);
        let file = TokenFile { path, content: Content::EnvLine("KEY".into()), access: Access::default(), hook: None };
        TokenFileWriter::new(SiteId::parse("shop").unwrap(), file).run(receiver, delays, || true, |_, _| {}).await;
    }

    let log = Log::default();
    let everything = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(everything);
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    let stub = replay(&cases, 1);
    let source = Flaresolverr::new(&config(&stub.url.replace("://", "://user:hunter2@")), &Solvers::default()).unwrap();
    let mut shown = String::new();
    for (at, _) in cases.iter().enumerate() {
        let outcome = source.solve(Turn::default()).await;
        shown += &format!("{outcome:?}");
        let Ok(solution) = outcome else { continue };
        let found = candidate(&solution, &rule(), PAGE, &Fingerprints::default(), DAY, Timestamp::UNIX_EPOCH);
        shown += &format!("{found:?}");
        if let (Ok((found, _)), 0) = (found, at % 10) {
            write(folder.path().join(".env"), &found.token).await;
            write(folder.path().to_owned(), &found.token).await;
        }
    }
    write(folder.path().join(".env"), &Token::parse("eyJabc").unwrap()).await;
    shown += &String::from_utf8_lossy(&log.0.lock().unwrap());
    assert!(shown.contains("the file is current") && shown.contains("does not hold the current token"));
    for secret in ["eyJ", "hunter2", "Bearer%20"] {
        assert!(!shown.contains(secret), "{secret} near {:?}", shown.find(secret).map(|at| &shown[at - 200..at + 50]));
    }
}
