//! The end of a position whose margin is used up.

use rust_decimal::Decimal;

use super::arrive::fee_asset;
use super::desk::{Command, Desk};
use super::work::Work;
use crate::event::Side;
use crate::num::to_decimal;
use crate::time::TsNanos;
use crate::trading::order::{OrderType, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{Facts, FillReport, OrderReport, ReportTerms};

const LIQUIDATED: &str = "the position is being liquidated";

/// A position that its margin does not cover any more ([`super::account::Account::on_mark`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liquidation {
    /// The exchange's spelling of the symbol.
    pub native_symbol: String,
    /// Which position.
    pub position_side: PositionSide,
    /// The client's id of the order that closes it: `liquidation-…`.
    pub client_id: String,
    /// At what price.
    pub price: Decimal,
    /// The fee, settlement asset: the taker's, or what the margin has left.
    pub fee: Decimal,
}

impl Desk {
    /// Ends all orders of a position and closes it, as an exchange does whose margin is used up.
    pub fn liquidate(&mut self, liquidation: &Liquidation, now: TsNanos, out: &mut Facts) {
        let Liquidation {
            position_side,
            client_id,
            price,
            fee,
            ..
        } = liquidation;
        let is_of =
            |side: Option<PositionSide>| side.unwrap_or(PositionSide::Net) == *position_side;
        let instrument = &self.instrument;
        let mut ended = |work: &Work| {
            let report = work.report(instrument, Word::Canceled, Some(LIQUIDATED), now);
            out.orders.push(report);
        };
        self.orders.retain(|work| {
            let is_over = is_of(work.position_side);
            is_over.then(|| ended(work));
            !is_over
        });
        self.commands.retain(|_, command| match command {
            Command::Place(work) if is_of(work.position_side) => {
                ended(work);
                false
            }
            _ => true,
        });
        let position = std::mem::take(self.floor.positions.of(Some(*position_side)));
        if position == 0 {
            return;
        }
        self.floor.has_executed = true;
        let side = if position > 0 { Side::Sell } else { Side::Buy };
        let scale = self.instrument.qty_scale;
        let quantity = to_decimal(position.saturating_abs(), scale);
        let (report, fill) = self.forced(side, quantity, client_id, *position_side, now);
        out.orders.push(report);
        out.fills.push(FillReport {
            price: *price,
            fee: Some(*fee),
            ..fill
        });
    }

    /// What is told of an order that the exchange itself makes.
    fn forced(
        &self,
        side: Side,
        quantity: Decimal,
        client_id: &str,
        position_side: PositionSide,
        now: TsNanos,
    ) -> (OrderReport, FillReport) {
        let spec = &self.instrument.spec;
        let exchange_id = Some(format!("paper-{client_id}"));
        let mut news = OrderNews::new(Word::Works, now);
        news.quantity = Some(quantity);
        news.exchange_order_id.clone_from(&exchange_id);
        let report = OrderReport {
            market: spec.market,
            native_symbol: spec.native_key().into_owned(),
            client_id: Some(client_id.to_owned()),
            news,
            terms: ReportTerms {
                side: Some(side),
                order_type: Some(OrderType::Market),
                stop_price: None,
                time_in_force: Some(TimeInForce::Ioc),
                post_only: Some(false),
                reduce_only: Some(true),
                position_side: Some(position_side),
                created_at: Some(now),
            },
        };
        let fill = FillReport {
            market: spec.market,
            native_symbol: spec.native_key().into_owned(),
            fill_id: format!("paper-{client_id}-1"),
            client_id: Some(client_id.to_owned()),
            exchange_id,
            side: Some(side),
            price: Decimal::ZERO,
            quantity,
            fee: None,
            fee_asset: Some(fee_asset(&self.instrument)),
            is_maker: Some(false),
            at: now,
        };
        (report, fill)
    }
}
