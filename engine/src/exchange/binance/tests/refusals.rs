//! Signatures, and what refusals prove.

use crate::error::CryptoCode as C;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::venue::tests::{NOW, hmac};
use crate::trading::venue::{Access, Method, NativeRequest, Proof, TradingVenue as _};

use super::super::Binance;

const SPOT_KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
const SPOT_SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
const PERP_KEY: &str = "dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83";
const PERP_SECRET: &str = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9";
// Made for tests.
const ED25519: &str =
    "XzUkNdGvqizCZ7uwxz2fN/bjNBMsRBjilox5ejvNFP0YIZCY7w/m5Z0YkXWA+oNQhigNc5pagzyMMuqLLuhBnQ==";

fn request(market: Market, query: &str, body: &str) -> NativeRequest {
    NativeRequest {
        method: Method::Post,
        market,
        path: "/order".to_owned(),
        query: query.to_owned(),
        body: body.to_owned(),
        access: Access::Signed,
        budget: (0, 1),
        counts_for: None,
    }
}

#[test]
fn signatures_are_those_of_the_documentation() {
    let spot = hmac(SPOT_KEY, SPOT_SECRET);
    let at = TsNanos::from_ms(1_499_827_319_559);
    for (symbol, signature) in [
        (
            "LTCBTC",
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
        ),
        (
            "%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
        ),
    ] {
        let query =
            format!("symbol={symbol}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1");
        let request = request(Market::Spot, &query, "");
        let signed = Binance.sign(&spot, &request, "host", at, 5000).unwrap();
        assert_eq!(
            signed.target,
            format!("/order?{query}&recvWindow=5000&timestamp=1499827319559&signature={signature}")
        );
        assert_eq!(signed.headers, [("x-mbx-apikey", SPOT_KEY.to_owned())]);
        assert_eq!(signed.body, "");
    }
    // Query and body: what is signed is one behind the other.
    let perp = hmac(PERP_KEY, PERP_SECRET);
    let at = TsNanos::from_ms(1_591_702_613_943);
    let query = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC";
    let split = request(Market::Perp, query, "quantity=1&price=9000");
    let signed = Binance.sign(&perp, &split, "host", at, 5000).unwrap();
    assert_eq!(signed.target, format!("/order?{query}"));
    assert_eq!(
        signed.body,
        "quantity=1&price=9000&recvWindow=5000&timestamp=1591702613943&signature=30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4"
    );
    let whole = request(
        Market::Perp,
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC",
        "",
    );
    let signed = Binance.sign(&perp, &whole, "host", at, 5000).unwrap();
    assert!(
        signed.target.ends_with(
            "&signature=3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
        )
    );
}

#[test]
fn other_keys_sign_or_are_refused() {
    let keys = Keys::new(KeyKind::Ed25519, "k", ED25519, None)
        .ok()
        .unwrap();
    let ask = request(Market::Spot, "", "");
    let signed = Binance.sign(&keys, &ask, "host", NOW, 90_000).unwrap();
    let (text, signature) = signed
        .target
        .strip_prefix("/order?")
        .and_then(|query| query.split_once("&signature="))
        .unwrap();
    assert_eq!(text, "recvWindow=60000&timestamp=1700000000123");
    // Base64 whose `+`, `/` and `=` are encoded; 64 bytes are 86 digits and two signs at the end.
    let decoded = signature
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    assert_eq!(decoded, keys.sign_base64(text.as_bytes()).unwrap());
    assert!(signature.ends_with("%3D%3D") && !signature.contains(['+', '/', '=']));

    let key_only = NativeRequest {
        access: Access::Key,
        ..ask.clone()
    };
    let signed = Binance.sign(&keys, &key_only, "host", NOW, 5000).unwrap();
    assert_eq!(signed.target, "/order");
    assert_eq!(signed.headers, [("x-mbx-apikey", "k".to_owned())]);

    let pem = "-----BEGIN EC PRIVATE KEY-----\n\
        MHcCAQEEIICGSfk4QyQTKsgfANYmEWJThNHtHFPj1SBQRDlbt0m0oAoGCCqGSM49\n\
        AwEHoUQDQgAE74UKQFfApLOdmSRhvUwc+vfofphtswb4ICRj9xYpXrQkiOjGOEyS\n\
        tPt41J3EcJrIAuxPSIR2fqmSvBkJE4DmhQ==\n-----END EC PRIVATE KEY-----\n";
    let keys = Keys::new(KeyKind::Es256, "k", pem, None).ok().unwrap();
    let refused = Binance.sign(&keys, &ask, "host", NOW, 5000).err().unwrap();
    assert_eq!(refused.code, C::Unauthorized);
}

fn failure(market: Market, method: Method, status: u16, body: &str) -> (C, Proof) {
    let request = NativeRequest {
        method,
        ..request(market, "", "")
    };
    let failure = Binance
        .failure(&request, status, None, body.as_bytes())
        .unwrap();
    (failure.error.code, failure.proof)
}

#[test]
#[rustfmt::skip]
fn what_refusals_prove() {
    use Market::{Perp, Spot};
    let body = |code: i64, text: &str| format!(r#"{{"code":{code},"msg":"{text}"}}"#);
    let unavailable = "Service Unavailable.";
    let internal = "Internal error; unable to process your request. Please try again.";
    let unknown = "Unknown error, please check your request or try again later.";
    for (market, status, body, code, proof) in [
        // Nobody knows.
        (Spot, 500, String::new(), C::OrderStateUnknown, Proof::Nothing),
        (Spot, 503, body(-1000, unavailable), C::OrderStateUnknown, Proof::Nothing),
        (Spot, 502, "<html>".to_owned(), C::OrderStateUnknown, Proof::Nothing),
        (Spot, 400, body(-1006, "x"), C::OrderStateUnknown, Proof::Nothing),
        (Perp, 408, body(-1007, "x"), C::OrderStateUnknown, Proof::Nothing),
        (Perp, 503, body(-1000, unknown), C::OrderStateUnknown, Proof::Nothing),
        (Perp, 400, body(-1001, "x"), C::OrderStateUnknown, Proof::Nothing),
        (Perp, 400, "not json".to_owned(), C::OrderStateUnknown, Proof::Nothing),
        (Perp, 302, String::new(), C::OrderStateUnknown, Proof::Nothing),
        // Definite, though the status would not say so.
        (Perp, 503, body(-1000, unavailable), C::ProviderUnavailable, Proof::NotNow),
        (Perp, 503, body(-1, internal), C::ProviderUnavailable, Proof::NotNow),
        (Perp, 500, internal.to_owned(), C::ProviderUnavailable, Proof::NotNow),
        (Perp, 503, body(-1008, "overloaded"), C::ProviderUnavailable, Proof::NotNow),
        // Limits.
        (Spot, 429, body(-1003, "x"), C::RateLimitExceeded, Proof::NotNow),
        (Spot, 418, String::new(), C::RateLimitExceeded, Proof::NotNow),
        (Perp, 400, body(-1015, "x"), C::RateLimitExceeded, Proof::NotNow),
        (Spot, 403, "<html>".to_owned(), C::ProviderUnavailable, Proof::NotNow),
        (Spot, 400, body(-1000, "System is under maintenance."), C::ExchangeMaintenance, Proof::NotNow),
        (Spot, 400, body(-10001, "x"), C::ExchangeMaintenance, Proof::NotNow),
        // Clocks.
        (Spot, 400, body(-1021, "x"), C::Unauthorized, Proof::ClockSkew),
        (Perp, 400, body(-5028, "x"), C::Unauthorized, Proof::ClockSkew),
        // Orders that are not there.
        (Spot, 400, body(-2011, "Unknown order sent."), C::OrderNotFound, Proof::NoSuchOrder),
        (Perp, 400, body(-2013, "Order does not exist."), C::OrderNotFound, Proof::NoSuchOrder),
        (Spot, 400, body(-2026, "archived"), C::OrderNotFound, Proof::NoSuchOrder),
        // As it was.
        (Perp, 400, body(-4046, "No need"), C::OrderRejected, Proof::AlreadySo),
        (Perp, 400, body(-5027, "No need"), C::OrderRejected, Proof::AlreadySo),
        // Refusals.
        (Spot, 400, body(-2010, "Duplicate order sent."), C::DuplicateOrder, Proof::Refused),
        (Perp, 400, body(-2026, "x"), C::Unsupported, Proof::Refused),
        (Perp, 400, body(-2022, "ReduceOnly Order is rejected."), C::OrderRejected, Proof::Refused),
        (Perp, 400, body(-4120, "x"), C::InternalError, Proof::Refused),
        (Spot, 401, body(-2015, "x"), C::Unauthorized, Proof::Refused),
        (Spot, 401, String::new(), C::Unauthorized, Proof::Refused),
        (Spot, 400, body(-9876, "brand new"), C::OrderRejected, Proof::Refused),
    ] {
        let found = failure(market, Method::Post, status, &body);
        assert_eq!(found, (code, proof), "{market} {status} {body}");
    }
    // A question changes nothing, so that nothing is unknown of an order.
    let found = failure(Spot, Method::Get, 400, &body(-1007, "x"));
    assert_eq!(found, (C::ProviderUnavailable, Proof::Nothing));
    let listen_key = NativeRequest { access: Access::Key, ..request(Perp, "", "") };
    let lost = Binance.failure(&listen_key, 500, None, b"").unwrap();
    assert_eq!((lost.error.code, lost.proof), (C::ProviderUnavailable, Proof::Nothing));
    let request = request(Spot, "", "");
    assert_eq!(Binance.failure(&request, 200, None, b"{}"), None);
    let failure = Binance.failure(&request, 400, None, br#"{"code":-9876,"msg":"x"}"#);
    let error = failure.unwrap().error;
    assert_eq!(error.details["exchange_code"], -9876);
    assert!(error.is_unmapped());
    let failure = Binance.failure(&request, 400, None, br#"{"code":-1121,"msg":"x"}"#);
    assert!(!failure.unwrap().error.is_unmapped());
    let limited = Binance.failure(&request, 429, Some("7"), b"").unwrap();
    assert_eq!(limited.retry_after_secs, Some(7));
}

/// All codes of the table in the protocol notes: none of them may be left to the status.
#[test]
fn every_documented_code_has_a_meaning() {
    let both: Vec<i64> = [
        vec![
            -1000, -1001, -1016, -1002, -2014, -2015, -1003, -1006, -1007, -1008, -1015,
        ],
        vec![
            -1020, -1021, -1022, -1108, -1111, -1121, -1122, -1220, -4144, -2011, -2013,
        ],
        (-1106..=-1100).collect(),
        (-1120..=-1115).collect(),
        vec![-1127, -1128, -1130, -1131, -10001],
    ]
    .concat();
    let spot = [-1010, -1013, -2010, -2026, -2021, -2022, -2038];
    let perp = [
        -5028, -1125, -2010, -2021, -2022, -2026, -2018, -2019, -4050, -4051, -2020, -5021, -5022,
        -2023, -2024, -2025, -2027, -2028, -4045, -4003, -4004, -4005, -4023, -4001, -4002, -4013,
        -4014, -4015, -4016, -4024, -4131, -4183, -4184, -4028, -4046, -4059, -4171, -5027, -4047,
        -4048, -4067, -4068, -4531, -4061, -4062, -4087, -4088, -4090, -4192, -4400, -4401, -4402,
        -4403, -4116, -20132, -4117, -4118, -4120, -4140, -4141, -4164,
    ];
    for (market, own) in [(Market::Spot, &spot[..]), (Market::Perp, &perp[..])] {
        for code in both.iter().chain(own) {
            assert!(
                super::super::errors::is_known(market, *code),
                "{market} {code}"
            );
        }
    }
}
