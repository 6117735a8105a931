//! ccxt (Python), which sends its orders itself: how long from when one was due until its request had
//! reached the exchange, and until its user had the answer.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::client::Asked;
use super::exchange::{Exchange, FIRST_CENTS, QUANTITY};
use super::{Measured, Options, PEER_RATE, Wall, settled};
use crate::report::Report;

const SCRIPT: &str = include_str!("../../peers/ccxt_orders.py");

/// Measures what there is, and says what is not.
pub(super) fn measure(
    options: &Options,
    report: &mut Report,
    all: &mut Vec<Measured>,
) -> Result<()> {
    for kind in ["sync", "async"] {
        let name = format!("ccxt ({kind})");
        let Some(python) = &options.python else {
            report.not_measured(&name, "no --python with an interpreter that has it");
            continue;
        };
        match peer(options, python, kind) {
            Ok(measured) => all.push(measured),
            Err(error) => report.not_measured(&name, &format!("{error:#}")),
        }
    }
    Ok(())
}

fn peer(options: &Options, python: &Path, kind: &str) -> Result<Measured> {
    let exchange = Exchange::start()?;
    let rate = options.rate.min(PEER_RATE);
    let (warm_up, orders) = (options.warm_up(), options.orders(rate));
    let wall = Wall::now()?;
    let output = Command::new(python)
        .args(["-c", SCRIPT, kind, &format!("http://{}", exchange.rest())])
        .args([0, warm_up + orders, rate, FIRST_CENTS].map(|number| number.to_string()))
        .arg(QUANTITY)
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let trouble = text(&output.stderr);
    let trouble = trouble.trim().lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{trouble}");
    let (name, asked) = read(&text(&output.stdout), &wall)?;
    let asked: Vec<Asked> = asked
        .into_iter()
        .filter(|one| one.number >= warm_up)
        .collect();
    let mut log = settled(&exchange)?;
    log.retain(|(number, _), _| *number >= warm_up);
    Measured::of(&name, &asked, &log)
}

/// What it wrote: its name and version, then a line for each request.
fn read(text: &str, wall: &Wall) -> Result<(String, Vec<Asked>)> {
    let mut lines = text.lines();
    let name = lines.next().context("it wrote nothing")?.to_owned();
    let one = |line: &str| -> Result<Asked> {
        let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        let numbers = numbers.with_context(|| format!("no numbers: {line}"))?;
        let [number, is_cancel, due, done] = numbers[..] else {
            anyhow::bail!("not four numbers: {line}");
        };
        Ok(Asked {
            number,
            is_cancel: is_cancel == 1,
            due: wall.instant(due)?,
            done: wall.instant(done)?,
        })
    };
    let asked: Result<Vec<Asked>> = lines.map(one).collect();
    Ok((name, asked?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_output_is_read() {
        let wall = Wall::now().unwrap();
        let nanos = |more: u64| wall.nanos + more;
        let text = format!("ccxt 9 (sync)\n4 1 {} {}\n", nanos(10), nanos(1_010));
        let (name, asked) = read(&text, &wall).unwrap();
        assert_eq!((name.as_str(), asked.len()), ("ccxt 9 (sync)", 1));
        assert_eq!((asked[0].number, asked[0].is_cancel), (4, true));
        assert_eq!((asked[0].done - asked[0].due).as_nanos(), 1_000);
        for bad in ["", "ccxt\n1 2 3\n", "ccxt\n1 0 x 3\n", "ccxt\n1 0 1 2\n"] {
            assert!(read(bad, &wall).is_err(), "{bad:?}");
        }
    }
}
