//! Lists of entities: assets, spot pairs, perpetuals. Everything comes out of the instrument table.

use std::collections::BTreeSet;
use std::sync::Arc;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{
    Instrument, InstrumentId, InstrumentTable, Market, Scope, SymbolError,
};
use bookwire_engine::time::Level;
use bookwire_engine::wire::{AssetRow, PairRow, PerpRow};

use super::answer::{Listing, Shape};
use super::params::Params;
use super::schema::Schema;

/// Answers `CryptoAsset`.
///
/// # Errors
/// A parameter that is wrong.
pub fn assets(
    table: &InstrumentTable,
    served: &Served,
    params: &Params,
    shape: &Shape,
) -> Result<Listing, CryptoError> {
    let filter = Filter::read(params, table, served, None)?;
    let columns = shape.columns::<AssetRow<'_>>()?;
    let codes: Vec<String> = params
        .list("codes")?
        .iter()
        .map(|c| c.to_lowercase())
        .collect();
    let ids: Vec<String> = params
        .list("entity_ids")?
        .iter()
        .map(|c| c.to_lowercase())
        .collect();
    let mut assets: BTreeSet<(&str, String, &str)> = BTreeSet::new();
    for instrument in table.iter().filter(|row| filter.fits_source(row)) {
        let spec = &instrument.spec;
        for symbol in [Some(&spec.base_symbol), Some(&spec.quote_symbol)]
            .into_iter()
            .chain([spec.settlement_symbol.as_ref()])
            .flatten()
        {
            assets.insert((&spec.exchange, symbol.to_lowercase(), symbol));
        }
    }
    let rows: Vec<(&str, String, &str)> = assets
        .into_iter()
        .filter(|(exchange, code, _)| {
            let named = |id: &String| *id == format!("cryptoasset_{exchange}_{code}");
            (codes.is_empty() && ids.is_empty()) || codes.contains(code) || ids.iter().any(named)
        })
        .take(shape.limit)
        .collect();
    Ok(Listing::encode(
        shape,
        &columns,
        &rows,
        asset_row,
        Vec::new(),
    ))
}

fn asset_row<'a>(row: &'a (&'a str, String, &'a str)) -> AssetRow<'a> {
    AssetRow {
        exchange: row.0,
        code: &row.1,
        name: row.2,
    }
}

/// Answers `CryptoPair` and `CryptoPerp`.
///
/// # Errors
/// A parameter that is wrong.
pub fn instruments(
    (table, served): (&InstrumentTable, &Served),
    market: Market,
    params: &Params,
    shape: &Shape,
) -> Result<Listing, CryptoError> {
    let filter = Filter::read(params, table, served, Some(market))?;
    let named = named_instruments(table, market, params, &filter)?;
    let mut rows: Vec<Arc<Instrument>> = table
        .iter()
        .filter(|row| row.spec.market == market && filter.fits(row))
        .filter(|row| named.as_ref().is_none_or(|ids| ids.contains(&row.id)))
        .cloned()
        .collect();
    rows.sort_by(|a, b| (a.spec.provider, &a.code).cmp(&(b.spec.provider, &b.code)));
    rows.truncate(shape.limit);
    match market {
        Market::Spot => {
            let columns = shape.columns::<PairRow<'_>>()?;
            Ok(Listing::encode(
                shape,
                &columns,
                &rows,
                |row| PairRow(row),
                Vec::new(),
            ))
        }
        Market::Perp => {
            let columns = shape.columns::<PerpRow<'_>>()?;
            Ok(Listing::encode(
                shape,
                &columns,
                &rows,
                |row| PerpRow(row),
                Vec::new(),
            ))
        }
    }
}

/// The instruments that `codes` and `entity_ids` name; `None` when neither is given. What is well
/// formed but not listed names nothing.
fn named_instruments(
    table: &InstrumentTable,
    market: Market,
    params: &Params,
    filter: &Filter,
) -> Result<Option<BTreeSet<InstrumentId>>, CryptoError> {
    let codes = params.list("codes")?;
    let entity_ids = params.list("entity_ids")?;
    if codes.is_empty() && entity_ids.is_empty() {
        return Ok(None);
    }
    // A code means one instrument at each venue.
    let sources: BTreeSet<(ProviderId, &str)> = table
        .iter()
        .filter(|row| filter.fits_source(row))
        .map(|row| (row.spec.provider, row.spec.exchange.as_str()))
        .collect();
    let mut ids = BTreeSet::new();
    for text in codes.into_iter().chain(entity_ids) {
        for (provider, venue) in &sources {
            let scope = Scope {
                provider: Some(*provider),
                exchange: Some(venue),
                market: Some(market),
            };
            match table.resolve(text, scope) {
                Ok(row) => {
                    ids.insert(row.id);
                }
                Err(SymbolError::NotListed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(Some(ids))
}

/// The filters of entity lists.
#[derive(Debug, Default)]
struct Filter {
    provider: Option<ProviderId>,
    exchange: Option<String>,
    base: Vec<String>,
    quote: Vec<String>,
    underlying: Vec<String>,
    settlement: Vec<String>,
    is_active: Option<bool>,
    margin_enabled: Option<bool>,
    leverage_min: Option<u64>,
    funding_hours: Option<u64>,
}

impl Filter {
    fn read(
        params: &Params,
        table: &InstrumentTable,
        served: &Served,
        market: Option<Market>,
    ) -> Result<Self, CryptoError> {
        let symbols = |name| -> Result<Vec<String>, CryptoError> {
            Ok(params
                .list(name)?
                .iter()
                .map(|text| text.to_lowercase())
                .collect())
        };
        let provider = params.provider()?;
        require_loaded(table, served, provider, market)?;
        Ok(Self {
            provider,
            exchange: exchange(params, table)?,
            base: symbols("base_symbols")?,
            quote: symbols("quote_symbols")?,
            underlying: symbols("underlying_symbols")?,
            settlement: symbols("settlement_symbols")?,
            is_active: params.flag("is_active")?,
            margin_enabled: params.flag("margin_enabled")?,
            leverage_min: params.integer("max_leverage")?,
            funding_hours: params.integer("funding_interval_hours")?,
        })
    }

    fn fits_source(&self, row: &Instrument) -> bool {
        self.provider
            .is_none_or(|provider| provider == row.spec.provider)
            && self
                .exchange
                .as_ref()
                .is_none_or(|exchange| *exchange == row.spec.exchange)
    }

    fn fits(&self, row: &Instrument) -> bool {
        let spec = &row.spec;
        let among = |wanted: &[String], symbol: Option<&str>| {
            wanted.is_empty()
                || symbol.is_some_and(|symbol| wanted.contains(&symbol.to_lowercase()))
        };
        self.fits_source(row)
            && among(&self.base, Some(&spec.base_symbol))
            && among(&self.quote, Some(&spec.quote_symbol))
            && among(&self.underlying, Some(&spec.base_symbol))
            && among(&self.settlement, spec.settlement_symbol.as_deref())
            && self.is_active.is_none_or(|wanted| wanted == spec.is_active)
            && self
                .margin_enabled
                .is_none_or(|wanted| wanted == spec.margin_enabled)
            && self
                .leverage_min
                .is_none_or(|least| spec.max_leverage.is_some_and(|max| u64::from(max) >= least))
            && self.funding_hours.is_none_or(|wanted| {
                spec.funding_interval_hours
                    .is_some_and(|hours| u64::from(hours) == wanted)
            })
    }
}

/// The venue of the request, when given.
///
/// # Errors
/// Not a venue of any provider.
pub fn exchange(params: &Params, table: &InstrumentTable) -> Result<Option<String>, CryptoError> {
    let Some(text) = params.text("exchange")? else {
        return Ok(None);
    };
    let mut known: BTreeSet<&str> = ProviderId::all().map(ProviderId::name).collect();
    known.extend(table.iter().map(|row| row.spec.exchange.as_str()));
    if known.contains(text) {
        return Ok(Some(text.to_owned()));
    }
    let names: Vec<&str> = known.into_iter().collect();
    Err(CryptoError::invalid_parameter(
        "exchange",
        text,
        format!("one of {}", names.join(", ")),
    ))
}

/// Markets that the configuration has in use: of others there are no instruments, and there never will be.
#[derive(Clone, Debug)]
pub struct Served(pub Vec<(ProviderId, Market)>);

impl Served {
    fn has(&self, provider: Option<ProviderId>, market: Option<Market>) -> bool {
        self.0.iter().any(|(of, one)| {
            provider.is_none_or(|provider| provider == *of)
                && market.is_none_or(|market| market == *one)
        })
    }
}

/// An empty table means that the exchange has not told us its instruments yet, not that it has
/// none; unless its market is not in use.
///
/// # Errors
/// `CRYPTO_PROVIDER_UNAVAILABLE` while nothing is known of the provider.
pub fn require_loaded(
    table: &InstrumentTable,
    served: &Served,
    provider: Option<ProviderId>,
    market: Option<Market>,
) -> Result<(), CryptoError> {
    // Of a provider that is switched off nothing is known, other than of a market that it has not in use.
    if served.has(provider, None) && !served.has(provider, market) {
        return Ok(());
    }
    // Venues behind a bridge have been loaded before; one may lack a market.
    if provider.is_some_and(|provider| provider.exchange().bridge().is_some()) {
        return Ok(());
    }
    let is_loaded = table.iter().any(|row| {
        provider.is_none_or(|provider| provider == row.spec.provider)
            && market.is_none_or(|market| market == row.spec.market)
    });
    if is_loaded {
        return Ok(());
    }
    let name = provider.map_or("any provider", ProviderId::name);
    Err(CryptoError::new(
        CryptoCode::ProviderUnavailable,
        format!("the instruments of {name} are not loaded yet"),
    )
    .with("provider", provider.map(ProviderId::name)))
}

/// Schemas that a provider really offers, by kind: entities, bars, the rest.
#[must_use]
pub fn offered(provider: ProviderId) -> [Vec<String>; 3] {
    let exchange = provider.exchange();
    let markets = exchange.markets();
    let has_bars = |market, level: Level| {
        let mut own = exchange.kline_levels(market).iter();
        own.any(|own| level.nanos() % own.nanos() == 0)
    };
    let mut lists = [Vec::new(), Vec::new(), Vec::new()];
    for schema in Schema::all() {
        let (list, is_offered) = match schema {
            Schema::Asset => (0, true),
            Schema::Instruments(market) => (0, markets.contains(&market)),
            Schema::Klines(market, level) => {
                (1, markets.contains(&market) && has_bars(market, level))
            }
            Schema::Trades | Schema::Orderbook => (2, true),
            Schema::Funding => (2, markets.contains(&Market::Perp)),
        };
        if is_offered {
            lists[list].push(schema.name());
        }
    }
    lists
}
