//! `order-entry`: an order comes in over REST, its request reaches the exchange's socket, the answer
//! goes out.
//!
//! Open loop: requests are due one after the other by a schedule, places and cancels in turn, and latency
//! counts from then. Client and exchange are threads of this process, so that one clock tells when a
//! request was due, when it had reached the exchange, and when its answer had reached the client; what is
//! measured stands between them in a process of its own. The exchange is none of the simulators: those do
//! not say when a request arrived, and take longer themselves than what is measured (the report has both).
//!
//! Floors: a proxy of the same two hops that does nothing, and the client talking to the exchange itself.
//! Peers: ccxt (Python), the client of its own orders, as it is used: directly.

pub(crate) mod client;
mod exchange;
pub(crate) mod http;
mod peers;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bookwire_sim::{Exchange as Simulated, Sim, SimConfig};

use crate::fake::wait_until;
use crate::floor::Floor;
use crate::gateway::{Gateway, Program, free_address};
use crate::histogram::Curve;
use crate::report::Report;
use client::{Asked, Client, Form, keys};
use exchange::{Exchange, Log, ORDERS_MAX};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests a second, places and cancels together.
    pub rate: u64,
    /// Measured seconds of each contender.
    pub seconds: f64,
    /// Runs of each contender; the one with the better median is kept.
    pub runs: usize,
    /// A Python interpreter that has ccxt.
    pub python: Option<PathBuf>,
}

/// Time that something may need to start.
const START: Duration = Duration::from_secs(30);
/// Orders that are placed and canceled before it counts, at most.
const WARM_UP: u64 = 200;
/// Requests a second of a peer in Python, which falls behind at more.
const PEER_RATE: u64 = 200;

impl Options {
    fn orders(&self, rate: u64) -> u64 {
        let orders = (rate as f64 * self.seconds / 2.0).ceil() as u64;
        orders.clamp(1, ORDERS_MAX - WARM_UP)
    }

    fn warm_up(&self) -> u64 {
        self.orders(self.rate).min(WARM_UP)
    }
}

/// Which part of a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// From when it was due until the exchange had read it.
    In,
    /// From the exchange's answer until the client had read its own.
    Out,
    /// From when it was due until the client had read the answer.
    Whole,
}

/// What is told of whom: in this order.
const SUBJECTS: [(&str, bool, Part); 5] = [
    ("place: client to exchange", false, Part::In),
    ("place: exchange to client", false, Part::Out),
    ("place: there and back", false, Part::Whole),
    ("cancel: client to exchange", true, Part::In),
    ("cancel: there and back", true, Part::Whole),
];

/// The latencies of one contender, one curve for each of [`SUBJECTS`].
struct Measured(Vec<Curve>);

impl Measured {
    fn of(name: &str, asked: &[Asked], log: &Log) -> Result<Self> {
        let mut curves = Vec::with_capacity(SUBJECTS.len());
        for (_, is_cancel, part) in SUBJECTS {
            let mut curve = Curve::new(name)?;
            for one in asked.iter().filter(|one| one.is_cancel == is_cancel) {
                let seen = log.get(&(one.number, is_cancel));
                let seen =
                    seen.with_context(|| format!("{name}: {one:?} never reached the exchange"))?;
                let (from, to) = match part {
                    Part::In => (one.due, seen.arrived),
                    Part::Out => (seen.answered, one.done),
                    Part::Whole => (one.due, one.done),
                };
                let late = to.saturating_duration_since(from);
                curve.histogram.record(u64::try_from(late.as_nanos())?)?;
            }
            let ends = (asked.first(), asked.last());
            if let (Some(first), Some(last)) = ends {
                curve.took = last.done.saturating_duration_since(first.due);
            }
            curves.push(curve);
        }
        ensure!(
            log.len() == asked.len(),
            "{name}: the exchange got {} requests, {} were sent",
            log.len(),
            asked.len()
        );
        Ok(Self(curves))
    }

    /// Median of what is told first: how good the minute was.
    fn median(&self) -> f64 {
        self.0
            .first()
            .map_or(f64::INFINITY, |curve| curve.micros(0.5))
    }
}

/// Runs the scenario.
///
/// # Errors
/// When anything does not start, an order is refused, or one reaches the exchange twice or never.
pub fn run(options: &Options, program: &Program) -> Result<Report> {
    let mut report = Report::new(
        "order-entry",
        "open loop on one connection, latency from when a request was due; orders far below the \
         market are placed and canceled in turn; client and exchange are threads of this process, the \
         measured one is in its own; of several runs the one with the better median; lower is better",
    );
    report.condition("rate", format!("{} requests/s", options.rate));
    report.condition("seconds of each contender", options.seconds);
    report.condition("warm-up", format!("{} orders each", options.warm_up()));
    report.condition("runs of each", options.runs);
    report.condition(
        "rate of ccxt",
        format!("{} requests/s", PEER_RATE.min(options.rate)),
    );
    let mut best: Vec<Option<Measured>> = Vec::new();
    for _ in 0..options.runs.max(1) {
        let mut all = bookwire(options, program)?;
        all.push(proxy(options)?);
        all.push(direct(options)?);
        best.resize_with(all.len(), || None);
        for (kept, measured) in best.iter_mut().zip(all) {
            let is_better = |kept: &Measured| measured.median() < kept.median();
            if kept.as_ref().is_none_or(is_better) {
                *kept = Some(measured);
            }
        }
    }
    let mut all: Vec<Measured> = best.into_iter().flatten().collect();
    tell_added(&mut report, &all);
    tell_simulator(&mut report, options, &all)?;
    peers::measure(options, &mut report, &mut all)?;
    for (index, (subject, _, _)) in SUBJECTS.iter().enumerate() {
        let curves = all.iter().filter_map(|one| one.0.get(index).cloned());
        report.latencies(subject, curves.collect());
    }
    Ok(report)
}

const BOOKWIRE: &str = "bookwire";
const BOOKWIRE_SIGNED: &str = "bookwire, signed requests";
const BOOKWIRE_SHARED: &str = "bookwire, share_threads";
const BOOKWIRE_ALWAYS: &str = "bookwire, journal_sync = always";
const PROXY: &str = "floor: hyper proxy";
const DIRECT: &str = "floor: no hop between";

/// What bookwire adds to the proxy's latency, which has the same hops.
fn tell_added(report: &mut Report, all: &[Measured]) {
    let curve = |name: &str, index: usize| {
        let found = all
            .iter()
            .find_map(|one| one.0.get(index).filter(|c| c.name == name));
        found.cloned()
    };
    for (index, (subject, _, _)) in SUBJECTS.iter().enumerate() {
        let Some(floor) = curve(PROXY, index) else {
            continue;
        };
        for name in [BOOKWIRE, BOOKWIRE_SIGNED, BOOKWIRE_SHARED, BOOKWIRE_ALWAYS] {
            let Some(ours) = curve(name, index) else {
                continue;
            };
            for (unit, quantile) in [("µs p50", 0.5), ("µs p99", 0.99), ("µs p99.9", 0.999)] {
                let added = ours.micros(quantile) - floor.micros(quantile);
                let subject = format!("{subject}: over the proxy");
                report.figure(&subject, name, unit, added);
            }
        }
    }
}

/// Places and cancels: first unmeasured, then measured.
fn measure(
    name: &str,
    exchange: &Exchange,
    client: &mut Client,
    first: u64,
    options: &Options,
) -> Result<Measured> {
    let (warm_up, orders) = (options.warm_up(), options.orders(options.rate));
    client.trade(first, warm_up, options.rate)?;
    settled(exchange)?;
    let asked = client.trade(first + warm_up, orders, options.rate)?;
    let log = settled(exchange)?;
    Measured::of(name, &asked, &log)
}

/// The log, once what has been answered is in it.
fn settled(exchange: &Exchange) -> Result<Log> {
    thread::sleep(Duration::from_millis(20));
    exchange.take()
}

/// The ways of using bookwire.
fn bookwire(options: &Options, program: &Program) -> Result<Vec<Measured>> {
    let mut all = Vec::new();
    for (sync, is_shared, names) in [
        ("soon", false, &[BOOKWIRE, BOOKWIRE_SIGNED][..]),
        ("soon", true, &[BOOKWIRE_SHARED][..]),
        ("always", false, &[BOOKWIRE_ALWAYS][..]),
    ] {
        let exchange = Exchange::start()?;
        let config = format!(
            "[engine]\nshards = 1\nshare_threads = {is_shared}\n\n[trading]\njournal_sync = \"{sync}\"\n\n[trading.limits]\n\
             max_orders_per_second = 1000000\n\n{}",
            exchange.config()
        );
        let mut key = String::new();
        let mut gateway = Gateway::start_prepared(program, "workers = 1\n", &config, |data| {
            let credential = "bench-api-key\nbench-api-secret\n";
            program.command(&["credentials", "set", "binance"], data, credential)?;
            let permissions = "spot_trading";
            let words = ["keys", "create", "--quiet", "--permissions", permissions];
            key = program.command(&words, data, "")?;
            Ok(())
        })?;
        gateway.wait("binance")?;
        exchange.run_market(START).with_context(|| gateway.log())?;
        exchange
            .wait_for_listener(START)
            .with_context(|| gateway.log())?;
        let mut first = 0;
        for name in names {
            let form = match *name {
                BOOKWIRE_SIGNED => Form::signed(&key)?,
                _ => Form::Bearer(key.clone()),
            };
            let mut client = Client::connect(gateway.api(), form)?;
            ready(&mut client).with_context(|| gateway.log())?;
            let measured = measure(name, &exchange, &mut client, first, options);
            all.push(measured.with_context(|| gateway.log())?);
            first += options.warm_up() + options.orders(options.rate);
        }
    }
    Ok(all)
}

/// Waits until the account takes orders.
fn ready(client: &mut Client) -> Result<()> {
    let mut last = String::new();
    let is_ready = || {
        let answer = client.get("/api/trading/accounts?provider=binance");
        last = match &answer {
            Ok(answer) => answer.to_string(),
            Err(error) => format!("{error:#}"),
        };
        Ok(answer.is_ok_and(|answer| answer["accounts"][0]["ready"] == true))
    };
    wait_until(START, is_ready).map_err(|error| anyhow!("the account is not ready {error}: {last}"))
}

fn proxy(options: &Options) -> Result<Measured> {
    let exchange = Exchange::start()?;
    let at = free_address()?;
    let _floor = Floor::start(&["proxy", &at.to_string(), &exchange.rest().to_string()])?;
    let mut client = None;
    wait_until(START, || {
        client = Client::connect(at, Form::Exchange).ok();
        Ok(client.is_some())
    })?;
    let mut client = client.context("the proxy does not listen")?;
    measure(PROXY, &exchange, &mut client, 0, options)
}

fn direct(options: &Options) -> Result<Measured> {
    let exchange = Exchange::start()?;
    let mut client = Client::connect(exchange.rest(), Form::Exchange)?;
    measure(DIRECT, &exchange, &mut client, 0, options)
}

/// How long an order takes at the simulator, without anything between, next to the exchange that is used
/// here.
fn tell_simulator(report: &mut Report, options: &Options, all: &[Measured]) -> Result<()> {
    let Some(here) = all
        .iter()
        .filter_map(|one| one.0.get(2))
        .find(|curve| curve.name == DIRECT)
    else {
        return Ok(());
    };
    let mut config = SimConfig {
        exchanges: vec![Simulated::Binance],
        ..SimConfig::default()
    };
    config.spot.rest.orders_per_ten_seconds = 10_000_000;
    config.spot.rest.weight_per_minute = 10_000_000;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let sim = runtime.block_on(Sim::start(config))?;
    let endpoints = sim.endpoints();
    let own = &endpoints["binance"];
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let base = text(&own["hosts"]["api.binance.com"]).context("no host")?;
    let address = base.trim_start_matches("http://").parse()?;
    let credentials = &own["credentials"];
    let (id, secret) = (text(&credentials["api_key"]), text(&credentials["secret"]));
    let (id, secret) = (id.context("no key")?, secret.context("no secret")?);
    let mut client = Client::connect(address, Form::ExchangeSigned(keys(&id, &secret)?))?;
    client.trade(0, options.warm_up(), options.rate)?;
    let orders = options.orders(options.rate).min(1_000);
    let asked = client.trade(options.warm_up(), orders, options.rate)?;
    let mut curve = Curve::new("simulator")?;
    for one in asked.iter().filter(|one| !one.is_cancel) {
        let late = one.done.saturating_duration_since(one.due);
        curve.histogram.record(u64::try_from(late.as_nanos())?)?;
    }
    let subject = "an exchange by itself, there and back";
    for (name, curve) in [("the one that is used here", here), ("simulator", &curve)] {
        for (unit, quantile) in [("µs p50", 0.5), ("µs p99", 0.99)] {
            report.figure(subject, name, unit, curve.micros(quantile));
        }
    }
    runtime.block_on(sim.shutdown());
    Ok(())
}

/// The moment of a wall clock's reading, by the clock that everything here is measured with.
struct Wall {
    at: Instant,
    nanos: u64,
}

impl Wall {
    fn now() -> Result<Self> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self {
            at: Instant::now(),
            nanos: u64::try_from(since.as_nanos())?,
        })
    }

    fn instant(&self, nanos: u64) -> Result<Instant> {
        let since = nanos.checked_sub(self.nanos).context("before it began")?;
        Ok(self.at + Duration::from_nanos(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exchange::Seen;

    #[test]
    fn a_request_is_followed_through_the_exchange() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let asked = [(0, false, 0), (0, true, 1_000)].map(|(number, is_cancel, due)| Asked {
            number,
            is_cancel,
            due: at(due),
            done: at(due + 90),
        });
        let seen = |due: u64| Seen {
            arrived: at(due + 40),
            answered: at(due + 50),
        };
        let mut log = Log::from([((0, false), seen(0)), ((0, true), seen(1_000))]);
        let measured = Measured::of("x", &asked, &log).unwrap();
        let medians: Vec<f64> = measured.0.iter().map(|c| c.micros(0.5).round()).collect();
        assert_eq!(medians, [40.0, 40.0, 90.0, 40.0, 90.0]);
        // One more than was sent, or one that never came.
        log.insert((7, false), seen(2_000));
        assert!(Measured::of("x", &asked, &log).is_err());
        log.remove(&(0, true));
        assert!(Measured::of("x", &asked, &log).is_err());
    }

    #[test]
    fn wall_times_become_moments() {
        let wall = Wall::now().unwrap();
        let later = wall.instant(wall.nanos + 1_500).unwrap();
        assert_eq!(later - wall.at, Duration::from_nanos(1_500));
        assert!(wall.instant(wall.nanos - 1).is_err());
    }

    #[test]
    fn an_exchange_answers_and_follows_orders() {
        let exchange = Exchange::start().unwrap();
        let mut client = Client::connect(exchange.rest(), Form::Exchange).unwrap();
        let asked = client.trade(3, 5, 2_000).unwrap();
        assert_eq!(asked.len(), 10);
        let log = settled(&exchange).unwrap();
        assert_eq!(log.len(), 10);
        assert!(log.contains_key(&(7, true)) && !log.contains_key(&(8, false)));
        assert!(Measured::of("x", &asked, &log).is_ok());
        // An order that comes twice is told.
        client.trade(9, 1, 2_000).unwrap();
        assert!(client.trade(9, 1, 2_000).is_err());
        assert!(settled(&exchange).is_err());
    }
}
