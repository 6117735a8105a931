//! `POST /api/crypto/validation/price`: what several providers' prices of one instrument are worth.
//! The formulas are those of [`bookwire_engine::prices`].

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_actors::gateway::Gateway;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, Scope};
use bookwire_engine::num::to_decimal;
use bookwire_engine::prices::{self, PriceCheck};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::Numbers;
use futures_util::future::join_all;
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::body::Body;
use super::params::{self, Params};
use crate::deviations::PriceWatch;
use crate::error::{ApiError, wall_clock};
use crate::spec::ops as spec;

/// How long a live book is waited for.
const BOOK: Duration = Duration::from_secs(5);

/// Live prices stand in for those of an instant that is at most so long ago, or ahead.
const LIVE_NANOS: i64 = 60_000_000_000;

/// A number that is printed from its decimal.
struct Exact(Decimal, Numbers);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text = self.0.normalize().to_string();
        match self.1 {
            Numbers::String => to.serialize_str(&text),
            Numbers::Number => RawValue::from_string(text)
                .map_err(serde::ser::Error::custom)?
                .serialize(to),
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    validation_result: Verdict<'a>,
    symbol: &'a str,
    threshold_pct: Exact,
    prices: BTreeMap<&'a str, Used>,
    unusable: BTreeMap<&'a str, &'a str>,
    timestamp: String,
}

#[derive(Serialize)]
struct Verdict<'a> {
    is_valid: bool,
    max_deviation_pct: Exact,
    outliers: Vec<&'a str>,
    confidence_score: Exact,
    recommended_price: Option<Exact>,
}

#[derive(Serialize)]
struct Used {
    price: Exact,
    source: &'static str,
}

/// What a provider's price is, and where it is from.
struct Price {
    provider: ProviderId,
    found: Result<(Decimal, &'static str), String>,
    /// The price step, where the instrument is listed.
    step: Option<Decimal>,
    /// Why the symbol is none of the provider's.
    unresolved: Option<CryptoError>,
}

/// What is asked for.
struct Asked {
    symbol: String,
    providers: Vec<ProviderId>,
    given: BTreeMap<ProviderId, Decimal>,
    at: Option<TsNanos>,
}

fn provider_of(field: &str, name: &str) -> Result<ProviderId, CryptoError> {
    ProviderId::parse(name)
        .ok_or_else(|| CryptoError::invalid_parameter(field, name, params::provider_names()))
}

impl Asked {
    fn read(bytes: &[u8], gateway: &Gateway) -> Result<Self, CryptoError> {
        let body = Body::parse(bytes, spec::PRICE.body)?;
        let accepted = "a symbol such as btcusdt or btcusdt-perp";
        let symbol = body.text_required("symbol", accepted)?;
        let at = body.time("timestamp")?;
        let mut given = BTreeMap::new();
        if let Some(prices) = body.object("prices")? {
            for field in prices.names() {
                let name = field.strip_prefix("prices.").unwrap_or(field);
                let provider = provider_of(field, name)?;
                // `null` is a price that is missing.
                if let Some(price) = prices.amount(field)? {
                    given.insert(provider, price);
                }
            }
        }
        let named = body.texts("providers", ProviderId::all().count())?;
        let mut providers = Vec::new();
        match named {
            Some(names) => {
                for name in names {
                    let provider = provider_of("providers", &name)?;
                    if !providers.contains(&provider) {
                        providers.push(provider);
                    }
                }
                if let Some(extra) = given.keys().find(|one| !providers.contains(one)) {
                    let field = format!("prices.{}", extra.name());
                    let accepted = "a price of one of `providers`";
                    return Err(CryptoError::invalid_parameter(
                        &field,
                        &given[extra].to_string(),
                        accepted,
                    ));
                }
            }
            // Those that were given, and those that list it.
            None => {
                providers = ProviderId::all()
                    .filter(|id| given.contains_key(id) || lists(gateway, *id, &symbol).is_ok())
                    .collect();
            }
        }
        Ok(Self {
            symbol,
            providers,
            given,
            at,
        })
    }
}

/// The provider's instrument. Those behind a bridge have one for each venue, of which none is meant.
fn lists(
    gateway: &Gateway,
    provider: ProviderId,
    symbol: &str,
) -> Result<std::sync::Arc<Instrument>, CryptoError> {
    gateway.check_enabled(provider)?;
    let scope = Scope {
        provider: Some(provider),
        ..Scope::default()
    };
    gateway.resolve(symbol, scope)
}

/// The middle of a live book; why there is none.
async fn live(gateway: &Gateway, instrument: &Instrument) -> Result<Decimal, String> {
    let book = gateway.order_book(instrument.id, 1, BOOK).await;
    let book = book.map_err(|error| error.message)?;
    let best = |side: &[bookwire_engine::event::BookLevel]| {
        let level = side.first()?;
        Some(to_decimal(level.price.0, book.instrument.price_scale))
    };
    best(&book.bids)
        .zip(best(&book.asks))
        .map(|(bid, ask)| (bid + ask) / Decimal::TWO)
        .ok_or_else(|| "a side of the book is empty".to_owned())
}

async fn price_of(gateway: &Gateway, asked: &Asked, provider: ProviderId) -> Price {
    let listed = lists(gateway, provider, &asked.symbol);
    let step = listed.as_ref().ok().map(|row| row.spec.price_step);
    let is_now = asked
        .at
        .is_none_or(|at| wall_clock().0.abs_diff(at.0) <= LIVE_NANOS.unsigned_abs());
    let found = match (asked.given.get(&provider), &listed) {
        (Some(price), _) => Ok((*price, "request")),
        (None, Err(error)) => Err(error.message.clone()),
        (None, Ok(_)) if !is_now => {
            Err("no price was given, and the live one is not of that time".to_owned())
        }
        (None, Ok(row)) => live(gateway, row).await.map(|price| (price, "live")),
    };
    Price {
        provider,
        found,
        step,
        unresolved: listed.err(),
    }
}

/// `POST /api/crypto/validation/price`.
///
/// # Errors
/// A field that is wrong, a symbol that is none, or fewer than two usable prices.
pub async fn validate(
    request: HttpRequest,
    bytes: web::Bytes,
    gateway: web::Data<Gateway>,
    watch: web::Data<PriceWatch>,
) -> Result<HttpResponse, ApiError> {
    let params = Params::parse(request.query_string(), spec::PRICE.query)?;
    let numbers = params.numbers()?;
    let asked = Asked::read(&bytes, &gateway)?;
    let all = asked.providers.iter();
    let all = join_all(all.map(|provider| price_of(&gateway, &asked, *provider))).await;
    let threshold = watch.threshold_pct();
    let usable: Vec<(&str, Decimal, &'static str)> = all
        .iter()
        .filter_map(|one| {
            let (price, source) = one.found.as_ref().ok()?;
            Some((one.provider.name(), *price, *source))
        })
        .collect();
    let unusable = all.iter().filter_map(|one| {
        let why = one.found.as_ref().err()?;
        Some((one.provider.name(), why.as_str()))
    });
    let unusable: BTreeMap<&str, &str> = unusable.collect();
    let values: Vec<Decimal> = usable.iter().map(|(_, price, _)| *price).collect();
    let step = all.iter().filter_map(|one| one.step).min();
    // Nobody lists it: as precise as what was given.
    let step = step.or_else(|| {
        let digits = values.iter().map(|price| price.normalize().scale()).max()?;
        Some(Decimal::new(1, digits))
    });
    let Some(check) = prices::check(&values, asked.providers.len(), threshold, step) else {
        watch.refused();
        return Err(too_few(&asked, &all, &unusable, values.len()).into());
    };
    if !check.is_valid {
        watch.refused();
        tracing::info!(
            symbol = asked.symbol,
            max_deviation_pct = %prices::shown(check.max_deviation_pct),
            "prices that were asked about differ"
        );
    }
    let number = |value| Exact(value, numbers);
    let answer = Shown {
        validation_result: verdict(&check, &usable, numbers),
        symbol: &asked.symbol,
        threshold_pct: number(threshold),
        prices: usable
            .iter()
            .map(|(name, price, source)| {
                let price = number(*price);
                (*name, Used { price, source })
            })
            .collect(),
        unusable,
        timestamp: asked.at.unwrap_or_else(wall_clock).to_rfc3339(),
    };
    Ok(HttpResponse::Ok().json(answer))
}

fn verdict<'a>(
    check: &PriceCheck,
    usable: &[(&'a str, Decimal, &'static str)],
    numbers: Numbers,
) -> Verdict<'a> {
    let outliers = check.outliers.iter();
    Verdict {
        is_valid: check.is_valid,
        max_deviation_pct: Exact(prices::shown(check.max_deviation_pct), numbers),
        outliers: outliers
            .filter_map(|at| usable.get(*at).map(|(name, _, _)| *name))
            .collect(),
        confidence_score: Exact(prices::shown(check.confidence_score), numbers),
        recommended_price: check.recommended_price.map(|price| Exact(price, numbers)),
    }
}

/// Why nothing can be said: what is no symbol at all is told as such.
fn too_few(
    asked: &Asked,
    all: &[Price],
    unusable: &BTreeMap<&str, &str>,
    usable: usize,
) -> CryptoError {
    let unresolved = all.iter().filter_map(|one| one.unresolved.as_ref());
    let unresolved: Vec<&CryptoError> = unresolved.collect();
    let is_of_symbol = |error: &&&CryptoError| {
        matches!(
            error.code,
            CryptoCode::SymbolMappingError | CryptoCode::PairNotFound
        )
    };
    if asked.given.is_empty()
        && unresolved.len() == all.len()
        && let Some(error) = unresolved.iter().find(is_of_symbol)
    {
        return (*error).clone();
    }
    let what = match usable {
        0 | 1 => format!("{usable} usable prices of {}: two are needed", asked.symbol),
        _ => format!("the prices of {} can't be compared", asked.symbol),
    };
    CryptoError::new(CryptoCode::DataQualityFailure, what)
        .with("symbol", asked.symbol.as_str())
        .with("usable_prices", usable)
        .with("unusable", serde_json::json!(unusable))
        .suggest("give prices in `prices`, or name providers that list the symbol")
}
