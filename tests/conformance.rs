//! Every client against one list of scenarios, `clients/scenarios.json`: the real sidecar, a real Redis, the simulator.
//!
//! `cargo test --test conformance -- rust` chooses a client or a scenario. `TABLE=write` brings `clients/README.md` up
//! to date.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "conformance/adapter.rs"]
mod adapter;
#[path = "conformance/child.rs"]
mod child;
#[path = "conformance/exchange.rs"]
mod exchange;
mod process;
#[path = "conformance/reports.rs"]
mod reports;
#[path = "conformance/run.rs"]
mod run;
#[path = "conformance/scenario.rs"]
mod scenario;
mod support;
#[path = "conformance/table.rs"]
mod table;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use scenario::{Scenario, Through};

/// A client of Redis behind the protocol of `clients/README.md`, or one of the gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// As tests and table call it.
    pub(crate) name: &'static str,
    /// Where it gets the token, and so which scenarios are its own.
    pub(crate) through: Through,
    /// Through Redis, the program that speaks the protocol, with its arguments; paths begin at the project's folder.
    /// Through the gateway, what prints the head and the body of the answer from the address that follows.
    pub(crate) command: &'static [&'static str],
    /// What fetches the client's own needs; run once, and cheap where they are there.
    pub(crate) set_up: &'static [&'static str],
}

/// All clients: a further one is one more line.
pub(crate) const CLIENTS: [Client; 5] = [
    Client { name: "Rust", through: Through::Redis, command: &[adapter::ITSELF], set_up: &[] },
    Client {
        name: "Python",
        through: Through::Redis,
        command: &["clients/python/check", "adapter", "--mode", "sync"],
        set_up: PYTHON,
    },
    Client {
        name: "Python, asyncio",
        through: Through::Redis,
        command: &["clients/python/check", "adapter", "--mode", "async"],
        set_up: PYTHON,
    },
    Client {
        name: "Node",
        through: Through::Redis,
        command: &["clients/node/check", "adapter"],
        set_up: &["clients/node/check", "build"],
    },
    Client {
        name: "curl",
        through: Through::Gateway,
        command: &["curl", "--silent", "--show-error", "--include", "--noproxy", "*"],
        set_up: &[],
    },
];
const PYTHON: &[&str] = &["clients/python/check", "build"];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(adapter::ITSELF) {
        return adapter::main();
    }
    let test = |name: String, run: Box<dyn FnOnce() + Send>| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let mut trials = vec![test("the_table_of_clients_is_up_to_date".to_owned(), Box::new(table::is_up_to_date))];
    for client in CLIENTS {
        for scenario in Scenario::all(client.through) {
            let name = format!("{}::{}", client.name.to_lowercase().replace(", ", "_"), scenario.name);
            trials.push(test(name, Box::new(move || run::run(&client, &scenario))));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
