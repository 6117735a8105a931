//! What clients were told against what the simulators know, once the market stands still.

use anyhow::{Context, Result, ensure};
use bookwire_sim::{BookTruth, Exchange, Segment, SimControl, TradeTruth};
use rust_decimal::Decimal;

use super::client::{Client, Name, Told};
use super::{DEPTH, Sims, Symbol};
use crate::gateway::Gateway;

/// Levels of a side that REST is asked for.
const REST_DEPTH: usize = 100;
/// Trades asked for at once.
const PAGE: usize = 1_000;

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    /// Trades of the simulators.
    pub(super) trades: u64,
    pub(super) books: usize,
    pub(super) levels: usize,
}

/// Compares everything.
///
/// # Errors
/// At the first thing that differs.
pub(super) fn compare(
    sims: &Sims,
    gateway: &Gateway,
    symbols: &[Symbol],
    clients: &[Client; 3],
) -> Result<Compared> {
    let [trades, books, _] = clients;
    let mut compared = Compared::default();
    for symbol in symbols {
        let control = sims.get(symbol.exchange)?;
        let name: Name = (symbol.exchange.as_str().to_owned(), symbol.symbol.clone());
        let place = || format!("{} {}", name.0, name.1);
        compared.trades +=
            same_trades(control, symbol, &trades.trades(&name)).with_context(place)?;
        let truth = control
            .book(symbol.segment, &symbol.native)
            .with_context(place)?;
        let levels = same_book(gateway, symbol, &truth, books, &name).with_context(place)?;
        compared.books += 1;
        compared.levels += levels;
    }
    Ok(compared)
}

/// Every trade between the first that was told and the market's last. An exchange may tell several
/// matches of one order as one, with the number of the last: what lies between two that were told
/// has to add up to the later one.
fn same_trades(control: &SimControl, symbol: &Symbol, told: &[Told]) -> Result<u64> {
    let Some((first, rest)) = told.split_first() else {
        // A market that is quiet for so long is possible; a second look at its last trade is not.
        return Ok(0);
    };
    let mut truth = Truth::new(control, symbol, first.id);
    let start = truth
        .next()?
        .context("the first trade is not the market's")?;
    ensure!(
        start.id == first.id && price(&start)? == first.price,
        "{first:?} is {start:?}"
    );
    let mut compared = 1;
    for told in rest {
        let mut qty = Decimal::ZERO;
        loop {
            let trade = truth
                .next()?
                .with_context(|| format!("{told:?} never happened"))?;
            ensure!(
                trade.id <= told.id,
                "{told:?} came before {trade:?}, or twice"
            );
            qty += trade.qty.parse::<Decimal>()?;
            compared += 1;
            if trade.id == told.id {
                ensure!(price(&trade)? == told.price, "{told:?} is {trade:?}");
                break;
            }
        }
        ensure!(qty == told.qty, "{told:?} should have the quantity {qty}");
    }
    let lost = truth.next()?;
    ensure!(lost.is_none(), "{lost:?} was not told");
    Ok(compared)
}

fn price(trade: &TradeTruth) -> Result<Decimal> {
    Ok(trade.price.parse()?)
}

/// The market's trades from a number on.
struct Truth<'a> {
    control: &'a SimControl,
    symbol: &'a Symbol,
    from: u64,
    page: std::vec::IntoIter<TradeTruth>,
}

impl<'a> Truth<'a> {
    fn new(control: &'a SimControl, symbol: &'a Symbol, from: u64) -> Self {
        let page = Vec::new().into_iter();
        Self {
            control,
            symbol,
            from,
            page,
        }
    }

    fn next(&mut self) -> Result<Option<TradeTruth>> {
        let trade = match self.page.next() {
            Some(trade) => trade,
            None => {
                let Symbol {
                    segment, native, ..
                } = self.symbol;
                // The gateway takes aggregates, which have numbers of their own, of this market
                // alone.
                let is_aggregated =
                    self.symbol.exchange == Exchange::Binance && *segment == Segment::Linear;
                let page = match is_aggregated {
                    true => self.control.aggregates(*segment, native, self.from, PAGE),
                    false => self.control.trades(*segment, native, self.from, PAGE),
                };
                self.page = page.into_iter();
                let Some(trade) = self.page.next() else {
                    return Ok(None);
                };
                trade
            }
        };
        ensure!(
            trade.id >= self.from,
            "the market's trades are out of order"
        );
        self.from = trade.id + 1;
        Ok(Some(trade))
    }
}

type Level = (Decimal, Decimal);

fn levels(side: &[(String, String)]) -> Result<Vec<Level>> {
    let level = |(price, qty): &(String, String)| Ok((price.parse()?, qty.parse()?));
    side.iter().map(level).collect()
}

fn same_book(
    gateway: &Gateway,
    symbol: &Symbol,
    truth: &BookTruth,
    client: &Client,
    name: &Name,
) -> Result<usize> {
    let (bids, asks) = (levels(&truth.bids)?, levels(&truth.asks)?);
    let book = client.book(name).context("no book")?;
    let told: Vec<Level> = book.bids.iter().rev().map(|(p, q)| (*p, *q)).collect();
    ensure!(
        told == bids[..bids.len().min(DEPTH)],
        "the client's bids differ"
    );
    let told: Vec<Level> = book.asks.iter().map(|(p, q)| (*p, *q)).collect();
    ensure!(
        told == asks[..asks.len().min(DEPTH)],
        "the client's asks differ"
    );
    let type_ = match symbol.symbol.ends_with("-perp") {
        true => "cryptoperp",
        false => "cryptopair",
    };
    let provider = symbol.exchange.as_str();
    let answer = gateway.get_json(&format!(
        "/api/data/CryptoOrderbook?provider={provider}&entity_ids={type_}_{provider}_{}\
         &depth={REST_DEPTH}&numbers=string",
        symbol.code
    ))?;
    let row = &answer["data"][0];
    let mut compared = 0;
    for (side, truth) in [("bids", &bids), ("asks", &asks)] {
        let rows: Vec<(String, String)> = serde_json::from_value(row[side].clone())
            .with_context(|| format!("REST has no {side}: {answer}"))?;
        let rest = levels(&rows)?;
        ensure!(
            rest == truth[..truth.len().min(REST_DEPTH)],
            "REST's {side} differ"
        );
        compared += rest.len();
    }
    Ok(compared)
}
