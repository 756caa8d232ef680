//! Pages that are opened by the source alone, without a process of the sidecar.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use simulator::{Settings, Simulator};
use token_sidecar::config::{BrowserConfig, BrowserLaunch, BrowserPlace, BrowserProgram};
use token_sidecar::domain::extract::Solution;
use token_sidecar::domain::product::Wanted;
use token_sidecar::refresh::ports::SourceError;
use token_sidecar::sources::{BrowserSource, Browsers};

/// The simulator, and browsers that are kept for the next page.
pub(crate) struct Shop {
    pub(crate) simulator: Simulator,
    browsers: Browsers,
    args: Vec<String>,
}

impl Shop {
    /// With further arguments of the browser.
    pub(crate) fn start(args: &[String]) -> Self {
        let simulator = Simulator::start(Settings::default()).unwrap();
        Self { simulator, browsers: Browsers::default(), args: args.to_vec() }
    }

    /// The token is to be a cookie of the page.
    pub(crate) fn config(&self, page: &str) -> BrowserConfig {
        let launch = BrowserLaunch { path: None, sandbox: false, args: self.args.clone() };
        let url = if page.starts_with('/') { self.simulator.url(page) } else { page.to_owned() };
        BrowserConfig {
            program: BrowserProgram::Launch(launch),
            page: url.parse().unwrap(),
            api: Some(self.simulator.api_url().parse().unwrap()),
            wanted: Wanted::OneOf(vec!["access-token".to_owned()]),
            token: BrowserPlace::Cookie,
            wait: Duration::from_secs(10),
            max_timeout: Duration::from_secs(30),
            proxy: None,
            concurrency: 1,
            keep: Duration::from_secs(60),
        }
    }

    pub(crate) async fn open(&self, config: &BrowserConfig) -> Result<Solution, SourceError> {
        Ok(BrowserSource::new(config, &self.browsers).solve().await?.solution)
    }

    /// Why there is no token.
    pub(crate) async fn fail(&self, config: &BrowserConfig) -> SourceError {
        match self.open(config).await {
            Ok(solution) => panic!("{}: a token was found: {solution:?}", config.page),
            Err(error) => error,
        }
    }

    /// Closes the browsers.
    pub(crate) async fn end(self) {
        self.browsers.close().await;
    }
}

/// A cookie's value.
pub(crate) fn cookie<'a>(solution: &'a Solution, name: &str) -> &'a str {
    let found = solution.cookies.iter().find(|cookie| cookie.name == name);
    &found.unwrap_or_else(|| panic!("no cookie {name}: {solution:?}")).value
}
