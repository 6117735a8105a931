//! The twenty public schemas and their names. What each takes is in [`crate::spec::data`].

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::instrument::Market;
use bookwire_engine::time::Level;

/// A public schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Assets.
    Asset,
    /// Instruments of a market: `CryptoPair`, `CryptoPerp`.
    Instruments(Market),
    /// Closed bars of a market and level.
    Klines(Market, Level),
    /// Public matches.
    Trades,
    /// Books.
    Orderbook,
    /// Settled funding.
    Funding,
}

impl Schema {
    /// All schemas, in the order in which they are shown.
    pub fn all() -> impl Iterator<Item = Self> {
        let markets = [Market::Spot, Market::Perp];
        let bars = markets
            .into_iter()
            .flat_map(|market| Level::ALL.map(|level| Self::Klines(market, level)));
        std::iter::once(Self::Asset)
            .chain(markets.map(Self::Instruments))
            .chain(bars)
            .chain([Self::Trades, Self::Orderbook, Self::Funding])
    }

    /// The public name: `CryptoPair1mKdata`.
    #[must_use]
    pub fn name(self) -> String {
        let of = |market| match market {
            Market::Spot => "CryptoPair",
            Market::Perp => "CryptoPerp",
        };
        match self {
            Self::Asset => "CryptoAsset".to_owned(),
            Self::Instruments(market) => of(market).to_owned(),
            Self::Klines(market, level) => format!("{}{level}Kdata", of(market)),
            Self::Trades => "CryptoTrade".to_owned(),
            Self::Orderbook => "CryptoOrderbook".to_owned(),
            Self::Funding => "CryptoFunding".to_owned(),
        }
    }

    /// The schema of a name in a path.
    ///
    /// # Errors
    /// `CRYPTO_NOT_FOUND` with all names.
    pub fn of_path(name: &str) -> Result<Self, CryptoError> {
        Self::find(name).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            let names: Vec<String> = Self::all().map(Self::name).collect();
            CryptoError::new(
                CryptoCode::NotFound,
                format!("no schema is called `{shown}`"),
            )
            .with("schema", shown)
            .with("schemas", names)
            .suggest("list the schemas with GET /api/data/schemas?provider=binance")
        })
    }

    /// The schema of a name in a parameter.
    ///
    /// # Errors
    /// `CRYPTO_INVALID_PARAMETER` with all names.
    pub fn of_parameter(name: &str) -> Result<Self, CryptoError> {
        Self::find(name).ok_or_else(|| {
            let names: Vec<String> = Self::all().map(Self::name).collect();
            CryptoError::invalid_parameter("schema", name, format!("one of {}", names.join(", ")))
        })
    }

    fn find(name: &str) -> Option<Self> {
        Self::all().find(|schema| schema.name() == name)
    }

    /// Most rows that one request may ask for.
    #[must_use]
    pub const fn limit_max(self) -> u64 {
        match self {
            Self::Trades => 100_000,
            _ => 10_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_twenty_schemas_of_the_contract_are_there() {
        let names: Vec<String> = Schema::all().map(Schema::name).collect();
        assert_eq!(names.len(), 20);
        for name in [
            "CryptoAsset",
            "CryptoPair",
            "CryptoPerp",
            "CryptoPair1mKdata",
            "CryptoPair5mKdata",
            "CryptoPair15mKdata",
            "CryptoPair30mKdata",
            "CryptoPair1hKdata",
            "CryptoPair4hKdata",
            "CryptoPair1dKdata",
            "CryptoPerp1mKdata",
            "CryptoPerp5mKdata",
            "CryptoPerp15mKdata",
            "CryptoPerp30mKdata",
            "CryptoPerp1hKdata",
            "CryptoPerp4hKdata",
            "CryptoPerp1dKdata",
            "CryptoTrade",
            "CryptoOrderbook",
            "CryptoFunding",
        ] {
            assert_eq!(Schema::of_path(name).unwrap().name(), name);
        }
        let error = Schema::of_path("CryptoPair2mKdata").unwrap_err();
        assert_eq!(error.code, CryptoCode::NotFound);
        assert_eq!(error.details["schemas"].as_array().unwrap().len(), 20);
    }
}
