//! The command line of the harness.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use bookwire_bench::{
    fan_out, latency, load, order_entry, rest, slow_client, soak, store, target, throughput,
};
use clap::{Parser, ValueEnum};

/// Measures bookwire on this machine, next to floors and, with `--features peers` and `--python`, its
/// neighbours.
#[derive(Parser)]
#[command(name = "bench", version)]
pub struct Arguments {
    /// What to measure.
    #[arg(required_unless_present = "target")]
    pub scenario: Option<Scenario>,
    /// Folder of recorded messages.
    #[arg(long)]
    pub captures: Option<PathBuf>,
    /// Measured turns of each contender that needs no socket; one more warms up. `tick-to-client` and
    /// `order-entry` have two runs at most.
    #[arg(long, default_value_t = 9)]
    pub turns: usize,
    /// Messages a second. `tick-to-client`: 10000 unless given; `load`: 7581, three times the
    /// recordings' busiest second; `slow-client`: 200; `rest`: 100 requests; `order-entry`: 500.
    #[arg(long)]
    pub rate: Option<u64>,
    /// Measured seconds. `tick-to-client` 10 unless given; `load` 60; `throughput` and `fan-out` 5 a
    /// flood; `slow-client` 5 a phase; `rest` 10; `order-entry` 20 a contender; `--target` 30.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Measured minutes of `soak`.
    #[arg(long, default_value_t = 10)]
    pub minutes: u64,
    /// Clients: `fan-out` (repeatable) 100 and 500 unless given, `slow-client` 499 that read,
    /// `soak` 100, `--target` 1, `rest` 16 connections.
    #[arg(long)]
    pub clients: Vec<usize>,
    /// Subscribe and unsubscribe so often in `soak`; a tenth of it, connect and disconnect.
    #[arg(long, default_value_t = 10_000)]
    pub cycles: usize,
    /// Seed of the simulated markets of `load` and `soak`.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A Python interpreter that has cryptofeed and ccxt: they join `tick-to-client`, ccxt joins
    /// `order-entry`.
    #[arg(long)]
    pub python: Option<PathBuf>,
    /// Measure a running bookwire instead: ws://host:port/ws
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Provider that `--target` is asked for.
    #[arg(long, default_value = "binance")]
    pub provider: String,
    /// `load` and `soak`: how many symbols (200 and 50 unless given), a quarter of them on each
    /// exchange. `--target`: which ones, with commas between them (btcusdt unless given).
    #[arg(long, value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// Stream that `--target` is asked for.
    #[arg(long, default_value = "crypto.trades")]
    pub stream: String,
    /// A QuestDB server for `store`, HTTP and PostgreSQL wire: `127.0.0.1:9000,127.0.0.1:8812`. Its
    /// tables that begin with `bench_` are dropped.
    #[arg(long, value_delimiter = ',')]
    pub questdb: Vec<std::net::SocketAddr>,
    /// Another build of `bookwire` to measure. Without it: what is built into this program, whose
    /// memory is the system's allocator's.
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Folder for the reports.
    #[arg(long, default_value = "bench/out")]
    pub out: PathBuf,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Frames to events, ns a level and a trade.
    Decode,
    /// Deltas into a book with both top 20s read, ns a level.
    Book,
    /// A trade from the exchange's socket to a client's, next to a raw TCP relay.
    TickToClient,
    /// How much goes in and comes out: from memory, from a socket, through to a client.
    Throughput,
    /// One stream to many clients, messages delivered a second.
    FanOut,
    /// A client that does not read, and more coming in than can go out.
    SlowClient,
    /// A thousand bars as JSON: requests a second, and latency.
    Rest,
    /// An order in over REST, its request at the exchange's socket, the answer out.
    OrderEntry,
    /// Rows into and out of the stores.
    Store,
    /// Many symbols of all exchanges at a steady rate: nothing lost, memory and processor time.
    Load,
    /// Memory over time, and over thousands of subscriptions and connections.
    Soak,
    /// All of them.
    All,
}

impl Arguments {
    /// Whether a scenario is to run.
    pub fn wants(&self, scenario: Scenario) -> bool {
        let asked = self.scenario;
        self.target.is_none() && (asked == Some(scenario) || asked == Some(Scenario::All))
    }

    /// What is not taken by any scenario.
    pub fn check(&self) -> Result<()> {
        let is_alone = self.target.is_none() || self.scenario.is_none();
        ensure!(
            is_alone,
            "--target measures a running bookwire: leave the scenario out"
        );
        ensure!(
            self.rate != Some(0),
            "--rate has the value 0; accepted: 1 and more"
        );
        if let Some(seconds) = self.seconds {
            ensure!(
                (0.1..=1e6).contains(&seconds),
                "--seconds has the value {seconds}; accepted: 0.1 to 1000000"
            );
        }
        ensure!(
            self.turns > 0,
            "--turns has the value 0; accepted: 1 and more"
        );
        let takes_a_number = [Scenario::Load, Scenario::Soak, Scenario::All];
        let is_number = self
            .symbols
            .iter()
            .all(|text| text.parse::<usize>().is_ok());
        let takes = self
            .scenario
            .is_some_and(|scenario| takes_a_number.contains(&scenario));
        ensure!(
            !takes || is_number && self.symbols.len() < 2,
            "--symbols has the value {}; accepted: how many",
            self.symbols.join(",")
        );
        let is_zero = self.clients.contains(&0);
        ensure!(!is_zero, "--clients has the value 0; accepted: 1 and more");
        Ok(())
    }

    /// Measured seconds.
    fn seconds(&self, usual: f64) -> f64 {
        self.seconds.unwrap_or(usual)
    }

    /// Measured seconds where they are counted one by one.
    fn whole_seconds(&self, usual: u64) -> u64 {
        self.seconds
            .map_or(usual, |seconds| seconds.ceil().max(1.0) as u64)
    }

    fn symbols_count(&self, usual: usize) -> usize {
        let given = self.symbols.first().and_then(|text| text.parse().ok());
        given.unwrap_or(usual)
    }

    /// Of `tick-to-client`.
    pub fn latency(&self) -> latency::Options {
        latency::Options {
            rate: self.rate.unwrap_or(10_000),
            seconds: self.whole_seconds(10),
            warm_up: (self.whole_seconds(10) / 3).min(3),
            runs: self.turns.min(2),
            python: self.python.clone(),
        }
    }

    /// Of `throughput`.
    pub fn throughput(&self) -> throughput::Options {
        throughput::Options {
            seconds: self.seconds(5.0),
            turns: self.turns,
        }
    }

    /// Of `fan-out`.
    pub fn fan_out(&self) -> fan_out::Options {
        let clients = match self.clients.is_empty() {
            true => vec![100, 500],
            false => self.clients.clone(),
        };
        fan_out::Options {
            clients,
            seconds: self.seconds(5.0),
        }
    }

    /// Of `slow-client`.
    pub fn slow_client(&self) -> slow_client::Options {
        let clients = self.clients.first().copied().unwrap_or(499);
        slow_client::Options {
            clients,
            rate: self.rate.unwrap_or(200),
            seconds: self.whole_seconds(5),
            // Phases without and with the frozen client: as many as they have seconds, at most four.
            phases: self.whole_seconds(5).min(4) as usize,
            overloaded: clients.min(50),
            overload_seconds: self.whole_seconds(5),
        }
    }

    /// Of `rest`.
    pub fn rest(&self) -> rest::Options {
        rest::Options {
            seconds: self.seconds(10.0),
            connections: self.clients.first().copied().unwrap_or(16),
            rate: self.rate.unwrap_or(100),
            python: self.python.clone(),
        }
    }

    /// Of `order-entry`.
    pub fn order_entry(&self) -> order_entry::Options {
        order_entry::Options {
            rate: self.rate.unwrap_or(500),
            seconds: self.seconds(20.0),
            runs: self.turns.min(2),
            python: self.python.clone(),
        }
    }

    /// Of `store`.
    ///
    /// # Errors
    /// Another number of addresses than two.
    pub fn store(&self) -> Result<store::Options> {
        let questdb = match self.questdb[..] {
            [] => None,
            [http, pg] => Some((http, pg)),
            _ => bail!(
                "--questdb has {} addresses; accepted: two",
                self.questdb.len()
            ),
        };
        Ok(store::Options {
            batches: 100,
            questdb,
        })
    }

    /// Of `load`.
    pub fn load(&self) -> load::Load {
        let usual = load::Load::default();
        load::Load {
            symbols: self.symbols_count(usual.symbols),
            rate: self.rate.unwrap_or(usual.rate),
            seconds: self.whole_seconds(usual.seconds),
            seed: self.seed,
            faults: Vec::new(),
        }
    }

    /// Of `soak`.
    pub fn soak(&self) -> soak::Options {
        let seconds = self.whole_seconds(self.minutes * 60);
        soak::Options {
            symbols: self.symbols_count(50),
            clients: self.clients.first().copied().unwrap_or(100),
            seconds,
            warm_up: seconds.min(30),
            subscriptions: self.cycles,
            connections: self.cycles / 10,
            seed: self.seed,
        }
    }

    /// Of `--target`.
    pub fn target(&self, url: &str) -> target::Options {
        target::Options {
            url: url.to_owned(),
            provider: self.provider.clone(),
            symbols: match self.symbols.is_empty() {
                true => vec!["btcusdt".to_owned()],
                false => self.symbols.clone(),
            },
            stream: self.stream.clone(),
            clients: self.clients.first().copied().unwrap_or(1),
            seconds: self.whole_seconds(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words)?;
        arguments.check()?;
        Ok(arguments)
    }

    #[test]
    fn options_reach_their_scenario() {
        let given = parse("fan-out --clients 7 --clients 9 --seconds 2").unwrap();
        assert!(given.wants(Scenario::FanOut) && !given.wants(Scenario::Rest));
        assert_eq!(given.fan_out().clients, [7, 9]);
        assert!((given.fan_out().seconds - 2.0).abs() < 1e-9);
        assert_eq!(parse("load --seconds 0.2").unwrap().load().seconds, 1);
        let all = parse("all").unwrap();
        for scenario in Scenario::value_variants() {
            assert!(all.wants(*scenario), "{scenario:?}");
        }
        assert_eq!(all.fan_out().clients, [100, 500]);
        assert_eq!(all.slow_client().clients, 499);
        assert_eq!((all.order_entry().rate, all.order_entry().runs), (500, 2));
        assert_eq!((all.load().symbols, all.soak().symbols), (200, 50));
        assert_eq!((all.soak().seconds, all.soak().connections), (600, 1_000));
        assert_eq!(parse("load --symbols 40").unwrap().load().symbols, 40);
        let far =
            "--target ws://h:1/ws --symbols btcusdt,ethusdt --stream crypto.ticker --clients 3";
        let far = parse(far).unwrap();
        assert!(!far.wants(Scenario::Decode));
        let options = far.target("ws://h:1/ws");
        assert_eq!(options.symbols, ["btcusdt", "ethusdt"]);
        assert_eq!(
            (options.clients, options.stream.as_str()),
            (3, "crypto.ticker")
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, named) in [
            ("", "SCENARIO"),
            ("juggle", "juggle"),
            ("rest --rate 0", "--rate"),
            ("rest --seconds 0", "--seconds"),
            ("rest --seconds inf", "--seconds"),
            ("decode --turns 0", "--turns"),
            ("fan-out --clients 0", "--clients"),
            ("load --symbols btcusdt", "--symbols"),
            ("rest --target ws://h:1/ws", "--target"),
        ] {
            let error = parse(line).err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
