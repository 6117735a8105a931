//! What is remembered of orders and fills. Rows come newest first; `after` is older than, `before`
//! newer than.

use serde_json::Value;

use super::super::rest::{ApiError, Params};
use super::order::number;
use super::{Call, Fail, Fields};
use crate::account::{FillRow, Order, OrderNo, OrderState};
use crate::market::{InstrumentIx, Segment};

/// Orders that ended without a fill are forgotten so soon by the short history.
const UNFILLED_MS: i64 = 2 * 3_600_000;
/// How far the short histories reach.
const WEEK_MS: i64 = 7 * 86_400_000;
const FILLS_MS: i64 = 3 * 86_400_000;
const PAGE: usize = 100;

/// What a list is narrowed to.
struct Scope {
    segment: Option<Segment>,
    ix: Option<InstrumentIx>,
    /// Kinds that are not listed at all.
    is_empty: bool,
}

impl Scope {
    fn holds(&self, segment: Segment, ix: InstrumentIx) -> bool {
        !self.is_empty
            && self.segment.is_none_or(|wanted| wanted == segment)
            && self.ix.is_none_or(|wanted| wanted == ix)
    }
}

/// Bounds of a page.
struct Bounds {
    older_than: Option<u64>,
    newer_than: Option<u64>,
    begin_ms: i64,
    end_ms: i64,
}

impl Bounds {
    fn of(params: &Params) -> Result<Self, ApiError> {
        let id = |name| -> Result<Option<u64>, ApiError> {
            let text = params.get(name);
            let id = text.map(|text| text.parse().map_err(|_| ApiError::wrong(name)));
            id.transpose()
        };
        Ok(Self {
            older_than: id("after")?,
            newer_than: id("before")?,
            begin_ms: params.number("begin")?.unwrap_or(i64::MIN),
            end_ms: params.number("end")?.unwrap_or(i64::MAX),
        })
    }

    fn holds(&self, id: u64, ts_ms: i64) -> bool {
        self.older_than.is_none_or(|bound| id < bound)
            && self.newer_than.is_none_or(|bound| id > bound)
            && (self.begin_ms..=self.end_ms).contains(&ts_ms)
    }
}

impl Call<'_> {
    fn scope(&self, params: &Params, needs_type: bool) -> Result<Scope, ApiError> {
        let kind = match needs_type {
            true => Some(params.required("instType")?),
            false => params.get("instType"),
        };
        let (segment, is_empty) = match kind {
            None => (None, false),
            Some("SPOT") => (Some(Segment::Spot), false),
            Some("SWAP") => (Some(Segment::Linear), false),
            Some("MARGIN" | "FUTURES" | "OPTION") => (None, true),
            Some(_) => return Err(ApiError::wrong("instType")),
        };
        let ix = match params.get("instId") {
            None => None,
            Some(name) => {
                let found = self.core.venue.find(name);
                Some(found.ok_or_else(ApiError::unknown_instrument)?.0)
            }
        };
        Ok(Scope {
            segment,
            ix,
            is_empty,
        })
    }

    /// Orders in the scope and bounds of a request, newest first, by the number that `id` gives.
    pub(super) fn page(
        &self,
        params: &Params,
        id: impl Fn(&Order) -> Option<OrderNo>,
    ) -> Result<Vec<&Order>, ApiError> {
        let (scope, bounds) = (self.scope(params, false)?, Bounds::of(params)?);
        let all = self.core.accounts.all_orders(self.id());
        let numbered = all.filter_map(|order| Some((id(order)?, order)));
        let mut found: Vec<(OrderNo, &Order)> = numbered
            .filter(|(no, order)| {
                scope.holds(order.segment, order.ix) && bounds.holds(no.0, order.created_ms)
            })
            .collect();
        found.sort_unstable_by_key(|(no, _)| std::cmp::Reverse(*no));
        Ok(found.into_iter().map(|(_, order)| order).collect())
    }

    fn orders(
        &self,
        params: &Params,
        pick: impl Fn(&Order) -> bool,
    ) -> Result<Vec<Value>, ApiError> {
        let kinds: Option<Vec<&str>> = params.get("ordType").map(|it| it.split(',').collect());
        let state = params.get("state");
        let wanted = |it: &&Order| {
            pick(it)
                && state.is_none_or(|state| state == super::row::state(it))
                && kinds
                    .as_ref()
                    .is_none_or(|kinds| kinds.contains(&super::row::kind(it)))
        };
        let limit = params.limit(PAGE, PAGE)?;
        let page = self.page(params, number)?;
        let page = page.into_iter().filter(wanted).take(limit);
        Ok(page.map(|it| self.ordinary(it, None)).collect())
    }

    /// `trade/order`
    pub(super) fn order(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        let named = params.required("instId")?;
        let found = self.core.venue.find(named);
        let (ix, _) = found.ok_or_else(ApiError::unknown_instrument)?;
        let fields = ["ordId", "clOrdId"].into_iter();
        let fields = fields.filter_map(|name| Some((name.to_owned(), params.get(name)?.into())));
        let fields = fields.collect();
        let order = self.find(Fields(&fields))?.filter(|order| order.ix == ix);
        let missing = || ApiError::from(Fail::new("51603", "Order does not exist"));
        Ok(vec![self.ordinary(order.ok_or_else(missing)?, None)])
    }

    /// `trade/orders-pending`
    pub(super) fn orders_pending(&mut self, params: &Params) -> Result<Vec<Value>, ApiError> {
        self.orders(params, |order| order.state.is_open())
    }

    /// `trade/orders-history`, and the archive of it.
    pub(super) fn orders_history(
        &mut self,
        params: &Params,
        is_archive: bool,
    ) -> Result<Vec<Value>, ApiError> {
        self.scope(params, true)?;
        let now_ms = self.core.clock.now_ms();
        let is_kept = |order: &Order| {
            let age_ms = now_ms - order.updated_ms;
            let is_unfilled = order.state != OrderState::Filled && order.filled.0 == 0;
            is_archive || age_ms < if is_unfilled { UNFILLED_MS } else { WEEK_MS }
        };
        self.orders(params, |order| !order.state.is_open() && is_kept(order))
    }

    /// `trade/fills`, and the history of it.
    pub(super) fn fills(
        &mut self,
        params: &Params,
        is_short: bool,
    ) -> Result<Vec<Value>, ApiError> {
        let (scope, bounds) = (self.scope(params, !is_short)?, Bounds::of(params)?);
        let now_ms = self.core.clock.now_ms();
        let order = params.get("ordId");
        let wanted = |fill: &&FillRow| {
            scope.holds(fill.segment, fill.ix)
                && bounds.holds(fill.id, fill.ts_ms)
                && !(is_short && now_ms - fill.ts_ms > FILLS_MS)
                && order.is_none_or(|wanted| self.order_number(fill) == wanted)
        };
        let limit = params.limit(PAGE, PAGE)?;
        let fills = self.core.accounts.fills(self.id()).rev().filter(wanted);
        Ok(fills.take(limit).map(|fill| self.fill(fill)).collect())
    }
}
