//! The commands: one file each.

pub mod args;
mod check_config;
mod completions;
mod config_init;
mod doctor;
mod healthcheck;
mod history;
mod inspect;
mod inspect_report;
mod local;
mod manual;
mod next;
mod notes;
mod notify;
mod patience;
mod refresh;
mod refused;
mod run;
mod screen;
mod status;
mod token;
mod trigger;
mod version;
mod watch;

use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};
use token_sidecar_client::ClientError;
use token_sidecar_client::redis::LinkError;
use tokio_util::sync::CancellationToken;

use self::args::{CheckConfig, Cli, Command};
use self::run::Start;
use crate::app::AppError;
use crate::config::{self, Config, Inputs, Loaded, SiteConfig};
use crate::log;
use crate::shutdown::{INTERRUPTED, Signals};

/// The exit code of a command; the numbers are those of `sysexits.h` where they fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// No fresh token, not healthy, or a check has failed.
    Unhealthy = 1,
    /// Wrong usage; clap uses the same number.
    Usage = 2,
    Config = 64,
    /// Redis or the address to listen on is not available, or no sidecar is subscribed.
    Unavailable = 69,
    /// What was to be printed could not be.
    NotWritten = 74,
    /// Failed for now: try again later.
    TryAgain = 75,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[derive(Debug)]
struct Stopped {
    exit: Exit,
    error: anyhow::Error,
}

impl Stopped {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    fn because(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, error: anyhow::anyhow!(message.into()) }
    }
}

impl From<AppError> for Stopped {
    fn from(error: AppError) -> Self {
        let exit = match error {
            AppError::Config(_) => Exit::Config,
            AppError::Redis(_) | AppError::Listen { .. } | AppError::Gateway { .. } => Exit::Unavailable,
        };
        Self::new(exit, error)
    }
}

impl From<ClientError> for Stopped {
    fn from(error: ClientError) -> Self {
        let exit = match error {
            ClientError::Config(_) => Exit::Config,
            ClientError::Redis(_) | ClientError::NoSidecar(_) => Exit::Unavailable,
            ClientError::Failed(_) | ClientError::TimedOut(_) => Exit::TryAgain,
        };
        Self::new(exit, error)
    }
}

impl From<LinkError> for Stopped {
    fn from(error: LinkError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::Unavailable, error)
    }
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let command = Cli::command().color(color(std::env::args_os()));
    let done = match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            screen::colour(cli.color);
            dispatch(&cli)
        }
        // The help, the version, or what is wrong.
        Err(error) if error.use_stderr() => error.exit(),
        Err(text) => screen::written(text.print()).map(|()| Exit::Done),
    };
    // Where the log cannot be written, neither can the reason.
    let is_read = log::flush();
    match done {
        Ok(exit) => exit.into(),
        Err(stopped) => {
            if is_read && stopped.exit != Exit::Done {
                for line in format!("{:#}", stopped.error).lines() {
                    screen::error_line(line);
                }
            }
            stopped.exit.into()
        }
    }
}

/// What `--color` says, for the help and for errors of usage, which end the process before the flags are parsed.
fn color(args: impl Iterator<Item = std::ffi::OsString>) -> ColorChoice {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).take_while(|arg| arg != "--").collect();
    let chosen = args.iter().enumerate().rev().find_map(|(n, arg)| match arg.strip_prefix("--color")? {
        "" => args.get(n + 1).map(String::as_str),
        rest => rest.strip_prefix('='),
    });
    chosen.and_then(|chosen| chosen.parse().ok()).unwrap_or_default()
}

fn dispatch(cli: &Cli) -> Result<Exit, Stopped> {
    let command = cli.command.clone().unwrap_or(Command::Run);
    match &command {
        Command::Completions { shell } => return completions::print(*shell),
        Command::Man(flags) => return manual::run(flags),
        Command::Config(args::Config::Init(flags)) => return config_init::run(flags),
        Command::Version(output) => return version::print(output),
        _ => {}
    }
    let mut flags = cli.settings.flags();
    if let Command::Inspect(inspect) = &command {
        flags.extend(inspect::source(inspect));
    }
    let inputs = Inputs::of_the_process(cli.settings.config.clone(), flags);
    let refused = |errors| Stopped::new(Exit::Config, errors);
    if let Command::CheckConfig(CheckConfig { output, render: None }) = &command {
        return check_config::print(&config::list(&inputs).map_err(refused)?, output);
    }
    let Loaded { config, in_files, warnings } = config::load(&inputs).map_err(refused)?;
    let logs = matches!(command, Command::Run | Command::Refresh);
    if logs {
        log::init(config.log_format, config.log_filter.clone(), cli.color)
            .map_err(|e| Stopped::new(Exit::Config, e))?;
    }
    for warning in warnings {
        if logs {
            tracing::warn!("{warning}");
        } else {
            screen::error_line(&warning);
        }
    }
    if let Command::CheckConfig(CheckConfig { render, .. }) = &command {
        return check_config::render(one_site(&config, render.as_deref())?);
    }
    if !matches!(command, Command::Run | Command::Refresh | Command::Inspect(_)) {
        let is_asked_to_end = matches!(&command, Command::Status(flags) if flags.watch);
        Signals::end_the_process(if is_asked_to_end { 0 } else { INTERRUPTED })?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let only = cli.settings.site.as_deref();
    let done = runtime.block_on(async {
        match &command {
            Command::Run => run::run(config, Start { inputs, in_files }).await,
            Command::Refresh => refresh::run(&config, one_site(&config, only)?).await,
            Command::Trigger(flags) => trigger::run(&config, one_site(&config, only)?, flags).await,
            Command::Token(flags) => token::run(&config, one_site(&config, only)?, flags).await,
            Command::Next(flags) => next::run(&config, one_site(&config, only)?, flags).await,
            Command::History(flags) => history::run(&config, one_site(&config, only)?, flags).await,
            Command::Status(flags) => status::run(&config, &some_sites(&config, only)?, flags).await,
            Command::Watch(output) => watch::run(&config, &some_sites(&config, only)?, output).await,
            Command::Doctor(output) => doctor::run(&config, &some_sites(&config, only)?, output).await,
            Command::Notify { .. } => notify::run(&config, some_sites(&config, only)?[0]).await,
            Command::Healthcheck(flags) => healthcheck::run(&config, flags).await,
            Command::Inspect(flags) => inspect::run(&config, one_site(&config, only)?, flags).await,
            Command::CheckConfig(_)
            | Command::Config(_)
            | Command::Version(_)
            | Command::Completions { .. }
            | Command::Man(_) => Ok(Exit::Done),
        }
    });
    // A file system or a name service that hangs must not delay the end.
    runtime.shutdown_background();
    done
}

/// The one site of a command: by name, or the only one that is configured.
fn one_site<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a SiteConfig, Stopped> {
    match (name, &config.sites[..]) {
        (None, [only]) => Ok(only),
        (None, sites) => Err(Stopped::because(Exit::Usage, format!("say which site with --site: {}", names(sites)))),
        (Some(name), sites) => sites.iter().find(|s| s.id.as_str() == name).ok_or_else(|| {
            Stopped::because(Exit::Usage, format!("there is no site `{name}`; configured: {}", names(sites)))
        }),
    }
}

/// The sites of a command: one by name, or all.
fn some_sites<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a SiteConfig>, Stopped> {
    match name {
        None => Ok(config.sites.iter().collect()),
        some => Ok(vec![one_site(config, some)?]),
    }
}

fn names(sites: &[SiteConfig]) -> String {
    sites.iter().map(|s| s.id.as_str()).collect::<Vec<_>>().join(", ")
}

/// Runs the work; the first signal cancels the token, the second ends the process.
async fn under_signals<T, E>(
    signals: Signals,
    work: impl AsyncFnOnce(CancellationToken) -> Result<T, E>,
) -> Result<T, E> {
    let shutdown = CancellationToken::new();
    tokio::select! {
        done = work(shutdown.clone()) => done,
        code = signals.obey(shutdown) => {
            log::flush();
            std::process::exit(code)
        }
    }
}
