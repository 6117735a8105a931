//! `bookwire record`: raw messages of live connections, and the REST answers that a book needs, as
//! files that `replay` and `sim` read.
//!
//! A line is `{"recv_ts":<ns>,"raw":<message>}` with the message's own bytes, or for a REST answer
//! `{"recv_ts","method","url","raw":"<body>"}`, in the place where it arrived. Each connection
//! writes its own file, because the order of messages is only defined within one.

mod file;
mod link;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bookwire_engine::exchange::{Exchange, Feed, NativeStream, ProviderId};
use bookwire_engine::instrument::{Instrument, InstrumentTable, Market, Scope};
use bookwire_engine::time::Level;
use clap::Args;
use clap::builder::FalseyValueParser;

use super::{Failure, GlobalArgs, signal};
use crate::error::wall_clock;
use file::Recording;
use link::{Link, Rest};

/// Writes raw messages of live connections to files.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Source of the data
    #[arg(long, env = "BOOKWIRE_PROVIDER", default_value = "binance")]
    pub provider: String,
    /// Product line: spot or perp
    #[arg(long, env = "BOOKWIRE_MARKET", default_value = "spot")]
    pub market: String,
    /// Symbols, separated by commas
    #[arg(long, env = "BOOKWIRE_SYMBOLS", value_delimiter = ',', required = true)]
    pub symbols: Vec<String>,
    /// Streams, separated by commas: book, trades, ticker, funding, klines or klines:LEVEL
    #[arg(
        long,
        env = "BOOKWIRE_STREAMS",
        value_delimiter = ',',
        default_value = "book,trades,ticker"
    )]
    pub streams: Vec<String>,
    /// Directory for the files
    #[arg(long, env = "BOOKWIRE_OUT", value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Ends after this time: 30s, 10m, 2h [default: until Ctrl-C]
    #[arg(long, env = "BOOKWIRE_DURATION", value_name = "TIME")]
    pub duration: Option<String>,
    /// Levels of the book snapshots
    #[arg(
        long,
        env = "BOOKWIRE_DEPTH",
        value_name = "LEVELS",
        default_value_t = 5000
    )]
    pub depth: usize,
    /// Compresses the files
    #[arg(long, env = "BOOKWIRE_GZIP", value_parser = FalseyValueParser::new())]
    pub gzip: bool,
    /// Configuration file, for other addresses of the exchange's hosts
    #[arg(long, env = "BOOKWIRE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File written by `bookwire sim --endpoints`: records those simulators instead
    #[arg(long, env = "BOOKWIRE_ENDPOINTS", value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
}

/// What shall be recorded, checked.
struct Plan {
    provider: ProviderId,
    market: Market,
    feeds: Vec<Feed>,
    duration: Option<Duration>,
}

impl Plan {
    fn of(args: &RecordArgs) -> Result<Self, Failure> {
        let usage = |name: &str, value: &str, accepted: &str| {
            Failure::Usage(format!(
                "--{name} has the value `{value}`; accepted: {accepted}"
            ))
        };
        let provider = ProviderId::parse(&args.provider).ok_or_else(|| {
            usage(
                "provider",
                &args.provider,
                &crate::rest::params::provider_names(),
            )
        })?;
        let market = Market::parse(&args.market)
            .filter(|market| provider.exchange().markets().contains(market))
            .ok_or_else(|| usage("market", &args.market, "spot or perp"))?;
        let feeds = args
            .streams
            .iter()
            .map(|name| feed(name).ok_or_else(|| usage("streams", name, FEEDS)))
            .collect::<Result<_, _>>()?;
        let duration = match &args.duration {
            Some(text) => Some(
                duration(text).ok_or_else(|| usage("duration", text, "a time such as 30s, 10m"))?,
            ),
            None => None,
        };
        Ok(Self {
            provider,
            market,
            feeds,
            duration,
        })
    }
}

const FEEDS: &str = "book, trades, ticker, funding, klines, klines:LEVEL";

fn feed(name: &str) -> Option<Feed> {
    Some(match name.trim() {
        "book" => Feed::Book,
        "trades" => Feed::Trades,
        "ticker" => Feed::Ticker,
        "funding" => Feed::Funding,
        "klines" => Feed::Klines(Level::M1),
        other => Feed::Klines(Level::parse(other.strip_prefix("klines:")?)?),
    })
}

/// `90`, `90s`, `10m`, `2h`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (digits, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    let seconds = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Runs the command.
pub fn run(global: &GlobalArgs, args: &RecordArgs) -> Result<(), Failure> {
    let plan = Plan::of(args)?;
    let mut config = super::config::load(global, args.config.as_deref())?;
    if let Some(path) = &args.endpoints {
        super::config::use_endpoints_file(&mut config, path)?;
    }
    super::config::start_logging(&config);
    super::install_tls();
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("can't create {}", args.out.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")?;
    let rest = Rest::new(super::config::hosts(&config, plan.provider))?;
    runtime.block_on(async {
        let stop = signal::listen()?;
        record(args, &plan, rest, stop).await
    })
}

async fn record(
    args: &RecordArgs,
    plan: &Plan,
    rest: Rest,
    stop: signal::StopSignal,
) -> Result<(), Failure> {
    let exchange = plan.provider.exchange();
    let stamp = wall_clock().to_rfc3339_seconds().replace([':', '-'], "");
    let name = |part: &str| {
        format!(
            "{}_{}_{part}_{stamp}.jsonl",
            plan.provider.name(),
            plan.market
        )
    };
    let rest = Arc::new(rest);
    let mut rest_file = Recording::create(&args.out, &name("rest"), args.gzip)?;
    let instruments = instruments(args, plan, &rest, &mut rest_file).await?;
    rest_file.finish()?;
    let mut links = Vec::new();
    for (route, streams) in by_route(exchange, &instruments, &plan.feeds) {
        let described = exchange.routes(plan.market)[route];
        let file = Recording::create(&args.out, &name(described.name), args.gzip)?;
        eprintln!("{}: {}", file.path().display(), streams.join(" "));
        let books = if plan.feeds.contains(&Feed::Book) {
            instruments
                .iter()
                .filter(|row| {
                    exchange
                        .streams(row, Feed::Book)
                        .iter()
                        .any(|stream| stream.route == route)
                })
                .cloned()
                .collect()
        } else {
            Vec::new()
        };
        links.push(Link {
            exchange,
            market: plan.market,
            route: described,
            streams,
            books,
            depth: args.depth,
            rest: Arc::clone(&rest),
            file,
        });
    }
    if links.is_empty() {
        return Err(Failure::Usage(format!(
            "{} {} has none of the streams asked for",
            plan.provider.name(),
            plan.market
        )));
    }
    let tasks: Vec<_> = links
        .into_iter()
        .map(|link| tokio::spawn(link.run(stop.clone(), plan.duration)))
        .collect();
    for task in tasks {
        let report = task.await.context("a recording ended unexpectedly")??;
        eprintln!("{report}");
    }
    Ok(())
}

/// Fetches and records the instrument list, and finds the symbols in it.
async fn instruments(
    args: &RecordArgs,
    plan: &Plan,
    rest: &Rest,
    file: &mut Recording,
) -> Result<Vec<Arc<Instrument>>, Failure> {
    let exchange = plan.provider.exchange();
    let mut bodies = Vec::new();
    for request in exchange.instrument_requests(plan.market) {
        let answer = rest.get(exchange, plan.market, &request).await?;
        file.rest(&answer)?;
        bodies.push(answer.body);
    }
    let (specs, _) = exchange
        .parse_instruments(plan.market, &bodies)
        .context("the instrument list can't be read")?;
    let table = InstrumentTable::default().with_market(plan.provider, plan.market, specs);
    let scope = Scope {
        provider: Some(plan.provider),
        exchange: None,
        market: Some(plan.market),
    };
    args.symbols
        .iter()
        .map(|text| match table.resolve(text, scope) {
            Ok(row) => Ok(Arc::clone(row)),
            Err(error) => {
                let error = bookwire_engine::error::CryptoError::from(error);
                let hint = error.recovery_suggestions.join("; ");
                Err(Failure::Usage(format!(
                    "--symbols: {}: {hint}",
                    error.message
                )))
            }
        })
        .collect()
}

/// Stream names by the kind of connection that carries them.
fn by_route(
    exchange: &dyn Exchange,
    instruments: &[Arc<Instrument>],
    feeds: &[Feed],
) -> std::collections::BTreeMap<usize, Vec<String>> {
    let mut routes = std::collections::BTreeMap::<usize, Vec<String>>::new();
    for instrument in instruments {
        for &feed in feeds {
            for NativeStream { route, name } in exchange.streams(instrument, feed) {
                let streams = routes.entry(route).or_default();
                if !streams.contains(&name) {
                    streams.push(name);
                }
            }
        }
    }
    routes
}

impl From<link::LinkError> for Failure {
    fn from(error: link::LinkError) -> Self {
        Self::Failed(anyhow!(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_feeds_are_read() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "s", "5d", "-1", "1.5h", "99999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(feed("klines"), Some(Feed::Klines(Level::M1)));
        assert_eq!(feed("klines:4h"), Some(Feed::Klines(Level::H4)));
        assert_eq!(feed("klines:2m"), None);
        assert_eq!(feed("depth"), None);
    }
}
