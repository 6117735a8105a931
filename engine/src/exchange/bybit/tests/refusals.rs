//! Signatures, and what refusals prove.

use crate::error::CryptoCode as C;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::venue::tests::{NOW, hmac};
use crate::trading::venue::{Access, Method, NativeRequest, Proof, TradingVenue as _};

use super::super::Bybit;

fn request(method: Method, query: &str, body: &str) -> NativeRequest {
    NativeRequest {
        method,
        market: Market::Perp,
        path: "/v5/order".to_owned(),
        query: query.to_owned(),
        body: body.to_owned(),
        access: Access::Signed,
        budget: (0, 1),
        counts_for: None,
    }
}

#[test]
fn signatures_are_those_of_the_vectors() {
    let keys = hmac("test_api_key", "test_secret");
    let at = TsNanos::from_ms(1_700_000_000_000);
    for (method, query, body, signature) in [
        (
            Method::Get,
            "category=linear&symbol=BTCUSDT",
            "",
            "fd4f31228a46109dc6673062328693696df9a96c7ff04e6491a45e7f63a0fdd7",
        ),
        (
            Method::Post,
            "",
            r#"{"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "test-order-1"}"#,
            "2df4a0603d69c08d5dea29ba85b46eb7db64ce9e9ebd34a7802a3d69700cb2a1",
        ),
        (
            Method::Post,
            "",
            r#"{"category":"linear","symbol":"BTCUSDT"}"#,
            "7bcd51e6cac5f2e75114774cb6ed750ab14373088f88455fb861860eaf220e5c",
        ),
    ] {
        let request = request(method, query, body);
        let signed = Bybit.sign(&keys, &request, "host", at, 5000).unwrap();
        let mut headers = vec![
            ("x-bapi-api-key", "test_api_key".to_owned()),
            ("x-bapi-timestamp", "1700000000000".to_owned()),
            ("x-bapi-recv-window", "5000".to_owned()),
            ("x-bapi-sign", signature.to_owned()),
        ];
        let mut target = "/v5/order".to_owned();
        match method {
            Method::Post => headers.push(("content-type", "application/json".to_owned())),
            _ => target = format!("{target}?{query}"),
        }
        assert_eq!(signed.headers, headers);
        assert_eq!((signed.target, signed.body), (target, body.to_owned()));
    }
    let seed = "XzUkNdGvqizCZ7uwxz2fN/bjNBMsRBjilox5ejvNFP0=";
    let keys = Keys::new(KeyKind::Ed25519, "k", seed, None).ok().unwrap();
    let refused = Bybit.sign(&keys, &request(Method::Get, "", ""), "host", NOW, 5000);
    assert_eq!(refused.err().unwrap().code, C::Unauthorized);
}

fn body(code: i64, text: &str) -> String {
    format!(r#"{{"retCode":{code},"retMsg":"{text}","result":{{}},"retExtInfo":{{}},"time":1}}"#)
}

fn failure(method: Method, status: u16, body: &str) -> (C, Proof) {
    let request = request(method, "", "");
    let failure = Bybit.failure(&request, status, None, body.as_bytes());
    failure.map(|f| (f.error.code, f.proof)).unwrap()
}

#[test]
#[rustfmt::skip]
fn what_refusals_prove() {
    for (status, text, code, proof) in [
        // Nobody knows.
        (500, String::new(), C::OrderStateUnknown, Proof::Nothing),
        (502, "<html>".to_owned(), C::OrderStateUnknown, Proof::Nothing),
        (503, body(110_007, "x"), C::OrderStateUnknown, Proof::Nothing),
        (429, body(429, "busy"), C::OrderStateUnknown, Proof::Nothing),
        (400, "<html>".to_owned(), C::OrderStateUnknown, Proof::Nothing),
        (302, String::new(), C::OrderStateUnknown, Proof::Nothing),
        // The address is shut out before it is heard.
        (403, "access too frequent".to_owned(), C::RateLimitExceeded, Proof::NotNow),
        (200, body(10018, "Exceeded the IP limit"), C::RateLimitExceeded, Proof::NotNow),
        // Later it may be.
        (200, body(110_063, "Settlement in progress!"), C::FundingSettlement, Proof::NotNow),
        (200, body(110_079, "still processing"), C::OrderRejected, Proof::NotNow),
        (200, body(10002, "request expired"), C::Unauthorized, Proof::ClockSkew),
        (200, body(-1, "request expired"), C::Unauthorized, Proof::ClockSkew),
        (200, body(110_001, "order not exists or too late to cancel"), C::OrderNotFound, Proof::NoSuchOrder),
        (200, body(170_213, "Order does not exist."), C::OrderNotFound, Proof::NoSuchOrder),
        (200, body(110_043, "leverage not modified"), C::OrderRejected, Proof::AlreadySo),
        // Refusals.
        (200, body(110_007, "ab not enough"), C::InsufficientBalance, Proof::Refused),
        (200, body(110_072, "OrderLinkedID is duplicate"), C::DuplicateOrder, Proof::Refused),
        (200, body(110_017, "Reduce-only rule not satisfied"), C::OrderRejected, Proof::Refused),
        (200, body(987_654, "brand new"), C::OrderRejected, Proof::Refused),
        (401, String::new(), C::Unauthorized, Proof::Refused),
        (404, String::new(), C::InternalError, Proof::Refused),
    ] {
        assert_eq!(failure(Method::Post, status, &text), (code, proof), "{status} {text}");
    }
    // What other programs too take as unknown of commands.
    for code in [
        429, 10000, 10006, 10014, 10016, 10019, 10403, 10429, 170_001, 170_005, 170_007, 170_032, 170_146,
        170_147, 20003, 20006, 500_000,
    ] {
        let found = failure(Method::Post, 200, &body(code, "x"));
        assert_eq!(found, (C::OrderStateUnknown, Proof::Nothing), "{code}");
    }
    // Questions can be asked again.
    let found = failure(Method::Get, 200, &body(10006, "Too many visits!"));
    assert_eq!(found, (C::RateLimitExceeded, Proof::NotNow));
    let found = failure(Method::Get, 200, &body(10016, "Server error."));
    assert_eq!(found, (C::ProviderUnavailable, Proof::Nothing));
    let ask = request(Method::Post, "", "");
    assert_eq!(Bybit.failure(&ask, 200, None, body(0, "OK").as_bytes()), None);
    // Whoever reads it finds that it can't be read, which proves nothing either.
    assert_eq!(Bybit.failure(&ask, 200, None, b"<html>"), None);
    let failure = Bybit.failure(&ask, 200, None, body(987_654, "x").as_bytes());
    let error = failure.unwrap().error;
    assert_eq!(error.details["exchange_code"], 987_654);
    assert!(error.is_unmapped());
    let known = Bybit.failure(&ask, 200, None, body(110_007, "x").as_bytes());
    assert!(!known.unwrap().error.is_unmapped());
}

/// All codes of the table in the protocol notes: none of them may be left to the status.
#[test]
fn every_documented_code_has_a_meaning() {
    let codes = [
        10017, 10003, 10004, 10007, 33004, -2015, 429, 10002, -1, 10005, 10008, 10009, 10010,
        10024, 10027, 10028, 110_132, 10006, 170_005, 170_222, 20003, 10403, 10429, 10000, 10016,
        10019, 170_001, 170_007, 170_032, 170_146, 170_147, 10001, 110_057, 170_115, 170_116,
        170_117, 170_130, 170_201, 10029, 170_121, 110_074, 10014, 20006, 110_072, 170_141,
        110_001, 170_213, 170_143, 110_008, 110_010, 170_139, 170_142, 170_190, 110_004, 110_006,
        110_007, 110_012, 110_014, 110_044, 110_045, 110_051, 110_052, 110_053, 170_033, 170_131,
        176_015, 110_094, 170_140, 170_134, 170_136, 170_137, 170_148, 170_124, 110_017, 110_049,
        110_003, 110_120, 110_121, 30208, 30209, 170_132, 170_133, 170_192, 170_193, 170_194,
        170_371, 170_372, 110_092, 110_093, 110_009, 110_020, 110_061, 170_810, 170_381, 170_382,
        170_341, 110_013, 110_021, 110_022, 110_040, 110_085, 110_086, 110_089, 110_090, 3_400_139,
        110_023, 110_042, 30228, 110_066, 110_124, 110_063, 176_018, 110_137, 110_095, 110_098,
        110_103, 110_024, 110_028, 110_029, 110_025, 110_026, 110_027, 110_043, 34040, 110_079,
        170_144, 170_191, 170_212, 170_310, 170_210, 170_218, 170_217, 170_151, 170_157, 170_031,
        40004,
    ];
    for code in codes {
        assert!(super::super::errors::is_known(code), "{code}");
    }
}
