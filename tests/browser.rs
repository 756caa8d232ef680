//! The source `browser` with a real Chromium: the pages are the simulator's.

#[path = "browser/connect.rs"]
mod connect;
#[path = "browser/ending.rs"]
mod ending;
#[path = "browser/failures.rs"]
mod failures;
#[path = "browser/inside.rs"]
mod inside;
#[path = "browser/inspect.rs"]
mod inspect;
#[path = "browser/machine.rs"]
mod machine;
#[path = "browser/many.rs"]
mod many;
#[path = "browser/places.rs"]
mod places;
mod process;
#[path = "browser/proxy.rs"]
mod proxy;
#[path = "browser/sandbox.rs"]
mod sandbox;
#[path = "browser/shop.rs"]
mod shop;
#[path = "browser/sources.rs"]
mod sources;
mod support;
