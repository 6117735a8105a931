//! The command line: a file per command. Exit codes: 0 done, 1 failed, 2 used wrongly.

mod audit;
mod config;
mod credentials;
mod demo;
mod export;
mod input;
mod keys;
mod log;
mod notify;
mod progress;
mod record;
mod replay;
mod screen;
mod secrets;
mod serve;
mod signal;
mod sim;
mod watch;

use std::ffi::OsString;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use bookwire_engine::vault::VaultError;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// The version, and the commit it was built from where the build could know.
pub const VERSION: &str = env!("BOOKWIRE_VERSION");

/// Crypto market data of several exchanges over one REST and WebSocket interface.
#[derive(Debug, Parser)]
#[command(name = "bookwire", version = VERSION, about, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct GlobalArgs {
    /// Address to serve on [default: 127.0.0.1:8080]
    #[arg(long, global = true, env = "BOOKWIRE_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Directory of the embedded store and of everything else that is kept [default: data]
    #[arg(long, global = true, env = "BOOKWIRE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Form of the log lines on standard error [default: text]
    #[arg(
        long,
        global = true,
        env = "BOOKWIRE_LOG_FORMAT",
        value_name = "FORMAT"
    )]
    pub log_format: Option<LogFormat>,
    /// Only warnings and errors
    #[arg(long, global = true, env = "BOOKWIRE_QUIET", value_parser = FalseyValueParser::new())]
    pub quiet: bool,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Simulated exchanges, engine and interfaces in one process: no network, no keys needed
    Demo(demo::DemoArgs),
    /// The engine against the real exchanges, or what the configuration names
    Serve(serve::ServeArgs),
    /// Only the exchange simulators, with their native REST and WebSocket protocols
    Sim(sim::SimArgs),
    /// Recorded raw messages through decoder, book and bars at full speed, and a report
    Replay(replay::ReplayArgs),
    /// Writes raw messages of live connections to files that `replay` and `sim` read
    Record(record::RecordArgs),
    /// Subscribes to one stream of a running bookwire and prints its messages
    Watch(watch::WatchArgs),
    /// Stored rows to a Parquet or CSV file
    Export(export::ExportArgs),
    /// Looks at configuration files
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Looks at the log of who commanded what
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Keys of this API: who may ask and trade
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Exchanges' keys that orders are sent with, sealed on disk
    #[command(subcommand)]
    Credentials(credentials::CredentialsCommand),
}

/// Why a command did not end well.
#[derive(Debug)]
pub enum Failure {
    /// Used wrongly: exit code 2.
    Usage(String),
    /// Anything else: exit code 1.
    Failed(anyhow::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Invalid { .. }
            | VaultError::Exists { .. }
            | VaultError::Missing { .. }
            | VaultError::MasterKey { .. } => Self::Usage(error.to_string()),
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the command of `args`, program name first, and says how the process shall exit.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too, with exit code 0. A closed pipe is no failure.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Neither is a reason not to run.
    if let Err(error) = crate::process::leave_no_core() {
        eprintln!("bookwire: a crash may leave an image of the memory, with keys in it: {error}");
    }
    if let Err(error) = crate::process::use_small_pages() {
        eprintln!(
            "bookwire: memory may come in huge pages, and more of it than is needed: {error}"
        );
    }
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bookwire: {failure}");
            match failure {
                Failure::Usage(_) => ExitCode::from(2),
                Failure::Failed(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn execute(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Demo(args) => demo::run(&global, &args),
        Command::Sim(args) => sim::run(&global, &args),
        Command::Config(command) => config::run(&global, &command),
        Command::Replay(args) => replay::run(&args),
        Command::Serve(args) => serve::run(&global, &args),
        Command::Record(args) => record::run(&global, &args),
        Command::Watch(args) => watch::run(&args),
        Command::Export(args) => export::run(&global, &args),
        Command::Audit(command) => audit::run(&global, &command),
        Command::Keys(command) => keys::run(&global, &command),
        Command::Credentials(command) => credentials::run(&global, &command),
    }
}

/// Prints a line. Nobody may be reading any more (`bookwire demo | head`), which is no reason to
/// stop.
fn say(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Binds the address of the interfaces.
fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| bind_failure(address, &error))
}

fn bind_failure(address: SocketAddr, error: &std::io::Error) -> Failure {
    let what = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "is in use by another program: stop it, or choose another address with --listen"
        }
        std::io::ErrorKind::PermissionDenied => "is not allowed for this user",
        std::io::ErrorKind::AddrNotAvailable => "is no address of this machine",
        _ => return anyhow::anyhow!("can't listen on {address}: {error}").into(),
    };
    anyhow::anyhow!("{address} {what}").into()
}

/// TLS of connections to exchanges: one implementation for the whole process.
fn install_tls() {
    // An error only says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_consistent_and_every_option_has_a_variable() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut all: Vec<&clap::Command> = command.get_subcommands().collect();
        all.extend(
            command
                .get_subcommands()
                .flat_map(clap::Command::get_subcommands),
        );
        for sub in all {
            let options = sub
                .get_arguments()
                .filter(|arg| !arg.is_positional())
                .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()));
            for arg in options {
                let env = arg
                    .get_env()
                    .map(|name| name.to_string_lossy().into_owned());
                assert!(
                    env.as_deref()
                        .is_some_and(|name| name.starts_with("BOOKWIRE_")),
                    "{} --{} has {env:?}",
                    sub.get_name(),
                    arg.get_id(),
                );
            }
        }
    }
}
