//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ColorChoice, Parser, Subcommand};
use jiff::Timestamp;

use super::notes;
use crate::config::Flag;
use crate::domain::duration;

/// Keeps a shop's API token fresh in Redis: one refresh at a time, however many ask.
#[derive(Debug, Parser)]
#[command(
    name = "token-sidecar",
    version,
    about,
    after_help = notes::PROGRAM,
    after_long_help = notes::PROGRAM,
    arg_required_else_help = false,
    max_term_width = 110
)]
pub struct Cli {
    /// The command; `run` by default.
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub settings: Settings,

    /// When to colour the output; by itself at a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// Settings that are given as flags; they beat the environment. Its `Debug` hides them.
#[derive(Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Settings {
    /// A TOML file with settings [env: SIDECAR_CONFIG]
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How Redis is reached: redis://, rediss:// or unix:// [env: REDIS_URL] [default: redis://127.0.0.1:6379/0]
    #[arg(long, global = true, value_name = "URL")]
    pub redis_url: Option<String>,

    /// The site, where more than one is configured
    #[arg(long, global = true, value_name = "SITE")]
    pub site: Option<String>,

    /// Where to listen for health checks, metrics and the status page, or `off` [env: SIDECAR_LISTEN]
    /// [default: 127.0.0.1:9188]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub listen: Option<String>,

    /// `text` for people, `json` for machines [env: SIDECAR_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Any setting by its path in the TOML file, for instance `sites.chitai_gorod.debounce=5s`
    #[arg(long = "set", global = true, value_name = "PATH=VALUE", value_parser = assignment)]
    pub assignments: Vec<(String, String)>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// What was refused may be a token.
impl std::fmt::Debug for Trigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trigger").finish_non_exhaustive()
    }
}

/// An address may have a secret in it.
impl std::fmt::Debug for Inspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspect").finish_non_exhaustive()
    }
}

/// Its argument may be a token.
impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

impl Settings {
    /// The flags as settings.
    pub fn flags(&self) -> Vec<Flag> {
        let named = [
            ("--redis-url", "redis.url", &self.redis_url),
            ("--listen", "server.listen", &self.listen),
            ("--log-format", "log.format", &self.log_format),
        ];
        let named = named.into_iter().filter_map(|(name, path, value)| {
            Some(Flag { name: name.to_owned(), path: path.to_owned(), value: value.clone()? })
        });
        let assigned = self.assignments.iter().map(|(path, value)| Flag {
            name: format!("--set {path}"),
            path: path.clone(),
            value: value.clone(),
        });
        named.chain(assigned).collect()
    }
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the sidecar until SIGTERM or SIGINT (the default)
    #[command(after_help = notes::RUN)]
    Run,

    /// Fetch a new token here and now, as if forced
    #[command(after_help = notes::REFRESH)]
    Refresh,

    /// Publish the message that the token does not work
    #[command(after_help = notes::TRIGGER)]
    Trigger(Trigger),

    /// Print the current token, and nothing else, on stdout
    #[command(after_help = notes::TOKEN)]
    Token(Token),

    /// Report a token that the API has refused, and print the one that takes its place
    #[command(after_help = notes::NEXT)]
    Next(Next),

    /// Show the state: age, time left, next tick, last attempts
    #[command(after_help = notes::STATUS)]
    Status(Status),

    /// Show the last attempts, the newest first: when, why, for whom, and how they ended
    #[command(after_help = notes::HISTORY)]
    History(History),

    /// Print events as they come, until interrupted: as JSON lines where stdout is no terminal
    #[command(after_help = notes::WATCH)]
    Watch(Output),

    /// Check settings, Redis, every source, the API and the clock, and say what to do about each failure
    #[command(after_help = notes::DOCTOR)]
    Doctor(Output),

    /// Show the effective settings with each one's origin, secrets redacted
    #[command(after_help = notes::CHECK_CONFIG)]
    CheckConfig(CheckConfig),

    /// A file of settings to begin with
    #[command(subcommand, disable_help_subcommand = true, after_help = notes::CONFIG)]
    Config(Config),

    /// Open a page, show what it has that may be a token, and write the settings of its site
    #[command(after_help = notes::INSPECT)]
    Inspect(Inspect),

    /// Send a notice to each address of `[[notices]]`, to see that it arrives
    #[command(after_help = notes::NOTIFY)]
    Notify {
        /// Send one that says that it is a test
        #[arg(long, required = true)]
        test: bool,
    },

    /// Ask the running sidecar whether it is healthy: for containers without curl
    #[command(after_help = notes::HEALTHCHECK)]
    Healthcheck(Healthcheck),

    /// Print the version; as JSON with commit, profile and target of the build
    #[command(after_help = notes::VERSION)]
    Version(Output),

    /// Print a completion script for a shell
    #[command(after_help = notes::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Print the manual page of a command, or of the program
    #[command(after_help = notes::MAN)]
    Man(Man),
}

#[derive(Debug, Clone, Subcommand)]
pub enum Config {
    /// Print every setting at its default, commented out, with what it means
    #[command(after_help = notes::INIT)]
    Init(Init),
}

#[derive(Debug, Clone, Args)]
pub struct Init {
    /// As a .env in place of TOML: the settings that have a variable
    #[arg(long)]
    pub env: bool,

    /// Write this file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct Man {
    /// The command, in one word or two: `config init`
    #[arg(value_name = "COMMAND")]
    pub command: Vec<String>,

    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub write: Option<PathBuf>,
}

#[derive(Clone, Args)]
pub struct Inspect {
    /// The page
    #[arg(value_name = "URL")]
    pub page: String,

    /// What opens it: flaresolverr, browser or http (one plain request); by default the site's first source
    #[arg(long, value_name = "NAME", value_parser = ["flaresolverr", "browser", "http"], hide_possible_values = true)]
    pub source: Option<String>,

    /// Try the likeliest tokens with a GET to this address, which answers 401 to a wrong one
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,

    /// Write the site's table to this file, which must not exist yet
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,

    /// The site's name there; by default made from the host of the page
    #[arg(long, value_name = "SITE", requires = "write")]
    pub name: Option<String>,

    #[command(flatten)]
    pub output: Output,
}

#[derive(Clone, Args)]
pub struct Trigger {
    /// Wait for the outcome; 60 s if no time is given
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "60s", value_parser = span)]
    pub wait: Option<Duration>,

    /// Solve even inside the debounce window and while backing off
    #[arg(long)]
    pub force: bool,

    /// Why, for the logs and the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// The token that was refused, or its fingerprint; `-` reads it from standard input
    #[arg(long, value_name = "TOKEN|FINGERPRINT")]
    pub refused: Option<String>,
}

#[derive(Clone, Args)]
pub struct Next {
    /// The refused token or its fingerprint; `-`, or none, reads it from standard input
    #[arg(value_name = "REFUSED")]
    pub refused: Option<String>,

    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
    pub wait: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct History {
    /// How many at most, up to 1000; 20 by default, with --since all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: Option<u16>,

    /// Only those since then: a time such as 24h, or an instant such as 2026-11-28T07:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,

    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum Since {
    Ago(Duration),
    At(Timestamp),
}

#[derive(Debug, Clone, Args)]
pub struct Healthcheck {
    /// Whether it answers at all, whatever the state of Redis: for liveness probes
    #[arg(long)]
    pub live: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Token {
    /// Wait until there is one; 60 s if no time is given
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "60s", value_parser = span)]
    pub wait: Option<Duration>,

    #[command(flatten)]
    pub form: Form,
}

/// How the token is printed; bare without any.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub struct Form {
    /// As a header: `Authorization: Bearer …`
    #[arg(long)]
    pub header: bool,

    /// The cookies that belong to it, as in a header `Cookie`: `a=1; b=2`
    #[arg(long)]
    pub cookie: bool,

    /// Header, cookies and user agent as a file of settings for `curl -K -`
    #[arg(long)]
    pub curl: bool,

    /// All that belongs to it as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Status {
    #[command(flatten)]
    pub output: Output,

    /// Show it until interrupted: in place at a terminal, elsewhere anew at each change
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CheckConfig {
    #[command(flatten)]
    pub output: Output,

    /// Show what the files of this site would hold in place of the settings; tokens and cookies are `hidden`
    #[arg(long, value_name = "SITE", conflicts_with = "json")]
    pub render: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Output {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|e| e.to_string())
}

fn since(text: &str) -> Result<Since, String> {
    match (duration::parse(text), text.parse()) {
        (Ok(span), _) => Ok(Since::Ago(span)),
        (_, Ok(at)) => Ok(Since::At(at)),
        _ => Err("expected a time such as 24h, or an instant such as 2026-11-28T07:00:00Z".to_owned()),
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("expected PATH=VALUE")?;
    Ok((path.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn debug_shows_no_setting() {
        let words = ["token-sidecar", "--redis-url", "redis://:hunter2@redis", "--set", "redis.password=hunter2"];
        let shown = format!("{:?}", Cli::try_parse_from(words));
        assert!(shown.starts_with("Ok(") && !shown.contains("hunter2"), "{shown}");
    }
}
