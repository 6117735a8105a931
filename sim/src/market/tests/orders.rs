//! Orders of accounts, priority, and bounds of a long run.

use super::super::matching::{OrderBook, Step};
use super::super::rng::Rng;
use super::*;

const ME: OwnerId = OwnerId(7);
const OTHER: OwnerId = OwnerId(8);

fn limit(ix: InstrumentIx, side: Side, price: i64, qty: i64, tif: TimeInForce) -> NewOrder {
    let kind = OrderKind::Limit {
        price: Price(price),
        time_in_force: tif,
    };
    NewOrder {
        instrument: ix,
        owner: ME,
        side,
        qty: Qty(qty),
        kind,
    }
}

/// Price-time priority the slow way: scan all orders for the best price, then the oldest.
#[derive(Default)]
struct Naive(Vec<(u64, BookSide, i64, i64)>);

impl Naive {
    fn take(&mut self, taker: Side, limit: i64, mut left: i64) -> Vec<(u64, i64, i64)> {
        let mut hits = Vec::new();
        while left > 0 {
            let side = taker.opposite().rests_on();
            let sign = if taker == Side::Buy { 1 } else { -1 };
            let best = (0..self.0.len())
                .filter(|at| self.0[*at].1 == side && sign * self.0[*at].2 <= sign * limit)
                .min_by_key(|at| (sign * self.0[*at].2, self.0[*at].0));
            let Some(at) = best else { break };
            let hit = left.min(self.0[at].3);
            hits.push((self.0[at].0, self.0[at].2, hit));
            left -= hit;
            self.0[at].3 -= hit;
            if self.0[at].3 == 0 {
                self.0.remove(at);
            }
        }
        hits
    }
}

#[test]
fn matching_equals_the_naive_book() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed, 0, 0);
        let (mut book, mut naive) = (OrderBook::default(), Naive::default());
        let mut steps = Vec::new();
        for id in 0..800_u64 {
            let side = if rng.chance(0.5) {
                Side::Buy
            } else {
                Side::Sell
            };
            let price = 100 + rng.below(24) as i64;
            let qty = 1 + rng.below(9) as i64;
            if rng.chance(0.3) && !naive.0.is_empty() {
                let at = rng.below(naive.0.len() as u64) as usize;
                let gone = naive.0.remove(at);
                let (removed, _) = book.remove(OrderId(gone.0)).unwrap();
                assert_eq!(removed.left.0, gone.3);
                assert!(book.remove(OrderId(gone.0)).is_none());
                continue;
            }
            let can = book.available(side, Some(Price(price)), Qty(qty)).0;
            steps.clear();
            let left = book.take(side, Some(Price(price)), Qty(qty), &mut steps).0;
            assert_eq!(can.min(qty), qty - left);
            let hits: Vec<(u64, i64, i64)> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Hit {
                        maker, price, qty, ..
                    } => Some((maker.0, price.0, qty.0)),
                    Step::Level { .. } => None,
                })
                .collect();
            assert_eq!(hits, naive.take(side, price, qty), "seed {seed}");
            if left > 0 {
                let owner = if rng.chance(0.5) { ME } else { OwnerId::HOUSE };
                book.rest(OrderId(id), owner, side.rests_on(), Price(price), Qty(left))
                    .unwrap();
                naive.0.push((id, side.rests_on(), price, left));
            }
            book.audit().unwrap();
        }
    }
}

#[test]
fn an_account_trades_in_the_same_book() {
    let mut market = market(31);
    let ix = market.find(Segment::Spot, "BTCUSDT").unwrap();
    let (bid, _) = market.bbo(ix).bid.unwrap();
    let (ask, _) = market.bbo(ix).ask.unwrap();
    let mut events = Vec::new();

    // Resting: seen in the book, cancelled only by its owner, exactly once.
    let price = bid.0 - 1_000_003;
    let before = market.depth(ix, usize::MAX);
    let order = limit(ix, Side::Buy, price, 50_000, TimeInForce::Gtc);
    let report = market.submit(&order, &mut events).unwrap();
    assert_eq!(
        (report.executed, report.resting, report.expired),
        (Qty(0), Qty(50_000), Qty(0))
    );
    assert!(
        matches!(events[..], [Event { kind: EventKind::Book(change), .. }]
        if change.price.0 == price && change.side == BookSide::Bid)
    );
    assert_eq!(
        market.open_order(ix, report.order_id).unwrap().left,
        Qty(50_000)
    );
    assert_eq!(market.cancel(ix, report.order_id, OTHER, &mut events), None);
    let gone = market.cancel(ix, report.order_id, ME, &mut events).unwrap();
    assert_eq!((gone.left, gone.price), (Qty(50_000), Price(price)));
    assert_eq!(market.cancel(ix, report.order_id, ME, &mut events), None);
    let after = market.depth(ix, usize::MAX);
    assert_eq!(
        (before.bids, before.update_id + 2),
        (after.bids, after.update_id)
    );

    // Taking: fills, trades and the report agree.
    events.clear();
    let order = NewOrder {
        kind: OrderKind::Market,
        qty: Qty(200_000),
        ..order
    };
    let report = market.submit(&order, &mut events).unwrap();
    assert_eq!(report.executed, Qty(200_000));
    let (mut traded, mut notional, mut filled) = (0, 0, 0);
    for event in &events {
        match event.kind {
            EventKind::Trade(trade) => {
                assert_eq!(trade.taker_side, Side::Buy);
                assert!(trade.price >= ask);
                traded += trade.qty.0;
                notional += trade.price.notional(trade.qty).0;
            }
            EventKind::Fill(fill) => {
                assert_eq!((fill.owner, fill.is_maker), (ME, false));
                filled += fill.qty.0;
                assert_eq!(fill.left.0, 200_000 - filled);
            }
            _ => {}
        }
    }
    assert_eq!(
        (traded, filled, notional),
        (200_000, 200_000, report.executed_notional.0)
    );

    // Joining the touch: the crowd fills it in the end, once, and tells.
    let (bid, _) = market.bbo(ix).bid.unwrap();
    let order = limit(ix, Side::Buy, bid.0, 10_000, TimeInForce::PostOnly);
    let report = market.submit(&order, &mut events).unwrap();
    assert_eq!(report.resting, Qty(10_000));
    let mut left = 10_000;
    for _ in 0..600 {
        for event in run(&mut market, 1_000) {
            if let EventKind::Fill(fill) = event.kind {
                assert_eq!((fill.order_id, fill.is_maker), (report.order_id, true));
                assert_eq!(fill.side, Side::Buy);
                left -= fill.qty.0;
                assert_eq!(fill.left.0, left);
            }
        }
        if left == 0 {
            break;
        }
    }
    assert_eq!(left, 0, "nobody sold to the best bid in ten minutes");
    assert_eq!(market.open_order(ix, report.order_id), None);
    market.audit().unwrap();
}

#[test]
fn refused_orders_change_nothing() {
    let mut market = market(32);
    let ix = market.find(Segment::Linear, "BTCUSDT").unwrap();
    let (ask, _) = market.bbo(ix).ask.unwrap();
    let (bid, _) = market.bbo(ix).bid.unwrap();
    let before = market.depth(ix, usize::MAX);
    let mut check = |order: NewOrder, reject| {
        let mut events = Vec::new();
        assert_eq!(market.submit(&order, &mut events), Err(reject));
        assert!(events.is_empty());
    };
    let buy = |price, qty, tif| limit(ix, Side::Buy, price, qty, tif);
    check(
        buy(ask.0, 100, TimeInForce::PostOnly),
        OrderReject::WouldExecute,
    );
    check(
        limit(ix, Side::Sell, bid.0, 100, TimeInForce::PostOnly),
        OrderReject::WouldExecute,
    );
    check(
        buy(ask.0, 900_000_000_000, TimeInForce::Fok),
        OrderReject::CannotFill,
    );
    check(buy(0, 100, TimeInForce::Gtc), OrderReject::PriceRange);
    check(
        buy(i64::MAX, 100, TimeInForce::Gtc),
        OrderReject::PriceRange,
    );
    check(buy(ask.0, 0, TimeInForce::Gtc), OrderReject::QtyRange);
    check(buy(ask.0, -5, TimeInForce::Gtc), OrderReject::QtyRange);
    check(
        buy(ask.0, i64::MAX, TimeInForce::Gtc),
        OrderReject::QtyRange,
    );
    // 0.001 BTC at 10 000 is below 50 USDT.
    check(buy(100_000, 1, TimeInForce::Gtc), OrderReject::NotionalMin);
    let foreign = NewOrder {
        instrument: InstrumentIx(999),
        ..buy(ask.0, 5, TimeInForce::Gtc)
    };
    check(foreign, OrderReject::UnknownInstrument);
    let after = market.depth(ix, usize::MAX);
    assert_eq!(before, after);
    // What an IOC order cannot get expires.
    let order = buy(bid.0, 5_000, TimeInForce::Ioc);
    let report = market.submit(&order, &mut Vec::new()).unwrap();
    assert_eq!((report.executed, report.expired), (Qty(0), Qty(5_000)));
}

#[test]
fn hours_of_trading_stay_within_bounds() {
    let mut config = MarketConfig::standard(33, START_MS);
    config.trades_kept = 500;
    config.minutes_kept = 90;
    config.listings = listings(START_MS, 10)
        .into_iter()
        .filter(|entry| ["SHIBUSDT", "1000PEPEUSDT"].contains(&entry.instrument.symbol.as_str()))
        .collect();
    config
        .listings
        .iter_mut()
        .for_each(|entry| entry.flow.rate = 6.0);
    let orders: Vec<usize> = config
        .listings
        .iter()
        .map(|entry| entry.flow.orders)
        .collect();
    let mut market = Market::new(config).unwrap();
    for _ in 0..48 {
        run(&mut market, 15 * 60_000);
        market.audit().unwrap();
        for (stall, orders) in market.stalls.iter().zip(&orders) {
            let desk = &stall.desk;
            assert!(desk.trades.len() <= 500 && desk.aggs.len() <= 500);
            assert!(
                desk.book.slots() < 3 * orders,
                "{} places for orders",
                desk.book.slots()
            );
            assert!(desk.bars.kept() <= 92);
            let (bids, asks) = (
                desk.book.levels(BookSide::Bid),
                desk.book.levels(BookSide::Ask),
            );
            assert!(bids > orders / 4 && asks > orders / 4, "{bids} {asks}");
        }
    }
    // The days are still whole although most of their minutes are no longer kept.
    let ix = InstrumentIx(0);
    let days = market.klines(ix, Interval::D1, TimeRange::latest(3));
    assert_eq!(days.len(), 3);
    let (today, yesterday) = (days[2], days[1]);
    assert_eq!(
        yesterday.trade_ids.unwrap().1 + 1,
        today.trade_ids.unwrap().0
    );
    assert_eq!(today.trade_ids.unwrap().1, market.trades(ix, 1)[0].id);
    assert!(
        market
            .klines(ix, Interval::M1, TimeRange::latest(200))
            .len()
            <= 92
    );
}
