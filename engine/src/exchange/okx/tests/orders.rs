//! Commands and questions, byte for byte.

use super::instrument;
use super::trading::{ID, NOW, asked, dec, keys, order, place, terms, text, venue};
use crate::error::CryptoCode;
use crate::event::Side;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::venue::{Access, Command, Method, NativeRequest, OrderRef, Question};

fn placed(market: Market, order_type: OrderType, change: impl Fn(&mut OrderTerms)) -> String {
    let instrument = instrument(market);
    let mut terms = terms(&instrument, order_type, "0.03");
    change(&mut terms);
    let requests = place(&instrument, &terms, false).unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].access, Access::Signed);
    text(&requests[0])
}

#[test]
fn spot_orders() {
    let of = |order_type, change: fn(&mut OrderTerms)| placed(Market::Spot, order_type, change);
    let head = r#"POST trade/order {"instId":"BTC-USDT","tdMode":"cash","side":"buy","ordType":"#;
    for (order_type, change, body) in [
        (
            OrderType::Limit,
            (|_| ()) as fn(&mut OrderTerms),
            r#""limit","px":"45000","sz":"0.03""#,
        ),
        (
            OrderType::Limit,
            |terms| terms.post_only = true,
            r#""post_only","px":"45000","sz":"0.03""#,
        ),
        (
            OrderType::Limit,
            |terms| terms.time_in_force = TimeInForce::Ioc,
            r#""ioc","px":"45000","sz":"0.03""#,
        ),
        (
            OrderType::Limit,
            |terms| {
                terms.time_in_force = TimeInForce::Fok;
                terms.price = Some(dec("45000.10"));
                terms.quantity = dec("10.00");
            },
            r#""fok","px":"45000.1","sz":"10""#,
        ),
    ] {
        let expected = format!("{head}{body},\"clOrdId\":\"{ID}\"}}(order spot)");
        assert_eq!(of(order_type, change), expected);
    }
    // In coins, and never made smaller behind our back.
    assert_eq!(
        of(OrderType::Market, |_| ()),
        format!(
            r#"{head}"market","sz":"0.03","tgtCcy":"base_ccy","clOrdId":"{ID}","banAmend":true}}(order spot)"#
        )
    );
    let head = r#"POST trade/order-algo {"instId":"BTC-USDT","tdMode":"cash","side":"sell","ordType":"trigger","sz":"0.03","#;
    assert_eq!(
        of(OrderType::StopMarket, |terms| terms.side = Side::Sell),
        format!(
            r#"{head}"tgtCcy":"base_ccy","triggerPx":"44000","triggerPxType":"last","orderPx":"-1","algoClOrdId":"{ID}"}}(order-algo spot)"#
        )
    );
    assert_eq!(
        of(OrderType::StopLimit, |terms| terms.side = Side::Sell),
        format!(
            r#"{head}"triggerPx":"44000","triggerPxType":"last","orderPx":"45000","algoClOrdId":"{ID}"}}(order-algo spot)"#
        )
    );
}

#[test]
fn swaps_are_counted_in_contracts() {
    let of = |order_type, change: fn(&mut OrderTerms)| placed(Market::Perp, order_type, change);
    let head = r#"{"instId":"BTC-USDT-SWAP","tdMode":"cross","side":"buy","#;
    assert_eq!(
        of(OrderType::Limit, |_| ()),
        format!(
            r#"POST trade/order {head}"ordType":"limit","px":"45000","sz":"3","clOrdId":"{ID}"}}(order perp)"#
        )
    );
    assert_eq!(
        of(OrderType::Market, |terms| {
            terms.quantity = dec("0.0001");
            terms.reduce_only = true;
        }),
        format!(
            r#"POST trade/order {head}"ordType":"optimal_limit_ioc","sz":"0.01","reduceOnly":true,"clOrdId":"{ID}"}}(order perp)"#
        )
    );
    assert_eq!(
        of(OrderType::StopMarket, |terms| terms.reduce_only = true),
        format!(
            r#"POST trade/order-algo {head}"ordType":"trigger","sz":"3","reduceOnly":true,"triggerPx":"44000","triggerPxType":"last","orderPx":"-1","algoClOrdId":"{ID}"}}(order-algo perp)"#
        )
    );
    // The document's example, signed there.
    let swap = instrument(Market::Perp);
    let terms = terms(&swap, OrderType::Limit, "0.001");
    let command = Command::Place {
        instrument: &swap,
        terms: &terms,
        client_id: "abc123",
        touch: Default::default(),
        is_hedged: false,
    };
    let body = r#"{"instId":"BTC-USDT-SWAP","tdMode":"cross","side":"buy","ordType":"limit","px":"45000","sz":"0.1","clOrdId":"abc123"}"#;
    assert_eq!(venue().command(&command).unwrap()[0].body, body);
}

#[test]
fn a_quantity_that_is_no_number_of_contracts_is_refused() {
    let mut swap = (*instrument(Market::Perp)).clone();
    for (contract, quantity) in [("3", "8"), ("0.07", "0.01"), ("0.003", "1")] {
        swap.spec.contract_size = dec(contract);
        let terms = terms(&swap, OrderType::Limit, quantity);
        let error = place(&swap, &terms, false).unwrap_err();
        assert_eq!(error.code, CryptoCode::PrecisionError);
        assert_eq!(error.details["contract_size"], contract);
    }
    swap.spec.contract_size = dec("0.3");
    let terms = terms(&swap, OrderType::Limit, "0.9");
    let body = place(&swap, &terms, false).unwrap().remove(0).body;
    assert!(body.contains(r#""sz":"3""#), "{body}");
}

#[test]
fn positions_by_side() {
    let swap = instrument(Market::Perp);
    let try_it = |is_hedged, change: fn(&mut OrderTerms)| {
        let mut terms = terms(&swap, OrderType::Limit, "0.03");
        change(&mut terms);
        place(&swap, &terms, is_hedged).map(|mut requests| requests.remove(0).body)
    };
    let body = try_it(true, |terms| {
        terms.side = Side::Sell;
        terms.position_side = Some(PositionSide::Long);
        terms.reduce_only = true;
    });
    // The direction says that it reduces.
    let expected = format!(
        r#"{{"instId":"BTC-USDT-SWAP","tdMode":"cross","side":"sell","posSide":"long","ordType":"limit","px":"45000","sz":"3","clOrdId":"{ID}"}}"#
    );
    assert_eq!(body.unwrap(), expected);
    // Without a word of it, the position that the order opens.
    let body = try_it(true, |terms| terms.side = Side::Sell).unwrap();
    assert!(
        body.contains(r#""side":"sell","posSide":"short""#),
        "{body}"
    );
    type Change = fn(&mut OrderTerms);
    let refused: [(bool, Change); 2] = [
        (true, |terms| {
            terms.position_side = Some(PositionSide::Long);
            terms.reduce_only = true;
        }),
        (false, |terms| {
            terms.position_side = Some(PositionSide::Short)
        }),
    ];
    for (is_hedged, change) in refused {
        let error = try_it(is_hedged, change).unwrap_err();
        assert_eq!(error.code, CryptoCode::InvalidParameter);
        assert_eq!(error.details["parameter"], "position_side");
    }
}

#[test]
fn spot_can_borrow_against_all_that_the_account_has() {
    let instrument = instrument(Market::Spot);
    for order_type in [OrderType::Limit, OrderType::StopLimit] {
        let mut terms = terms(&instrument, order_type, "0.03");
        for (borrows, mode) in [(false, "cash"), (true, "cross")] {
            terms.margin_trading = borrows;
            let requests = place(&instrument, &terms, false).unwrap();
            let mode = format!(r#""tdMode":"{mode}""#);
            assert!(requests[0].body.contains(&mode), "{requests:?}");
        }
    }
    assert!(venue().support(Market::Spot).has_margin);
    assert!(!venue().support(Market::Perp).has_margin);
}

#[test]
fn what_okx_has_not_is_named() {
    type Change = fn(&mut OrderTerms);
    let refused: [(Market, OrderType, Change); 5] = [
        (Market::Spot, OrderType::Limit, |t| t.reduce_only = true),
        (Market::Spot, OrderType::Market, |t| t.post_only = true),
        (Market::Spot, OrderType::StopLimit, |t| t.post_only = true),
        (Market::Perp, OrderType::StopLimit, |t| {
            t.time_in_force = TimeInForce::Fok;
        }),
        (Market::Perp, OrderType::Limit, |t| {
            t.post_only = true;
            t.time_in_force = TimeInForce::Ioc;
        }),
    ];
    for (market, order_type, change) in refused {
        let instrument = instrument(market);
        let mut terms = terms(&instrument, order_type, "0.03");
        change(&mut terms);
        let error = place(&instrument, &terms, false).unwrap_err();
        assert_eq!(
            error.code,
            CryptoCode::Unsupported,
            "{order_type} {terms:?}"
        );
    }
}

#[test]
fn cancellations_and_amendments() {
    let swap = instrument(Market::Perp);
    let cancel = |order: OrderRef<'_>| {
        let command = Command::Cancel {
            instrument: &swap,
            order,
        };
        text(&venue().command(&command).unwrap()[0])
    };
    let known = OrderRef {
        exchange_id: Some("312"),
        ..order(OrderType::Limit)
    };
    let stop = order(OrderType::StopLimit);
    let known_stop = OrderRef {
        trigger_id: Some("77"),
        ..stop
    };
    let triggered = OrderRef {
        exchange_id: Some("313"),
        ..known_stop
    };
    for (order, expected) in [
        (
            known,
            r#"order {"instId":"BTC-USDT-SWAP","ordId":"312"}(cancel-order perp)"#.to_owned(),
        ),
        (
            order(OrderType::Limit),
            format!(r#"order {{"instId":"BTC-USDT-SWAP","clOrdId":"{ID}"}}(cancel-order perp)"#),
        ),
        (
            stop,
            format!(
                r#"algos [{{"instId":"BTC-USDT-SWAP","algoClOrdId":"{ID}"}}](cancel-algos perp)"#
            ),
        ),
        (
            known_stop,
            r#"algos [{"instId":"BTC-USDT-SWAP","algoId":"77"}](cancel-algos perp)"#.to_owned(),
        ),
        (
            triggered,
            r#"order {"instId":"BTC-USDT-SWAP","ordId":"313"}(cancel-order perp)"#.to_owned(),
        ),
    ] {
        assert_eq!(cancel(order), format!("POST trade/cancel-{expected}"));
    }
    let amend = |order: OrderRef<'_>, quantity: &str, price: Option<&str>| {
        let terms = terms(&swap, order.order_type, "0.03");
        let command = Command::Amend {
            instrument: &swap,
            order,
            terms: &terms,
            quantity: dec(quantity),
            price: price.map(dec),
        };
        let requests = venue().command(&command);
        requests.map(|requests| requests.iter().map(text).collect::<Vec<_>>())
    };
    assert_eq!(
        amend(known, "0.05", Some("45100")).unwrap(),
        [
            r#"POST trade/amend-order {"instId":"BTC-USDT-SWAP","ordId":"312","newSz":"5","newPx":"45100"}(amend-order perp)"#
        ]
    );
    assert_eq!(
        amend(known, "0.05", Some("45000.0")).unwrap(),
        [
            r#"POST trade/amend-order {"instId":"BTC-USDT-SWAP","ordId":"312","newSz":"5"}(amend-order perp)"#
        ]
    );
    assert_eq!(
        amend(known_stop, "0.03", Some("43000")).unwrap(),
        [
            r#"POST trade/amend-algos {"instId":"BTC-USDT-SWAP","algoId":"77","newTriggerPx":"44000","newOrdPx":"43000","newTriggerPxType":"last"}(amend-algos perp)"#
        ]
    );
    assert!(amend(known, "0.03", None).unwrap().is_empty());
    let error = amend(order(OrderType::StopMarket), "0.03", Some("1")).unwrap_err();
    assert_eq!(error.code, CryptoCode::Unsupported);
}

#[test]
fn the_account_s_commands() {
    let (spot, swap) = (instrument(Market::Spot), instrument(Market::Perp));
    let of = |command: Command<'_>| {
        let requests = venue().command(&command);
        requests.map(|requests| requests.iter().map(text).collect::<Vec<_>>())
    };
    let leverage = |instrument| Command::SetLeverage {
        instrument,
        leverage: 5,
    };
    assert_eq!(
        of(leverage(&swap)).unwrap(),
        [
            r#"POST account/set-leverage {"instId":"BTC-USDT-SWAP","lever":"5","mgnMode":"cross"}(set-leverage perp)"#
        ]
    );
    assert_eq!(
        of(leverage(&spot)).unwrap_err().code,
        CryptoCode::Unsupported
    );
    let dead_man = |secs| Command::DeadMan {
        market: Market::Spot,
        instruments: &[],
        secs,
    };
    for secs in [0, 10, 120] {
        let body = format!(r#"{{"timeOut":"{secs}"}}"#);
        assert_eq!(
            of(dead_man(secs)).unwrap(),
            [format!(
                "POST trade/cancel-all-after {body}(cancel-all-after spot)"
            )]
        );
    }
    assert!(venue().has_one_dead_man());
    for secs in [9, 121] {
        assert_eq!(
            of(dead_man(secs)).unwrap_err().code,
            CryptoCode::InvalidParameter
        );
    }
    assert!(
        of(Command::CancelAll { instrument: &spot })
            .unwrap()
            .is_empty()
    );
}

#[test]
fn questions() {
    let (spot, swap) = (instrument(Market::Spot), instrument(Market::Perp));
    let of = |instrument, order| asked(Question::Order { instrument, order });
    assert_eq!(
        of(&spot, order(OrderType::Limit)),
        [format!(
            "GET trade/order?instId=BTC-USDT&clOrdId={ID} (order-query spot)"
        )]
    );
    let stop = order(OrderType::StopMarket);
    assert_eq!(
        of(&swap, stop),
        [format!(
            "GET trade/order-algo?algoClOrdId={ID} (order-algo-query perp)"
        )]
    );
    let triggered = OrderRef {
        exchange_id: Some("313"),
        trigger_id: Some("77"),
        ..stop
    };
    assert_eq!(
        of(&swap, triggered),
        [
            "GET trade/order?instId=BTC-USDT-SWAP&ordId=313 (order-query perp)",
            "GET trade/order-algo?algoId=77 (order-algo-query perp)"
        ]
    );
    // Somebody else's order without a client's id.
    let nameless = OrderRef {
        client_id: "",
        ..order(OrderType::Limit)
    };
    assert!(of(&spot, nameless).is_empty());
    assert_eq!(
        asked(Question::OpenOrders {
            market: Market::Perp
        }),
        [
            "GET trade/orders-pending?instType=SWAP&limit=100 (orders-pending perp)",
            "GET trade/orders-algo-pending?instType=SWAP&ordType=trigger&limit=100 (orders-algo-pending perp)",
            "GET trade/orders-algo-pending?instType=SWAP&ordType=conditional&limit=100 (orders-algo-pending perp)"
        ]
    );
    let fills = |order, since| Question::Fills {
        instrument: &spot,
        order,
        since: TsNanos::from_ms(since),
    };
    assert_eq!(
        asked(fills(None, NOW.as_ms() - 60_000)),
        [
            "GET trade/fills?instType=SPOT&instId=BTC-USDT&begin=1759999940000&limit=100 (fills spot)"
        ]
    );
    let known = OrderRef {
        exchange_id: Some("312"),
        ..order(OrderType::Limit)
    };
    assert_eq!(
        asked(fills(Some(known), NOW.as_ms() - 3 * 86_400_000)),
        [
            "GET trade/fills-history?instType=SPOT&instId=BTC-USDT&ordId=312&begin=1759740800000&limit=100 (fills-history spot)"
        ]
    );
    for (question, expected) in [
        (
            Question::Balances {
                market: Market::Spot,
            },
            "account/balance (balance spot)",
        ),
        (
            Question::Positions,
            "account/positions?instType=SWAP (positions perp)",
        ),
        (Question::PositionMode, "account/config (config perp)"),
        (
            Question::Permissions {
                market: Market::Spot,
            },
            "account/config (config spot)",
        ),
    ] {
        assert_eq!(asked(question), [format!("GET {expected}")]);
    }
}

/// The document's vectors.
#[test]
fn signatures() {
    let get = |path: &str, query: &str| NativeRequest {
        method: Method::Get,
        market: Market::Spot,
        path: path.to_owned(),
        query: query.to_owned(),
        body: String::new(),
        access: Access::Signed,
        budget: (0, 1),
        counts_for: None,
    };
    let post = NativeRequest {
        method: Method::Post,
        body: r#"{"instId":"BTC-USDT-SWAP","tdMode":"cross","side":"buy","ordType":"limit","px":"45000","sz":"0.1","clOrdId":"abc123"}"#.to_owned(),
        budget: (super::super::rest::ORDER, 1),
        counts_for: None,
        ..get("/api/v5/trade/order", "")
    };
    // 2020-12-08T09:08:57.715Z, and some nanoseconds that no signature has.
    let at = TsNanos(1_607_418_537_715_000_123);
    let secret = "22582BD0CFF14C41EDBF1AB98506286D";
    let other = "chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO";
    for (request, secret, at, signature) in [
        (
            get("/api/v5/account/balance", ""),
            other,
            at,
            "PJ61e1nb2F2Qd7D8SPiaIcx2gjdELc+o0ygzre9z33k=",
        ),
        (
            get("/api/v5/account/balance", "ccy=BTC"),
            secret,
            at,
            "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY=",
        ),
        (
            post.clone(),
            secret,
            at,
            "ocZdeHmRRL0PXzUIATXZfZwO4Y+9wvo+c6dtlO201Vo=",
        ),
        (
            get("/api/v5/account/config", ""),
            secret,
            TsNanos::from_ms(1_704_164_645_678),
            "nXG/OpYLN+tIq/bEAKbsy2fRqrIPmp0KFlCpW4By8kE=",
        ),
    ] {
        let keys = Keys::new(KeyKind::Hmac, "the-key", secret, Some("the phrase"))
            .ok()
            .unwrap();
        let signed = venue()
            .sign(&keys, &request, "www.okx.com", at, 5000)
            .ok()
            .unwrap();
        let header = |name: &str| {
            let found = signed.headers.iter().find(|(header, _)| *header == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(
            header("ok-access-sign"),
            Some(signature),
            "{}",
            request.path
        );
        assert_eq!(header("ok-access-key"), Some("the-key"));
        assert_eq!(header("ok-access-passphrase"), Some("the phrase"));
        assert_eq!(header("ok-access-timestamp").map(str::len), Some(24));
        assert_eq!(signed.body, request.body);
        let target = match request.query.as_str() {
            "" => request.path.clone(),
            query => format!("{}?{query}", request.path),
        };
        assert_eq!(signed.target, target);
        let is_post = request.method == Method::Post;
        assert_eq!(
            header("content-type"),
            is_post.then_some("application/json")
        );
        assert_eq!(header("exptime"), is_post.then_some("1607418542715"));
    }
    let login = super::super::sign::login(&keys(), TsNanos::from_ms(1_704_876_947_900)).unwrap();
    assert_eq!(
        login,
        r#"{"op":"login","args":[{"apiKey":"the-key","passphrase":"the phrase","timestamp":"1704876947","sign":"5/36BgGV6m/6pmdc20zdqk0mzF5ZalmzzPD2fo3wavU="}]}"#
    );
    // A full second has its three digits too.
    let signed = venue()
        .sign(&keys(), &post, "", TsNanos::from_ms(1_607_418_537_000), 1)
        .ok()
        .unwrap();
    assert_eq!(signed.headers[2].1, "2020-12-08T09:08:57.000Z");
}

#[test]
fn keys_of_another_kind_are_refused() {
    let request = &place(
        &instrument(Market::Spot),
        &terms(&instrument(Market::Spot), OrderType::Limit, "1"),
        false,
    )
    .unwrap()[0];
    let ed25519 =
        "XzUkNdGvqizCZ7uwxz2fN/bjNBMsRBjilox5ejvNFP0YIZCY7w/m5Z0YkXWA+oNQhigNc5pagzyMMuqLLuhBnQ==";
    for keys in [
        Keys::new(KeyKind::Ed25519, "k", ed25519, Some("p")),
        Keys::new(KeyKind::Hmac, "k", "canary", None),
    ] {
        let keys = keys.ok().unwrap();
        let error = venue().sign(&keys, request, "", NOW, 1).err().unwrap();
        assert_eq!(error.code, CryptoCode::Unauthorized);
        assert!(!format!("{error:?}").contains("canary"));
    }
}
