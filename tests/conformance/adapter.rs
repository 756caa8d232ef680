//! The Rust client behind the protocol: the test starts itself as this program.

use std::io::{Write as _, stdin, stdout};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use token_sidecar_client::wire::Token;
use token_sidecar_client::{Client, ClientError, Update};
use tokio::task::JoinSet;

/// The argument with which the test is the adapter.
pub(crate) const ITSELF: &str = "rust-adapter";

#[expect(clippy::disallowed_methods, reason = "this is a program of its own")]
pub(crate) fn main() -> ExitCode {
    let [redis_url, site, product] = ["REDIS_URL", "SITE", "PRODUCT"].map(|name| std::env::var(name).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = match product.as_str() {
            "cookies" => Client::of_cookies(&redis_url, &site),
            _ => Client::new(&redis_url, &site),
        };
        let client = client.unwrap().named("conformance");
        let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || stdin().lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut calls = JoinSet::new();
        while let Some(line) = lines.recv().await {
            let client = client.clone();
            calls.spawn(async move { serve(&client, &serde_json::from_str(&line).unwrap()).await });
        }
    });
    ExitCode::SUCCESS
}

fn print(line: &Value) {
    let mut out = stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

async fn serve(client: &Client, line: &Value) {
    let id = &line["id"];
    if line["call"] == "updates" {
        let mut updates = client.updates();
        let mut is_answered = false;
        loop {
            match updates.next().await {
                Update::Subscribed if !is_answered => {
                    is_answered = true;
                    print(&json!({ "id": id, "ok": null }));
                }
                Update::Event(event) => print(&json!({ "id": id, "update": event })),
                Update::Subscribed | Update::Lost(_) => {}
            }
        }
    }
    match answer(client, line).await {
        Ok(answer) => print(&json!({ "id": id, "ok": answer })),
        Err(error) => print(&json!({ "id": id, "error": described(&error) })),
    }
}

async fn answer(client: &Client, line: &Value) -> Result<Value, ClientError> {
    let timeout = || Duration::from_secs_f64(line["timeout"].as_f64().unwrap());
    let token = || {
        let text = line["token"].as_str().unwrap();
        Token::parse(text).or_else(|_| Token::of_cookies(text)).unwrap()
    };
    Ok(match line["call"].as_str().unwrap() {
        "get" => client.get(timeout()).await?.expose().into(),
        "invalidate" => client.invalidate(&token(), line["reason"].as_str().unwrap()).await?.into(),
        "wait_newer" => client.wait_newer(&token(), timeout()).await?.expose().into(),
        "cookies" => serde_json::from_str(&client.cookies().await?.to_json()).unwrap(),
        "user_agent" => client.user_agent().await?.into(),
        other => panic!("there is no call {other}"),
    })
}

fn described(error: &ClientError) -> Value {
    let message = error.to_string();
    match error {
        ClientError::NoSidecar(_) => json!({ "kind": "nobody_listens", "message": message }),
        ClientError::TimedOut(_) => json!({ "kind": "timed_out", "message": message }),
        ClientError::Failed(failed) => {
            json!({ "kind": "failed", "message": message, "stage": failed.stage, "retry_at": failed.retry_at })
        }
        ClientError::Config(_) | ClientError::Redis(_) => json!({ "kind": "other", "message": message }),
    }
}
