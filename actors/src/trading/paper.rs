//! temporary
use std::rc::Rc;
use std::sync::Arc;
use bookwire_engine::error::CryptoError;
use bookwire_engine::instrument::{Instrument, Market};
use bookwire_engine::trading::order::{Order, OrderTerms};
use bookwire_engine::trading::venue::{Amend, Facts, OrderSupport};
use bookwire_engine::trading::order::{OrderType, TimeInForce};
use rust_decimal::Decimal;
use super::desk::Desk;
use super::options::AccountOptions;
use super::TradingContext;
/// x
#[derive(Clone, Debug, Default)]
pub struct PaperOptions {}
pub(crate) struct PaperHouse {}
pub(crate) fn support(_: Market, _: Option<OrderSupport>) -> OrderSupport {
    OrderSupport { types: OrderType::ALL, times_in_force: TimeInForce::ALL, has_post_only: true, has_reduce_only: true, amend: Amend::Native, has_leverage: true, dead_man_secs: None, has_hedge_mode: true, has_client_id_lookup: true }
}
impl PaperHouse {
    pub fn new(_: &AccountOptions, _: &TradingContext) -> Self { Self {} }
    pub fn begin(&self, _: &Rc<Desk>) {}
    pub fn leverage(&self, _: &OrderTerms) -> Option<Decimal> { None }
    pub async fn place(&self, _: &Rc<Desk>, _: &Order, _: &Arc<Instrument>) {}
    pub async fn cancel(&self, _: &Rc<Desk>, _: &Order) {}
    pub async fn amend(&self, _: &Rc<Desk>, _: &Order, _: &OrderTerms) -> Result<(), CryptoError> { Ok(()) }
    pub fn set_leverage(&self, _: &Rc<Desk>, _: &Instrument, _: u32) -> Result<(), CryptoError> { Ok(()) }
    pub fn told(&self, desk: &Rc<Desk>, facts: Facts) { desk.take(&facts) }
}
