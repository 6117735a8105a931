//! Accounts as they really are, for tests.

use rust_decimal::Decimal;

use super::{AccountId, Accounts, EndReason, OrderState, PositionSide, Wallet, decimal};
use crate::market::{InstrumentIx, Market, Segment, Side};

/// A balance as it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceTruth {
    /// `None`: the one wallet of a unified account.
    pub market: Option<Segment>,
    /// The asset.
    pub asset: String,
    /// All of it.
    pub total: Decimal,
    /// The part that is held back for spot orders.
    pub locked: Decimal,
}

/// An order as it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderTruth {
    /// The exchange's own number.
    pub number: u64,
    /// Number of the order that a trigger made of it.
    pub triggered_number: Option<u64>,
    /// The client's id.
    pub client_id: String,
    /// Where.
    pub market: Segment,
    /// Native symbol.
    pub symbol: String,
    /// Direction.
    pub side: Side,
    /// `waiting`, `new`, `partially_filled`, `filled`, `canceled`, `rejected`, `expired`.
    pub state: &'static str,
    /// Why it ended without being filled, in one word; none while it stands, or when it was.
    pub reason: &'static str,
    /// It waited for a price that has come.
    pub was_triggered: bool,
    /// Base units.
    pub qty: Decimal,
    /// Base units.
    pub filled: Decimal,
    /// Limit price.
    pub price: Option<Decimal>,
    /// Quote value of what is filled.
    pub value: Decimal,
    /// Fees paid.
    pub fee: Decimal,
}

/// A fill as it really was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillTruth {
    /// Number of the order.
    pub order: u64,
    /// The client's id.
    pub client_id: String,
    /// Where.
    pub market: Segment,
    /// Native symbol.
    pub symbol: String,
    /// Number of the public trade.
    pub trade_id: u64,
    /// Direction.
    pub side: Side,
    /// Price.
    pub price: Decimal,
    /// Base units.
    pub qty: Decimal,
    /// The order rested.
    pub is_maker: bool,
    /// Fee paid.
    pub fee: Decimal,
    /// In this asset.
    pub fee_asset: String,
    /// Unix ms.
    pub ts_ms: i64,
}

/// An open position as it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionTruth {
    /// Native symbol.
    pub symbol: String,
    /// `both`, `long`, `short`.
    pub side: &'static str,
    /// Base units; short is negative.
    pub qty: Decimal,
    /// Average entry price.
    pub entry: Decimal,
    /// Profit at the mark price.
    pub unrealized: Decimal,
    /// Leverage.
    pub leverage: u32,
}

/// An account as it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountTruth {
    /// Public names of its keys.
    pub keys: Vec<String>,
    /// Balances, nothing left out.
    pub balances: Vec<BalanceTruth>,
    /// All orders that are remembered, oldest first.
    pub orders: Vec<OrderTruth>,
    /// All fills that are remembered, oldest first.
    pub fills: Vec<FillTruth>,
    /// Open positions.
    pub positions: Vec<PositionTruth>,
}

pub(crate) const fn state_name(state: OrderState) -> &'static str {
    match state {
        OrderState::Waiting => "waiting",
        OrderState::New => "new",
        OrderState::PartiallyFilled => "partially_filled",
        OrderState::Filled => "filled",
        OrderState::Canceled => "canceled",
        OrderState::Rejected => "rejected",
        OrderState::Expired => "expired",
    }
}

impl Accounts {
    /// All accounts as they are now.
    pub(crate) fn truth(&self, market: &Market) -> Vec<AccountTruth> {
        self.ids()
            .filter_map(|id| self.truth_of(market, id))
            .collect()
    }

    fn truth_of(&self, market: &Market, id: AccountId) -> Option<AccountTruth> {
        let account = self.account(id)?;
        let symbol = |ix: InstrumentIx| {
            let it = market.instrument(ix);
            it.map(|it| it.symbol.clone()).unwrap_or_default()
        };
        let mut balances = Vec::new();
        for wallet in [Wallet::Spot, Wallet::Linear] {
            let of = match wallet {
                _ if self.rules.is_unified => None,
                Wallet::Spot => Some(Segment::Spot),
                Wallet::Linear => Some(Segment::Linear),
            };
            balances.extend(account.wallet(wallet).map(|(asset, funds)| BalanceTruth {
                market: of,
                asset: asset.to_owned(),
                total: funds.total,
                locked: funds.locked,
            }));
        }
        let orders = self.all_orders(id).filter_map(|order| {
            let it = market.instrument(order.ix)?;
            Some(OrderTruth {
                number: order.no.0,
                triggered_number: order.live_no.map(|no| no.0),
                client_id: order.client_id.clone(),
                market: order.segment,
                symbol: it.symbol.clone(),
                side: order.side,
                state: state_name(order.state),
                was_triggered: order.triggered_ms.is_some(),
                reason: order.reason.map_or("none", EndReason::name),
                qty: decimal(it.qty(order.qty)),
                filled: decimal(it.qty(order.filled)),
                price: order.price().map(|price| decimal(it.price(price))),
                value: order.value(it),
                fee: order.fee,
            })
        });
        let fills = self.fills(id).filter_map(|fill| {
            let it = market.instrument(fill.ix)?;
            Some(FillTruth {
                order: fill.no.0,
                client_id: fill.client_id.clone(),
                market: fill.segment,
                symbol: it.symbol.clone(),
                trade_id: fill.trade_id,
                side: fill.side,
                price: decimal(it.price(fill.price)),
                qty: decimal(it.qty(fill.qty)),
                is_maker: fill.is_maker,
                fee: fill.fee,
                fee_asset: fill.fee_asset.clone(),
                ts_ms: fill.ts_ms,
            })
        });
        let positions = self.position_rows(market, id);
        let positions = positions.into_iter().map(|row| PositionTruth {
            symbol: symbol(row.ix),
            side: match row.side {
                PositionSide::Both => "both",
                PositionSide::Long => "long",
                PositionSide::Short => "short",
            },
            qty: row.amount,
            entry: row.entry,
            unrealized: row.unrealized,
            leverage: row.leverage,
        });
        Some(AccountTruth {
            keys: account.keys.iter().map(|key| key.name.clone()).collect(),
            balances,
            orders: orders.collect(),
            fills: fills.collect(),
            positions: positions.collect(),
        })
    }
}
