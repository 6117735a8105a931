//! A long life at random, after which everything has to add up.

use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Whatever is done, money adds up, and what was told last is what is.
#[test]
fn nothing_is_lost_in_a_long_life() {
    for seed in 0..3 {
        let mut rig = Rig::new(Rules {
            open_orders_max: 30,
            ..Rules::default()
        });
        let mut random = StdRng::seed_from_u64(seed);
        let kinds = [
            TimeInForce::Gtc,
            TimeInForce::Gtc,
            TimeInForce::Ioc,
            TimeInForce::Fok,
            TimeInForce::PostOnly,
        ];
        for _ in 0..1_500 {
            let id = if random.random_bool(0.5) {
                rig.me
            } else {
                rig.other
            };
            let ix = if random.random_bool(0.5) {
                rig.spot
            } else {
                rig.perp
            };
            let side = if random.random_bool(0.5) {
                Side::Buy
            } else {
                Side::Sell
            };
            let (bid, _) = rig.touch(ix);
            let lots = random.random_range(1..if ix == rig.spot { 3_000 } else { 60 });
            let price = bid + random.random_range(-300..300);
            let mut asked = rig.limit(ix, side, price, lots);
            if random.random_bool(0.2) {
                asked.kind = OrderKind::Market;
            } else {
                asked.kind = OrderKind::Limit {
                    price: Price(price),
                    time_in_force: kinds[random.random_range(0..kinds.len())],
                };
            }
            asked.reduce_only = ix == rig.perp && random.random_bool(0.2);
            if random.random_bool(0.15) {
                let trigger = bid + random.random_range(-300..300);
                asked.trigger = Some(Trigger {
                    price: Price(trigger),
                    rises: random.random_bool(0.5),
                    by: TriggerBy::Last,
                });
            }
            let _ = rig.place_as(id, asked);
            let open: Vec<OrderNo> = rig.accounts.open_orders(id).map(|it| it.no).collect();
            if !open.is_empty() && random.random_bool(0.4) {
                let no = open[random.random_range(0..open.len())];
                let amend = Amend {
                    qty: Some(Qty(random.random_range(1..2_000))),
                    price: random.random_bool(0.5).then_some(Price(price)),
                    ..Amend::default()
                };
                let _ = match random.random_bool(0.5) {
                    true => rig.act(|a, f| a.amend(f, id, no, &amend)),
                    false => rig.act(|a, f| a.cancel(f, id, no, EndReason::User)),
                };
            }
            if random.random_bool(0.3) {
                rig.run(50);
            }
        }
        check(&mut rig);
    }
}

fn check(rig: &mut Rig) {
    rig.market.audit().unwrap();
    let it = |ix| rig.market.instrument(ix).unwrap();
    assert!(
        rig.told
            .windows(2)
            .all(|pair| pair[0].seq + 1 == pair[1].seq)
    );
    let mut last: HashMap<OrderNo, Order> = HashMap::new();
    for event in &rig.told {
        if let PrivateKind::Order { order, .. } = &event.kind {
            if let Some(before) = last.get(&order.no) {
                assert!(before.state.is_open(), "told after its end: {order:?}");
                assert!(order.filled >= before.filled);
            }
            last.insert(order.no, (**order).clone());
        }
    }
    let mut kinds = [0; 7];
    for id in [rig.me, rig.other] {
        let account = rig.accounts.account(id).unwrap();
        let mut locked: HashMap<&str, Decimal> = HashMap::new();
        let mut resting = 0;
        for order in rig.accounts.all_orders(id) {
            let told = &last[&order.no];
            assert_eq!(
                (told.state, told.filled, told.qty, told.fee),
                (order.state, order.filled, order.qty, order.fee)
            );
            kinds[order.state as usize] += 1;
            let asset = match order.side {
                Side::Buy => &it(order.ix).quote,
                Side::Sell => &it(order.ix).base,
            };
            *locked.entry(asset).or_default() += order.locked;
            let book = order
                .book_id
                .and_then(|at| rig.market.open_order(order.ix, at));
            let works = order.state.is_open() && order.state != OrderState::Waiting;
            assert_eq!(
                book.map(|it| it.left),
                works.then(|| order.left()),
                "{order:?}"
            );
            resting += usize::from(works);
            let fills = rig.accounts.fills(id).filter(|fill| fill.no == order.no);
            let (mut sum, mut value) = (0, 0);
            for fill in fills {
                sum += fill.qty.0;
                value += fill.price.notional(fill.qty).0;
            }
            assert_eq!((sum, value), (order.filled.0, order.filled_value.0));
        }
        assert!(resting > 0);
        for (asset, funds) in account.wallet(Wallet::Spot) {
            let expected = locked.get(asset).copied().unwrap_or_default();
            assert_eq!(funds.locked, expected, "{asset}");
            assert!(funds.free() >= Decimal::ZERO, "{asset} {funds:?}");
            // What it began with and every fill give what it has.
            let begun = rig.accounts.rules.balances.iter();
            let begun = begun.filter(|it| it.0 == Segment::Spot && it.1 == asset);
            let mut sum: Decimal = begun.map(|it| it.2).sum();
            for fill in rig
                .accounts
                .fills(id)
                .filter(|it| it.segment == Segment::Spot)
            {
                let sign = match fill.side {
                    Side::Buy => Decimal::ONE,
                    Side::Sell => -Decimal::ONE,
                };
                let it = it(fill.ix);
                if it.base == asset {
                    sum += sign * decimal(it.qty(fill.qty));
                }
                if it.quote == asset {
                    sum -= sign * decimal(it.notional(fill.price.notional(fill.qty)));
                }
                if fill.fee_asset == asset {
                    sum -= fill.fee;
                }
            }
            assert_eq!(funds.total, sum, "{asset}");
        }
        let fills = rig.accounts.fills(id).filter(|it| it.ix == rig.perp);
        let lots: i64 = fills
            .map(|fill| match fill.side {
                Side::Buy => fill.qty.0,
                Side::Sell => -fill.qty.0,
            })
            .sum();
        assert_eq!(account.lots(rig.perp, PositionSide::Both), lots);
    }
    assert!(
        kinds.iter().filter(|count| **count > 0).count() >= 5,
        "{kinds:?}"
    );
    let depth = rig.market.depth(rig.spot, 1);
    assert!(depth.bids[0].0 < depth.asks[0].0);
}
