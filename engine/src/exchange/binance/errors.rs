//! Binance's error answers: what each code means for the caller.
//!
//! One table for what both markets share and one for each market, because the same number can mean
//! different things: `-2021` is a failed cancel-replace on spot and a stop on the wrong side on
//! USDⓈ-M. Sources: spot `errors.md` (2026-07-21), USDⓈ-M error list of the stored documentation
//! pages, exception tables of ccxt 4.5.90.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::RestFailure;
use crate::instrument::Market;

/// Shortest ban after 418, seconds, where the answer does not tell: bans last 2 minutes to 3 days.
const BAN_SECS_MIN: u64 = 120;
/// Weight windows are a minute long and reset on the minute.
const WINDOW_SECS: u64 = 60;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The error to show; not worth another try.
    Fails(CryptoCode),
    /// The error to show; another try can succeed.
    Passes(CryptoCode),
    /// Decided by the text, see [`by_text`].
    ByText,
    /// What was asked for is already in force: callers take it as a success.
    AlreadySo,
    /// The clocks differ: synchronise, then try once more.
    ClockSkew,
    /// The listen key is gone: make a new one.
    ListenKeyGone,
}

use CryptoCode as C;
use Meaning::{AlreadySo, ByText, ClockSkew, Fails, ListenKeyGone, Passes};

/// Codes that mean the same on both markets.
const BOTH: &[(&[i64], Meaning)] = &[
    (&[-1000, -1001, -1016], Passes(C::ProviderUnavailable)),
    (&[-1002, -2014], Fails(C::Unauthorized)),
    (&[-2015], ByText),
    (&[-1003, -1015], Passes(C::RateLimitExceeded)),
    (&[-1006, -1007], Fails(C::OrderStateUnknown)),
    (&[-1008], Passes(C::ProviderUnavailable)),
    (&[-1020], Fails(C::Unsupported)),
    (&[-1021], ClockSkew),
    (&[-1022], Fails(C::Unauthorized)),
    (
        &[
            -1100, -1101, -1102, -1103, -1104, -1105, -1106, -1108, -1115, -1116, -1117, -1118,
            -1119, -1120, -1127, -1128, -1130, -1131,
        ],
        Fails(C::InvalidParameter),
    ),
    (&[-1111], Fails(C::PrecisionError)),
    (&[-1121, -1122, -1220, -4144], Fails(C::PairNotFound)),
    (&[-2011, -2013], Fails(C::OrderNotFound)),
    (&[-10001], Passes(C::ExchangeMaintenance)),
];

/// Codes of spot.
const SPOT: &[(&[i64], Meaning)] = &[
    (&[-1010, -1013, -2010], ByText),
    (&[-2026], Fails(C::OrderNotFound)),
    (&[-2021, -2022, -2038], Fails(C::OrderRejected)),
];

/// Codes of USDⓈ-M.
const PERP: &[(&[i64], Meaning)] = &[
    (&[-5028], ClockSkew),
    (&[-1125], ListenKeyGone),
    (
        &[-2010, -2020, -2021, -2022, -5021, -5022],
        Fails(C::OrderRejected),
    ),
    (&[-2026], Fails(C::Unsupported)),
    (&[-2018, -2019, -4050, -4051], Fails(C::InsufficientBalance)),
    (
        &[-2023, -2024, -2025, -2027, -2028, -4045],
        Fails(C::RiskLimit),
    ),
    (
        &[-4001, -4002, -4003, -4004, -4005, -4013, -4014, -4023],
        Fails(C::PrecisionError),
    ),
    (&[-4015, -4028, -4061, -4062], Fails(C::InvalidParameter)),
    (
        &[-4016, -4024, -4131, -4183, -4184],
        Fails(C::OrderRejected),
    ),
    (&[-4046, -4059, -4171, -5027], AlreadySo),
    (
        &[-4047, -4048, -4067, -4068, -4531],
        Fails(C::OrderRejected),
    ),
    (
        &[-4087, -4088, -4090, -4192, -4400, -4401, -4402, -4403],
        Fails(C::Forbidden),
    ),
    (&[-4116, -20132], Fails(C::DuplicateOrder)),
    (&[-4117, -4118, -4140, -4141], Fails(C::OrderRejected)),
    // Conditional orders have an endpoint of their own: to be told so is a defect of ours.
    (&[-4120], Fails(C::InternalError)),
    (&[-4164], Fails(C::MinNotionalNotMet)),
];

fn look_up(market: Market, code: i64) -> Option<Meaning> {
    let own = match market {
        Market::Spot => SPOT,
        Market::Perp => PERP,
    };
    own.iter()
        .chain(BOTH)
        .find(|(codes, _)| codes.contains(&code))
        .map(|(_, meaning)| *meaning)
}

/// What a code says of an order or a command, beside the error that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfOrder {
    /// The clocks differ.
    Clock,
    /// What was asked for is in force already.
    AlreadySo,
    /// There is no such order, or none that is open.
    NoSuchOrder,
    /// Anything else.
    Other,
}

/// What a code says of an order or a command.
pub(super) fn of_order(market: Market, code: i64) -> OfOrder {
    match look_up(market, code) {
        Some(ClockSkew) => OfOrder::Clock,
        Some(AlreadySo) => OfOrder::AlreadySo,
        Some(Fails(C::OrderNotFound)) => OfOrder::NoSuchOrder,
        _ => OfOrder::Other,
    }
}

/// Whether a code has a meaning of its own.
#[cfg(test)]
pub(super) fn is_known(market: Market, code: i64) -> bool {
    look_up(market, code).is_some()
}

/// Meaning of the codes that several causes share.
fn by_text(code: i64, text: &str) -> CryptoCode {
    let has = |part: &str| text.contains(part);
    match code {
        -2015 if has("permission") && !has("Invalid API-key") => C::Forbidden,
        -2015 => C::Unauthorized,
        -2010 if has("insufficient balance") => C::InsufficientBalance,
        -2010 if has("Duplicate order") => C::DuplicateOrder,
        -1010 | -1013 | -2010 => match text.split_once("Filter failure: ") {
            Some((_, filter)) => match filter.trim_end_matches('.').trim() {
                "PRICE_FILTER" | "LOT_SIZE" | "MARKET_LOT_SIZE" => C::PrecisionError,
                "NOTIONAL" | "MIN_NOTIONAL" => C::MinNotionalNotMet,
                _ => C::OrderRejected,
            },
            None if code == -1013 => C::PrecisionError,
            None => C::OrderRejected,
        },
        _ => C::InternalError,
    }
}

/// `{"code":-1121,"msg":"Invalid symbol."}`
#[derive(Deserialize)]
struct Body {
    code: i64,
    #[serde(default)]
    msg: String,
    /// Outcome of both halves of a cancel-replace.
    data: Option<Value>,
}

/// What an answer with an error status means. `retry_after` is the header's text, seconds.
pub(super) fn rest_failure(
    market: Market,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> RestFailure {
    let parsed = serde_json::from_slice::<Body>(body).ok();
    let text = match &parsed {
        Some(body) => body.msg.clone(),
        None => String::from_utf8_lossy(body.get(..300).unwrap_or(body)).into_owned(),
    };
    let meaning = parsed.as_ref().and_then(|body| look_up(market, body.code));
    let (code, is_retryable, note) = match meaning {
        // A status that bans or slows down counts more than the code in its body.
        _ if matches!(status, 418 | 429) => (C::RateLimitExceeded, true, None),
        _ if text.contains("System is under maintenance") => (C::ExchangeMaintenance, true, None),
        Some(Fails(code)) => (code, false, None),
        Some(Passes(code)) => (code, true, None),
        Some(ByText) => (
            by_text(parsed.as_ref().map_or(0, |b| b.code), &text),
            false,
            None,
        ),
        Some(AlreadySo) => (C::OrderRejected, false, Some("already_so")),
        Some(ClockSkew) => (C::Unauthorized, true, Some("clock_skew")),
        Some(ListenKeyGone) => (C::Unauthorized, true, Some("listen_key_gone")),
        None => by_status(status),
    };
    let retry_after_secs = retry_after
        .and_then(|text| text.trim().parse::<u64>().ok())
        .or(match status {
            418 => Some(BAN_SECS_MIN),
            429 => Some(WINDOW_SECS),
            _ => None,
        });
    let shown = if text.trim().is_empty() {
        "no text"
    } else {
        text.trim()
    };
    let mut error = CryptoError::new(code, format!("binance answered {status}: {shown}"))
        .with("provider", "binance")
        .with("market", market.as_str())
        .with("http_status", status)
        .with("exchange_message", text.as_str());
    if let Some(body) = parsed {
        error = error.with("exchange_code", body.code);
        if meaning.is_none() {
            error = error.unmapped();
        }
        if let Some(data) = body.data {
            error = error.with("exchange_data", data);
        }
    }
    if let Some(until) = banned_until_ms(&text) {
        error = error.with("banned_until_ms", until);
    }
    if let Some(note) = note {
        error = error.with(note, true);
    }
    if let Some(secs) = retry_after_secs {
        error = error.with("retry_after_seconds", secs);
    }
    RestFailure {
        error,
        retry_after_secs,
        is_retryable,
    }
}

/// Meaning of a status whose body has no code that we know.
fn by_status(status: u16) -> (CryptoCode, bool, Option<&'static str>) {
    match status {
        401 => (C::Unauthorized, false, None),
        // The web application firewall; SQL words in a parameter can trigger it.
        403 => (C::ProviderUnavailable, true, Some("blocked_by_firewall")),
        404 => (C::NotFound, false, None),
        408 => (C::OrderStateUnknown, true, None),
        // The exchange does not serve this place.
        451 => (C::ProviderUnavailable, false, Some("restricted_location")),
        400..=499 => (C::OrderRejected, false, None),
        _ => (C::ProviderUnavailable, true, None),
    }
}

/// The end of a ban out of `IP banned until 1659146400000.`, epoch milliseconds.
fn banned_until_ms(text: &str) -> Option<u64> {
    let (_, after) = text.split_once("banned until ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(market: Market, status: u16, body: &str) -> RestFailure {
        rest_failure(market, status, None, body.as_bytes())
    }

    fn code(market: Market, code: i64, msg: &str) -> CryptoCode {
        let body = serde_json::json!({ "code": code, "msg": msg }).to_string();
        let failure = fail(market, 400, &body);
        assert_eq!(failure.error.details["exchange_code"], code);
        assert_eq!(failure.error.details["exchange_message"], msg);
        failure.error.code
    }

    #[test]
    fn no_code_stands_twice_in_what_a_market_sees() {
        for own in [SPOT, PERP] {
            let mut all: Vec<i64> = own
                .iter()
                .chain(BOTH)
                .flat_map(|(codes, _)| codes.iter().copied())
                .collect();
            let len = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), len);
        }
    }

    #[test]
    fn same_number_differs_by_market() {
        assert_eq!(code(Market::Spot, -2026, "archived"), C::OrderNotFound);
        assert_eq!(code(Market::Perp, -2026, "not supported"), C::Unsupported);
        assert_eq!(code(Market::Perp, -4164, "notional"), C::MinNotionalNotMet);
        assert_eq!(look_up(Market::Spot, -4164), None);
        assert_eq!(look_up(Market::Spot, -2021), Some(Fails(C::OrderRejected)));
        assert_eq!(look_up(Market::Perp, -2021), Some(Fails(C::OrderRejected)));
    }

    #[test]
    fn texts_tell_causes_apart() {
        for (number, text, expected) in [
            (-1013, "Filter failure: PRICE_FILTER", C::PrecisionError),
            (-1013, "Filter failure: LOT_SIZE", C::PrecisionError),
            (-1013, "Filter failure: MIN_NOTIONAL", C::MinNotionalNotMet),
            (-1013, "Filter failure: NOTIONAL", C::MinNotionalNotMet),
            (
                -1013,
                "Filter failure: PERCENT_PRICE_BY_SIDE",
                C::OrderRejected,
            ),
            (-1013, "Filter failure: MAX_NUM_ORDERS", C::OrderRejected),
            (
                -2010,
                "Account has insufficient balance for requested action.",
                C::InsufficientBalance,
            ),
            (-2010, "Duplicate order sent.", C::DuplicateOrder),
            (-2010, "Market is closed.", C::OrderRejected),
            (
                -2010,
                "Order would immediately match and take.",
                C::OrderRejected,
            ),
            (-2010, "Filter failure: LOT_SIZE", C::PrecisionError),
            (
                -2015,
                "Invalid API-key, IP, or permissions for action.",
                C::Unauthorized,
            ),
            (
                -1000,
                "System is under maintenance.",
                C::ExchangeMaintenance,
            ),
        ] {
            assert_eq!(code(Market::Spot, number, text), expected, "{text}");
        }
    }

    #[test]
    fn bans_and_limits_are_honoured() {
        let text = r#"{"code":-1003,"msg":"Way too much request weight used; IP banned until 1659146400000. Please use WebSocket Streams for live updates to avoid bans."}"#;
        let ban = rest_failure(Market::Spot, 418, Some("180"), text.as_bytes());
        assert_eq!(ban.retry_after_secs, Some(180));
        assert!(ban.is_retryable);
        assert_eq!(ban.error.code, C::RateLimitExceeded);
        assert_eq!(ban.error.details["banned_until_ms"], 1_659_146_400_000_u64);
        assert_eq!(
            fail(Market::Spot, 418, text).retry_after_secs,
            Some(BAN_SECS_MIN)
        );
        assert_eq!(
            fail(Market::Perp, 429, "").retry_after_secs,
            Some(WINDOW_SECS)
        );
        assert_eq!(fail(Market::Perp, 429, "").error.code, C::RateLimitExceeded);
        assert_eq!(fail(Market::Perp, 500, "x").retry_after_secs, None);
    }

    #[test]
    fn answers_without_a_code_go_by_status() {
        for (status, expected, retry) in [
            (401, C::Unauthorized, false),
            (403, C::ProviderUnavailable, true),
            (451, C::ProviderUnavailable, false),
            (500, C::ProviderUnavailable, true),
            (503, C::ProviderUnavailable, true),
        ] {
            let failure = fail(Market::Spot, status, "<html>");
            assert_eq!(
                (failure.error.code, failure.is_retryable),
                (expected, retry),
                "{status}"
            );
        }
        let unknown = fail(Market::Spot, 400, r#"{"code":-9999,"msg":"new"}"#);
        assert_eq!(unknown.error.details["exchange_code"], -9999);
        assert!(unknown.error.is_unmapped());
        let known = fail(
            Market::Spot,
            400,
            r#"{"code":-1121,"msg":"Invalid symbol."}"#,
        );
        assert!(!known.error.is_unmapped());
        // Without any code there is none to be mapped.
        assert!(!fail(Market::Spot, 500, "<html>").error.is_unmapped());
    }
}
