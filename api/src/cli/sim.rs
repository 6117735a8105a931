//! `bookwire sim`: the exchange simulators alone.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use bookwire_sim::fault::{self, FaultSpec};
use bookwire_sim::{Exchange, ReplayFile, ReplaySpeed, Sim, SimConfig};
use clap::Args;

use super::{Failure, GlobalArgs, config, serve, signal};

/// Only the exchange simulators, with their native REST and WebSocket protocols.
#[derive(Clone, Debug, Args)]
pub struct SimArgs {
    /// Exchanges to simulate [default: all]
    #[arg(
        long,
        env = "BOOKWIRE_EXCHANGE",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub exchange: Vec<String>,
    /// Everything random follows from it
    #[arg(long, env = "BOOKWIRE_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Recorded raw messages instead of the model; plain, .gz or .zst
    #[arg(
        long,
        env = "BOOKWIRE_REPLAY",
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub replay: Vec<PathBuf>,
    /// Pace of recorded messages: a factor of the recorded pace, or `max`
    #[arg(long, env = "BOOKWIRE_SPEED", default_value = "1")]
    pub speed: String,
    /// Something that goes wrong, KIND[:KEY=VALUE,…]; `--fault help` explains
    // Faults contain commas, so in the variable they are separated by semicolons.
    #[arg(
        long,
        env = "BOOKWIRE_FAULT",
        value_name = "SPEC",
        value_delimiter = ';'
    )]
    pub fault: Vec<String>,
    /// Writes where each host is, once all listen
    #[arg(long, env = "BOOKWIRE_ENDPOINTS", value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, env = "BOOKWIRE_ADDRESS", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// First of consecutive ports [default: free ones]
    #[arg(long, env = "BOOKWIRE_BASE_PORT", value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Multiplier of the market's event rates
    #[arg(
        long,
        env = "BOOKWIRE_INTENSITY",
        value_name = "FACTOR",
        default_value_t = 1.0
    )]
    pub intensity: f64,
}

impl SimArgs {
    /// The simulators' configuration.
    fn config(&self) -> Result<SimConfig, Failure> {
        let usage = |name: &str, value: &str, accepted: &str| {
            Failure::Usage(format!(
                "--{name} has the value `{value}`; accepted: {accepted}"
            ))
        };
        let mut config = SimConfig {
            seed: self.seed,
            address: self.address,
            base_port: self.base_port,
            ..SimConfig::default()
        };
        if !self.exchange.is_empty() {
            let names: Vec<&str> = Exchange::ALL.iter().map(|known| known.as_str()).collect();
            config.exchanges = self
                .exchange
                .iter()
                .map(|name| {
                    Exchange::parse(name).ok_or_else(|| usage("exchange", name, &names.join(", ")))
                })
                .collect::<Result<_, _>>()?;
        }
        if !(self.intensity > 0.0 && self.intensity <= 1000.0) {
            let value = self.intensity.to_string();
            return Err(usage("intensity", &value, "a factor above 0, at most 1000"));
        }
        config.intensity = self.intensity;
        config.replay_speed = match self.speed.parse::<f64>() {
            _ if self.speed == "max" => ReplaySpeed::Maximum,
            Ok(factor) if factor > 0.0 && factor <= 1e6 => ReplaySpeed::Paced(factor),
            _ => return Err(usage("speed", &self.speed, "a factor above 0, or max")),
        };
        config.replay = self
            .replay
            .iter()
            .map(|path| ReplayFile {
                path: path.clone(),
                market: None,
            })
            .collect();
        config.faults = self
            .fault
            .iter()
            .map(|text| {
                text.parse::<FaultSpec>()
                    .map_err(|error| usage("fault", text, &format!("{error}; see --fault help")))
            })
            .collect::<Result<_, _>>()?;
        Ok(config)
    }
}

/// Runs the command.
pub fn run(global: &GlobalArgs, args: &SimArgs) -> Result<(), Failure> {
    if args.fault.iter().any(|text| text == "help") {
        super::say(fault::HELP.trim_end());
        return Ok(());
    }
    let sim_config = args.config()?;
    config::start_logging(&config::load(global, None)?);
    serve::block_on(async {
        let stop = signal::listen()?;
        let sim = Sim::start(sim_config)
            .await
            .map_err(|error| anyhow!(error))?;
        let endpoints = sim.endpoints();
        if !global.quiet {
            print_hosts(&endpoints);
        }
        if let Some(path) = &args.endpoints {
            let text = serde_json::to_string_pretty(&endpoints).context("endpoints")?;
            write_whole(path, &text).with_context(|| format!("can't write {}", path.display()))?;
        }
        signal::stopped(stop).await;
        sim.shutdown().await;
        Ok(())
    })
}

/// Whoever waits for the file must never read half of it.
fn write_whole(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = PathBuf::from(name);
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

fn print_hosts(endpoints: &serde_json::Value) {
    for (exchange, entry) in endpoints.as_object().into_iter().flatten() {
        for (host, url) in entry["hosts"].as_object().into_iter().flatten() {
            super::say(&format!(
                "{exchange:<10} {host:<28} {}",
                url.as_str().unwrap_or_default()
            ));
        }
    }
}
