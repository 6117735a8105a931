//! Balances and margin of an account.
//!
//! Margin is counted per settlement asset: what backs positions is the wallet's balance of it and
//! the profit of the positions under cross margin. An instrument needs the initial margin of the
//! larger side that its position could grow to if all its open orders were filled.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::order::{AccountId, Order, PositionSide};
use super::position::{MarginMode, Position, PositionRow, Settings};
use super::{Account, Accounts, BalanceRow, decimal};
use crate::market::{Instrument, InstrumentIx, Market, Segment, Side};

/// Which purse of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Wallet {
    /// Spot; the only one of a unified account.
    Spot,
    /// Futures.
    Linear,
}

/// One asset of a wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Funds {
    pub(crate) total: Decimal,
    /// Held back for spot orders.
    pub(crate) locked: Decimal,
}

impl Funds {
    pub(crate) fn free(self) -> Decimal {
        self.total - self.locked
    }
}

/// Margin of a settlement asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Margin {
    /// The wallet's balance.
    pub(crate) wallet: Decimal,
    /// Profit of all positions at their mark prices, and of those under cross margin.
    pub(crate) unrealized: Decimal,
    pub(crate) cross_unrealized: Decimal,
    /// The part of the wallet that is the margin of isolated positions.
    pub(crate) isolated: Decimal,
    /// Initial margin of positions.
    pub(crate) positions: Decimal,
    /// Initial margin of open orders beyond that.
    pub(crate) orders: Decimal,
    /// Maintenance margin, and that of positions under cross margin.
    pub(crate) maintenance: Decimal,
    pub(crate) cross_maintenance: Decimal,
    /// What new orders and withdrawals may use.
    pub(crate) available: Decimal,
}

/// Values of a position and of the orders that would move it.
#[derive(Clone, Copy, Default)]
struct Exposure {
    held: Decimal,
    buys: Decimal,
    sells: Decimal,
}

impl Exposure {
    /// Value that margin is needed for: with the orders, and without.
    fn needs(&self) -> (Decimal, Decimal) {
        let long = (self.held + self.buys).abs();
        let short = (self.held - self.sells).abs();
        (long.max(short), self.held.abs())
    }
}

impl Account {
    pub(crate) fn funds(&self, wallet: Wallet, asset: &str) -> Funds {
        let found = self.wallets.get(&wallet).and_then(|all| all.get(asset));
        found.copied().unwrap_or_default()
    }

    pub(super) fn funds_mut(&mut self, wallet: Wallet, asset: &str) -> &mut Funds {
        let all = self.wallets.entry(wallet).or_default();
        all.entry(asset.to_owned()).or_default()
    }

    /// All that a wallet has, by asset.
    pub(crate) fn wallet(&self, wallet: Wallet) -> impl Iterator<Item = (&str, Funds)> {
        let all = self.wallets.get(&wallet).into_iter().flatten();
        all.map(|(asset, funds)| (asset.as_str(), *funds))
    }

    pub(crate) fn balance(&self, wallet: Wallet, asset: &str) -> BalanceRow {
        let Funds { total, locked } = self.funds(wallet, asset);
        BalanceRow {
            wallet,
            asset: asset.to_owned(),
            total,
            locked,
        }
    }

    /// Positions, closed ones too.
    pub(crate) fn positions(&self) -> impl Iterator<Item = &Position> {
        self.positions.values()
    }

    pub(crate) fn position(&self, ix: InstrumentIx, side: PositionSide) -> Option<&Position> {
        self.positions.get(&(ix, side))
    }

    /// Lots of a position; short is negative.
    pub(crate) fn lots(&self, ix: InstrumentIx, side: PositionSide) -> i64 {
        self.position(ix, side).map_or(0, |position| position.lots)
    }
}

/// Debts that a unified account may have, as a part of its equity: three times leverage.
const LOAN: Decimal = Decimal::TWO;

/// What an asset is worth in USDT; nothing where it is not traded for it.
fn dollars(market: &Market, asset: &str) -> Decimal {
    if asset == "USDT" {
        return Decimal::ONE;
    }
    let mut all = market.instruments().iter().zip(0_u16..);
    let found =
        all.find(|(it, _)| it.segment == Segment::Spot && it.base == asset && it.quote == "USDT");
    let price = found.and_then(|(it, at)| Some(it.price(market.last_price(InstrumentIx(at))?)));
    price.map(decimal).unwrap_or_default()
}

/// The price that positions are valued at.
pub(crate) fn mark_price(market: &Market, ix: InstrumentIx) -> Decimal {
    let mark = market.premium_index(ix).map(|told| told.mark.fixed());
    let last = || Some(market.instrument(ix)?.price(market.last_price(ix)?));
    mark.or_else(last).map(decimal).unwrap_or_default()
}

impl Accounts {
    pub(crate) fn settings(&self, id: AccountId, ix: InstrumentIx) -> Settings {
        let chosen = self.account(id).and_then(|it| it.settings.get(&ix));
        chosen.copied().unwrap_or(Settings {
            leverage: self.rules.leverage.0,
            mode: MarginMode::Cross,
        })
    }

    /// Margin of a settlement asset. `but` leaves an order out, `with` adds one: instrument,
    /// position, direction and value.
    pub(super) fn margin_with(
        &self,
        market: &Market,
        id: AccountId,
        asset: &str,
        but: Option<super::OrderNo>,
        with: Option<(InstrumentIx, PositionSide, Side, Decimal)>,
    ) -> Margin {
        let Some(account) = self.account(id) else {
            return Margin::default();
        };
        let wallet = self.rules.wallet(Segment::Linear);
        let mut margin = Margin {
            wallet: account.funds(wallet, asset).total,
            ..Margin::default()
        };
        let locked = account.funds(wallet, asset).locked;
        let mut exposures: BTreeMap<(InstrumentIx, PositionSide), Exposure> = BTreeMap::new();
        let settles = |ix| market.instrument(ix).filter(|it| it.quote == asset);
        for position in account.positions.values().filter(|it| it.lots != 0) {
            let Some(it) = settles(position.ix) else {
                continue;
            };
            let mark = mark_price(market, position.ix);
            let held = position.amount(it) * mark;
            let gain = position.unrealized(it, mark);
            let settings = self.settings(id, position.ix);
            let maintenance = held.abs() * self.rules.maintenance;
            margin.unrealized += gain;
            margin.maintenance += maintenance;
            match settings.mode {
                MarginMode::Cross => {
                    margin.cross_unrealized += gain;
                    margin.cross_maintenance += maintenance;
                }
                MarginMode::Isolated => margin.isolated += isolated(position, it, settings),
            }
            let exposure = exposures.entry((position.ix, position.side)).or_default();
            exposure.held = held;
        }
        let mut add = |ix, side, direction, value| {
            let exposure = exposures.entry((ix, side)).or_default();
            match direction {
                Side::Buy => exposure.buys += value,
                Side::Sell => exposure.sells += value,
            }
        };
        for order in self.open_orders(id) {
            let counts = order.segment == Segment::Linear
                && order.book_id.is_some()
                && !order.reduce_only
                && Some(order.no) != but;
            if counts && let Some(it) = settles(order.ix) {
                add(order.ix, order.position, order.side, left_value(order, it));
            }
        }
        if let Some((ix, side, direction, value)) = with {
            add(ix, side, direction, value);
        }
        for ((ix, _), exposure) in exposures {
            let leverage = Decimal::from(self.settings(id, ix).leverage.max(1));
            let (all, held) = exposure.needs();
            margin.positions += held / leverage;
            margin.orders += (all - held) / leverage;
        }
        let equity = margin.wallet - locked + margin.cross_unrealized;
        margin.available = equity - margin.positions - margin.orders;
        margin
    }

    pub(crate) fn margin(&self, market: &Market, id: AccountId, asset: &str) -> Margin {
        self.margin_with(market, id, asset, None, None)
    }

    /// What of an asset a spot order or a withdrawal may use.
    pub(crate) fn spendable(&self, market: &Market, id: AccountId, asset: &str) -> Decimal {
        let Some(account) = self.account(id) else {
            return Decimal::ZERO;
        };
        let free = account.funds(Wallet::Spot, asset).free();
        match self.rules.is_unified {
            true => free.min(self.margin(market, id, asset).available),
            false => free,
        }
    }

    /// Whether so much more of an asset may be used, borrowed where it is not there: what is owed then is
    /// worth at most [`LOAN`] times what the account has above its debts.
    pub(crate) fn can_borrow(
        &self,
        market: &Market,
        id: AccountId,
        asset: &str,
        need: Decimal,
    ) -> bool {
        let Some(account) = self.account(id) else {
            return false;
        };
        let (mut equity, mut owed) = (Decimal::ZERO, Decimal::ZERO);
        let mut is_met = false;
        for (coin, funds) in account.wallet(Wallet::Spot) {
            let worth = dollars(market, coin);
            equity += funds.total * worth;
            let more = if coin == asset { need } else { Decimal::ZERO };
            is_met |= coin == asset;
            owed += (more - funds.free()).max(Decimal::ZERO) * worth;
        }
        if !is_met {
            owed += need.max(Decimal::ZERO) * dollars(market, asset);
        }
        owed <= equity * LOAN
    }

    /// A position as it is told.
    pub(crate) fn position_row(
        &self,
        market: &Market,
        id: AccountId,
        position: &Position,
    ) -> Option<PositionRow> {
        let it = market.instrument(position.ix)?;
        let mark = mark_price(market, position.ix);
        let settings = self.settings(id, position.ix);
        let amount = position.amount(it);
        let value = amount.abs() * mark;
        let maintenance = value * self.rules.maintenance;
        let unrealized = position.unrealized(it, mark);
        let own = match settings.mode {
            MarginMode::Isolated => isolated(position, it, settings),
            MarginMode::Cross => Decimal::ZERO,
        };
        let money = match settings.mode {
            MarginMode::Isolated => own,
            MarginMode::Cross => {
                let all = self.margin(market, id, &it.quote);
                let others = all.cross_unrealized - unrealized;
                let theirs = all.cross_maintenance - maintenance;
                all.wallet - all.isolated + others - theirs
            }
        };
        let liquidation = match position.lots {
            0 => None,
            _ => position.liquidation(it, money, self.rules.maintenance),
        };
        Some(PositionRow {
            ix: position.ix,
            side: position.side,
            lots: position.lots,
            amount,
            entry: position.entry(it),
            mark,
            value,
            unrealized,
            realized: position.realized,
            funding: position.funding,
            fees: position.fees,
            leverage: settings.leverage,
            mode: settings.mode,
            isolated: own,
            initial: value / Decimal::from(settings.leverage.max(1)),
            maintenance,
            liquidation,
            opened_ms: position.opened_ms,
            updated_ms: position.updated_ms,
        })
    }

    /// Open positions.
    pub(crate) fn position_rows(&self, market: &Market, id: AccountId) -> Vec<PositionRow> {
        let all = self.account(id).into_iter().flat_map(Account::positions);
        all.filter(|position| position.lots != 0)
            .filter_map(|position| self.position_row(market, id, position))
            .collect()
    }
}

/// Own margin of an isolated position.
pub(super) fn isolated(position: &Position, it: &Instrument, settings: Settings) -> Decimal {
    position.cost(it) / Decimal::from(settings.leverage.max(1))
}

/// Value of what is left of a limit order.
pub(super) fn left_value(order: &Order, it: &Instrument) -> Decimal {
    let price = order.price().unwrap_or_default();
    decimal(it.notional(price.notional(order.left())))
}
