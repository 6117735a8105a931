//! Every row of the error tables in the documents of the exchanges, and every recorded error: which code of the
//! contract it becomes when an exchange answers an order with it. None goes unmapped.

use std::ops::RangeInclusive;

use bookwire_engine::error::CryptoCode as C;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market::{self, Perp, Spot};
use bookwire_engine::trading::venue::{Access, Failure, Method, NativeRequest, Proof};
use serde_json::{Value, json};

use crate::captures::folder;

/// What an answer to an order (POST) or to a question for one (GET) means.
fn answered(
    provider: ProviderId,
    market: Market,
    method: Method,
    status: u16,
    body: &str,
) -> Option<Failure> {
    let path = match provider {
        ProviderId::BINANCE if market == Spot => "/api/v3/order",
        ProviderId::BINANCE => "/fapi/v1/order",
        ProviderId::OKX => "/api/v5/trade/order",
        ProviderId::BYBIT => "/v5/order/create",
        _ => "/api/v3/brokerage/orders",
    };
    let request = NativeRequest {
        method,
        market,
        path: path.to_owned(),
        query: String::new(),
        body: String::new(),
        access: Access::Signed,
        budget: (0, 1),
        counts_for: None,
    };
    let venue = provider.exchange().trading().unwrap();
    venue.failure(&request, status, None, body.as_bytes())
}

/// The error of a body is this one, with the exchange's code beside it.
fn is(provider: ProviderId, market: Market, status: u16, body: &Value, native: &Value, code: C) {
    is_of(Method::Post, provider, market, status, body, native, code);
}

fn is_of(
    method: Method,
    provider: ProviderId,
    market: Market,
    status: u16,
    body: &Value,
    native: &Value,
    code: C,
) {
    let name = provider.name();
    let failure = answered(provider, market, method, status, &body.to_string());
    let error = failure.unwrap_or_else(|| panic!("{name}: {body}")).error;
    assert_eq!(error.code, code, "{name} {market}: {body}");
    assert!(!error.is_unmapped(), "{name} {market}: {body}");
    assert_eq!(error.details["exchange_code"], *native, "{name}: {body}");
}

/// The numbers of a row.
fn numbers(parts: &[RangeInclusive<i64>]) -> Vec<i64> {
    parts.iter().cloned().flatten().collect()
}

/// One number.
const fn n(number: i64) -> RangeInclusive<i64> {
    number..=number
}

const BOTH: &[Market] = &[Spot, Perp];
const SPOT: &[Market] = &[Spot];
const PERP: &[Market] = &[Perp];

#[test]
#[rustfmt::skip]
fn every_row_of_binances_table() {
    let filter = |name: &str| format!("Filter failure: {name}");
    let rows = [
        // Of an order nobody knows then whether it was made.
        (vec![n(-1000), n(-1001), n(-1016)], BOTH, String::new(), C::OrderStateUnknown),
        (vec![n(-1002), n(-2014), n(-2015)], BOTH, String::new(), C::Unauthorized),
        (vec![n(-2015)], BOTH, "You don't have permission.".to_owned(), C::Forbidden),
        (vec![n(-1003), n(-1015)], BOTH, String::new(), C::RateLimitExceeded),
        (vec![-1007..=-1006], BOTH, String::new(), C::OrderStateUnknown),
        (vec![n(-1008)], BOTH, String::new(), C::ProviderUnavailable),
        (vec![n(-1010), n(-1013)], SPOT, filter("PRICE_FILTER"), C::PrecisionError),
        (vec![n(-1010), n(-1013)], SPOT, filter("LOT_SIZE"), C::PrecisionError),
        (vec![n(-1010), n(-1013)], SPOT, filter("MARKET_LOT_SIZE"), C::PrecisionError),
        (vec![n(-1013)], SPOT, filter("NOTIONAL"), C::MinNotionalNotMet),
        (vec![n(-1013)], SPOT, filter("MIN_NOTIONAL"), C::MinNotionalNotMet),
        (vec![n(-1013)], SPOT, filter("PERCENT_PRICE_BY_SIDE"), C::OrderRejected),
        (vec![n(-1013)], SPOT, filter("MAX_POSITION"), C::OrderRejected),
        (vec![n(-1013)], SPOT, filter("MAX_NUM_ORDERS"), C::OrderRejected),
        (vec![n(-1013)], SPOT, filter("ICEBERG_PARTS"), C::OrderRejected),
        (vec![n(-1013)], SPOT, filter("TRAILING_DELTA"), C::OrderRejected),
        (vec![n(-1020)], BOTH, String::new(), C::Unsupported),
        (vec![n(-1021)], BOTH, String::new(), C::Unauthorized),
        (vec![n(-5028)], PERP, String::new(), C::Unauthorized),
        (vec![n(-1022)], BOTH, String::new(), C::Unauthorized),
        (vec![-1106..=-1100, n(-1108), -1120..=-1115, n(-1127), n(-1128), n(-1130), n(-1131)], BOTH, String::new(),
            C::InvalidParameter),
        (vec![n(-1111)], BOTH, String::new(), C::PrecisionError),
        (vec![n(-1121), n(-1122), n(-1220), n(-4144)], BOTH, String::new(), C::PairNotFound),
        (vec![n(-1125)], PERP, String::new(), C::Unauthorized),
        (vec![n(-2010)], SPOT, "Account has insufficient balance for requested action.".to_owned(),
            C::InsufficientBalance),
        (vec![n(-2010)], SPOT, "Duplicate order sent.".to_owned(), C::DuplicateOrder),
        (vec![n(-2010)], SPOT, "Market is closed.".to_owned(), C::OrderRejected),
        (vec![n(-2010)], SPOT, "Order would immediately match and take.".to_owned(), C::OrderRejected),
        (vec![n(-2010)], SPOT, "Order would trigger immediately.".to_owned(), C::OrderRejected),
        (vec![n(-2010)], PERP, String::new(), C::OrderRejected),
        (vec![n(-2011)], BOTH, "Unknown order sent.".to_owned(), C::OrderNotFound),
        (vec![n(-2013)], BOTH, String::new(), C::OrderNotFound),
        (vec![n(-2026)], SPOT, String::new(), C::OrderNotFound),
        (vec![-2022..=-2021, n(-2038)], SPOT, String::new(), C::OrderRejected),
        (vec![-2022..=-2021], PERP, String::new(), C::OrderRejected),
        (vec![n(-2026)], PERP, String::new(), C::Unsupported),
        (vec![-2019..=-2018, n(-4050), n(-4051)], PERP, String::new(), C::InsufficientBalance),
        (vec![n(-2020), n(-5021), n(-5022)], PERP, String::new(), C::OrderRejected),
        (vec![-2025..=-2023, n(-2027), n(-2028), n(-4045)], PERP, String::new(), C::RiskLimit),
        (vec![-4005..=-4003, n(-4023), n(-4001), n(-4002), n(-4013), n(-4014)], PERP, String::new(),
            C::PrecisionError),
        (vec![n(-4015), n(-4028), n(-4061), n(-4062)], PERP, String::new(), C::InvalidParameter),
        (vec![n(-4016), n(-4024), n(-4131), n(-4183), n(-4184)], PERP, String::new(), C::OrderRejected),
        // Taken for a success where something was to be set.
        (vec![n(-4046), n(-4059), n(-4171), n(-5027)], PERP, String::new(), C::OrderRejected),
        (vec![n(-4047), n(-4048), n(-4067), n(-4068), n(-4531)], PERP, String::new(), C::OrderRejected),
        (vec![n(-4087), n(-4088), n(-4090), n(-4192), -4403..=-4400], PERP, String::new(), C::Forbidden),
        (vec![n(-4116), n(-20132)], PERP, String::new(), C::DuplicateOrder),
        (vec![n(-4117), n(-4118), n(-4140), n(-4141)], PERP, String::new(), C::OrderRejected),
        (vec![n(-4120)], PERP, String::new(), C::InternalError),
        (vec![n(-4164)], PERP, String::new(), C::MinNotionalNotMet),
        (vec![n(-10001)], BOTH, String::new(), C::ExchangeMaintenance),
        (vec![n(-1000)], BOTH, "System is under maintenance.".to_owned(), C::ExchangeMaintenance),
    ];
    for (codes, markets, text, expected) in &rows {
        for (code, market) in numbers(codes).into_iter().flat_map(|code| markets.iter().map(move |m| (code, *m))) {
            let body = json!({"code": code, "msg": text});
            is(ProviderId::BINANCE, market, 400, &body, &json!(code), *expected);
        }
    }
}

#[test]
#[rustfmt::skip]
fn every_row_of_okxs_table() {
    let rows = [
        (vec![n(51001), n(51012), n(51014), n(51015), n(60018), n(51021), n(51027)], "", C::PairNotFound),
        (vec![n(51008), n(51119), n(51127), n(51131), n(51502), n(59200), n(58350), n(51736), n(51764)], "",
            C::InsufficientBalance),
        (vec![n(51020), n(51100), n(51118), n(51120), n(51007)], "", C::MinNotionalNotMet),
        (vec![n(51121), n(51150), n(51006)], "", C::PrecisionError),
        (vec![n(51000)], "Parameter px error", C::PrecisionError),
        (vec![n(51000)], "Parameter sz error", C::PrecisionError),
        (vec![n(51030), n(50023), n(58111)], "", C::FundingSettlement),
        (vec![n(51028), n(51029), n(51022), n(50001), n(64008)], "", C::ExchangeMaintenance),
        (vec![n(50004), n(50005), n(50013), n(50026), n(51054), n(51149)], "", C::ProviderUnavailable),
        (vec![n(50011), n(50061), n(60014), n(51113)], "", C::RateLimitExceeded),
        (vec![n(60015), 4004..=4006], "", C::WebsocketDisconnected),
        (vec![50100..=50113, n(50115), n(50119), 60001..=60011, n(60024), n(60032)], "", C::Unauthorized),
        // The account may not see the market.
        (vec![n(50114)], "", C::Forbidden),
        (vec![51400..=51402, n(51503), n(51509), n(51603)], "", C::OrderNotFound),
        (vec![n(51011), n(51016)], "", C::DuplicateOrder),
        (vec![n(51010), n(51169), n(51174), 51136..=51138], "", C::OrderRejected),
        (vec![n(50027), n(51024), n(51155), n(4088)], "", C::Forbidden),
    ];
    for (codes, text, expected) in &rows {
        for code in numbers(codes) {
            for market in BOTH {
                // As the whole answer, and as the row of an order.
                let whole = json!({"code": code.to_string(), "msg": text, "data": []});
                is(ProviderId::OKX, *market, 200, &whole, &json!(code), *expected);
                let row = json!({"code": "1", "msg": "All operations failed",
                    "data": [{"clOrdId": "a", "ordId": "", "sCode": code.to_string(), "sMsg": text}]});
                is(ProviderId::OKX, *market, 200, &row, &json!(code), *expected);
            }
        }
    }
}

#[test]
#[rustfmt::skip]
fn every_row_of_bybits_table() {
    // Of an order nobody knows then whether it was made.
    const OPEN: &[i64] = &[429, 10000, 10006, 10014, 10016, 10019, 10403, 10429, 170_001, 170_005, 170_007, 170_032, 170_222,
        170_146, 170_147, 20003, 20006];
    let rows = [
        (vec![n(10017), n(10014), n(20006)], "", C::InternalError),
        (vec![n(10003), n(10004), n(10007), n(33004), n(-2015), n(10002), n(-1)], "", C::Unauthorized),
        (vec![n(10005), 10008..=10010, n(10024), n(10027), n(10028), n(110_132)], "", C::Forbidden),
        (vec![n(10006), n(170_005), n(170_222), n(20003), n(10403), n(10429)], "", C::RateLimitExceeded),
        (vec![n(429), n(10000), n(10016), n(10019), n(170_001), n(170_007), n(170_032), n(170_146), n(170_147)], "",
            C::ProviderUnavailable),
        (vec![n(10001), n(110_057), 170_115..=170_117, n(170_130), n(170_201)], "", C::InvalidParameter),
        (vec![n(10029), n(170_121), n(110_074)], "", C::PairNotFound),
        (vec![n(110_072), n(170_141)], "", C::DuplicateOrder),
        (vec![n(110_001), n(170_213), n(170_143), n(110_008), n(110_010), n(170_139), n(170_142), n(170_190)], "",
            C::OrderNotFound),
        (vec![n(110_004), n(110_006), n(110_007), n(110_012), n(110_014), n(110_044), n(110_045), 110_051..=110_053,
            n(170_033), n(170_131), n(176_015)], "", C::InsufficientBalance),
        (vec![n(110_094), n(170_140)], "", C::MinNotionalNotMet),
        (vec![n(170_134), n(170_136), n(170_137), n(170_148), n(170_124), n(110_049)], "", C::PrecisionError),
        (vec![n(110_017)], "orderQty will be truncated to zero", C::PrecisionError),
        (vec![n(110_017)], "Reduce-only rule not satisfied", C::OrderRejected),
        (vec![n(110_003), n(110_120), n(110_121), n(30208), n(30209), n(170_132), n(170_133), 170_192..=170_194,
            n(170_371), n(170_372)], "", C::OrderRejected),
        (vec![n(110_092), n(110_093)], "", C::OrderRejected),
        (vec![n(110_009), n(110_020), n(110_061), n(170_810), n(170_381), n(170_382), n(170_341)], "", C::RiskLimit),
        (vec![n(110_013), n(110_021), n(110_022), n(110_040), n(110_085), n(110_086), n(110_089), n(110_090),
            n(3_400_139)], "", C::RiskLimit),
        (vec![n(110_023), n(110_042), n(30228), n(110_066), n(110_124)], "", C::Forbidden),
        (vec![n(110_063), n(176_018)], "", C::FundingSettlement),
        (vec![n(110_137), n(110_095), n(110_098), n(110_103), n(110_024), n(110_028), n(110_029)], "",
            C::OrderRejected),
        // Taken for a success where something was to be set.
        (vec![110_025..=110_027, n(110_043), n(34040)], "", C::OrderRejected),
        // Locked while something else is done to it.
        (vec![n(110_079), n(170_144), n(170_191), n(170_212), n(170_310)], "", C::OrderRejected),
        (vec![n(170_210), n(170_217), n(170_218), n(170_151), n(170_157), n(170_031)], "", C::OrderRejected),
    ];
    for (codes, text, expected) in &rows {
        for code in numbers(codes) {
            for market in BOTH {
                let body = json!({"retCode": code, "retMsg": text, "result": {}, "retExtInfo": {}, "time": 1});
                is_of(Method::Get, ProviderId::BYBIT, *market, 200, &body, &json!(code), *expected);
                let of_order = if OPEN.contains(&code) { C::OrderStateUnknown } else { *expected };
                is(ProviderId::BYBIT, *market, 200, &body, &json!(code), of_order);
            }
        }
    }
    for (status, text, expected) in [
        (400, "", C::InternalError),
        (404, "", C::InternalError),
        (401, "", C::Unauthorized),
        (403, "access too frequent", C::RateLimitExceeded),
        (403, "<html>", C::ProviderUnavailable),
        (429, "", C::ProviderUnavailable),
    ] {
        let failure = answered(ProviderId::BYBIT, Spot, Method::Get, status, text).unwrap();
        assert_eq!(failure.error.code, expected, "{status} {text}");
    }
}

#[test]
#[rustfmt::skip]
fn every_row_of_coinbases_table() {
    let rows: [(&[&str], C); 9] = [
        (&["INVALID_PRODUCT_ID", "INELIGIBLE_PAIR"], C::PairNotFound),
        (&["INSUFFICIENT_FUND", "INSUFFICIENT_FUNDS", "PREVIEW_INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUNDS",
            "INVALID_LEDGER_BALANCE"], C::InsufficientBalance),
        (&["PREVIEW_INVALID_ORDER_SIZE_TOO_SMALL", "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL",
            "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"], C::MinNotionalNotMet),
        (&["INVALID_SIZE_PRECISION", "INVALID_PRICE_PRECISION", "PREVIEW_INVALID_PRICE_PRECISION"], C::PrecisionError),
        (&["ORDER_ENTRY_DISABLED", "trading_disabled"], C::ExchangeMaintenance),
        (&["INTERNAL"], C::ProviderUnavailable),
        (&["rate_limit_exceeded", "resource_exhausted"], C::RateLimitExceeded),
        (&["UNKNOWN_CANCEL_ORDER", "ORDER_NOT_FOUND"], C::OrderNotFound),
        (&["INVALID_LIMIT_PRICE_POST_ONLY", "PREVIEW_INVALID_LIMIT_PRICE_POSTONLY", "INVALID_NO_LIQUIDITY",
            "INVALID_SIDE", "INVALID_REQUEST", "UNSUPPORTED_ORDER_CONFIGURATION", "COMMANDER_REJECTED_NEW_ORDER",
            "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE"], C::OrderRejected),
    ];
    let coinbase = ProviderId::COINBASE;
    for (names, expected) in rows {
        for name in names {
            let body = json!({"success": false, "failure_reason": "UNKNOWN_FAILURE_REASON", "order_id": "",
                "error_response": {"error": name, "message": "", "error_details": "",
                    "preview_failure_reason": "UNKNOWN_PREVIEW_FAILURE_REASON",
                    "new_order_failure_reason": "UNKNOWN_FAILURE_REASON"}});
            is(coinbase, Spot, 200, &body, &json!(name), expected);
        }
    }
    for (status, body, expected) in [
        (404, json!({"error": "NOT_FOUND", "message": "valid product_id is required"}), C::PairNotFound),
        (400, json!({"error": "X", "message": "account is not available"}), C::InsufficientBalance),
        (400, json!({"error": "X", "message": "size is too small"}), C::MinNotionalNotMet),
        (400, json!({"error": "X", "message": "price is too precise"}), C::PrecisionError),
        (400, json!({"error": "X", "message": "Cancel only mode"}), C::ExchangeMaintenance),
        (400, json!({"error": "X", "message": "session closed"}), C::ExchangeMaintenance),
        (503, json!({}), C::ExchangeMaintenance),
        (500, json!({}), C::ProviderUnavailable),
        (429, json!({}), C::RateLimitExceeded),
        (401, json!({"error": "unauthorized"}), C::Unauthorized),
        (401, json!("Unauthorized"), C::Unauthorized),
        (403, json!({"error": "PERMISSION_DENIED", "message": "x"}), C::Forbidden),
        (400, json!({"error": "unknown", "message": "order with this orderID was not found"}), C::OrderNotFound),
    ] {
        let failure = answered(coinbase, Spot, Method::Post, status, &body.to_string()).unwrap();
        assert_eq!(failure.error.code, expected, "{status} {body}");
        assert!(!failure.error.is_unmapped(), "{status} {body}");
    }
}

/// What nobody knows is a refusal that says so.
#[test]
fn a_code_that_no_table_has_is_a_refusal_with_the_code() {
    for (provider, body, native) in [
        (
            ProviderId::BINANCE,
            json!({"code": -98_765, "msg": "new"}),
            json!(-98_765),
        ),
        (
            ProviderId::OKX,
            json!({"code": "59876", "msg": "new", "data": []}),
            json!(59_876),
        ),
        (
            ProviderId::BYBIT,
            json!({"retCode": 987_654, "retMsg": "new"}),
            json!(987_654),
        ),
        (
            ProviderId::COINBASE,
            json!({"success": false, "error_response": {"error": "BRAND_NEW"}}),
            json!("BRAND_NEW"),
        ),
    ] {
        let status = if provider == ProviderId::BINANCE {
            400
        } else {
            200
        };
        let failure = answered(provider, Spot, Method::Post, status, &body.to_string()).unwrap();
        assert_eq!(failure.proof, Proof::Refused, "{body}");
        assert_eq!(failure.error.code, C::OrderRejected, "{body}");
        assert_eq!(failure.error.details["exchange_code"], native, "{body}");
        assert!(failure.error.is_unmapped(), "{body}");
    }
}

/// Bodies that somebody was answered by a real exchange.
#[test]
fn every_recorded_error_has_its_code() {
    let Some(folder) = folder() else { return };
    let text = std::fs::read_to_string(folder.join("errors_all_exchanges.jsonl")).unwrap();
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let codes: Vec<(String, C)> = rows
        .map(|row| {
            let name = row["exchange"].as_str().unwrap();
            let provider = ProviderId::parse(name).unwrap();
            let usual = if name == "binance" { 400 } else { 200 };
            let status = row["http_status"].as_u64().unwrap_or(usual);
            let body = row["raw"].as_str().unwrap();
            let failure = answered(
                provider,
                Spot,
                Method::Post,
                status.try_into().unwrap(),
                body,
            );
            let error = failure.unwrap_or_else(|| panic!("{row}")).error;
            assert!(!error.is_unmapped(), "{row}");
            (name.to_owned(), error.code)
        })
        .collect();
    let expected = [
        ("binance", C::RateLimitExceeded),
        ("binance", C::RateLimitExceeded),
        ("binance", C::Unauthorized),
        ("binance", C::MinNotionalNotMet),
        ("okx", C::InsufficientBalance),
        ("okx", C::Unauthorized),
        ("bybit", C::InsufficientBalance),
        ("bybit", C::Unauthorized),
        ("coinbase", C::InsufficientBalance),
    ];
    let expected: Vec<_> = expected.map(|(name, code)| (name.to_owned(), code)).into();
    assert_eq!(codes, expected);
}
