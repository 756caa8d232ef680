//! The documentation is true: links, names and settings are checked, and the commands that it shows are run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "documentation/compose.rs"]
mod compose;
#[path = "documentation/consoles.rs"]
mod consoles;
#[path = "documentation/contract.rs"]
mod contract;
#[path = "documentation/markdown.rs"]
mod markdown;
#[path = "documentation/monitoring.rs"]
mod monitoring;
#[path = "documentation/names.rs"]
mod names;
#[path = "documentation/newcomer.rs"]
mod newcomer;
#[path = "documentation/packages.rs"]
mod packages;
#[path = "documentation/reliability.rs"]
mod reliability;
#[path = "documentation/settings.rs"]
mod settings;
mod support;
#[path = "documentation/translations.rs"]
mod translations;
