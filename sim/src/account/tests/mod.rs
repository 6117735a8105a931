//! Lives of orders, money and positions, on a market at work.

mod long;

use rust_decimal::Decimal;

use super::*;
use crate::market::{
    EventKind, MarketConfig, Notional, OrderKind, Price, Qty, Side, TimeInForce, listings,
};

const START_MS: i64 = 1_723_124_262_123;

struct Rig {
    market: Market,
    accounts: Accounts,
    events: Vec<Event>,
    told: Vec<PrivateEvent>,
    me: AccountId,
    other: AccountId,
    spot: InstrumentIx,
    perp: InstrumentIx,
    ids: u64,
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

impl Rig {
    fn new(rules: Rules) -> Self {
        Self::at(rules, START_MS)
    }

    fn at(rules: Rules, start_ms: i64) -> Self {
        let mut config = MarketConfig::standard(5, start_ms);
        config.listings = listings(start_ms, 30);
        let market = Market::new(config).unwrap();
        let mut accounts = Accounts::new(rules);
        let (me, other) = (accounts.open(Vec::new()), accounts.open(Vec::new()));
        let find = |segment| market.find(segment, "BTCUSDT").unwrap();
        let (spot, perp) = (find(Segment::Spot), find(Segment::Linear));
        Self {
            market,
            accounts,
            events: Vec::new(),
            told: Vec::new(),
            me,
            other,
            spot,
            perp,
            ids: 0,
        }
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut Accounts, &mut Floor<'_>) -> R) -> R {
        let now_ms = self.market.now_ms();
        let known = self.events.len();
        let mut floor = Floor {
            market: &mut self.market,
            now_ms,
            events: &mut self.events,
            known,
        };
        let result = act(&mut self.accounts, &mut floor);
        self.accounts.settle(&mut floor);
        self.told.extend(self.accounts.take_outbox());
        result
    }

    fn run(&mut self, ms: i64) {
        for _ in 0..ms / 5 {
            let to_ms = self.market.now_ms() + 5;
            let known = self.events.len();
            let mut floor = Floor {
                market: &mut self.market,
                now_ms: to_ms,
                events: &mut self.events,
                known,
            };
            while floor.market.advance_to_fill(to_ms, floor.events) {
                self.accounts.settle(&mut floor);
            }
            self.accounts.settle(&mut floor);
            self.accounts.on_time(&mut floor);
            self.accounts.settle(&mut floor);
        }
        self.told.extend(self.accounts.take_outbox());
    }

    fn request(&mut self, ix: InstrumentIx, side: Side, kind: OrderKind, lots: i64) -> Request {
        self.ids += 1;
        Request {
            ix,
            side,
            kind,
            size: Size::Base(Qty(lots)),
            position: PositionSide::Both,
            reduce_only: false,
            trigger: None,
            client_id: format!("id-{}", self.ids),
            self_trade: SelfTrade::ExpireMaker,
            borrows: false,
            native: Vec::new(),
        }
    }

    fn limit(&mut self, ix: InstrumentIx, side: Side, price: i64, lots: i64) -> Request {
        let kind = OrderKind::Limit {
            price: Price(price),
            time_in_force: TimeInForce::Gtc,
        };
        self.request(ix, side, kind, lots)
    }

    fn market_order(&mut self, ix: InstrumentIx, side: Side, lots: i64) -> Request {
        self.request(ix, side, OrderKind::Market, lots)
    }

    fn place(&mut self, request: Request) -> Result<Order, Refusal> {
        self.place_as(self.me, request)
    }

    fn place_as(&mut self, id: AccountId, request: Request) -> Result<Order, Refusal> {
        let no = self.act(|accounts, floor| accounts.place(floor, id, request))?;
        Ok(self.accounts.order(id, no).unwrap().clone())
    }

    fn order(&self, no: OrderNo) -> &Order {
        self.accounts.order(self.me, no).unwrap()
    }

    fn funds(&self, asset: &str) -> Funds {
        let account = self.accounts.account(self.me).unwrap();
        account.funds(Wallet::Spot, asset)
    }

    fn touch(&self, ix: InstrumentIx) -> (i64, i64) {
        let bbo = self.market.bbo(ix);
        (bbo.bid.unwrap().0.0, bbo.ask.unwrap().0.0)
    }

    /// A price inside the spread, or the bid.
    fn better_bid(&self, ix: InstrumentIx) -> i64 {
        let (bid, ask) = self.touch(ix);
        (bid + 1).min(ask - 1)
    }
}

#[test]
fn an_order_rests_in_the_public_book_and_is_met_by_another_account() {
    let mut rig = Rig::new(Rules::default());
    let (ix, price) = (rig.spot, rig.better_bid(rig.spot));
    let before = rig.market.depth(ix, 5_000);
    let asked = rig.limit(ix, Side::Buy, price, 1_000);
    let order = rig.place(asked).unwrap();
    assert_eq!(order.state, OrderState::New);
    let at = |depth: &crate::market::Depth| {
        let level = depth.bids.iter().find(|level| level.0.0 == price);
        level.map_or(0, |level| level.1.0)
    };
    let after = rig.market.depth(ix, 5_000);
    assert_eq!(at(&after), at(&before) + 1_000);
    assert!(after.update_id > before.update_id);
    // 0.01 BTC at the price is held back.
    let value = Decimal::new(price, 2) * dec("0.01");
    assert_eq!(rig.funds("USDT").locked, value);

    // The other account sells into everything up to it.
    let (ahead, _) = rig
        .market
        .takes(ix, Side::Sell, Some(Price(price)), Qty(i64::MAX));
    let mut sale = rig.limit(ix, Side::Sell, price, ahead.0);
    sale.native.push(("type", "LIMIT".to_owned()));
    let taker = rig.place_as(rig.other, sale).unwrap();
    assert_eq!(taker.native("type"), Some("LIMIT"));
    assert_eq!(taker.state, OrderState::Filled);
    let order = rig.order(order.no).clone();
    assert_eq!(
        (order.state, order.filled),
        (OrderState::Filled, Qty(1_000))
    );
    let fills: Vec<&FillRow> = rig.accounts.fills(rig.me).collect();
    assert_eq!(fills.len(), 1);
    assert!(fills[0].is_maker);
    assert_eq!(
        (fills[0].fee, &*fills[0].fee_asset),
        (dec("0.00001"), "BTC")
    );
    let public = rig.market.trades(ix, 1_000);
    let trade = public.iter().find(|trade| trade.id == fills[0].trade_id);
    assert_eq!(trade.unwrap().qty, Qty(1_000));
    let usdt = rig.funds("USDT");
    assert_eq!((usdt.locked, usdt.total), (dec("0"), dec("100000") - value));
    assert_eq!(rig.funds("BTC").total, dec("5.00999"));
    assert_eq!(
        order.average(rig.market.instrument(ix).unwrap()),
        Some(Decimal::new(price, 2))
    );
    rig.market.audit().unwrap();
}

#[test]
fn the_crowd_meets_resting_orders() {
    let mut rig = Rig::new(Rules::default());
    let ix = rig.spot;
    let mut filled = 0;
    for _ in 0..40 {
        let (bid, ask) = rig.touch(ix);
        let asked = rig.limit(ix, Side::Buy, (bid + 1).min(ask - 1), 20);
        let no = rig.place(asked).unwrap().no;
        rig.run(1_000);
        filled += i32::from(rig.order(no).state == OrderState::Filled);
        let me = rig.me;
        let _ = rig.act(|accounts, floor| accounts.cancel(floor, me, no, EndReason::User));
    }
    assert!(filled >= 5, "{filled}");
    assert!(rig.accounts.fills(rig.me).all(|fill| fill.is_maker));
    assert_eq!(rig.funds("USDT").locked, dec("0"));
}

#[test]
fn market_orders_take_by_quantity_and_by_value() {
    let mut rig = Rig::new(Rules::default());
    let ix = rig.spot;
    let asked = rig.market_order(ix, Side::Buy, 150_000);
    let (_, Notional(cost)) = rig.market.takes(ix, Side::Buy, None, Qty(150_000));
    let order = rig.place(asked).unwrap();
    assert_eq!(
        (order.state, order.filled_value.0),
        (OrderState::Filled, cost)
    );
    let spent = dec("100000") - rig.funds("USDT").total;
    assert_eq!(spent, Decimal::from_i128_with_scale(cost, 7));
    assert_eq!(rig.funds("BTC").total, dec("6.5") - dec("0.0015"));

    let mut asked = rig.market_order(ix, Side::Buy, 0);
    asked.size = Size::Quote(dec("100"));
    let order = rig.place(asked).unwrap();
    let value = order.value(rig.market.instrument(ix).unwrap());
    assert_eq!(order.state, OrderState::Filled);
    // Not more than a lot less than what was asked for.
    assert!(value <= dec("100") && value > dec("99.3"), "{value}");

    // More than there is money for, and more than the account has.
    let asked = rig.market_order(ix, Side::Buy, 1_000_000);
    assert_eq!(rig.place(asked).unwrap_err(), Refusal::Funds);
    let asked = rig.market_order(ix, Side::Sell, 700_000);
    assert_eq!(rig.place(asked).unwrap_err(), Refusal::Funds);
}

#[test]
fn refusals_change_nothing() {
    let mut rig = Rig::new(Rules::default());
    let (ix, (bid, ask)) = (rig.spot, rig.touch(rig.spot));
    let told = rig.told.len();
    let refused = |rig: &mut Rig, request: Request| rig.place(request).unwrap_err();
    let asked = rig.limit(ix, Side::Buy, bid, 1);
    assert_eq!(refused(&mut rig, asked), Refusal::NotionalMin);
    let asked = rig.limit(ix, Side::Buy, 0, 100);
    assert_eq!(refused(&mut rig, asked), Refusal::PriceRange);
    let asked = rig.limit(ix, Side::Buy, bid, 0);
    assert_eq!(refused(&mut rig, asked), Refusal::QtyRange);
    let asked = rig.limit(ix, Side::Buy, bid, 200_000);
    assert_eq!(refused(&mut rig, asked), Refusal::Funds);
    let mut asked = rig.limit(ix, Side::Buy, ask, 100);
    asked.kind = OrderKind::Limit {
        price: Price(ask),
        time_in_force: TimeInForce::PostOnly,
    };
    assert_eq!(refused(&mut rig, asked), Refusal::WouldTake);
    let mut asked = rig.limit(ix, Side::Buy, bid, 100);
    asked.reduce_only = true;
    assert_eq!(refused(&mut rig, asked), Refusal::PositionSide);
    let mut asked = rig.market_order(rig.perp, Side::Buy, 10);
    asked.position = PositionSide::Long;
    assert_eq!(refused(&mut rig, asked), Refusal::PositionSide);
    let mut asked = rig.market_order(rig.perp, Side::Buy, 10);
    asked.reduce_only = true;
    assert_eq!(refused(&mut rig, asked), Refusal::ReduceOnly);
    let gone = rig.market.find(Segment::Spot, "GONEUSDT").unwrap();
    let asked = rig.limit(gone, Side::Buy, 4_000, 10_000);
    assert_eq!(refused(&mut rig, asked), Refusal::NotTrading);
    let asked = rig.limit(InstrumentIx(9_999), Side::Buy, 4_000, 10_000);
    assert_eq!(refused(&mut rig, asked), Refusal::UnknownInstrument);
    let mut asked = rig.limit(ix, Side::Buy, bid, 100);
    asked.trigger = Some(Trigger {
        price: Price(bid - 10_000),
        rises: true,
        by: TriggerBy::Last,
    });
    assert_eq!(refused(&mut rig, asked), Refusal::WouldTrigger);
    assert_eq!((rig.told.len(), rig.accounts.orders.len()), (told, 0));
    assert_eq!(rig.funds("USDT").locked, dec("0"));

    let asked = rig.limit(ix, Side::Buy, bid - 1_000, 100);
    let order = rig.place(asked.clone()).unwrap();
    assert_eq!(
        rig.place(asked.clone()).unwrap_err(),
        Refusal::DuplicateClientId(order.no)
    );
    let me = rig.me;
    rig.act(|accounts, floor| accounts.cancel(floor, me, order.no, EndReason::User))
        .unwrap();
    let again = rig.act(|accounts, floor| accounts.cancel(floor, me, order.no, EndReason::User));
    assert_eq!(again, Err(Refusal::UnknownOrder));
    // The id is free again.
    assert_eq!(rig.place(asked).unwrap().state, OrderState::New);
}

#[test]
fn what_cannot_be_filled_at_once_expires() {
    let mut rig = Rig::new(Rules::default());
    let (ix, (bid, ask)) = (rig.spot, rig.touch(rig.spot));
    let mut with = |tif, price, lots| {
        let kind = OrderKind::Limit {
            price: Price(price),
            time_in_force: tif,
        };
        let asked = rig.request(ix, Side::Buy, kind, lots);
        let order = rig.place(asked).unwrap();
        (order.state, order.reason, order.filled.0)
    };
    let immediate = Some(EndReason::Immediate);
    assert_eq!(
        with(TimeInForce::Ioc, bid, 100),
        (OrderState::Expired, immediate, 0)
    );
    let kill = Some(EndReason::FillOrKill);
    assert_eq!(
        with(TimeInForce::Fok, bid, 100),
        (OrderState::Expired, kill, 0)
    );
    assert_eq!(
        with(TimeInForce::Fok, ask, 10),
        (OrderState::Filled, None, 10)
    );
    let (state, reason, filled) = with(TimeInForce::Ioc, ask, 150_000);
    assert_eq!((state, reason), (OrderState::Expired, immediate));
    assert!(filled > 0 && filled < 150_000);
    assert_eq!(rig.funds("USDT").locked, dec("0"));
}

#[test]
fn a_stop_waits_for_the_last_price() {
    let mut rig = Rig::new(Rules::default());
    let (ix, last) = (rig.spot, rig.market.last_price(rig.spot).unwrap());
    let mut asked = rig.limit(ix, Side::Buy, last.0 + 20_000, 100);
    asked.trigger = Some(Trigger {
        price: Price(last.0 + 300),
        rises: true,
        by: TriggerBy::Last,
    });
    let order = rig.place(asked).unwrap();
    assert_eq!((order.state, order.book_id), (OrderState::Waiting, None));
    assert!(rig.funds("USDT").locked > dec("0"));
    let mut waited = 0;
    while rig.order(order.no).state == OrderState::Waiting {
        let seen = rig.events.len();
        rig.run(5);
        let reached = rig.events[seen..].iter().any(|event| {
            matches!(event.kind, EventKind::Trade(trade)
                if event.instrument == ix && trade.price.0 >= last.0 + 300)
        });
        assert_eq!(reached, rig.order(order.no).state != OrderState::Waiting);
        waited += 1;
        if waited % 50 == 0 {
            // Somebody pushes the price.
            let push = rig.market_order(ix, Side::Buy, 20_000);
            let _ = rig.place_as(rig.other, push);
        }
        assert!(waited < 100_000);
    }
    let order = rig.order(order.no);
    assert_eq!(order.state, OrderState::Filled);
    assert!(order.live_no.unwrap() > order.no && order.triggered_ms.is_some());
    let changes: Vec<String> = rig
        .told
        .iter()
        .filter_map(|event| match &event.kind {
            PrivateKind::Order {
                order: told,
                change,
            } if told.no == order.no => {
                Some(format!("{change:?}").split('(').next().unwrap().to_owned())
            }
            _ => None,
        })
        .collect();
    assert_eq!(&changes[..2], ["Accepted", "Triggered"]);
    assert_eq!(changes.last().unwrap(), "Filled");
}

#[test]
fn amending_keeps_the_place_only_when_it_gets_smaller() {
    let mut rig = Rig::new(Rules::default());
    let (ix, me, price) = (rig.spot, rig.me, rig.better_bid(rig.spot) - 20_000);
    let asked = rig.limit(ix, Side::Buy, price, 1_000);
    let order = rig.place(asked).unwrap();
    let amend = |rig: &mut Rig, amend: Amend| {
        rig.act(|accounts, floor| accounts.amend(floor, me, order.no, &amend))
    };
    let place = order.book_id;
    let smaller = Amend {
        qty: Some(Qty(400)),
        ..Amend::default()
    };
    amend(&mut rig, smaller.clone()).unwrap();
    let now = rig.order(order.no);
    assert_eq!((now.book_id, now.qty), (place, Qty(400)));
    let book_id = now.book_id.unwrap();
    assert_eq!(rig.market.open_order(ix, book_id).unwrap().left, Qty(400));
    assert_eq!(
        rig.funds("USDT").locked,
        Decimal::new(price, 2) * dec("0.004")
    );
    assert_eq!(amend(&mut rig, smaller), Err(Refusal::NoChange));
    let other_price = Amend {
        price: Some(Price(price - 10)),
        ..Amend::default()
    };
    amend(&mut rig, other_price).unwrap();
    let now = rig.order(order.no);
    assert_ne!(now.book_id, place);
    assert_eq!(now.price(), Some(Price(price - 10)));
    assert!(rig.market.open_order(ix, book_id).is_none());
    let too_much = Amend {
        qty: Some(Qty(10_000_000)),
        ..Amend::default()
    };
    assert_eq!(amend(&mut rig, too_much), Err(Refusal::Funds));
    assert_eq!(
        rig.funds("USDT").locked,
        Decimal::new(price - 10, 2) * dec("0.004")
    );
    rig.market.audit().unwrap();
}

#[test]
fn own_orders_do_not_trade_with_each_other() {
    own_orders_end_as(Rules::default(), OrderState::Expired);
    let rules = Rules {
        self_trade_cancels: true,
        ..Rules::default()
    };
    own_orders_end_as(rules, OrderState::Canceled);
    assert_eq!(cross_allowed(), (OrderState::Filled, true));
}

fn own_orders_end_as(rules: Rules, ended: OrderState) {
    let mut rig = Rig::new(rules);
    let (ix, price) = (rig.spot, rig.better_bid(rig.spot));
    let mut cross = |mode| {
        let asked = rig.limit(ix, Side::Buy, price, 100);
        let resting = rig.place(asked).unwrap();
        let mut asked = rig.limit(ix, Side::Sell, price, 1_000_000);
        asked.self_trade = mode;
        asked.size = Size::Base(Qty(400_000));
        let taker = rig.place(asked).unwrap();
        let states = (rig.order(resting.no).state, rig.order(taker.no).state);
        let (me, nos) = (rig.me, [resting.no, taker.no]);
        for no in nos {
            let _ = rig.act(|accounts, floor| accounts.cancel(floor, me, no, EndReason::User));
        }
        states
    };
    let new = OrderState::New;
    let maker = cross(SelfTrade::ExpireMaker);
    assert_eq!(maker.0, ended);
    assert!(maker.1.is_open());
    assert_eq!(cross(SelfTrade::ExpireTaker), (new, ended));
    assert_eq!(cross(SelfTrade::ExpireBoth), (ended, ended));
    let makers = rig.accounts.fills(rig.me).filter(|fill| fill.is_maker);
    assert_eq!(makers.count(), 0);
}

fn cross_allowed() -> (OrderState, bool) {
    let mut rig = Rig::new(Rules::default());
    let (ix, price) = (rig.spot, rig.better_bid(rig.spot));
    let asked = rig.limit(ix, Side::Buy, price, 100);
    let resting = rig.place(asked).unwrap();
    let (ahead, _) = rig
        .market
        .takes(ix, Side::Sell, Some(Price(price)), Qty(i64::MAX));
    let mut asked = rig.limit(ix, Side::Sell, price, ahead.0);
    asked.self_trade = SelfTrade::Allow;
    rig.place(asked).unwrap();
    let both = rig
        .accounts
        .fills(rig.me)
        .filter(|fill| fill.is_maker)
        .count()
        == 1;
    (rig.order(resting.no).state, both)
}

#[test]
fn positions_have_an_entry_a_profit_and_a_margin() {
    let mut rig = Rig::new(Rules::default());
    let ix = rig.perp;
    let it = rig.market.instrument(ix).unwrap().clone();
    let asked = rig.market_order(ix, Side::Buy, 300);
    let buy = rig.place(asked).unwrap();
    let bought = buy.value(&it);
    rig.run(2_000);
    let asked = rig.market_order(ix, Side::Sell, 100);
    let part = rig.place(asked).unwrap();
    let third = bought / dec("3");
    let near = |a: Decimal, b: Decimal| (a - b).abs() < dec("0.000001");
    assert!(near(part.realized, part.value(&it) - third), "{part:?}");
    let rows = rig.accounts.position_rows(&rig.market, rig.me);
    assert_eq!((rows.len(), rows[0].amount), (1, dec("0.2")));
    assert!(near(rows[0].entry, bought / dec("0.3")));
    assert_eq!(rows[0].initial, rows[0].value / dec("20"));
    // 100 000 back 0.2 BTC: no price can end that.
    assert_eq!(rows[0].liquidation, None);

    // An order that only reduces is cut to the position, and goes with it.
    let (_, ask) = rig.touch(ix);
    let mut asked = rig.limit(ix, Side::Sell, ask + 5_000, 500);
    asked.reduce_only = true;
    let reducing = rig.place(asked).unwrap();
    assert_eq!(reducing.qty, Qty(200));
    let asked = rig.market_order(ix, Side::Sell, 50);
    let more = rig.place(asked).unwrap();
    assert_eq!(rig.order(reducing.no).qty, Qty(150));
    // Turns the position round.
    let asked = rig.market_order(ix, Side::Sell, 250);
    let turn = rig.place(asked).unwrap();
    let reason = rig.order(reducing.no).reason;
    assert_eq!(reason, Some(EndReason::ReduceOnly));
    let rows = rig.accounts.position_rows(&rig.market, rig.me);
    assert_eq!(rows[0].amount, dec("-0.1"));
    // At the prices of the last fills of it.
    let off = rows[0].entry - turn.average(&it).unwrap();
    assert!(off.abs() < dec("5"), "{rows:?}");
    let asked = rig.market_order(ix, Side::Buy, 100);
    let last = rig.place(asked).unwrap();
    assert!(rig.accounts.position_rows(&rig.market, rig.me).is_empty());
    // What came in and went out is what the balance changed by.
    let orders = [&buy, &part, &more, &turn, &last];
    let flow: Decimal = orders
        .iter()
        .map(|order| {
            let sign = match order.side {
                Side::Buy => dec("-1"),
                Side::Sell => dec("1"),
            };
            sign * order.value(&it) - order.fee
        })
        .sum();
    let account = rig.accounts.account(rig.me).unwrap();
    let total = account.funds(Wallet::Linear, "USDT").total;
    assert!(near(total - dec("100000"), flow), "{total} {flow}");
}

#[test]
fn margin_bounds_orders_and_ends_positions() {
    let mut rig = Rig::new(Rules::default());
    let (ix, me) = (rig.perp, rig.me);
    let (bid, _) = rig.touch(ix);
    // 20 times 100 000 is some 31 BTC.
    let asked = rig.limit(ix, Side::Buy, bid - 3_000, 40_000);
    assert_eq!(rig.place(asked).unwrap_err(), Refusal::Funds);
    let asked = rig.limit(ix, Side::Buy, bid - 3_000, 20_000);
    let order = rig.place(asked).unwrap();
    let asked = rig.limit(ix, Side::Buy, bid - 3_000, 20_000);
    assert_eq!(rig.place(asked).unwrap_err(), Refusal::Funds);
    // The other side needs no more.
    let asked = rig.limit(ix, Side::Sell, bid + 9_000, 20_000);
    rig.place(asked).unwrap();
    rig.act(|accounts, floor| accounts.cancel_all(floor, me, EndReason::User, |_| true));
    assert_eq!(rig.order(order.no).state, OrderState::Canceled);

    // Leave little more than the margin of a position, and let the account lose that.
    let asked = rig.market_order(ix, Side::Buy, 1_000);
    rig.place(asked).unwrap();
    let account = rig.accounts.account_mut(me).unwrap();
    account.funds_mut(Wallet::Linear, "USDT").total = dec("300");
    let row = rig.accounts.position_rows(&rig.market, me).remove(0);
    let at = row.liquidation.unwrap();
    assert!(at < row.mark && at > row.mark - dec("400"), "{row:?}");
    let account = rig.accounts.account_mut(me).unwrap();
    account.funds_mut(Wallet::Linear, "USDT").total = dec("100");
    rig.run(1_500);
    assert!(rig.accounts.position_rows(&rig.market, me).is_empty());
    let last = rig.accounts.all_orders(me).last().unwrap();
    assert!(last.is_liquidation && last.client_id.starts_with("autoclose-"));
}

#[test]
fn funding_is_paid_on_what_is_held() {
    // Two seconds before 16:00 UTC.
    let mut rig = Rig::at(Rules::default(), 1_723_132_798_000);
    let ix = rig.perp;
    let asked = rig.market_order(ix, Side::Buy, 200);
    let order = rig.place(asked).unwrap();
    let asked = rig.market_order(ix, Side::Sell, 100);
    rig.place_as(rig.other, asked).unwrap();
    rig.run(4_000);
    let settled = rig.events.iter().find_map(|event| match event.kind {
        EventKind::Funding(rate) if event.instrument == ix => Some(rate),
        _ => None,
    });
    let settled = settled.unwrap();
    let paid = decimal(settled.rate.fixed()) * decimal(settled.mark.fixed()) * dec("0.2");
    let cut =
        |amount: Decimal| amount.round_dp_with_strategy(8, rust_decimal::RoundingStrategy::ToZero);
    let income = |rig: &Rig, id| {
        let all = rig.accounts.income(id);
        let all = all.filter(|row| row.reason == AccountReason::Funding);
        all.map(|row| row.amount).collect::<Vec<_>>()
    };
    assert!(!paid.is_zero());
    assert_eq!(income(&rig, rig.me), [cut(-paid)]);
    assert_eq!(income(&rig, rig.other), [cut(paid / dec("2"))]);
    let account = rig.accounts.account(rig.me).unwrap();
    let total = account.funds(Wallet::Linear, "USDT").total;
    assert_eq!(total, dec("100000") - order.fee + cut(-paid));
    let rows = rig.accounts.position_rows(&rig.market, rig.me);
    assert_eq!(rows[0].funding, cut(-paid));
}

#[test]
fn a_hedged_account_has_two_positions() {
    let rules = Rules {
        is_hedged: true,
        ..Rules::default()
    };
    let mut rig = Rig::new(rules);
    let ix = rig.perp;
    for (side, position, lots) in [
        (Side::Buy, PositionSide::Long, 30),
        (Side::Sell, PositionSide::Short, 20),
        (Side::Sell, PositionSide::Long, 10),
    ] {
        let mut asked = rig.market_order(ix, side, lots);
        asked.position = position;
        rig.place(asked).unwrap();
    }
    let rows = rig.accounts.position_rows(&rig.market, rig.me);
    let amounts: Vec<(PositionSide, i64)> = rows.iter().map(|it| (it.side, it.lots)).collect();
    assert_eq!(
        amounts,
        [(PositionSide::Long, 20), (PositionSide::Short, -20)]
    );
    let mut asked = rig.market_order(ix, Side::Sell, 21);
    asked.position = PositionSide::Long;
    assert_eq!(rig.place(asked).unwrap_err(), Refusal::ReduceOnly);
}

#[test]
fn a_countdown_takes_orders_back() {
    let mut rig = Rig::new(Rules::default());
    let (me, ix, price) = (rig.me, rig.spot, rig.better_bid(rig.spot) - 50_000);
    let asked = rig.limit(ix, Side::Buy, price, 100);
    let order = rig.place(asked).unwrap();
    let due = rig.market.now_ms() + 400;
    rig.accounts
        .count_down(me, (Segment::Linear, None), Some(due));
    rig.accounts
        .count_down(me, (Segment::Spot, Some(ix)), Some(due + 400));
    rig.run(600);
    assert_eq!(rig.order(order.no).state, OrderState::New);
    rig.run(600);
    assert_eq!(rig.order(order.no).reason, Some(EndReason::Countdown));
}

#[test]
fn a_market_nobody_trades_in_is_the_same_as_before() {
    let mut rig = Rig::new(Rules::default());
    rig.run(3_000);
    let mut config = MarketConfig::standard(5, START_MS);
    config.listings = listings(START_MS, 30);
    let mut plain = Market::new(config).unwrap();
    let mut events = Vec::new();
    plain.advance(START_MS + 3_000, &mut events);
    assert_eq!(events, rig.events);
    assert!(rig.told.is_empty());
}
