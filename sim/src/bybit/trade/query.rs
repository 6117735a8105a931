//! What is remembered of orders and fills, newest first, page by page.

use serde_json::{Value, json};

use crate::account::{FillRow, Order};
use crate::market::{InstrumentIx, Segment};

use super::super::rest::Refusal;
use super::row::is_waiting_kind;
use super::{Call, Fields, Outcome, wrong};

/// Ended orders that the list of open ones still has.
const RECENT: usize = 500;
/// Orders that ended without a fill are forgotten so soon.
const UNFILLED_MS: i64 = 86_400_000;
/// A list reaches so far back where no time is given.
const WEEK_MS: i64 = 7 * 86_400_000;

/// What a list is narrowed to.
struct Scope {
    market: Segment,
    ix: Option<InstrumentIx>,
    base: Option<String>,
    settle: Option<String>,
}

impl Call<'_> {
    fn scope(&self, fields: Fields<'_>) -> Result<Scope, Refusal> {
        let market = fields.market()?;
        let ix = match fields.text("symbol") {
            None => None,
            Some(_) => Some(self.instrument(fields)?.0),
        };
        Ok(Scope {
            market,
            ix,
            base: fields.text("baseCoin"),
            settle: fields.text("settleCoin"),
        })
    }

    fn holds(&self, scope: &Scope, ix: InstrumentIx, market: Segment) -> bool {
        let it = self.core.instrument(ix);
        scope.market == market
            && scope.ix.is_none_or(|wanted| wanted == ix)
            && scope
                .base
                .as_ref()
                .is_none_or(|base| it.is_some_and(|it| it.base == *base))
            && scope
                .settle
                .as_ref()
                .is_none_or(|coin| it.is_some_and(|it| it.quote == *coin))
    }

    /// A page of rows that are sorted newest first by number.
    fn page<T>(
        fields: Fields<'_>,
        (default, most): (usize, usize),
        all: impl Iterator<Item = (u64, T)>,
        row: impl Fn(T) -> Value,
    ) -> Result<Outcome, Refusal> {
        let limit = match fields.text("limit") {
            None => default,
            Some(text) => text.parse().map_err(|_| wrong("limit"))?,
        };
        let before = match fields.text("cursor") {
            None => u64::MAX,
            Some(text) => text.parse().map_err(|_| wrong("cursor"))?,
        };
        let page: Vec<(u64, T)> = all
            .filter(|(number, _)| *number < before)
            .take(limit.clamp(1, most))
            .collect();
        let cursor = page.last().map(|(number, _)| number.to_string());
        let rows: Vec<Value> = page.into_iter().map(|(_, it)| row(it)).collect();
        Ok(Outcome::of(json!({
            "category": fields.text("category"), "list": rows,
            "nextPageCursor": cursor.unwrap_or_default(),
        })))
    }

    fn orders(
        &self,
        fields: Fields<'_>,
        pick: impl Fn(&Order) -> bool,
    ) -> Result<Outcome, Refusal> {
        let scope = self.scope(fields)?;
        let filter = fields.text("orderFilter");
        let named = match fields.text("orderId").is_some() || fields.text("orderLinkId").is_some() {
            true => Some(self.find(fields, scope.market)?.map(|order| order.no)),
            false => None,
        };
        let status = fields.text("orderStatus");
        let wanted = |order: &&Order| {
            let waits = is_waiting_kind(order);
            let fits = match (filter.as_deref(), scope.market) {
                (Some("Order"), _) => !waits,
                (Some("StopOrder" | "tpslOrder"), _) => waits,
                _ => true,
            };
            let is_named = match &named {
                None => true,
                Some(found) => *found == Some(order.no),
            };
            self.holds(&scope, order.ix, order.segment)
                && fits
                && is_named
                && status
                    .as_ref()
                    .is_none_or(|it| it == super::row::status(order))
                && pick(order)
        };
        let all: Vec<&Order> = self.core.accounts.all_orders(self.id()).collect();
        let all = all
            .into_iter()
            .rev()
            .filter(wanted)
            .map(|order| (order.no.0, order));
        Self::page(fields, (20, 50), all, |order| self.order_row(order))
    }

    /// `order/realtime`
    pub(super) fn realtime(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let scope = self.scope(fields)?;
        let is_narrow = scope.ix.is_some() || scope.base.is_some() || scope.settle.is_some();
        let is_named = fields.text("orderId").is_some() || fields.text("orderLinkId").is_some();
        if scope.market == Segment::Linear && !is_narrow && !is_named {
            return Err(wrong("symbol, settleCoin or baseCoin"));
        }
        let wants_ended = fields.text("openOnly").is_some_and(|it| it != "0");
        let ended = self.core.accounts.all_orders(self.id());
        let mut ended: Vec<_> = ended.filter(|it| !it.state.is_open()).collect();
        ended.sort_unstable_by_key(|it| std::cmp::Reverse((it.updated_ms, it.no)));
        let oldest_ms = ended.get(RECENT).map_or(i64::MIN, |it| it.updated_ms);
        self.orders(fields, |order| match order.state.is_open() {
            true => is_named || !wants_ended,
            false => (is_named || wants_ended) && order.updated_ms > oldest_ms,
        })
    }

    /// Bounds in time of a list.
    fn times(&self, fields: Fields<'_>) -> Result<(i64, i64), Refusal> {
        let read = |name: &str| -> Result<Option<i64>, Refusal> {
            let text = fields.text(name);
            let time = text.map(|text| text.parse().map_err(|_| wrong(name)));
            time.transpose()
        };
        let (start, end) = (read("startTime")?, read("endTime")?);
        let now_ms = self.core.clock.now_ms();
        let (start, end) = match (start, end) {
            (None, None) => (now_ms - WEEK_MS, i64::MAX),
            (Some(start), None) => (start, start + WEEK_MS),
            (None, Some(end)) => (end - WEEK_MS, end),
            (Some(start), Some(end)) => (start, end),
        };
        match end != i64::MAX && end - start > WEEK_MS {
            true => Err(wrong("startTime")),
            false => Ok((start, end)),
        }
    }

    /// `order/history`
    pub(super) fn history(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let (start_ms, end_ms) = self.times(fields)?;
        let now_ms = self.core.clock.now_ms();
        self.orders(fields, |order| {
            let is_kept = order.filled.0 > 0 || now_ms - order.updated_ms < UNFILLED_MS;
            let is_in = (start_ms..=end_ms).contains(&order.created_ms);
            !order.state.is_open() && is_kept && is_in
        })
    }

    /// `execution/list`
    pub(super) fn executions(&mut self, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        let scope = self.scope(fields)?;
        let (start_ms, end_ms) = self.times(fields)?;
        let named = match fields.text("orderId").is_some() || fields.text("orderLinkId").is_some() {
            true => Some(self.find(fields, scope.market)?.map(|order| order.no)),
            false => None,
        };
        let wanted = |fill: &&FillRow| {
            self.holds(&scope, fill.ix, fill.segment)
                && (start_ms..=end_ms).contains(&fill.ts_ms)
                && named.as_ref().is_none_or(|found| *found == Some(fill.no))
        };
        if fields.text("execType").is_some_and(|kind| kind != "Trade") {
            return Self::page(fields, (50, 100), std::iter::empty::<(u64, ())>(), |()| {
                Value::Null
            });
        }
        let all = self.core.accounts.fills(self.id()).rev().filter(wanted);
        let all = all.map(|fill| (fill.id, fill));
        Self::page(fields, (50, 100), all, |fill| self.fill_row(fill, None))
    }
}
