//! Commands, questions and tokens, byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rust_decimal::Decimal;

use super::super::{Coinbase, sign};
use super::{instrument, spec, ts};
use crate::error::{CryptoCode, CryptoError};
use crate::event::Side;
use crate::exchange::{Exchange, ProviderId};
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::order::{OrderTerms, OrderType, TimeInForce};
use crate::trading::venue::{
    Command, Method, NativeRequest, OrderRef, Question, Touch, TradingVenue,
};

pub(super) const ID: &str = "bw01k9c3h8m2000000000000000a";
const UUID: &str = "52cfe5e2-0b29-4c19-a245-a6a773de5030";
const KID: &str = "organizations/00000000-0000-0000-0000-000000000001/apiKeys/00000000-0000-0000-0000-000000000002";
const NONCE: &str = "00112233445566778899aabbccddeeff";
const ES256: &str = "-----BEGIN EC PRIVATE KEY-----\n\
    MHcCAQEEIICGSfk4QyQTKsgfANYmEWJThNHtHFPj1SBQRDlbt0m0oAoGCCqGSM49\n\
    AwEHoUQDQgAE74UKQFfApLOdmSRhvUwc+vfofphtswb4ICRj9xYpXrQkiOjGOEyS\n\
    tPt41J3EcJrIAuxPSIR2fqmSvBkJE4DmhQ==\n-----END EC PRIVATE KEY-----\n";
const ED25519: &str =
    "XzUkNdGvqizCZ7uwxz2fN/bjNBMsRBjilox5ejvNFP0YIZCY7w/m5Z0YkXWA+oNQhigNc5pagzyMMuqLLuhBnQ==";

pub(super) fn venue() -> &'static dyn TradingVenue {
    Coinbase.trading().unwrap()
}

pub(super) fn keys() -> Keys {
    Keys::new(KeyKind::Es256, KID, ES256, None).ok().unwrap()
}

pub(super) fn dec(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

pub(super) fn btc() -> Instrument {
    instrument(spec("BTC", "USD", 2, 8))
}

pub(super) fn terms(order_type: OrderType) -> OrderTerms {
    OrderTerms {
        provider: ProviderId::COINBASE,
        account: "default".to_owned(),
        entity_id: "cryptopair_coinbase_btcusd".to_owned(),
        market: Market::Spot,
        symbol: "btcusd".to_owned(),
        native_symbol: "BTC-USD".to_owned(),
        side: Side::Buy,
        order_type,
        quantity: dec("0.010"),
        price: order_type.has_price().then(|| dec("45000")),
        stop_price: order_type.is_stop().then(|| dec("44100")),
        time_in_force: match order_type.has_price() {
            true => TimeInForce::Gtc,
            false => TimeInForce::Ioc,
        },
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: None,
    }
}

pub(super) fn order(exchange_id: Option<&str>) -> OrderRef<'_> {
    OrderRef {
        client_id: ID,
        exchange_id,
        trigger_id: None,
        order_type: OrderType::Limit,
        side: Side::Buy,
        created_at: ts("2026-04-07T14:31:00.5Z"),
    }
}

pub(super) fn text(request: &NativeRequest) -> String {
    let mark = if request.query.is_empty() { "" } else { "?" };
    assert_eq!(
        Coinbase.rest_budgets(Market::Spot)[request.budget.0].name,
        "private"
    );
    format!(
        "{} {}{mark}{} {}",
        request.method.as_str(),
        request.path.strip_prefix("/api/v3/brokerage/").unwrap(),
        request.query,
        request.body
    )
}

fn placed(
    order_type: OrderType,
    change: impl Fn(&mut OrderTerms, &mut Touch),
) -> Result<String, CryptoError> {
    let (mut terms, mut touch) = (terms(order_type), Touch::default());
    change(&mut terms, &mut touch);
    let command = Command::Place {
        instrument: &btc(),
        terms: &terms,
        client_id: "abc123",
        touch,
        is_hedged: false,
    };
    let requests = venue().command(&command)?;
    assert_eq!(requests.len(), 1);
    Ok(text(&requests[0]))
}

#[test]
fn orders() {
    type Change = fn(&mut OrderTerms, &mut Touch);
    let cases: [(OrderType, Change, &str); 6] = [
        (
            OrderType::Limit,
            |_, _| (),
            r#""BUY","order_configuration":{"limit_limit_gtc":{"base_size":"0.01","limit_price":"45000","post_only":false}}"#,
        ),
        (
            OrderType::Limit,
            |terms, _| {
                terms.post_only = true;
                terms.side = Side::Sell;
                terms.price = Some(dec("45000.50"));
            },
            r#""SELL","order_configuration":{"limit_limit_gtc":{"base_size":"0.01","limit_price":"45000.5","post_only":true}}"#,
        ),
        (
            OrderType::Limit,
            |terms, _| terms.time_in_force = TimeInForce::Ioc,
            r#""BUY","order_configuration":{"sor_limit_ioc":{"base_size":"0.01","limit_price":"45000"}}"#,
        ),
        (
            OrderType::Limit,
            |terms, _| terms.time_in_force = TimeInForce::Fok,
            r#""BUY","order_configuration":{"limit_limit_fok":{"base_size":"0.01","limit_price":"45000"}}"#,
        ),
        (
            OrderType::Market,
            |_, _| (),
            r#""BUY","order_configuration":{"market_market_ioc":{"base_size":"0.01"}}"#,
        ),
        (
            OrderType::StopLimit,
            |terms, _| {
                terms.side = Side::Sell;
                terms.price = Some(dec("44000"));
            },
            r#""SELL","order_configuration":{"stop_limit_stop_limit_gtc":{"base_size":"0.01","limit_price":"44000","stop_price":"44100","stop_direction":"STOP_DIRECTION_STOP_DOWN"}}"#,
        ),
    ];
    for (order_type, change, body) in cases {
        let head = r#"POST orders {"client_order_id":"abc123","product_id":"BTC-USD","side":"#;
        assert_eq!(
            placed(order_type, change).unwrap(),
            format!("{head}{body}}}")
        );
    }
}

/// By the side of the last price that the stop price is on.
#[test]
fn stops_go_the_way_of_the_price() {
    for (side, last, expected) in [
        (Side::Buy, None, "UP"),
        (Side::Sell, None, "DOWN"),
        (Side::Buy, Some("44000"), "UP"),
        (Side::Buy, Some("45000"), "DOWN"),
        (Side::Sell, Some("44000"), "UP"),
        (Side::Sell, Some("45000"), "DOWN"),
        (Side::Sell, Some("44100"), "DOWN"),
    ] {
        let sent = placed(OrderType::StopLimit, |terms, touch| {
            terms.side = side;
            touch.last = last.map(dec);
        });
        let direction = format!(r#""stop_direction":"STOP_DIRECTION_STOP_{expected}""#);
        assert!(sent.unwrap().contains(&direction), "{side:?} {last:?}");
    }
    let sent = placed(OrderType::StopLimit, |_, touch| {
        touch.bid = Some(dec("45000"));
        touch.ask = Some(dec("45000.01"));
    });
    assert!(sent.unwrap().contains("STOP_DOWN"));
}

#[test]
fn what_coinbase_has_not_is_named() {
    type Change = fn(&mut OrderTerms, &mut Touch);
    let cases: [(OrderType, Change); 6] = [
        (OrderType::StopMarket, |_, _| ()),
        (OrderType::StopLimit, |terms, _| {
            terms.time_in_force = TimeInForce::Ioc
        }),
        (OrderType::StopLimit, |terms, _| terms.post_only = true),
        (OrderType::Market, |terms, _| terms.post_only = true),
        (OrderType::Limit, |terms, _| terms.reduce_only = true),
        (OrderType::Limit, |terms, _| terms.margin_trading = true),
    ];
    for (order_type, change) in cases {
        let error = placed(order_type, change).unwrap_err();
        assert_eq!(error.code, CryptoCode::Unsupported, "{order_type}");
    }
    let btc = btc();
    for command in [
        Command::SetLeverage {
            instrument: &btc,
            leverage: 2,
        },
        Command::DeadMan {
            market: Market::Spot,
            instruments: &[],
            secs: 60,
        },
    ] {
        assert_eq!(
            venue().command(&command).unwrap_err().code,
            CryptoCode::Unsupported
        );
    }
    assert!(
        venue()
            .command(&Command::CancelAll { instrument: &btc })
            .unwrap()
            .is_empty()
    );
    let support = venue().support(Market::Spot);
    assert!(!support.types.contains(&OrderType::StopMarket) && !support.has_client_id_lookup);
}

#[test]
fn cancellations_and_edits_need_the_exchange_s_id() {
    let btc = btc();
    let cancel = |order| {
        let command = Command::Cancel {
            instrument: &btc,
            order,
        };
        venue().command(&command).map(|requests| text(&requests[0]))
    };
    assert_eq!(
        cancel(order(Some(UUID))).unwrap(),
        format!(r#"POST orders/batch_cancel {{"order_ids":["{UUID}"]}}"#)
    );
    assert_eq!(
        cancel(order(None)).unwrap_err().code,
        CryptoCode::OrderStateUnknown
    );
    let edit = |order, terms: &OrderTerms, quantity: &str, price: Option<&str>| {
        let command = Command::Amend {
            instrument: &btc,
            order,
            terms,
            quantity: dec(quantity),
            price: price.map(dec),
        };
        let requests = venue().command(&command)?;
        Ok::<_, CryptoError>(requests.iter().map(text).collect::<Vec<_>>())
    };
    let limit = terms(OrderType::Limit);
    let known = order(Some(UUID));
    // Both members, whichever of them changes.
    for (quantity, price, expected) in [
        ("0.02", Some("45100"), r#""price":"45100","size":"0.02""#),
        ("0.02", None, r#""price":"45000","size":"0.02""#),
        (
            "0.01",
            Some("45100.10"),
            r#""price":"45100.1","size":"0.01""#,
        ),
    ] {
        assert_eq!(
            edit(known, &limit, quantity, price).unwrap(),
            [format!(
                r#"POST orders/edit {{"order_id":"{UUID}",{expected}}}"#
            )]
        );
    }
    assert!(
        edit(known, &limit, "0.010", Some("45000"))
            .unwrap()
            .is_empty()
    );
    let error = edit(order(None), &limit, "1", None).unwrap_err();
    assert_eq!(error.code, CryptoCode::OrderStateUnknown);
    let mut ioc = limit.clone();
    ioc.time_in_force = TimeInForce::Ioc;
    for terms in [
        &ioc,
        &terms(OrderType::StopLimit),
        &terms(OrderType::Market),
    ] {
        let error = edit(known, terms, "1", None).unwrap_err();
        assert_eq!(error.code, CryptoCode::Unsupported);
    }
}

#[test]
fn questions() {
    let btc = btc();
    let of = |question: Question<'_>| {
        let requests = venue().question(&question, TsNanos(0));
        requests
            .iter()
            .map(|request| text(request).trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    let known = Question::Order {
        instrument: &btc,
        order: order(Some(UUID)),
    };
    assert_eq!(of(known), [format!("GET orders/historical/{UUID}")]);
    // There is no question by the client's id: it is looked for in lists.
    assert_eq!(
        of(Question::Order {
            instrument: &btc,
            order: order(None)
        }),
        [
            "GET orders/historical/batch?order_status=OPEN&product_ids=BTC-USD&limit=100",
            "GET orders/historical/batch?product_ids=BTC-USD&start_date=2026-04-07T14%3A30%3A00.500Z&limit=100"
        ]
    );
    assert_eq!(
        of(Question::OpenOrders {
            market: Market::Spot
        }),
        ["GET orders/historical/batch?order_status=OPEN&product_type=SPOT&limit=100"]
    );
    let fills = |order| Question::Fills {
        instrument: &btc,
        order,
        since: ts("2026-04-07T14:30:00Z"),
    };
    assert_eq!(
        of(fills(Some(order(Some(UUID))))),
        [format!(
            "GET orders/historical/fills?order_ids={UUID}&limit=100"
        )]
    );
    for order in [None, Some(order(None))] {
        assert_eq!(
            of(fills(order)),
            [
                "GET orders/historical/fills?product_ids=BTC-USD&start_sequence_timestamp=2026-04-07T14%3A30%3A00.000Z&limit=100"
            ]
        );
    }
    assert_eq!(
        of(Question::Balances {
            market: Market::Spot
        }),
        ["GET accounts?limit=250"]
    );
    assert_eq!(
        of(Question::Permissions {
            market: Market::Spot
        }),
        ["GET key_permissions"]
    );
    assert!(of(Question::Positions).is_empty() && of(Question::PositionMode).is_empty());
}

/// The document's vectors.
#[test]
fn tokens() {
    let at = TsNanos::from_ms(1_700_000_000_999);
    let uri = "GET api.coinbase.com/api/v3/brokerage/accounts";
    let part = |token: &str, index: usize| {
        let part = token.split('.').nth(index).unwrap();
        String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let token = sign::token(&keys(), at, NONCE, Some(uri)).unwrap();
    assert_eq!(
        part(&token, 0),
        format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{KID}","nonce":"{NONCE}"}}"#)
    );
    assert_eq!(
        part(&token, 1),
        format!(r#"{{"sub":"{KID}","iss":"cdp","nbf":1700000000,"exp":1700000120,"uri":"{uri}"}}"#)
    );
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let public = UnparsedPublicKey::new(
        &ECDSA_P256_SHA256_FIXED,
        keys().public_key().unwrap().to_vec(),
    );
    // The document's own signature is one of the same text, and ours another.
    let vector =
        "NqK_N9LMhy-Sf0PC9lMWgYfX6tiEopqscaneFEI1aUPg78t6jGL2oKikelccj3VJb5RKv-6vBYwbjLYGLnIBeA";
    for signature in [signature, vector] {
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        public.verify(signed.as_bytes(), &signature).unwrap();
    }
    let kid = "00000000-0000-0000-0000-000000000003";
    let ed25519 = Keys::new(KeyKind::Ed25519, kid, ED25519, None)
        .ok()
        .unwrap();
    let token = sign::token(&ed25519, at, NONCE, Some(uri)).unwrap();
    assert!(part(&token, 0).contains(r#""alg":"EdDSA""#));
    assert_eq!(
        token.rsplit_once('.').unwrap().1,
        "eonBYMo_o2sfliI0pgCNgt760HGPHdyHq-kqkDhCCaLUZTObPwfQ5O0F1h9JBrCegtEby5TaqsU1S-9O_Hn6AA"
    );
    // Of a subscription.
    let token = sign::token(&keys(), at, NONCE, None).unwrap();
    assert_eq!(
        part(&token, 1),
        format!(r#"{{"sub":"{KID}","iss":"cdp","nbf":1700000000,"exp":1700000120}}"#)
    );
    let hmac = Keys::new(KeyKind::Hmac, "k", "canary", None).ok().unwrap();
    let error = sign::token(&hmac, at, NONCE, None).unwrap_err();
    assert_eq!(error.code, CryptoCode::Unauthorized);
    assert!(!format!("{error:?}").contains("canary"));
}

#[test]
fn requests_are_signed_without_their_query() {
    let question = Question::Balances {
        market: Market::Spot,
    };
    let request = &venue().question(&question, TsNanos(0))[0];
    let now = TsNanos::from_ms(1_700_000_000_000);
    let sign = || {
        venue()
            .sign(&keys(), request, "api.coinbase.com", now, 5000)
            .ok()
            .unwrap()
    };
    let signed = sign();
    assert_eq!(signed.target, "/api/v3/brokerage/accounts?limit=250");
    assert_eq!((signed.method, signed.headers.len()), (Method::Get, 1));
    let (name, value) = &signed.headers[0];
    assert_eq!(*name, "authorization");
    let claims = |value: &str| {
        let token = value.strip_prefix("Bearer ").unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        [0, 1].map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(parts[part]).unwrap()).unwrap())
    };
    let [header, payload] = claims(value);
    assert!(payload.ends_with(r#""uri":"GET api.coinbase.com/api/v3/brokerage/accounts"}"#));
    // Another nonce each time.
    assert_ne!(header, claims(&sign().headers[0].1)[0]);
    let command = Command::Cancel {
        instrument: &btc(),
        order: order(Some(UUID)),
    };
    let request = &venue().command(&command).unwrap()[0];
    let signed = venue()
        .sign(&keys(), request, "api.coinbase.com", now, 5000)
        .ok()
        .unwrap();
    assert_eq!(
        signed.headers[1],
        ("content-type", "application/json".to_owned())
    );
    assert_eq!(signed.body, request.body);
}
