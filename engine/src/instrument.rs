//! Tradable instruments and the table through which every spelling of a symbol is resolved.
//!
//! A symbol's text is never split to find out where the base ends: all spellings that an
//! instrument can have are put into an index when the table is built, and a text is looked up.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use rust_decimal::Decimal;

use crate::exchange::ProviderId;
use crate::num::{SCALE_MAX, scale_of_step};
use crate::time::{Level, TsNanos};

/// A product line of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Market {
    /// Spot pairs: `cryptopair`.
    Spot,
    /// Perpetual futures: `cryptoperp`.
    Perp,
}

impl Market {
    /// Name on the command line and in the configuration: `spot`, `perp`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Perp => "perp",
        }
    }

    /// The public entity type: `cryptopair`, `cryptoperp`.
    #[must_use]
    pub const fn entity_type(self) -> &'static str {
        match self {
            Self::Spot => "cryptopair",
            Self::Perp => "cryptoperp",
        }
    }

    /// The market of its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Spot, Self::Perp]
            .into_iter()
            .find(|market| market.as_str() == text)
    }
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Index of an instrument in its [`InstrumentTable`]; stable for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct InstrumentId(pub u32);

/// What an exchange says of an instrument, before the table gives it an id.
#[derive(Clone, Debug, PartialEq)]
pub struct InstrumentSpec {
    /// Source of the data.
    pub provider: ProviderId,
    /// Venue; equal to the provider's name for native providers.
    pub exchange: String,
    /// Product line.
    pub market: Market,
    /// The exchange's own spelling, upper or lower case as it writes it.
    pub native_symbol: String,
    /// Base asset, the exchange's spelling.
    pub base_symbol: String,
    /// Quote asset, the exchange's spelling.
    pub quote_symbol: String,
    /// Asset that profit and margin are settled in; perpetuals only.
    pub settlement_symbol: Option<String>,
    /// Smallest price step, quote units.
    pub price_step: Decimal,
    /// Smallest quantity step, base units.
    pub qty_step: Decimal,
    /// Levels of which the venue has bars, where its provider speaks for many; `None`: all that the
    /// provider's exchange has.
    pub bar_levels: Option<Vec<Level>>,
    /// Digits after the point that prices can have when the step's are not enough; 0: they are.
    /// Steps change: orders from before a step became coarser stay in the book, and old bars and
    /// trades keep their digits.
    pub price_digits: u8,
    /// The same for quantities.
    pub qty_digits: u8,
    /// Smallest order quantity, base units; `None`: no rule.
    pub min_qty: Option<Decimal>,
    /// Largest order quantity, base units; `None`: no rule.
    pub max_qty: Option<Decimal>,
    /// Smallest price × quantity of an order, quote units; `None`: no rule.
    pub min_notional: Option<Decimal>,
    /// Maker fee as a fraction; `None`: not public.
    pub maker_fee: Option<Decimal>,
    /// Taker fee as a fraction; `None`: not public.
    pub taker_fee: Option<Decimal>,
    /// Can be traded now.
    pub is_active: bool,
    /// Margin trading is offered; always true for perpetuals.
    pub margin_enabled: bool,
    /// First day of trading; `None`: unknown.
    pub list_date: Option<TsNanos>,
    /// Base units in one contract; 1 for spot.
    pub contract_size: Decimal,
    /// Largest leverage; `None`: not public.
    pub max_leverage: Option<u32>,
    /// Hours between funding settlements; perpetuals only.
    pub funding_interval_hours: Option<u32>,
    /// The exchange's number of it, where its order entry over WebSocket knows instruments by number
    /// (OKX, `instIdCode`).
    pub native_code: Option<u64>,
}

impl InstrumentSpec {
    /// False when the venue is known to have no bars of a level.
    #[must_use]
    pub fn has_bars(&self, level: Level) -> bool {
        let levels = self.bar_levels.as_ref();
        levels.is_none_or(|levels| levels.contains(&level))
    }

    /// What tells it from all others of its provider and market: the native symbol, with the venue
    /// where the provider has several ([`venue_key`]). Orders, executions and positions are kept by it.
    #[must_use]
    pub fn native_key(&self) -> Cow<'_, str> {
        match self.provider.exchange().bridge() {
            None => Cow::Borrowed(&self.native_symbol),
            Some(_) => Cow::Owned(venue_key(&self.exchange, &self.native_symbol)),
        }
    }
}

/// What tells an instrument of a provider with several venues from all others: `kraken|XXBTZUSD`.
#[must_use]
pub fn venue_key(venue: &str, native_symbol: &str) -> String {
    format!("{venue}|{native_symbol}")
}

/// A tradable instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct Instrument {
    /// Index in the table.
    pub id: InstrumentId,
    /// What the exchange says of it.
    pub spec: InstrumentSpec,
    /// Base and quote in lower case without separator: `btcusdt`.
    pub code: String,
    /// Digits after the point of a [`crate::num::Price`] of this instrument.
    pub price_scale: u8,
    /// Digits after the point of a [`crate::num::Qty`] of this instrument.
    pub qty_scale: u8,
}

impl Instrument {
    fn new(id: InstrumentId, spec: InstrumentSpec) -> Self {
        let code = format!("{}{}", spec.base_symbol, spec.quote_symbol).to_lowercase();
        let price_scale = scale_of_step(spec.price_step).max(spec.price_digits.min(SCALE_MAX));
        let qty_scale = scale_of_step(spec.qty_step).max(spec.qty_digits.min(SCALE_MAX));
        Self {
            id,
            spec,
            code,
            price_scale,
            qty_scale,
        }
    }

    /// The public id: `cryptopair_binance_btcusdt`.
    #[must_use]
    pub fn entity_id(&self) -> String {
        format!(
            "{}_{}_{}",
            self.spec.market.entity_type(),
            self.spec.exchange,
            self.code
        )
    }

    /// The symbol used in streams: the code, with `-perp` for perpetuals.
    #[must_use]
    pub fn stream_symbol(&self) -> String {
        match self.spec.market {
            Market::Spot => self.code.clone(),
            Market::Perp => format!("{}-perp", self.code),
        }
    }

    /// The name shown to people: `BTC/USDT`, `BTC/USDT:USDT`.
    #[must_use]
    pub fn name(&self) -> String {
        let InstrumentSpec {
            base_symbol,
            quote_symbol,
            settlement_symbol,
            ..
        } = &self.spec;
        match settlement_symbol {
            Some(settle) => format!("{base_symbol}/{quote_symbol}:{settle}"),
            None => format!("{base_symbol}/{quote_symbol}"),
        }
    }

    /// All spellings under which a user may ask for this instrument, in lower case.
    fn spellings(&self) -> Vec<String> {
        let base = self.spec.base_symbol.to_lowercase();
        let quote = self.spec.quote_symbol.to_lowercase();
        let mut all = vec![
            self.code.clone(),
            format!("{base}-{quote}"),
            format!("{base}_{quote}"),
            format!("{base}/{quote}"),
            self.spec.native_symbol.to_lowercase(),
            self.entity_id(),
        ];
        if self.spec.market == Market::Perp {
            for index in 0..4 {
                let stem = all[index].clone();
                all.push(format!("{stem}-perp"));
                all.push(format!("{stem}-swap"));
            }
            if let Some(settle) = &self.spec.settlement_symbol {
                all.push(format!("{base}/{quote}:{}", settle.to_lowercase()));
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Why a text names no instrument.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    /// Not a symbol at all, e.g. empty or with blanks.
    #[error("`{text}` is not a symbol")]
    Malformed {
        /// What was asked for.
        text: String,
    },
    /// More than one instrument has this spelling.
    #[error("`{text}` is ambiguous")]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// Entity ids of all that match.
        candidates: Vec<String>,
    },
    /// Well-formed, but no instrument has this spelling.
    #[error("`{text}` is not listed")]
    NotListed {
        /// What was asked for.
        text: String,
        /// Stream symbols that are nearly the same, best first.
        near: Vec<String>,
    },
}

/// Two instruments that share a spelling within one provider and market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The shared spelling.
    pub spelling: String,
    /// Native symbols of the instruments.
    pub native_symbols: Vec<String>,
}

/// Narrows what a text may name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Only this provider.
    pub provider: Option<ProviderId>,
    /// Only this venue (needed for provider `ccxt`).
    pub exchange: Option<&'a str>,
    /// Only this market. Without one a bare code means spot where both exist.
    pub market: Option<Market>,
}

/// All instruments of all providers, immutable; a reload makes a new table in which every
/// instrument keeps its id.
#[derive(Clone, Debug, Default)]
pub struct InstrumentTable {
    rows: Vec<Arc<Instrument>>,
    by_native: AHashMap<(ProviderId, Market), AHashMap<String, InstrumentId>>,
    by_spelling: AHashMap<String, Vec<InstrumentId>>,
    collisions: Vec<Collision>,
}

impl InstrumentTable {
    /// This table with the instruments of one provider and market replaced by `specs`.
    ///
    /// Instruments that are no longer listed stay, inactive, so that ids and stored rows keep
    /// their meaning.
    #[must_use]
    pub fn with_market(
        &self,
        provider: ProviderId,
        market: Market,
        specs: Vec<InstrumentSpec>,
    ) -> Self {
        self.with_venue(provider, provider.name(), market, specs)
    }

    /// As [`InstrumentTable::with_market`], for one venue of a provider that has several.
    #[must_use]
    pub fn with_venue(
        &self,
        provider: ProviderId,
        venue: &str,
        market: Market,
        specs: Vec<InstrumentSpec>,
    ) -> Self {
        let mut rows: Vec<Instrument> = self.rows.iter().map(|row| (**row).clone()).collect();
        let known = self.by_native.get(&(provider, market));
        let mut seen = AHashSet::with_capacity(specs.len());
        for spec in specs {
            debug_assert!(spec.provider == provider && spec.market == market);
            let old = known.and_then(|map| map.get(&*spec.native_key())).copied();
            let id = old.unwrap_or(InstrumentId(rows.len() as u32));
            seen.insert(id);
            let row = Instrument::new(id, spec);
            match old {
                Some(id) => rows[id.0 as usize] = row,
                None => rows.push(row),
            }
        }
        for row in &mut rows {
            let ours = row.spec.provider == provider
                && row.spec.market == market
                && (row.spec.exchange == venue || provider.exchange().bridge().is_none());
            if ours && !seen.contains(&row.id) {
                row.spec.is_active = false;
            }
        }
        Self::from_rows(rows)
    }

    fn from_rows(rows: Vec<Instrument>) -> Self {
        let mut table = Self::default();
        for row in rows {
            let key = (row.spec.provider, row.spec.market);
            table
                .by_native
                .entry(key)
                .or_default()
                .insert(row.spec.native_key().into_owned(), row.id);
            for spelling in row.spellings() {
                table.by_spelling.entry(spelling).or_default().push(row.id);
            }
            table.rows.push(Arc::new(row));
        }
        table.collisions = table.find_collisions();
        table
    }

    fn find_collisions(&self) -> Vec<Collision> {
        let mut found = Vec::new();
        for (spelling, ids) in &self.by_spelling {
            let mut groups: AHashMap<(ProviderId, &str, Market), Vec<&str>> = AHashMap::new();
            for id in ids {
                let spec = &self.rows[id.0 as usize].spec;
                groups
                    .entry((spec.provider, &spec.exchange, spec.market))
                    .or_default()
                    .push(&spec.native_symbol);
            }
            for natives in groups.into_values().filter(|natives| natives.len() > 1) {
                found.push(Collision {
                    spelling: spelling.clone(),
                    native_symbols: natives.into_iter().map(str::to_owned).collect(),
                });
            }
        }
        found.sort_unstable_by(|a, b| a.spelling.cmp(&b.spelling));
        found
    }

    /// The instrument of an id; `None` for an id of another table.
    #[must_use]
    pub fn get(&self, id: InstrumentId) -> Option<&Arc<Instrument>> {
        self.rows.get(id.0 as usize)
    }

    /// All instruments, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Instrument>> {
        self.rows.iter()
    }

    /// Number of instruments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The instrument with exactly this native symbol.
    #[must_use]
    pub fn by_native(
        &self,
        provider: ProviderId,
        market: Market,
        native_symbol: &str,
    ) -> Option<&Arc<Instrument>> {
        let id = self
            .by_native
            .get(&(provider, market))?
            .get(native_symbol)?;
        self.get(*id)
    }

    /// As [`InstrumentTable::by_native`], for a provider that has several venues.
    #[must_use]
    pub fn by_venue(
        &self,
        provider: ProviderId,
        venue: &str,
        market: Market,
        native_symbol: &str,
    ) -> Option<&Arc<Instrument>> {
        self.by_native(provider, market, &venue_key(venue, native_symbol))
    }

    /// Spellings shared within one provider and market, to be logged and shown.
    #[must_use]
    pub fn collisions(&self) -> &[Collision] {
        &self.collisions
    }

    /// The instrument that a user's text names.
    ///
    /// Accepted are the code, `btc-usdt`, `btc_usdt`, `btc/usdt`, for perpetuals these with
    /// `-perp` or `-swap` and `btc/usdt:usdt`, the native symbol and the entity id, in any case.
    ///
    /// # Errors
    /// [`SymbolError`] says whether the text is malformed, ambiguous or not listed.
    pub fn resolve(&self, text: &str, scope: Scope<'_>) -> Result<&Arc<Instrument>, SymbolError> {
        let key = text.trim().to_lowercase();
        let bad = |c: char| c.is_whitespace() || c.is_control() || "\"'\\,;?&=%".contains(c);
        if key.is_empty() || key.chars().count() > 64 || key.contains(bad) {
            return Err(SymbolError::Malformed {
                text: text.chars().take(80).collect(),
            });
        }
        let fits = |id: &InstrumentId| {
            let spec = &self.rows[id.0 as usize].spec;
            scope
                .provider
                .is_none_or(|provider| provider == spec.provider)
                && scope
                    .exchange
                    .is_none_or(|exchange| exchange == spec.exchange)
                && scope.market.is_none_or(|market| market == spec.market)
        };
        let mut ids: Vec<InstrumentId> = self
            .by_spelling
            .get(&key)
            .map(|ids| ids.iter().copied().filter(fits).collect())
            .unwrap_or_default();
        if ids.len() > 1 && scope.market.is_none() {
            let spot: Vec<InstrumentId> = ids
                .iter()
                .copied()
                .filter(|id| self.rows[id.0 as usize].spec.market == Market::Spot)
                .collect();
            if !spot.is_empty() {
                ids = spot;
            }
        }
        match ids.as_slice() {
            [id] => Ok(&self.rows[id.0 as usize]),
            [] => Err(SymbolError::NotListed {
                text: key.clone(),
                near: self.near(&key, scope),
            }),
            many => Err(SymbolError::Ambiguous {
                text: key,
                candidates: many
                    .iter()
                    .map(|id| self.rows[id.0 as usize].entity_id())
                    .collect(),
            }),
        }
    }

    /// Up to five listed symbols that differ little from `key`.
    fn near(&self, key: &str, scope: Scope<'_>) -> Vec<String> {
        let stem = key
            .strip_suffix("-perp")
            .or_else(|| key.strip_suffix("-swap"))
            .unwrap_or(key);
        let stem: String = stem.chars().filter(|c| !"-_/:".contains(*c)).collect();
        let mut scored: Vec<(usize, bool, String)> = self
            .rows
            .iter()
            .filter(|row| {
                scope
                    .provider
                    .is_none_or(|provider| provider == row.spec.provider)
                    && scope
                        .exchange
                        .is_none_or(|exchange| exchange == row.spec.exchange)
                    && scope.market.is_none_or(|market| market == row.spec.market)
            })
            .filter_map(|row| {
                let distance = edit_distance(&stem, &row.code, 3)?;
                Some((distance, !row.spec.is_active, row.stream_symbol()))
            })
            .collect();
        scored.sort_unstable();
        scored.dedup();
        scored
            .into_iter()
            .take(5)
            .map(|(_, _, symbol)| symbol)
            .collect()
    }
}

/// Levenshtein distance when it is at most `limit`.
pub(crate) fn edit_distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (above + 1)
                .min(row[j] + 1)
                .min(diagonal + usize::from(ca != cb));
            diagonal = above;
        }
        if row.iter().min().is_some_and(|best| *best > limit) {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn spec(market: Market, native: &str, base: &str, quote: &str) -> InstrumentSpec {
        InstrumentSpec {
            provider: ProviderId::BINANCE,
            exchange: "binance".to_owned(),
            market,
            native_symbol: native.to_owned(),
            base_symbol: base.to_owned(),
            quote_symbol: quote.to_owned(),
            settlement_symbol: (market == Market::Perp).then(|| quote.to_owned()),
            price_step: Decimal::new(1, 2),
            qty_step: Decimal::new(1, 5),
            bar_levels: None,
            price_digits: 0,
            qty_digits: 0,
            min_qty: None,
            max_qty: None,
            min_notional: None,
            maker_fee: None,
            taker_fee: None,
            is_active: true,
            margin_enabled: false,
            list_date: None,
            contract_size: Decimal::ONE,
            max_leverage: None,
            funding_interval_hours: None,
            native_code: None,
        }
    }

    fn table() -> InstrumentTable {
        InstrumentTable::default()
            .with_market(
                ProviderId::BINANCE,
                Market::Spot,
                vec![
                    spec(Market::Spot, "BTCUSDT", "BTC", "USDT"),
                    spec(Market::Spot, "ETHUSDT", "ETH", "USDT"),
                ],
            )
            .with_market(
                ProviderId::BINANCE,
                Market::Perp,
                vec![
                    spec(Market::Perp, "BTCUSDT", "BTC", "USDT"),
                    spec(Market::Perp, "1000PEPEUSDT", "1000PEPE", "USDT"),
                ],
            )
    }

    #[test]
    fn every_spelling_of_the_contract_resolves() {
        let table = table();
        for (text, expected) in [
            ("btcusdt", "btcusdt"),
            ("BTCUSDT", "btcusdt"),
            ("btc-usdt", "btcusdt"),
            ("BTC_USDT", "btcusdt"),
            ("BTC/USDT", "btcusdt"),
            ("cryptopair_binance_btcusdt", "btcusdt"),
            ("btcusdt-perp", "btcusdt-perp"),
            ("BTC-USDT-SWAP", "btcusdt-perp"),
            ("BTC/USDT:USDT", "btcusdt-perp"),
            ("cryptoperp_binance_btcusdt", "btcusdt-perp"),
            ("1000pepeusdt", "1000pepeusdt-perp"),
        ] {
            let found = table
                .resolve(text, Scope::default())
                .map(|row| row.stream_symbol());
            assert_eq!(found.as_deref(), Ok(expected), "{text}");
        }
        let perp = Scope {
            market: Some(Market::Perp),
            ..Scope::default()
        };
        assert_eq!(
            table
                .resolve("btcusdt", perp)
                .map(|row| row.stream_symbol())
                .as_deref(),
            Ok("btcusdt-perp")
        );
    }

    #[test]
    fn separators_are_not_ignored_where_they_mean_something() {
        let error = table()
            .resolve("b-tcusdt", Scope::default())
            .map(|row| row.id);
        assert!(
            matches!(error, Err(SymbolError::NotListed { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn unknown_and_malformed_symbols_are_told_apart() {
        let table = table();
        let error = table.resolve("btcusd", Scope::default()).map(|row| row.id);
        let near = vec!["btcusdt".to_owned(), "btcusdt-perp".to_owned()];
        let Err(SymbolError::NotListed { near: found, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(found[..2], near);
        for text in ["", "  ", "btc usdt", "btc\"usdt", &"x".repeat(65)] {
            let error = table.resolve(text, Scope::default()).map(|row| row.id);
            assert!(
                matches!(error, Err(SymbolError::Malformed { .. })),
                "{text:?} {error:?}"
            );
        }
    }

    #[test]
    fn ids_survive_a_reload_and_delisted_instruments_stay() {
        let first = table();
        let eth = first
            .by_native(ProviderId::BINANCE, Market::Spot, "ETHUSDT")
            .unwrap()
            .id;
        let second = first.with_market(
            ProviderId::BINANCE,
            Market::Spot,
            vec![spec(Market::Spot, "NEWUSDT", "NEW", "USDT"), {
                spec(Market::Spot, "ETHUSDT", "ETH", "USDT")
            }],
        );
        let row = |native| {
            second
                .by_native(ProviderId::BINANCE, Market::Spot, native)
                .unwrap()
        };
        assert_eq!(row("ETHUSDT").id, eth);
        assert!(row("NEWUSDT").spec.is_active);
        assert!(!row("BTCUSDT").spec.is_active);
        assert_eq!(second.len(), 5);
    }

    #[test]
    fn collisions_are_reported_and_ambiguous() {
        let table = InstrumentTable::default().with_market(
            ProviderId::BINANCE,
            Market::Spot,
            vec![
                spec(Market::Spot, "AB1", "A", "BC"),
                spec(Market::Spot, "AB2", "AB", "C"),
            ],
        );
        assert_eq!(table.collisions()[0].spelling, "abc");
        assert!(matches!(
            table.resolve("abc", Scope::default()),
            Err(SymbolError::Ambiguous { .. })
        ));
        assert!(table.resolve("a/bc", Scope::default()).is_ok());
    }
}
