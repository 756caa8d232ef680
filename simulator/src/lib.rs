//! A simulator of all servers that token-sidecar and its parsers call, except Redis.
//!
//! One port serves a FlareSolverr (`/v1`, `/health`, `/`), the shop's page that sets the token (`/shop`, `/shop/late`,
//! `/shop/challenge`, `/shop/plain`, `/shop/denied`, and for real browsers alone those that README.md lists) and the API
//! that requires the token (`/web/api/…`). Requests to `/control/…` make the others fail. No request leaves the process: a
//! solve opens the page in memory.
//!
//! ```
//! # use simulator::{Faults, Settings, Simulator};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let simulator = Simulator::start(Settings::default())?;
//! simulator.faults(Faults { solve_reset: true, remaining: Some(1), ..Faults::default() });
//! println!("FLARESOLVERR_URL={}", simulator.flaresolverr_url());
//! # Ok(())
//! # }
//! ```

mod api;
mod browser_pages;
mod clock;
mod connection;
mod control;
mod cookie;
mod faults;
mod http;
mod proxy;
mod server;
mod sessions;
mod settings;
mod shared_state;
mod shop;
mod simulator;
mod solver;
mod statistics;
mod token;

pub use faults::{CookieKind, Faults, Garbage, PageMode, RecordedError, SolveError};
pub use settings::{FlareSolverrVersion, Settings};
pub use simulator::Simulator;
pub use statistics::{ApiCalls, Solves, Statistics};
pub use token::{Minted, fingerprint};
