//! Where bars of a level come from: an exchange's own where it has them, else the largest level
//! that divides the wanted one, and trades where no streamed level does.
//!
//! The exchange's own shorter bars are preferred to trades because the sum of them is what its
//! history gives, before and after a repair: a bar from trades has a quote volume that is unknown
//! again as soon as a lost minute of it had to be taken from a history without one.

use crate::instrument::Instrument;
use crate::time::Level;

use super::{Exchange, Feed, PageRequest};

/// Where the live bars of a level come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarSource {
    /// The exchange streams them.
    Stream,
    /// They are sums of the live bars of this shorter level, wherever those come from.
    Bars(Level),
    /// They are built from live trades: only the shortest level is.
    Trades,
}

/// Levels that divide `level`, itself aside, longest first.
fn divisors(level: Level) -> impl Iterator<Item = Level> {
    let shorter = Level::ALL.into_iter().rev();
    shorter.filter(move |one| *one < level && level.nanos() % one.nanos() == 0)
}

/// Where the live bars of an instrument and level come from; `None`: they can't be had.
#[must_use]
pub fn live_bars(
    exchange: &dyn Exchange,
    instrument: &Instrument,
    level: Level,
) -> Option<BarSource> {
    let is_streamed = |feed| !exchange.streams(instrument, feed).is_empty();
    if is_streamed(Feed::Klines(level)) {
        return Some(BarSource::Stream);
    }
    if let Some(from) = divisors(level).find(|one| is_streamed(Feed::Klines(*one))) {
        return Some(BarSource::Bars(from));
    }
    let shortest = Level::ALL[0];
    is_streamed(Feed::Trades).then_some(match level == shortest {
        true => BarSource::Trades,
        false => BarSource::Bars(shortest),
    })
}

/// The feed that live bars of a level are made of where the exchange does not stream them.
#[must_use]
pub const fn feed_of(source: BarSource) -> Option<Feed> {
    match source {
        BarSource::Stream => None,
        BarSource::Bars(level) => Some(Feed::Klines(level)),
        BarSource::Trades => Some(Feed::Trades),
    }
}

/// The longest level of which the exchange's history has bars and that adds up to `level`, which
/// may be `level` itself.
#[must_use]
pub fn history_level(
    exchange: &dyn Exchange,
    instrument: &Instrument,
    level: Level,
) -> Option<Level> {
    let has = |one: &Level| {
        let page = PageRequest::default();
        exchange.kline_request(instrument, *one, page).is_some()
    };
    std::iter::once(level).chain(divisors(level)).find(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ProviderId;
    use crate::instrument::InstrumentTable;
    use crate::wire::test_data;

    /// An instrument of each exchange and market.
    fn instruments() -> Vec<(&'static dyn Exchange, Instrument)> {
        let mut all = Vec::new();
        for provider in ProviderId::all() {
            for market in provider.exchange().markets() {
                let mut spec = test_data::instrument(*market, "BTC", 2, 8).spec;
                spec.provider = provider;
                spec.native_symbol = "BTC-USD".to_owned();
                let table = InstrumentTable::default().with_market(provider, *market, vec![spec]);
                let row = table.iter().next().unwrap();
                all.push((provider.exchange(), Instrument::clone(row)));
            }
        }
        all
    }

    #[test]
    fn every_level_can_be_had_live_and_from_history() {
        for (exchange, instrument) in instruments() {
            for level in Level::ALL {
                let name = exchange.name();
                let source = live_bars(exchange, &instrument, level);
                let from = history_level(exchange, &instrument, level);
                assert!(source.is_some() && from.is_some(), "{name} {level}");
                let expected = match name {
                    "coinbase" => continue,
                    // Which others a venue pushes differs; sums of minutes are right for all.
                    "ccxt" if level != Level::M1 => BarSource::Bars(Level::M1),
                    _ => BarSource::Stream,
                };
                assert_eq!(source, Some(expected), "{name} {level}");
                assert_eq!(from, Some(level), "{name} {level}");
            }
        }
    }

    #[test]
    fn what_coinbase_lacks_is_made_of_what_it_has() {
        let all = instruments();
        let found = all
            .iter()
            .find(|(exchange, _)| exchange.name() == "coinbase");
        let (exchange, instrument) = found.unwrap();
        let sources = Level::ALL.map(|level| live_bars(*exchange, instrument, level).unwrap());
        let five = BarSource::Bars(Level::M5);
        let expected = [
            BarSource::Trades,
            BarSource::Stream,
            five,
            five,
            five,
            five,
            five,
        ];
        assert_eq!(sources, expected);
        let history = Level::ALL.map(|level| history_level(*exchange, instrument, level));
        let own = |level: &Level| *level != Level::H4;
        for (level, from) in Level::ALL.iter().zip(history) {
            let expected = if own(level) { *level } else { Level::H1 };
            assert_eq!(from, Some(expected));
        }
    }

    #[test]
    fn the_levels_that_are_told_are_those_that_can_be_asked_for() {
        for (exchange, instrument) in instruments() {
            let market = instrument.spec.market;
            for level in Level::ALL {
                let page = PageRequest::default();
                let can = exchange.kline_request(&instrument, level, page).is_some();
                let told = exchange.kline_levels(market).contains(&level);
                assert_eq!(can, told, "{} {market} {level}", exchange.name());
            }
        }
    }

    #[test]
    fn divisors_are_told_longest_first() {
        let of = |level| divisors(level).collect::<Vec<Level>>();
        assert_eq!(of(Level::M1), []);
        assert_eq!(of(Level::M30), [Level::M15, Level::M5, Level::M1]);
        assert_eq!(of(Level::D1).first(), Some(&Level::H4));
    }
}
