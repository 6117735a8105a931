//! `bookwire demo`: simulated exchanges, engine and interfaces in one process.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bookwire_actors::gateway::Gateway;
use bookwire_engine::config::{Config, LogFilter, LogLevel};
use bookwire_engine::instrument::Instrument;
use bookwire_engine::keys::KeySpec;
use bookwire_engine::vault::Secret;
use bookwire_sim::{Sim, SimConfig};
use clap::Args;

use super::screen::Screen;
use super::{Failure, GlobalArgs, config, serve, signal};
use crate::{engine, server};

/// What is always on, so that the first subscriber finds data flowing.
const SYMBOLS: [(&str, &[&str]); 5] = [
    (
        "binance",
        &[
            "btcusdt",
            "ethusdt",
            "solusdt",
            "btcusdt-perp",
            "ethusdt-perp",
        ],
    ),
    ("okx", &["btcusdt", "btcusdt-perp"]),
    ("bybit", &["btcusdt", "btcusdt-perp"]),
    ("coinbase", &["btcusd"]),
    // One of the simulated exchanges once more, as ccxt sees it. Without Python it stays away.
    ("ccxt", &["cryptopair_okx_btcusdt"]),
];

/// Id of the key that the demo prints.
const KEY_ID: &str = "demo";

/// Pause between two looks at the figures.
const REFRESH: Duration = Duration::from_secs(1);

/// Simulated exchanges, engine and interfaces in one process: no network, no keys needed.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Everything random of the simulated market follows from it
    #[arg(long, env = "BOOKWIRE_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Configuration file
    #[arg(long, env = "BOOKWIRE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ends after so many seconds [default: at Ctrl-C]
    #[arg(long, env = "BOOKWIRE_SECONDS", value_name = "SECONDS")]
    pub seconds: Option<u64>,
}

/// Runs the command.
pub fn run(global: &GlobalArgs, args: &DemoArgs) -> Result<(), Failure> {
    let mut config = config::load(global, args.config.as_deref())?;
    let is_screen = !global.quiet && std::io::stdout().is_terminal();
    if is_screen && std::io::stderr().is_terminal() {
        // Log lines in the middle of the figures help nobody; BOOKWIRE_LOG still asks for them.
        super::log::start(super::LogFormat::Text, &LogFilter::new(LogLevel::Error));
    } else {
        config::start_logging(&config);
    }
    super::install_tls();
    config::tls(&config)?;
    // Kept until the end: the directory goes with it.
    let scratch = scratch_dir(&mut config)?;
    let listener = bind(&config)?;
    let result = serve::block_on(demo(&mut config, listener, global, args, is_screen));
    drop(scratch);
    result
}

/// Without a data directory of the user's own nothing is left behind.
fn scratch_dir(config: &mut Config) -> Result<Option<tempfile::TempDir>, Failure> {
    if config.server.data_dir != Config::default().server.data_dir {
        return Ok(None);
    }
    let dir = tempfile::Builder::new()
        .prefix("bookwire-demo-")
        .tempdir()
        .context("can't create a data directory")?;
    config.server.data_dir = dir.path().to_owned();
    Ok(Some(dir))
}

/// A default address that is taken is no reason to fail; one that was asked for is.
fn bind(config: &Config) -> Result<TcpListener, Failure> {
    let wanted = config.server.listen;
    match TcpListener::bind(wanted) {
        Ok(listener) => Ok(listener),
        Err(error)
            if error.kind() == std::io::ErrorKind::AddrInUse
                && wanted == Config::default().server.listen =>
        {
            let free = SocketAddr::new(wanted.ip(), 0);
            let listener = TcpListener::bind(free)?;
            let address = listener.local_addr()?;
            super::say(&format!(
                "{wanted} is in use by another program; using {address} instead"
            ));
            Ok(listener)
        }
        Err(error) => Err(super::bind_failure(wanted, &error)),
    }
}

async fn demo(
    config: &mut Config,
    listener: TcpListener,
    global: &GlobalArgs,
    args: &DemoArgs,
    is_screen: bool,
) -> Result<(), Failure> {
    let stop = signal::listen()?;
    let sim = Sim::start(SimConfig {
        seed: args.seed,
        ..SimConfig::default()
    })
    .await
    .map_err(|error| anyhow!(error))?;
    config::use_endpoints(config, "the simulators", &sim.endpoints())?;
    for (name, symbols) in SYMBOLS {
        if let Some(provider) = config.providers.get_mut(name)
            && provider.symbols.is_empty()
        {
            provider.symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
        }
    }
    let auth = config::auth(config)?;
    let gateway = engine::start(config, auth.vault()).map_err(anyhow::Error::from)?;
    instruments_loaded(&gateway).await;
    // Made for this run and gone with it.
    let secret = auth.add(KEY_ID, KeySpec::unlimited())?;
    let mut server = server::start_for(listener, config, gateway.clone(), auth)?;
    if !global.quiet {
        let (address, data_dir) = (server.address(), &config.server.data_dir);
        let schemes = config::schemes(config);
        super::say(&greeting(schemes, address, data_dir, &secret));
    }
    if !is_screen {
        // The screen shows it itself.
        let _progress = tokio::spawn(super::progress::show(gateway.clone(), true));
    }
    let mut screen = Screen::new(gateway.clone(), &config.providers, is_screen);
    let mut tick = tokio::time::interval(REFRESH);
    tick.tick().await;
    let end = async {
        match args.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    let stopped = signal::stopped(stop);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            () = &mut end => break,
            result = server.ended() => {
                gateway.shutdown(Duration::from_secs(5)).await;
                result?;
                return Err(anyhow!("the server ended by itself").into());
            }
            _ = tick.tick(), if !global.quiet => screen.show(server.connections()).await,
        }
    }
    if !global.quiet {
        super::say("stopping");
    }
    let is_clean = server.stop().await;
    sim.shutdown().await;
    serve::finish(is_clean)
}

/// The lines to try name symbols, so those have to be known before they are printed.
async fn instruments_loaded(gateway: &Gateway) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let is_loaded = || {
        let table = gateway.instruments();
        let mut providers = gateway.options().providers.iter();
        // Behind a bridge they take seconds, or are not to be had.
        let mut own = providers
            .by_ref()
            .filter(|p| p.exchange().bridge().is_none());
        own.all(|provider| {
            provider.markets.iter().all(|market| {
                let of = |row: &Arc<Instrument>| {
                    row.spec.provider == provider.id && row.spec.market == *market
                };
                table.iter().any(of)
            })
        })
    };
    while !is_loaded() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Where everything is, and lines that work as they stand.
fn greeting(
    (http, ws): (&str, &str),
    address: SocketAddr,
    data_dir: &Path,
    secret: &Secret,
) -> String {
    let program = program();
    let watch = format!("{program} watch trades btcusdt btcusdt-perp");
    let watch = if address == Config::default().server.listen && ws == "ws" {
        watch
    } else {
        format!("{watch} --url {ws}://{address}/ws")
    };
    let key = format!("{KEY_ID}.{}", secret.expose_text());
    format!(
        "\
bookwire demo: a simulated market on loopback, no network, no keys of exchanges
  REST       {http}://{address}/api/data/CryptoPair
  WebSocket  {ws}://{address}/ws
  health     {http}://{address}/api/crypto/health
  docs       {http}://{address}/docs
  data       {}
  key        {key}
             may do everything (data_access, spot_trading, futures_trading, admin) until this demo ends
Try:
  curl '{http}://{address}/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&depth=5'
  curl '{http}://{address}/api/data/CryptoPair1mKdata?provider=binance&codes=btcusdt&limit=5&format=csv'
  {watch}
  curl -X POST -H \"Authorization: Bearer {key}\" '{http}://{address}/api/crypto/providers/binance/resync?symbol=btcusdt'
  curl -H \"Authorization: Bearer {key}\" '{http}://{address}/api/crypto/auth/validate?provider=binance'
  curl -X POST -H \"Authorization: Bearer {key}\" {http}://{address}/api/trading/orders -d '{{\"provider\":\"binance\",\"entity_id\":\"cryptopair_binance_btcusdt\",\"side\":\"buy\",\"type\":\"market\",\"quantity\":\"0.01\"}}'
  curl -H \"Authorization: Bearer {key}\" '{http}://{address}/api/trading/balances?provider=binance'
Ctrl-C stops it.
",
        data_dir.display()
    )
}

/// How the user can call this program again, from where it was called.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else {
        return "bookwire".to_owned();
    };
    let here = std::env::current_dir().unwrap_or_default();
    let shown = match path.strip_prefix(&here) {
        Ok(relative) => format!("./{}", relative.display()),
        Err(_) => path.display().to_string(),
    };
    if shown.contains(' ') {
        format!("'{shown}'")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_has_lines_that_can_be_copied() {
        let path = Path::new("/tmp/x");
        let text = greeting(
            ("http", "ws"),
            "127.0.0.1:4567".parse().unwrap(),
            path,
            &Secret::new("abc"),
        );
        assert!(text.contains("-H \"Authorization: Bearer demo.abc\""));
        assert!(text.contains("--url ws://127.0.0.1:4567/ws"));
        assert!(text.contains("curl 'http://127.0.0.1:4567/api/data/CryptoOrderbook?"));
        let text = greeting(
            ("http", "ws"),
            "127.0.0.1:8080".parse().unwrap(),
            path,
            &Secret::new("abc"),
        );
        assert!(!text.contains("--url"), "the default needs no address");
    }

    #[test]
    fn only_a_default_address_gives_way() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.server.listen = taken.local_addr().unwrap();
        let error = bind(&config).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
    }
}
