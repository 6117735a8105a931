//! Who asks: key, signature and clock of a request.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::super::rest::{ApiError, Params};
use crate::account::auth::{Skew, Window};
use crate::account::{AccountId, Accounts, Key, Permissions};

/// A client's clock may be ahead by less than a second.
const AHEAD_MS: i64 = 999;
const RECV_WINDOW_MS: i64 = 5_000;
const RECV_WINDOW_MAX_MS: i64 = 60_000;
/// Later times than this in ms would be in the year 5138: they are in µs.
const MICROS_FROM: i64 = 100_000_000_000_000;

fn unauthorized(code: i32, msg: &str) -> ApiError {
    ApiError {
        status: 401,
        ..ApiError::new(code, msg)
    }
}

/// The refusal of a key that does not exist or may not do that.
pub(crate) fn forbidden() -> ApiError {
    unauthorized(-2015, "Invalid API-key, IP, or permissions for action.")
}

/// The account of a key.
pub(crate) fn find<'a>(
    accounts: &'a Accounts,
    name: Option<&str>,
) -> Result<(AccountId, &'a Key), ApiError> {
    let is_one = |name: &&str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let name = name
        .filter(is_one)
        .ok_or_else(|| unauthorized(-2014, "API-key format invalid."))?;
    accounts.key(name).ok_or_else(forbidden)
}

/// Checks timestamp and receive window.
pub(crate) fn check_time(params: &Params, now_ms: i64) -> Result<(), ApiError> {
    params.required("timestamp")?;
    let sent = params.number("timestamp")?.unwrap_or_default();
    let sent_ms = match sent {
        MICROS_FROM.. => sent / 1_000,
        _ => sent,
    };
    let behind_ms = match params.get("recvWindow") {
        None => RECV_WINDOW_MS,
        Some(text) => text
            .parse::<Decimal>()
            .ok()
            .filter(|window| window.scale() <= 3 && !window.is_sign_negative())
            .and_then(|window| window.ceil().to_i64())
            .ok_or_else(|| ApiError::malformed("recvWindow"))?,
    };
    if behind_ms > RECV_WINDOW_MAX_MS {
        return Err(ApiError::new(-1131, "recvWindow must be less than 60000"));
    }
    let window = Window {
        behind_ms,
        ahead_ms: AHEAD_MS,
    };
    window.check(now_ms, sent_ms).map_err(|skew| {
        ApiError::new(
            -1021,
            match skew {
                Skew::Behind => "Timestamp for this request is outside of the recvWindow.",
                Skew::Ahead => "Timestamp for this request was 1000ms ahead of the server's time.",
            },
        )
    })
}

/// A query or body without its signature.
fn unsigned(text: &str) -> String {
    let parts = text.split('&').filter(|it| !it.starts_with("signature="));
    parts.collect::<Vec<_>>().join("&")
}

/// Checks a signed REST request: what is signed is the query and then the body, as they were sent.
pub(crate) fn check_rest(
    key: &Key,
    query: &str,
    body: &str,
    params: &Params,
    now_ms: i64,
) -> Result<(), ApiError> {
    let signature = params.required("signature")?;
    check_time(params, now_ms)?;
    let payload = format!("{}{}", unsigned(query), unsigned(body));
    check_signature(key, &payload, signature)
}

/// Checks a signed request over WebSocket: what is signed is all parameters by name, unencoded.
pub(crate) fn check_socket(key: &Key, params: &Params, now_ms: i64) -> Result<(), ApiError> {
    let signature = params.required("signature")?;
    check_time(params, now_ms)?;
    let mut pairs: Vec<(&str, &str)> = params
        .iter()
        .filter(|(name, _)| *name != "signature")
        .collect();
    pairs.sort_unstable();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    check_signature(key, &pairs.collect::<Vec<_>>().join("&"), signature)
}

fn check_signature(key: &Key, payload: &str, signature: &str) -> Result<(), ApiError> {
    match key.proof.proves(payload.as_bytes(), signature) {
        true => Ok(()),
        false => Err(ApiError::new(
            -1022,
            "Signature for this request is not valid.",
        )),
    }
}

/// What a key may do, as the exchange tells its owner.
pub(crate) fn restrictions(may: Permissions, now_ms: i64) -> serde_json::Value {
    serde_json::json!({
        "ipRestrict": false, "createTime": now_ms - 86_400_000, "enableReading": true,
        "enableWithdrawals": may.withdraw, "enableInternalTransfer": false,
        "enableMargin": false, "enableFutures": may.linear, "permitsUniversalTransfer": false,
        "enableVanillaOptions": false, "enableFixApiTrade": false, "enableFixReadOnly": false,
        "enableSpotAndMarginTrading": may.spot, "enablePortfolioMarginTrading": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::auth::Proof;

    const SPOT: (&str, &str) = (
        "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
        "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
    );
    const USDM: (&str, &str) = (
        "dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83",
        "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9",
    );

    fn key((name, secret): (&str, &str)) -> Key {
        Key {
            name: name.to_owned(),
            proof: Proof::Secret(secret.to_owned()),
            passphrase: None,
            may: Permissions::TRADE,
        }
    }

    fn rest(of: (&str, &str), query: &str, body: &str, at: i64, tag: &str) -> Result<(), i32> {
        let signed = format!("{body}&signature={tag}");
        let params = Params::parse_both(query, &signed).unwrap();
        check_rest(&key(of), query, &signed, &params, at).map_err(|error| error.code)
    }

    /// The documents' own examples.
    #[test]
    fn signatures_of_the_documents() {
        let order = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&\
                     recvWindow=5000&timestamp=1499827319559";
        let tag = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71";
        let at = 1_499_827_319_559;
        assert_eq!(rest(SPOT, "", order, at, tag), Ok(()));
        assert_eq!(
            rest(SPOT, "", order, at, &tag.replace("c8", "c9")),
            Err(-1022)
        );
        assert_eq!(rest(USDM, "", order, at, tag), Err(-1022));
        assert_eq!(rest(SPOT, "", order, at + 5_001, tag), Err(-1021));
        assert_eq!(rest(SPOT, "", order, at - 1_000, tag), Err(-1021));
        assert_eq!(rest(SPOT, "", order, at - 999, tag), Ok(()));
        let wide = "symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY&\
                    type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&\
                    timestamp=1499827319559";
        let tag = "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3";
        assert_eq!(rest(SPOT, "", wide, at, tag), Ok(()));
        let query = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC";
        let body = "quantity=1&price=9000&recvWindow=5000&timestamp=1591702613943";
        let tag = "30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4";
        assert_eq!(rest(USDM, query, body, 1_591_702_613_943, tag), Ok(()));
        let body = "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&\
                    recvWindow=5000&timestamp=1591702613943";
        let tag = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9";
        assert_eq!(rest(USDM, "", body, 1_591_702_613_943, tag), Ok(()));
    }

    #[test]
    fn requests_over_websocket_are_signed_by_name_and_unencoded() {
        let at = 1_645_423_376_532;
        let check = |pairs: serde_json::Value| {
            let params = Params::of_object(&pairs).unwrap();
            check_socket(&key(SPOT), &params, at).map_err(|error| error.code)
        };
        let plain = serde_json::json!({
            "symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT", "timeInForce": "GTC",
            "quantity": "0.01000000", "price": "52000.00", "recvWindow": 100,
            "timestamp": at, "apiKey": SPOT.0,
            "signature": "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        });
        assert_eq!(check(plain.clone()), Ok(()));
        let mut other = plain;
        other["side"] = "BUY".into();
        assert_eq!(check(other), Err(-1022));
        let wide = serde_json::json!({
            "symbol": "１２３４５６", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
            "quantity": "1.00000000", "price": "0.10000000", "recvWindow": 5000,
            "timestamp": at, "apiKey": SPOT.0,
            "signature": "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        });
        assert_eq!(check(wide), Ok(()));
    }

    #[test]
    fn clocks_and_windows() {
        let check = |query: &str| {
            let params = Params::parse(query).unwrap();
            check_time(&params, 1_700_000_000_000).map_err(|error| error.code)
        };
        assert_eq!(check("timestamp=1700000000000"), Ok(()));
        assert_eq!(check("timestamp=1700000000000000"), Ok(()));
        assert_eq!(check("timestamp=1699999999000&recvWindow=999.5"), Ok(()));
        assert_eq!(
            check("timestamp=1699999998000&recvWindow=999.5"),
            Err(-1021)
        );
        assert_eq!(
            check("timestamp=1700000000000&recvWindow=60001"),
            Err(-1131)
        );
        assert_eq!(check("timestamp=1700000000000&recvWindow=soon"), Err(-1100));
        assert_eq!(check("recvWindow=5000"), Err(-1102));
    }

    #[test]
    fn keys_are_known_or_refused() {
        let mut accounts = Accounts::new(crate::account::Rules::default());
        accounts.open(vec![key(SPOT)]);
        let code = |name| {
            find(&accounts, name)
                .map(|_| ())
                .map_err(|it| (it.status, it.code))
        };
        assert_eq!(code(Some(SPOT.0)), Ok(()));
        assert_eq!(code(Some(USDM.0)), Err((401, -2015)));
        assert_eq!(code(Some("short")), Err((401, -2014)));
        assert_eq!(code(None), Err((401, -2014)));
    }
}
