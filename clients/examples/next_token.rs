//! `next_token [REFUSED [SECONDS]]` prints a token other than the one that the API has refused (crates `redis`, `sha2`,
//! `serde_json`).
#![expect(clippy::disallowed_methods, clippy::print_stderr, clippy::print_stdout, reason = "it is to be copied")]

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use redis::{Client, Commands as _, Connection, RedisResult};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[derive(Debug)]
struct NobodyListens;

impl std::fmt::Display for NobodyListens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no sidecar listens")
    }
}

impl Error for NobodyListens {}

fn look(redis: &mut Connection, refused: Option<&str>) -> RedisResult<Option<String>> {
    let token: Option<String> = redis.get("chitai_gorod_token")?;
    Ok(token.filter(|token| Some(token.as_str()) != refused))
}

fn next_token(refused: Option<&str>, patience: Duration) -> Result<String, Box<dyn Error>> {
    let client = Client::open(env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned()))?;
    let (mut redis, mut subscriber) = (client.get_connection()?, client.get_connection()?);
    let mut subscriber = subscriber.as_pubsub();
    for channel in ["chitai_gorod:token:updated", "chitai_gorod:token:failed"] {
        subscriber.subscribe(channel)?; // waits for the confirmation
    }
    if let Some(token) = look(&mut redis, refused)? {
        return Ok(token);
    }
    let hex = |token: &str| Sha256::digest(token).iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    let report = json!({"fingerprint": refused.map(hex), "reason": "401", "source": "next_token.rs"});
    let receivers: u64 = redis.publish("chitai_gorod:token:invalid", report.to_string())?;
    if receivers == 0 {
        return Err(NobodyListens.into());
    }
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        subscriber.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let message = match subscriber.get_message() {
            Err(error) if error.is_timeout() => return Err(format!("no outcome in {patience:?}").into()),
            message => message?,
        };
        let event: Value = serde_json::from_slice(message.get_payload_bytes())?;
        if event["event"] == "token:failed" {
            return Err(event["error"].to_string().into());
        }
        if event["fingerprint"] == report["fingerprint"] {
            continue; // this answers another client
        }
        if let Some(token) = look(&mut redis, refused)? {
            return Ok(token);
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let refused = arguments.next();
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok());
    match next_token(refused.as_deref(), seconds.map_or(Duration::from_secs(60), Duration::from_secs_f64)) {
        Ok(token) => println!("{token}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(if error.is::<NobodyListens>() { 69 } else { 75 });
        }
    }
    ExitCode::SUCCESS
}
