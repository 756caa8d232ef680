//! The simulator's program.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::{Parser, Subcommand};
use simulator::{Faults, FlareSolverrVersion, Settings, Simulator};
use tokio::signal::unix::{SignalKind, signal};

/// Simulates FlareSolverr, the shop's page and its API on one port, to write and test parsers against.
///
/// The first line on standard output is its URL. It makes no requests itself.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Address to listen on; port 0 chooses a free one.
    #[arg(long, env = "SIMULATOR_LISTEN", default_value = "127.0.0.1:8191", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,

    /// How long a new token is valid, like 168000s, 46h or 90s.
    #[arg(long, default_value = "168000s", value_name = "TIME", value_parser = time)]
    token_life: Duration,

    /// Makes the same tokens at every start, but for their times.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// FlareSolverr version to simulate.
    #[arg(long, value_enum, default_value = "3.5.0", value_name = "VERSION")]
    flaresolverr: FlareSolverrVersion,

    /// Faults from the start, in the form of PUT /control/faults.
    #[arg(long, value_name = "JSON", value_parser = faults)]
    faults: Option<Faults>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the simulator on this machine whether it answers; for containers without curl
    Healthcheck,
}

const EXAMPLES: &str = "\
Examples:
  token-sidecar-simulator
  token-sidecar-simulator --listen 127.0.0.1:0 --token-life 90s --seed 1
  token-sidecar-simulator --faults '{\"page\": \"challenge\", \"solve_delay\": 2000}'

Point parsers and the sidecar at it:
  FLARESOLVERR_URL=http://127.0.0.1:8191/v1
  CHITAI_GOROD_SITE_URL=http://127.0.0.1:8191/shop
  CHITAI_GOROD_API_URL=http://127.0.0.1:8191/web/api/v2

Inject faults while it runs:
  curl -X PUT 127.0.0.1:8191/control/faults -d '{\"solve_error\": \"timeout\", \"remaining\": 2}'
  curl -X POST 127.0.0.1:8191/control/revoke
  curl -X DELETE 127.0.0.1:8191/control/faults
  curl 127.0.0.1:8191/control/statistics";

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Healthcheck) = arguments.command {
        return healthcheck(arguments.listen);
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let ansi = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(io::stderr).init();

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let simulator = Simulator::start(Settings {
        listen: arguments.listen,
        token_life: arguments.token_life,
        seed: arguments.seed,
        version: arguments.flaresolverr,
        ..Settings::default()
    })?;
    if let Some(faults) = arguments.faults {
        simulator.faults(faults);
    }
    writeln!(io::stdout(), "{}", simulator.url(""))?;
    tokio::select! {
        () = simulator.run() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Asks for `/health`, within four seconds a step.
fn healthcheck(mut address: SocketAddr) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(4);
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
    let mut status = [0; "HTTP/1.0 200".len()];
    connection.read_exact(&mut status)?;
    if status.ends_with(b" 200") { Ok(()) } else { Err(io::Error::other("the simulator is not healthy")) }
}

fn time(text: &str) -> Result<Duration, String> {
    let time: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(time).map_err(|_| "a negative time".to_owned())
}

fn faults(json: &str) -> Result<Faults, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}
