//! The documentation says what is true: it is read as its readers would, and what it shows is run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "documentation/consoles.rs"]
mod consoles;
#[path = "documentation/contract.rs"]
mod contract;
#[path = "documentation/markdown.rs"]
mod markdown;
#[path = "documentation/names.rs"]
mod names;
#[expect(dead_code, reason = "it is compiled, and not run")]
#[path = "../examples/parser.rs"]
mod parser;
#[path = "documentation/reliability.rs"]
mod reliability;
mod support;

#[test]
fn the_parser_in_rust_is_the_one_that_compiles() {
    let shown = markdown::Document::read("README.md").blocks("rust");
    let (_head, compiled) = include_str!("../examples/parser.rs").split_once("\n\n").unwrap();
    assert_eq!(shown, [compiled]);
}
