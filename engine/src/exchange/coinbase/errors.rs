//! Coinbase's error answers: what each of them means for the caller.
//!
//! Sources: exception table of ccxt 4.5.90, error bodies quoted in public issues, enumerations of
//! the official SDK (2026-06). Bodies come in three forms, and as plain text.

use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::RestFailure;

use super::wire::Text;

use CryptoCode as C;

/// Budgets are a second long; no `Retry-After` has been seen.
const WINDOW_SECS: u64 = 1;

/// Names and the beginnings of names (some are spelt in two ways), the first that fits counts; and
/// whether another try can succeed.
const NAMES: &[(&str, CryptoCode, bool)] = &[
    ("rate_limit_exceeded", C::RateLimitExceeded, true),
    ("RESOURCE_EXHAUSTED", C::RateLimitExceeded, true),
    ("INVALID_PRODUCT_ID", C::PairNotFound, false),
    ("INELIGIBLE_PAIR", C::PairNotFound, false),
    ("INSUFFICIENT_FUND", C::InsufficientBalance, false),
    ("PREVIEW_INSUFFICIENT_FUND", C::InsufficientBalance, false),
    ("INVALID_LEDGER_BALANCE", C::InsufficientBalance, false),
    ("INVALID_SIZE_PRECISION", C::PrecisionError, false),
    ("INVALID_PRICE_PRECISION", C::PrecisionError, false),
    ("PREVIEW_INVALID_SIZE_PRECISION", C::PrecisionError, false),
    ("PREVIEW_INVALID_PRICE_PRECISION", C::PrecisionError, false),
    ("PREVIEW_INVALID_ORDER_SIZE", C::MinNotionalNotMet, false),
    ("ORDER_ENTRY_DISABLED", C::ExchangeMaintenance, true),
    ("UNKNOWN_CANCEL_ORDER", C::OrderNotFound, false),
    ("ORDER_NOT_FOUND", C::OrderNotFound, false),
    ("PERMISSION_DENIED", C::Forbidden, false),
    ("unauthorized", C::Unauthorized, false),
    ("INVALID_ARGUMENT", C::InvalidParameter, false),
    ("INTERNAL", C::ProviderUnavailable, true),
    ("INVALID_LIMIT_PRICE_POST_ONLY", C::OrderRejected, false),
    (
        "PREVIEW_INVALID_LIMIT_PRICE_POSTONLY",
        C::OrderRejected,
        false,
    ),
    ("INVALID_NO_LIQUIDITY", C::OrderRejected, false),
    ("INVALID_SIDE", C::OrderRejected, false),
    ("INVALID_REQUEST", C::OrderRejected, false),
    ("UNSUPPORTED_ORDER_CONFIGURATION", C::OrderRejected, false),
    ("COMMANDER_REJECTED_NEW_ORDER", C::OrderRejected, false),
    (
        "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE",
        C::OrderRejected,
        false,
    ),
];

/// Parts of messages (lower case) that say more than a name or a status does.
const TEXTS: &[(&str, CryptoCode, bool)] = &[
    ("valid product_id is required", C::PairNotFound, false),
    ("rate limit exceeded", C::RateLimitExceeded, true),
    ("under maintenance", C::ExchangeMaintenance, true),
    ("cancel only mode", C::ExchangeMaintenance, true),
    ("account is not available", C::InsufficientBalance, false),
    ("too precise", C::PrecisionError, false),
    ("size is too small", C::MinNotionalNotMet, false),
    (
        "order with this orderid was not found",
        C::OrderNotFound,
        false,
    ),
];

/// `{"error":"NOT_FOUND","error_details":"…","message":"…"}`, or
/// `{"errors":[{"id":"rate_limit_exceeded","message":"…"}]}`, or `{"message":"…"}`.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: Option<Text<'a>>,
    #[serde(borrow)]
    error_details: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    errors: Option<Vec<Item<'a>>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

/// The exchange's name of an error and its text.
fn named(body: &[u8]) -> (Option<String>, String) {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else {
        let shown = body.get(..300).unwrap_or(body);
        return (None, String::from_utf8_lossy(shown).trim().to_owned());
    };
    let text = |text: &Option<Text<'_>>| {
        let text = text.as_deref().filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    let item = body.errors.as_deref().and_then(<[_]>::first);
    let name = text(&body.error).or_else(|| text(&item?.id));
    let message = text(&body.message)
        .or_else(|| text(&body.error_details))
        .or_else(|| text(&item?.message));
    (name, message.unwrap_or_default())
}

/// What an answer with an error status means. `retry_after` is the header's text, seconds.
pub(super) fn rest_failure(status: u16, retry_after: Option<&str>, body: &[u8]) -> RestFailure {
    let (name, text) = named(body);
    let (code, is_retryable) = meaning(status, name.as_deref(), &text);
    let retry_after_secs = retry_after
        .and_then(|text| text.trim().parse::<u64>().ok())
        .or((code == C::RateLimitExceeded).then_some(WINDOW_SECS));
    let shown = match (&name, text.as_str()) {
        (Some(name), "") => name.as_str(),
        (None, "") => "no text",
        (_, text) => text,
    };
    let mut error = CryptoError::new(code, format!("coinbase answered {status}: {shown}"))
        .with("provider", "coinbase")
        .with("market", "spot")
        .with("http_status", status)
        .with("exchange_message", text.as_str());
    if let Some(name) = name {
        error = error.with("exchange_code", name);
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

fn meaning(status: u16, name: Option<&str>, text: &str) -> (CryptoCode, bool) {
    if status == 429 {
        return (C::RateLimitExceeded, true);
    }
    let text = text.to_lowercase();
    if let Some((_, code, retry)) = TEXTS.iter().find(|(part, ..)| text.contains(part)) {
        return (*code, *retry);
    }
    let fits = |known: &str| {
        name.and_then(|name| name.get(..known.len()))
            .is_some_and(|head| head.eq_ignore_ascii_case(known))
    };
    if let Some((_, code, retry)) = NAMES.iter().find(|(known, ..)| fits(known)) {
        return (*code, *retry);
    }
    match status {
        401 => (C::Unauthorized, false),
        403 => (C::Forbidden, false),
        404 => (C::NotFound, false),
        503 => (C::ExchangeMaintenance, true),
        408 | 500.. => (C::ProviderUnavailable, true),
        _ => (C::InvalidParameter, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, code: CryptoCode, is_retryable: bool) -> RestFailure {
        let failure = rest_failure(status, None, body.as_bytes());
        let got = (failure.error.code, failure.is_retryable);
        assert_eq!(got, (code, is_retryable), "{status} {body}");
        failure
    }

    #[test]
    fn each_form_of_a_body_is_read() {
        let body = r#"{"error":"NOT_FOUND","error_details":"valid product_id is required","message":"valid product_id is required"}"#;
        let failure = check(404, body, C::PairNotFound, false);
        assert_eq!(failure.error.details["exchange_code"], "NOT_FOUND");
        let text = "valid product_id is required";
        assert_eq!(failure.error.details["exchange_message"], text);
        let body = r#"{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}"#;
        let failure = check(403, body, C::RateLimitExceeded, true);
        assert_eq!(
            failure.error.details["exchange_code"],
            "rate_limit_exceeded"
        );
        assert_eq!(failure.retry_after_secs, Some(1));
        let body = r#"{"message":"Public rate limit exceeded"}"#;
        check(400, body, C::RateLimitExceeded, true);
        check(401, "Unauthorized\n", C::Unauthorized, false);
        let error = check(500, "<html>", C::ProviderUnavailable, true).error;
        assert_eq!(error.message, "coinbase answered 500: <html>");
        let error = check(502, "", C::ProviderUnavailable, true).error;
        assert_eq!(error.message, "coinbase answered 502: no text");
    }

    #[test]
    fn names_count_by_their_beginning_and_more_than_the_status() {
        for (name, code, retry) in [
            ("INSUFFICIENT_FUND", C::InsufficientBalance, false),
            ("INSUFFICIENT_FUNDS", C::InsufficientBalance, false),
            ("PREVIEW_INSUFFICIENT_FUNDS", C::InsufficientBalance, false),
            ("INVALID_PRICE_PRECISION", C::PrecisionError, false),
            (
                "PREVIEW_INVALID_ORDER_SIZE_TOO_SMALL",
                C::MinNotionalNotMet,
                false,
            ),
            ("INVALID_ARGUMENT", C::InvalidParameter, false),
            ("INTERNAL", C::ProviderUnavailable, true),
            ("internal_server_error", C::ProviderUnavailable, true),
            ("INVALID_LIMIT_PRICE_POST_ONLY", C::OrderRejected, false),
            ("ORDER_ENTRY_DISABLED", C::ExchangeMaintenance, true),
        ] {
            let body = serde_json::json!({ "error": name, "message": "" }).to_string();
            check(400, &body, code, retry);
        }
        check(400, r#"{"error":"é"}"#, C::InvalidParameter, false);
    }

    #[test]
    fn statuses_decide_where_nothing_else_does() {
        for (status, code, retry) in [
            (400, C::InvalidParameter, false),
            (403, C::Forbidden, false),
            (404, C::NotFound, false),
            (408, C::ProviderUnavailable, true),
            (429, C::RateLimitExceeded, true),
            (503, C::ExchangeMaintenance, true),
        ] {
            check(status, "{}", code, retry);
        }
        let failure = rest_failure(429, Some("7"), b"");
        assert_eq!(failure.retry_after_secs, Some(7));
    }
}
