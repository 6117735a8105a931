//! Bybit's error answers: what each code means for the caller.
//!
//! Nearly all errors come with HTTP status 200 and a `retCode` other than 0. Sources:
//! `docs/v5/error` and `docs/v5/rate-limit` of the exchange's documentation repository
//! (2026-07-24), exception tables of ccxt 4.5.90.

use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::RestFailure;
use crate::instrument::Market;

/// An address that asked too much is shut out for ten minutes at least.
const BAN_SECS: u64 = 600;
/// Limits of a key and endpoint are by the rolling second.
const KEY_WINDOW_SECS: u64 = 1;

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
    /// The address has used up its requests.
    Banned,
}

use CryptoCode as C;
use Meaning::{AlreadySo, Banned, ByText, ClockSkew, Fails, Passes};

const CODES: &[(&[i64], Meaning)] = &[
    // Time-outs, restarts, overload. For orders the outcome is open.
    (
        &[
            429, 10000, 10016, 10019, 170_001, 170_007, 170_032, 170_146, 170_147, 500_000,
        ],
        Passes(C::ProviderUnavailable),
    ),
    (&[10002, -1], ClockSkew),
    (&[10003, 10004, 10007, 33004, -2015], Fails(C::Unauthorized)),
    (
        &[
            10005, 10008, 10009, 10010, 10024, 10027, 10028, 110_132, 110_023, 110_042, 30228,
            110_066, 110_124,
        ],
        Fails(C::Forbidden),
    ),
    (
        &[10006, 170_005, 170_222, 20003, 10403, 10429],
        Passes(C::RateLimitExceeded),
    ),
    (&[10018], Banned),
    (
        &[10001, 110_057, 170_115, 170_116, 170_117, 170_130, 170_201],
        Fails(C::InvalidParameter),
    ),
    // A path that does not exist, an id used twice: defects of ours.
    (&[10014, 10017, 20006], Fails(C::InternalError)),
    (&[10029, 110_074, 170_121], Fails(C::PairNotFound)),
    (&[110_072, 170_141], Fails(C::DuplicateOrder)),
    (
        &[
            110_001, 110_008, 110_010, 170_139, 170_142, 170_143, 170_190, 170_213,
        ],
        Fails(C::OrderNotFound),
    ),
    (
        &[
            110_004, 110_006, 110_007, 110_012, 110_014, 110_044, 110_045, 110_051, 110_052,
            110_053, 170_033, 170_131, 176_015,
        ],
        Fails(C::InsufficientBalance),
    ),
    (&[110_094, 170_140], Fails(C::MinNotionalNotMet)),
    (&[110_017], ByText),
    (
        &[110_049, 170_124, 170_134, 170_136, 170_137, 170_148],
        Fails(C::PrecisionError),
    ),
    (
        &[
            110_003, 110_024, 110_028, 110_029, 110_092, 110_093, 110_095, 110_098, 110_103,
            110_120, 110_121, 110_137, 30208, 30209, 170_031, 170_132, 170_133, 170_151, 170_157,
            170_192, 170_193, 170_194, 170_210, 170_217, 170_218, 170_371, 170_372,
        ],
        Fails(C::OrderRejected),
    ),
    (
        &[
            110_009, 110_013, 110_020, 110_021, 110_022, 110_040, 110_061, 110_085, 110_086,
            110_089, 110_090, 170_341, 170_381, 170_382, 170_810, 3_400_139,
        ],
        Fails(C::RiskLimit),
    ),
    (&[110_063, 176_018], Passes(C::FundingSettlement)),
    (&[110_025, 110_026, 110_027, 110_043, 34040], AlreadySo),
    // Locked while something else is done to the order.
    (
        &[40004, 110_079, 170_144, 170_191, 170_212, 170_310],
        Passes(C::OrderRejected),
    ),
];

fn look_up(code: i64) -> Option<Meaning> {
    CODES
        .iter()
        .find(|(codes, _)| codes.contains(&code))
        .map(|(_, meaning)| *meaning)
}

/// What a code says of a command, beside the error that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OfOrder {
    /// Nobody knows whether it was done.
    Open,
    /// A limit is used up.
    Limit,
    /// Not done; later it may be.
    NotNow,
    /// The clocks differ.
    Clock,
    /// What was asked for is in force already.
    AlreadySo,
    /// There is no such order, or none that is open.
    NoSuchOrder,
    /// Anything else: not done.
    Other,
}

/// What a code says of a command.
pub(super) fn of_order(code: i64) -> OfOrder {
    // An id of a request that is used twice: of the first one nothing is known.
    if matches!(code, 10014 | 20006) {
        return OfOrder::Open;
    }
    match look_up(code) {
        Some(Passes(C::ProviderUnavailable)) => OfOrder::Open,
        Some(Passes(C::RateLimitExceeded)) => OfOrder::Limit,
        Some(Passes(_) | Banned) => OfOrder::NotNow,
        Some(ClockSkew) => OfOrder::Clock,
        Some(AlreadySo) => OfOrder::AlreadySo,
        Some(Fails(C::OrderNotFound)) => OfOrder::NoSuchOrder,
        Some(Fails(_) | ByText) | None => OfOrder::Other,
    }
}

/// The code of an answer that tells one other than success.
pub(super) fn code_of(body: &[u8]) -> Option<i64> {
    let parsed: Body = serde_json::from_slice(body).ok()?;
    Some(parsed.ret_code).filter(|code| *code != 0)
}

/// Whether a code has a meaning of its own.
#[cfg(test)]
pub(super) fn is_known(code: i64) -> bool {
    look_up(code).is_some()
}

/// Meaning of the codes that several causes share.
fn by_text(code: i64, text: &str) -> CryptoCode {
    match code {
        // A step size, or a reduce-only order that would not reduce.
        110_017 if text.contains("truncated to zero") => C::PrecisionError,
        110_017 => C::OrderRejected,
        _ => C::InternalError,
    }
}

/// `{"retCode":10001,"retMsg":"params error: …","result":{},"retExtInfo":{},"time":1672211918471}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    ret_code: i64,
    #[serde(default)]
    ret_msg: String,
}

/// What an answer with status 200 means that tells a failure in its body; `None`: a success.
pub(super) fn body_failure(market: Market, body: &[u8]) -> Option<RestFailure> {
    // Successes are large, and begin like this.
    const SUCCESS: &[u8] = b"{\"retCode\":0,";
    if body.starts_with(SUCCESS) {
        return None;
    }
    // What is no JSON is told by whoever reads the answer.
    let parsed: Body = serde_json::from_slice(body).ok()?;
    (parsed.ret_code != 0).then(|| failure(market, 200, None, Some(&parsed), body))
}

/// What an answer with an error status means. `retry_after` is the header's text, seconds.
pub(super) fn rest_failure(
    market: Market,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> RestFailure {
    let parsed = serde_json::from_slice::<Body>(body).ok();
    // An error status with a code of success would be no error.
    let parsed = parsed.filter(|body| body.ret_code != 0);
    failure(market, status, retry_after, parsed.as_ref(), body)
}

/// A failure as it is shown: code, worth another try, what to note, seconds to wait.
type Verdict = (CryptoCode, bool, Option<&'static str>, Option<u64>);

fn failure(
    market: Market,
    status: u16,
    retry_after: Option<&str>,
    parsed: Option<&Body>,
    body: &[u8],
) -> RestFailure {
    let text = match parsed {
        Some(body) if !body.ret_msg.is_empty() => body.ret_msg.clone(),
        _ => String::from_utf8_lossy(body.get(..300).unwrap_or(body)).into_owned(),
    };
    // Statuses that shut out count more than a code.
    let meaning = match parsed {
        Some(body) if !matches!(status, 403 | 429) => Some((body.ret_code, look_up(body.ret_code))),
        _ => None,
    };
    let (code, is_retryable, note, wait) = match meaning {
        Some((code, Some(meaning))) => by_code(code, meaning, &text),
        // New codes are more often refusals than faults of the exchange.
        Some((_, None)) if status < 500 => (C::OrderRejected, false, None, None),
        _ => by_status(status, &text),
    };
    let asked = retry_after.and_then(|text| text.trim().parse::<u64>().ok());
    let retry_after_secs = asked.max(wait);
    let shown = match text.trim() {
        "" => "no text",
        text => text,
    };
    let mut error = CryptoError::new(code, format!("bybit answered {status}: {shown}"))
        .with("provider", "bybit")
        .with("market", market.as_str())
        .with("http_status", status)
        .with("exchange_message", text.as_str());
    if let Some(body) = parsed {
        error = error.with("exchange_code", body.ret_code);
        if look_up(body.ret_code).is_none() {
            error = error.unmapped();
        }
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

fn by_code(code: i64, meaning: Meaning, text: &str) -> Verdict {
    match meaning {
        Fails(shown) => (shown, false, None, None),
        Passes(C::RateLimitExceeded) => (C::RateLimitExceeded, true, None, Some(KEY_WINDOW_SECS)),
        Passes(shown) => (shown, true, None, None),
        ByText => (by_text(code, text), false, None, None),
        AlreadySo => (C::OrderRejected, false, Some("already_so"), None),
        ClockSkew => (C::Unauthorized, true, Some("clock_skew"), None),
        Banned => (C::RateLimitExceeded, true, None, Some(BAN_SECS)),
    }
}

/// Meaning of a status whose body has no code that we know.
fn by_status(status: u16, text: &str) -> Verdict {
    let has = |part: &str| text.contains(part);
    match status {
        401 => (C::Unauthorized, false, None, None),
        403 if has("too frequent") => (C::RateLimitExceeded, true, None, Some(BAN_SECS)),
        // The exchange does not serve this place: the edge says so, not the exchange.
        403 if has("country") || has("USA") || has("region") => {
            let note = Some("restricted_location");
            (C::ProviderUnavailable, false, note, None)
        }
        // One of both. To ask on at once would make a ban longer.
        403 => (C::ProviderUnavailable, true, None, Some(BAN_SECS)),
        // The system protects itself.
        429 => (C::ProviderUnavailable, true, None, Some(KEY_WINDOW_SECS)),
        400 | 404 | 405 => (C::InternalError, false, None, None),
        400..=499 => (C::OrderRejected, false, None, None),
        _ => (C::ProviderUnavailable, true, None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_body(code: i64, text: &str) -> RestFailure {
        let body = serde_json::json!({
            "retCode": code, "retMsg": text, "result": {}, "retExtInfo": {}, "time": 1,
        });
        let failure = body_failure(Market::Perp, body.to_string().as_bytes()).unwrap();
        assert_eq!(failure.error.details["exchange_code"], code);
        assert_eq!(failure.error.details["http_status"], 200);
        failure
    }

    #[test]
    fn no_code_stands_twice() {
        let codes = CODES.iter().flat_map(|(codes, _)| codes.iter().copied());
        let mut all: Vec<i64> = codes.collect();
        let len = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), len);
    }

    #[test]
    fn a_success_is_no_failure() {
        for body in [
            r#"{"retCode":0,"retMsg":"OK","result":{}}"#,
            r#"{"retMsg":"SUCCESS", "retCode" : 0,"result":{}}"#,
            r#"{"retCode":0,"retMsg":"","result":{"list":[]}}"#,
        ] {
            assert_eq!(body_failure(Market::Spot, body.as_bytes()), None, "{body}");
        }
        // Not told here but by whoever reads it.
        assert_eq!(body_failure(Market::Spot, b"<html>"), None);
    }

    #[test]
    fn codes_with_status_200() {
        for (code, text, expected, is_retryable, wait) in [
            (10001, "params error", C::InvalidParameter, false, None),
            (
                10006,
                "Too many visits!",
                C::RateLimitExceeded,
                true,
                Some(1),
            ),
            (
                10018,
                "Exceeded the IP limit",
                C::RateLimitExceeded,
                true,
                Some(600),
            ),
            (10016, "Server error.", C::ProviderUnavailable, true, None),
            (10017, "Route not found.", C::InternalError, false, None),
            (10029, "symbol invalid", C::PairNotFound, false, None),
            (170_121, "Invalid symbol.", C::PairNotFound, false, None),
            (
                110_007,
                "Insufficient available balance",
                C::InsufficientBalance,
                false,
                None,
            ),
            (
                110_063,
                "Settlement in progress!",
                C::FundingSettlement,
                true,
                None,
            ),
            (
                110_017,
                "orderQty will be truncated to zero.",
                C::PrecisionError,
                false,
                None,
            ),
            (
                110_017,
                "Reduce-only rule not satisfied",
                C::OrderRejected,
                false,
                None,
            ),
            (999_999, "something new", C::OrderRejected, false, None),
        ] {
            let failure = of_body(code, text);
            let found = (
                failure.error.code,
                failure.is_retryable,
                failure.retry_after_secs,
            );
            assert_eq!(found, (expected, is_retryable, wait), "{code} {text}");
            assert_eq!(failure.error.details["exchange_message"], text);
        }
        let skew = of_body(10002, "invalid request, please check your server timestamp");
        assert!(skew.is_retryable && skew.error.details["clock_skew"] == true);
        assert_eq!(
            of_body(110_043, "not modified").error.details["already_so"],
            true
        );
    }

    #[test]
    fn a_status_of_403_has_three_meanings() {
        let fail = |body: &str| rest_failure(Market::Spot, 403, None, body.as_bytes());
        let limit = fail("403, access too frequent. please try again later");
        assert_eq!(limit.error.code, C::RateLimitExceeded);
        assert_eq!(
            (limit.is_retryable, limit.retry_after_secs),
            (true, Some(600))
        );
        let place = fail(
            "<HTML>The Amazon CloudFront distribution is configured to block access from your country.</HTML>",
        );
        assert_eq!(place.error.code, C::ProviderUnavailable);
        assert!(!place.is_retryable);
        assert_eq!(place.error.details["restricted_location"], true);
        let other = fail("");
        assert_eq!(other.error.code, C::ProviderUnavailable);
        assert_eq!(
            (other.is_retryable, other.retry_after_secs),
            (true, Some(600))
        );
        // A shorter wait than the exchange's rule does not shorten it.
        let header = rest_failure(Market::Spot, 403, Some("5"), b"too frequent");
        assert_eq!(header.retry_after_secs, Some(600));
    }

    #[test]
    fn other_statuses() {
        for (status, body, expected, is_retryable) in [
            (401, "", C::Unauthorized, false),
            (404, "", C::InternalError, false),
            (
                429,
                r#"{"retCode":429,"retMsg":"busy"}"#,
                C::ProviderUnavailable,
                true,
            ),
            (500, "<html>", C::ProviderUnavailable, true),
            (
                503,
                r#"{"retCode":999999,"retMsg":"x"}"#,
                C::ProviderUnavailable,
                true,
            ),
            (
                400,
                r#"{"retCode":10001,"retMsg":"x"}"#,
                C::InvalidParameter,
                false,
            ),
        ] {
            let failure = rest_failure(Market::Perp, status, None, body.as_bytes());
            let found = (failure.error.code, failure.is_retryable);
            assert_eq!(found, (expected, is_retryable), "{status} {body}");
        }
    }
}
