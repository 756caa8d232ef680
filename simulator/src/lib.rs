//! A rehearsal world for token-sidecar and for whoever writes a parser that relies on it.
//!
//! One port plays three parts: a FlareSolverr (`/v1`, `/health`, `/`), the shop's page that hands out the token
//! (`/shop`, `/shop/late`, `/shop/challenge`, `/shop/plain`, `/shop/denied`) and the API that asks for it
//! (`/web/api/…`). A fourth, `/control/…`, breaks the others on demand. No request ever leaves the process: a
//! solve visits the page in memory.
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
mod clock;
mod control;
mod cookie;
mod faults;
mod server;
mod settings;
mod shop;
mod simulator;
mod solver;
mod statistics;
mod token;
mod world;

pub use faults::{CookieKind, Faults, Garbage, PageMode, RecordedError, SolveError};
pub use settings::{FlareSolverrVersion, Settings};
pub use simulator::Simulator;
pub use statistics::{ApiCalls, Solves, Statistics};
pub use token::{Minted, fingerprint};
