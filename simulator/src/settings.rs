//! What a simulator is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The browser that the recorded answers name.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";

/// The life of the shop's anonymous tokens as public samples show it (`exp − iat`).
const TOKEN_LIFE: Duration = Duration::from_secs(168_000);

/// Settings of a simulator, fixed for its life. What changes at run time is in [`Faults`](crate::Faults).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one. Default: `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// The life of a new token. Default: 168,000 s, as the shop's.
    pub token_life: Duration,
    /// The same seed gives the same tokens but for their times. Default: a new one each time.
    pub seed: Option<u64>,
    /// Which FlareSolverr to be. Default: 3.5.0.
    pub version: FlareSolverrVersion,
    /// The user agent of the solver's browser. Default: that of the recorded answers.
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

/// A FlareSolverr version that the simulator can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlareSolverrVersion {
    /// Reads the cookies before `waitInSeconds`: one that a script sets late is missing.
    V3_5_0,
    /// Reads them after it, unless `returnOnlyCookies` skips the wait.
    V3_5_2,
}

impl FlareSolverrVersion {
    /// The version as FlareSolverr prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V3_5_0 => "3.5.0",
            Self::V3_5_2 => "3.5.2",
        }
    }
}
