//! Requests to `/v1`, read as FlareSolverr's Python code reads them, with its error messages.

use std::time::Duration;

use serde_json::{Map, Value};

/// Values of `cmd`.
pub(super) const COMMANDS: [&str; 5] =
    ["request.get", "request.post", "sessions.create", "sessions.destroy", "sessions.list"];

/// Used where `maxTimeout` is missing or below 1.
const DEFAULT_MAX_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Open(PageRequest),
    Create { session: Option<Value> },
    Destroy { session: Option<Value> },
    List,
}

/// A `request.get` or `request.post`.
#[derive(Debug, PartialEq)]
pub(super) struct PageRequest {
    pub(super) url: Value,
    pub(super) max_timeout: Duration,
    pub(super) wait: Wait,
    pub(super) session: Option<Value>,
    pub(super) session_ttl: Option<Duration>,
    pub(super) cookies: Vec<(String, String)>,
    pub(super) only_cookies: bool,
}

/// `waitInSeconds`. Python notices a wrong type only when the page is open.
#[derive(Debug, PartialEq)]
pub(super) enum Wait {
    Time(Duration),
    WrongType(&'static str),
}

/// The body as an object. It is ignored unless its type is JSON.
pub(super) fn body(content_type: &str, body: &[u8]) -> Result<Map<String, Value>, String> {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if body.is_empty() || !matches!(&*kind, "application/json" | "application/json-rpc") {
        return Ok(Map::new());
    }
    let wrong_length = |length| format!("dictionary update sequence element #0 has length {length}; 2 is required");
    match serde_json::from_slice(body).map_err(|_| "(400, 'Invalid JSON')")? {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        Value::String(text) if text.is_empty() => Ok(Map::new()),
        Value::String(_) => Err(wrong_length(1)),
        Value::Array(items) => match items.first() {
            None => Ok(Map::new()),
            Some(Value::String(text)) => Err(wrong_length(text.chars().count())),
            Some(Value::Array(inner)) => Err(wrong_length(inner.len())),
            Some(Value::Object(inner)) => Err(wrong_length(inner.len())),
            Some(_) => Err("cannot convert dictionary update sequence element #0 to a sequence".to_owned()),
        },
        scalar => Err(format!("'{}' object is not iterable", type_name(&scalar))),
    }
}

/// The command, or FlareSolverr's error message.
pub(super) fn command(body: &Map<String, Value>) -> Result<Command, String> {
    let field = |name: &str| body.get(name).filter(|value| !value.is_null());
    let cmd = field("cmd").ok_or("Request parameter 'cmd' is mandatory.")?;
    let max_timeout = max_timeout(field("maxTimeout"))?;
    let session = field("session").filter(|value| truthy(value)).cloned();
    match cmd.as_str() {
        Some("sessions.create") => return Ok(Command::Create { session }),
        Some("sessions.destroy") => return Ok(Command::Destroy { session }),
        Some("sessions.list") => return Ok(Command::List),
        Some("request.get") if field("url").is_none() => {
            return Err("Request parameter 'url' is mandatory in 'request.get' command.".to_owned());
        }
        Some("request.get") if field("postData").is_some() => {
            return Err("Cannot use 'postBody' when sending a GET request.".to_owned());
        }
        Some("request.post") if field("postData").is_none() => {
            return Err("Request parameter 'postData' is mandatory in 'request.post' command.".to_owned());
        }
        Some("request.get" | "request.post") => {}
        Some(other) => return Err(format!("Request parameter 'cmd' = '{other}' is invalid.")),
        None => return Err(format!("Request parameter 'cmd' = '{cmd}' is invalid.")),
    }
    Ok(Command::Open(PageRequest {
        url: field("url").cloned().unwrap_or_default(),
        max_timeout,
        wait: wait(field("waitInSeconds")),
        session,
        session_ttl: ttl(field("session_ttl_minutes"))?,
        cookies: cookies(field("cookies")),
        only_cookies: field("returnOnlyCookies").is_some_and(truthy),
    }))
}

/// `int(maxTimeout)`, in milliseconds.
fn max_timeout(value: Option<&Value>) -> Result<Duration, String> {
    let ms = match value {
        None => return Ok(DEFAULT_MAX_TIMEOUT),
        Some(Value::Bool(flag)) => i64::from(*flag),
        Some(Value::Number(number)) => number.as_i64().or(number.as_f64().map(|ms| ms as i64)).unwrap_or(i64::MAX),
        Some(Value::String(text)) => {
            text.trim().parse().map_err(|_| format!("invalid literal for int() with base 10: '{text}'"))?
        }
        Some(other) => {
            return Err(format!(
                "int() argument must be a string, a bytes-like object or a real number, not '{}'",
                type_name(other)
            ));
        }
    };
    Ok(u64::try_from(ms).ok().filter(|ms| *ms > 0).map_or(DEFAULT_MAX_TIMEOUT, Duration::from_millis))
}

fn wait(value: Option<&Value>) -> Wait {
    match value {
        None => Wait::Time(Duration::ZERO),
        Some(Value::Bool(flag)) => Wait::Time(Duration::from_secs((*flag).into())),
        Some(Value::Number(number)) => Wait::Time(seconds(number.as_f64())),
        Some(other) => Wait::WrongType(type_name(other)),
    }
}

fn ttl(value: Option<&Value>) -> Result<Option<Duration>, String> {
    match value.filter(|value| truthy(value)) {
        None => Ok(None),
        Some(Value::Number(minutes)) => Ok(Some(seconds(minutes.as_f64().map(|minutes| minutes * 60.0)))),
        Some(other) => Err(format!(
            "Error solving the challenge. unsupported type for timedelta minutes component: {}",
            type_name(other)
        )),
    }
}

fn cookies(value: Option<&Value>) -> Vec<(String, String)> {
    let text = |cookie: &Value, name: &str| cookie.get(name).and_then(Value::as_str).map(str::to_owned);
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|cookie| Some((text(cookie, "name")?, text(cookie, "value")?))).collect()
}

fn seconds(number: Option<f64>) -> Duration {
    number.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_default()
}

/// Python's `bool(value)`.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Python's name for the value's type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}
