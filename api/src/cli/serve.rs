//! `bookwire serve`: the engine against the real exchanges, or what the configuration names.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use bookwire_actors::gateway::Gateway;
use bookwire_engine::config::Config;
use clap::Args;

use super::notify::Notifier;
use super::{Failure, GlobalArgs, config, signal};
use crate::auth::Auth;
use crate::settings::Settings;
use crate::{engine, server};

/// The engine against the real exchanges, or what the configuration names.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Configuration file [default: defaults, environment and options alone]
    #[arg(long, env = "BOOKWIRE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File written by `bookwire sim --endpoints`: talks to those simulators instead
    #[arg(long, env = "BOOKWIRE_ENDPOINTS", value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
}

/// Runs the command.
pub fn run(global: &GlobalArgs, args: &ServeArgs) -> Result<(), Failure> {
    let mut config = config::load(global, args.config.as_deref())?;
    if let Some(path) = &args.endpoints {
        config::use_endpoints_file(&mut config, path)?;
    }
    config::start_logging(&config);
    let settings = Settings::load(config).map_err(Failure::Usage)?;
    let config = settings.effective();
    super::install_tls();
    config::tls(&config)?;
    // The port first: a second server on it must not touch what the first one writes.
    let listener = super::bind(config.server.listen)?;
    let auth = config::auth(&config)?;
    block_on(serve(&config, listener, auth, settings, global.quiet))
}

/// Runs a command's work on the main thread. Under an actix system each API worker has a runtime of
/// its own; without one all sockets would be driven by the main thread's.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    actix_web::rt::System::new().block_on(work)
}

async fn serve(
    config: &Config,
    listener: TcpListener,
    auth: Auth,
    settings: Settings,
    is_quiet: bool,
) -> Result<(), Failure> {
    let stop = signal::listen()?;
    let gateway = engine::start(config, auth.vault()).map_err(anyhow::Error::from)?;
    let mut server = server::start_changed(listener, config, gateway.clone(), auth, settings)?;
    tracing::info!(version = super::VERSION, address = %server.address(), "serving");
    if !is_quiet {
        let address = server.address();
        let (http, ws) = config::schemes(config);
        super::say(&format!(
            "REST       {http}://{address}/api/data/CryptoPair"
        ));
        super::say(&format!("WebSocket  {ws}://{address}/ws"));
    }
    let notifier = Notifier::from_environment();
    notifier.ready(server.address());
    let watched = actix_web::rt::spawn(watch(notifier.clone(), gateway.clone()));
    let _progress = tokio::spawn(super::progress::show(gateway.clone(), is_quiet));
    tokio::select! {
        () = signal::stopped(stop) => {}
        result = server.ended() => {
            let reason = match result {
                Ok(()) => "the server ended by itself".to_owned(),
                Err(error) => format!("the server ended: {error}"),
            };
            gateway.shutdown(Duration::from_secs(10)).await;
            return Err(anyhow!(reason).into());
        }
    }
    watched.abort();
    notifier.stopping();
    tracing::info!("stopping");
    finish(server.stop().await)
}

/// Tells the service manager that all is well for as long as it is: this runs on the main thread, and
/// asks all market data threads and all accounts.
async fn watch(notifier: Notifier, gateway: Gateway) {
    notifier.watch(async || gateway.is_answering().await).await;
}

/// What a stop that was asked for means for the exit code.
pub fn finish(is_clean: bool) -> Result<(), Failure> {
    if is_clean {
        Ok(())
    } else {
        Err(anyhow!("stopped, but not everything was written in time: see the log").into())
    }
}
