//! A request of a program that knows nothing but an address, and what it prints.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::Client;
use crate::process::Running;

pub(crate) struct Exchange(Running);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    body: String,
}

impl Exchange {
    pub(crate) fn begin(client: &Client, address: &str) -> Self {
        let [program, arguments @ ..] = client.command else { panic!("{} has no command", client.name) };
        Self(Running::start(Command::new(program).args(arguments).arg(address)))
    }

    pub(crate) fn end(self) -> Answer {
        let printed = self.0.end().expect(0).stdout;
        let (head, body) = printed.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {printed}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        Answer {
            status: status.unwrap_or_else(|| panic!("no status: {printed}")),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        }
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON: {error}: {}", self.body))
    }
}
