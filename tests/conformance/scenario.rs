//! What `clients/scenarios.json` is made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use simulator::Faults;
use token_sidecar_client::wire::Product;

/// One rule that every client must keep.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Names the tests.
    pub(crate) name: String,
    /// What the scenario shows, for the table.
    pub(crate) shows: String,
    /// Which clients it is for.
    #[serde(default)]
    pub(crate) through: Through,
    /// What the site's parsers read; of cookies, what is said of a token below holds for their text.
    #[serde(default)]
    pub(crate) product: Product,
    pub(crate) steps: Vec<Step>,
}

/// Where a client gets the token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Through {
    /// It reads and reports it.
    #[default]
    Redis,
    /// It knows of none: the gateway of the sidecar adds it.
    Gateway,
}

/// What the world does, what the client is called for, what must come of it. In texts `$name` stands for the token
/// of that name, `#name` for its fingerprint.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Starts a sidecar and waits until it listens. For clients of the gateway it has one.
    Sidecar {
        name: String,
        #[serde(default)]
        env: BTreeMap<String, String>,
        /// What has no variable, as `name=value`.
        #[serde(default)]
        set: Vec<String>,
    },
    /// Ends a sidecar as a crash would.
    Kill(String),
    /// Waits until a token is stored that has no name yet, and names it.
    Stored(String),
    /// Makes a token that is never stored, and names it.
    Mint(String),
    /// Makes the API refuse a token.
    Revoke(String),
    /// What goes wrong from now on at the solver, the shop and the API; `{}` for nothing.
    Faults(Faults),
    /// Waits until so many solves have started; there are not more.
    Solves(u64),
    /// Waits until the API was called so often, also by sidecars that verify a token.
    Called(u64),
    /// Ends Redis as a crash would, and starts it again.
    Redis(Restart),
    /// Breaks the connections to Redis of the client, or of the gateway, and lets none through until mended.
    Connections(Connections),
    /// Waits until so many connections of the client are subscribed to updates.
    Listeners(i64),
    /// Another client is answered that the token of this name is the current one.
    Repeat(String),
    /// Another client reports the token of this name.
    Report(String),
    /// Sends a call of the protocol, once or many times with consecutive ids.
    Call {
        #[serde(default = "once")]
        times: u64,
        #[serde(flatten)]
        line: Map<String, Value>,
    },
    /// Waits for the answers to such calls.
    Answer {
        id: u64,
        #[serde(default = "once")]
        times: u64,
        /// The result; of an object and a text at least this.
        #[serde(default)]
        ok: Option<Value>,
        /// Of the error at least this.
        #[serde(default)]
        error: Option<Value>,
        /// At most so many seconds after the call.
        #[serde(default)]
        within: Option<f64>,
        /// At least so many seconds after the call.
        #[serde(default)]
        after: Option<f64>,
    },
    /// Sends a request to the gateway, or many with consecutive ids.
    Request {
        id: u64,
        #[serde(default = "once")]
        times: u64,
        /// Below the site.
        path: String,
    },
    /// Waits for the answers to such requests.
    Response {
        id: u64,
        #[serde(default = "once")]
        times: u64,
        status: u16,
        /// At least these, each with this in its value; `null` for one that is not there.
        #[serde(default)]
        headers: BTreeMap<String, Option<String>>,
        /// Of the JSON at least this.
        #[serde(default)]
        body: Map<String, Value>,
    },
    /// Waits for an update that the client receives, with at least this in it.
    Update { id: u64, has: Value },
    /// How many reports there are: of the client, or, where it has none of its own, all that the sidecar has received.
    Reports(Count),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Restart {
    /// With its data.
    Full,
    /// Without.
    Empty,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Connections {
    Cut,
    Mend,
}

/// How many reports, and what each has as its fingerprint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    /// Waits until there are so many.
    #[serde(default)]
    pub(crate) at_least: Option<usize>,
    /// There are so many now.
    #[serde(default)]
    pub(crate) exactly: Option<usize>,
    /// `null` for none.
    #[serde(default)]
    pub(crate) fingerprint: Option<String>,
}

const fn once() -> u64 {
    1
}

impl Scenario {
    /// Those for such clients.
    pub(crate) fn all(through: Through) -> Vec<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/scenarios.json");
        let mut all: Vec<Self> = serde_json::from_str(&fs::read_to_string(file).unwrap())
            .unwrap_or_else(|error| panic!("scenarios.json: {error}"));
        all.retain(|scenario| scenario.through == through);
        all
    }
}
