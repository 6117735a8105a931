//! What is listed: instruments, their steps and limits, and the units of the module.

use super::fixed::{Fixed, StepError};

/// A price in ticks of its instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Price(pub i64);

/// A quantity in lots of its instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Qty(pub i64);

/// A sum of price × quantity, in ticks × lots of its instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Notional(pub i128);

impl Price {
    /// Price × quantity.
    #[must_use]
    pub const fn notional(self, qty: Qty) -> Notional {
        Notional(self.0 as i128 * qty.0 as i128)
    }
}

/// Place of an instrument in [`super::Market::instruments`]; stable for a market's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentIx(pub u16);

/// Product line of the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Spot.
    Spot,
    /// Linear futures margined in a stablecoin, perpetual or dated.
    Linear,
}

/// Trading state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Order flow and matching.
    Trading,
    /// Listed, halted: no book, no trades (spot).
    Break,
    /// Listed, being settled: no book, no trades (futures).
    Settling,
}

/// What the contract is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// Ownership of the base asset.
    Spot,
    /// Future without end, tied to the index by funding.
    Perpetual(FundingTerms),
    /// Future that ends.
    Delivery {
        /// Delivery time, Unix ms.
        delivery_ms: i64,
    },
}

/// Funding parameters of a perpetual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FundingTerms {
    /// Hours between settlements; divides 24.
    pub interval_hours: u32,
    /// Largest absolute rate per settlement, in 10⁻⁸.
    pub cap_e8: i64,
    /// Interest part per 8 hours, in 10⁻⁸ (10 000 = 0.01 %).
    pub interest_e8: i64,
}

/// A listed instrument with the venue's trading rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Product line.
    pub segment: Segment,
    /// Native symbol, e.g. `BTCUSDT`. Unique within its segment.
    pub symbol: String,
    /// Underlying pair of a future (`BTCUSDT` for `BTCUSDT_260925`); the symbol itself otherwise.
    pub pair: String,
    /// Base asset as the venue names it (`1000PEPE` for a contract of a thousand).
    pub base: String,
    /// Quote asset.
    pub quote: String,
    /// Contract type and its terms.
    pub contract: Contract,
    /// Trading state.
    pub status: Status,
    /// Smallest price step.
    pub tick: Fixed,
    /// Smallest quantity step.
    pub lot: Fixed,
    /// Smallest and largest price of an order.
    pub price_range: (Price, Price),
    /// Smallest and largest quantity of a limit order.
    pub qty_range: (Qty, Qty),
    /// Largest quantity of a market order.
    pub market_qty_max: Qty,
    /// Smallest price × quantity of an order, in the quote asset.
    pub notional_min: Fixed,
    /// Decimals the venue prints for prices and quantities.
    pub price_decimals: u32,
    /// Decimals the venue prints for quantities.
    pub qty_decimals: u32,
    /// First trading time, Unix ms, a UTC midnight. No history before it.
    pub list_ms: i64,
    /// Last trading time of an instrument that no longer trades, Unix ms.
    pub halt_ms: Option<i64>,
}

impl Instrument {
    /// Exact price, with the venue's decimals.
    #[must_use]
    pub fn price(&self, price: Price) -> Fixed {
        Fixed::new(
            i128::from(price.0) * self.tick.mantissa(),
            self.tick.scale(),
        )
        .padded(self.price_decimals)
    }

    /// Exact quantity, with the venue's decimals.
    #[must_use]
    pub fn qty(&self, qty: Qty) -> Fixed {
        Fixed::new(i128::from(qty.0) * self.lot.mantissa(), self.lot.scale())
            .padded(self.qty_decimals)
    }

    /// Exact amount in the quote asset, with at least the decimals of a price. A spot venue
    /// prints eight decimals: `notional(x).truncated(8)`.
    #[must_use]
    pub fn notional(&self, notional: Notional) -> Fixed {
        Fixed::new(
            notional.0 * self.tick.mantissa() * self.lot.mantissa(),
            self.tick.scale() + self.lot.scale(),
        )
        .padded(self.price_decimals)
    }

    /// Reads a price.
    ///
    /// # Errors
    /// When the text is no plain decimal or not a multiple of the tick. The allowed range is
    /// checked when the order is submitted.
    pub fn parse_price(&self, text: &str) -> Result<Price, StepError> {
        Fixed::parse(text)?.steps_of(self.tick).map(Price)
    }

    /// Reads a quantity.
    ///
    /// # Errors
    /// When the text is no plain decimal or not a multiple of the lot.
    pub fn parse_qty(&self, text: &str) -> Result<Qty, StepError> {
        Fixed::parse(text)?.steps_of(self.lot).map(Qty)
    }

    /// Whether `price × qty` reaches the smallest order value.
    #[must_use]
    pub fn reaches_notional_min(&self, price: Price, qty: Qty) -> bool {
        let value = self.notional(price.notional(qty)).trimmed();
        let least = self.notional_min.trimmed();
        let scale = value.scale().max(least.scale());
        value.padded(scale).mantissa() >= least.padded(scale).mantissa()
    }

    /// Whether it is a perpetual.
    #[must_use]
    pub const fn is_perpetual(&self) -> bool {
        matches!(self.contract, Contract::Perpetual(_))
    }

    /// An amount of the quote asset in ticks × lots, rounded down.
    pub(super) fn value_in_steps(&self, amount: i64) -> Notional {
        let scale = self.tick.scale() + self.lot.scale();
        let unit = self.tick.mantissa() * self.lot.mantissa();
        Notional(i128::from(amount) * 10_i128.pow(scale) / unit.max(1))
    }

    /// Tick as a float, for the model only.
    pub(super) fn tick_f64(&self) -> f64 {
        self.tick.mantissa() as f64 * 10_f64.powi(-(self.tick.scale() as i32))
    }

    /// Lot as a float, for the model only.
    pub(super) fn lot_f64(&self) -> f64 {
        self.lot.mantissa() as f64 * 10_f64.powi(-(self.lot.scale() as i32))
    }
}
