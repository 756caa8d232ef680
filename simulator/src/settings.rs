//! Settings of a simulator.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The user agent of the recorded answers.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";

/// The life of the shop's anonymous tokens, by public samples (`exp − iat`).
const TOKEN_LIFE: Duration = Duration::from_secs(168_000);

/// They do not change while it runs; [`Faults`](crate::Faults) do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address to listen on; port 0 chooses a free one. Default: `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// How long a new token is valid. Default: 168,000 s, as in the shop.
    pub token_life: Duration,
    /// The same seed makes the same tokens, but for their times. Default: a random one.
    pub seed: Option<u64>,
    /// The FlareSolverr version to simulate. Default: 3.5.0.
    pub version: FlareSolverrVersion,
    /// The user agent of FlareSolverr's browser. Default: that of the recorded answers.
    pub user_agent: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token_life: TOKEN_LIFE,
            seed: None,
            version: FlareSolverrVersion::V3_5_0,
            user_agent: USER_AGENT.to_owned(),
        }
    }
}

/// A FlareSolverr version that can be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FlareSolverrVersion {
    /// Reads the cookies before `waitInSeconds`, so a cookie that a script sets late is missing.
    #[value(name = "3.5.0")]
    V3_5_0,
    /// Reads the cookies after `waitInSeconds`, unless `returnOnlyCookies` skips the wait.
    #[value(name = "3.5.2")]
    V3_5_2,
}

impl FlareSolverrVersion {
    /// As FlareSolverr prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V3_5_0 => "3.5.0",
            Self::V3_5_2 => "3.5.2",
        }
    }
}
