//! From what a client writes to the topic it means.

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, InstrumentTable, Market, Scope, SymbolError};
use bookwire_engine::wire::Numbers;

use super::encode::Labels;
use super::request::{StreamEntry, StreamName, StreamRequest};
use crate::topic::{StreamKind, Topic};

/// The provider of a public name.
///
/// # Errors
/// `CRYPTO_INVALID_PARAMETER` naming `provider` and those there are.
pub fn provider_named(name: &str) -> Result<ProviderId, CryptoError> {
    ProviderId::parse(name).ok_or_else(|| {
        let names: Vec<_> = ProviderId::all().map(ProviderId::name).collect();
        CryptoError::invalid_parameter("provider", name, names.join(", "))
    })
}

/// The provider of a request.
///
/// # Errors
/// `CRYPTO_INVALID_PARAMETER` naming `provider` or `exchange` and what is accepted.
pub fn provider(request: &StreamRequest) -> Result<ProviderId, CryptoError> {
    let provider = provider_named(&request.provider)?;
    match &request.exchange {
        // Which venues there are is known to the bridge.
        _ if provider.exchange().bridge().is_some() => Ok(provider),
        // A native provider is its own and only venue.
        Some(exchange) if exchange != provider.name() => Err(CryptoError::invalid_parameter(
            "exchange",
            exchange,
            provider.name(),
        )),
        _ => Ok(provider),
    }
}

/// The venues of a request whose instruments may have to be loaded before its symbols mean
/// anything, each once.
#[must_use]
pub fn venues(streams: &[StreamEntry]) -> Vec<(ProviderId, Option<String>)> {
    let mut venues = Vec::new();
    for request in streams
        .iter()
        .filter_map(|entry| entry.request.as_ref().ok())
    {
        let Ok(provider) = provider(request) else {
            continue;
        };
        let venue = (provider, request.exchange.clone());
        if provider.exchange().bridge().is_some() && !venues.contains(&venue) {
            venues.push(venue);
        }
    }
    venues
}

/// The topic of one symbol of a request, and the texts of its messages.
///
/// # Errors
/// `CRYPTO_SYMBOL_MAPPING_ERROR` or `CRYPTO_PAIR_NOT_FOUND` with candidates,
/// `CRYPTO_FUNDING_RATE_MISSING` for funding of a spot pair, `CRYPTO_PROVIDER_UNAVAILABLE` while
/// the provider's instruments are not known yet.
pub fn topic(
    table: &InstrumentTable,
    request: &StreamRequest,
    symbol: &str,
    numbers: Numbers,
) -> Result<(Topic, Labels), CryptoError> {
    let provider = provider(request)?;
    let kind = request
        .kind()
        .ok_or_else(|| CryptoError::invalid_parameter("interval", "", "a bar level"))?;
    let instrument = instrument(table, provider, request, symbol)?;
    let topic = Topic {
        instrument: instrument.id,
        kind,
        numbers,
    };
    Ok((topic, labels(instrument, kind)))
}

/// The instrument that a symbol means on a stream.
///
/// # Errors
/// As [`topic`].
pub fn instrument<'a>(
    table: &'a InstrumentTable,
    provider: ProviderId,
    request: &StreamRequest,
    symbol: &str,
) -> Result<&'a Instrument, CryptoError> {
    let stream = request.stream;
    let any = Scope {
        provider: Some(provider),
        exchange: request.exchange.as_deref(),
        market: None,
    };
    // Only perpetuals have funding, so there a bare code means the perpetual.
    let scope = match stream {
        StreamName::Funding => Scope {
            market: Some(Market::Perp),
            ..any
        },
        _ => any,
    };
    match table.resolve(symbol, scope) {
        Ok(row) => Ok(row),
        Err(SymbolError::NotListed { .. }) if stream == StreamName::Funding => {
            let row = table
                .resolve(symbol, any)
                .map_err(|error| missing(table, provider, error))?;
            Err(CryptoError::new(
                CryptoCode::FundingRateMissing,
                format!("`{}` is a spot pair: it has no funding", row.code),
            )
            .with("symbol", symbol)
            .with("entity_id", row.entity_id()))
        }
        Err(error) => Err(missing(table, provider, error)),
    }
}

fn missing(table: &InstrumentTable, provider: ProviderId, error: SymbolError) -> CryptoError {
    let is_listed = matches!(error, SymbolError::NotListed { .. });
    if is_listed && !table.iter().any(|row| row.spec.provider == provider) {
        return CryptoError::new(
            CryptoCode::ProviderUnavailable,
            format!("the instruments of {} are not loaded yet", provider.name()),
        )
        .with("provider", provider.name());
    }
    error.into()
}

fn labels(instrument: &Instrument, kind: StreamKind) -> Labels {
    Labels {
        stream: kind.name(),
        provider: instrument.spec.provider.name(),
        symbol: instrument.stream_symbol().into(),
        entity_id: instrument.entity_id().into(),
        interval: match kind {
            StreamKind::Klines(level) => Some(level.as_str()),
            _ => None,
        },
        channel: None,
    }
}
