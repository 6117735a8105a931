//! Starts a simulator, prints where its hosts are, and runs until Ctrl-C.
//!
//! Arguments: a seed (default 1), then faults.

use std::error::Error;

use bookwire_sim::{Sim, SimConfig, fault};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let texts: Vec<String> = arguments.collect();
    if texts.iter().any(|text| text == "help") {
        print!("{}", fault::HELP);
        return Ok(());
    }
    let faults = texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;
    let before = std::time::Instant::now();
    let sim = Sim::start(SimConfig {
        seed,
        faults,
        ..SimConfig::default()
    })
    .await?;
    eprintln!("ready after {} ms", before.elapsed().as_millis());
    println!("{}", sim.endpoints());
    tokio::signal::ctrl_c().await?;
    sim.shutdown().await;
    Ok(())
}
