//! Coinbase's error answers: what each of them means for the caller.
//!
//! Sources: exception table of ccxt 4.5.90, error bodies quoted in public issues, enumerations of
//! the official SDK (2026-06). Bodies come in three forms, and as plain text; refusals of commands
//! come with status 200 in forms of their own.

use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::RestFailure;
use crate::trading::venue::{Failure, Method, NativeRequest, Proof};

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
    (
        "PREVIEW_INVALID_LEDGER_BALANCE",
        C::InsufficientBalance,
        false,
    ),
    (
        "PREVIEW_INSUFFICIENT_LEDGER_BALANCE",
        C::InsufficientBalance,
        false,
    ),
    ("PREVIEW_INVALID_PRODUCT_ID", C::PairNotFound, false),
    ("UNTRADABLE_PRODUCT", C::PairNotFound, false),
    ("GEOFENCING_RESTRICTION", C::Forbidden, false),
    ("INVALID_FCM_TRADING_SESSION", C::ExchangeMaintenance, true),
    ("INVALID_SIZE_PRECISION", C::PrecisionError, false),
    ("INVALID_PRICE_PRECISION", C::PrecisionError, false),
    ("PREVIEW_INVALID_SIZE_PRECISION", C::PrecisionError, false),
    ("PREVIEW_INVALID_PRICE_PRECISION", C::PrecisionError, false),
    (
        "PREVIEW_INVALID_QUOTE_SIZE_PRECISION",
        C::PrecisionError,
        false,
    ),
    ("PREVIEW_INVALID_ORDER_SIZE", C::MinNotionalNotMet, false),
    (
        "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL",
        C::MinNotionalNotMet,
        false,
    ),
    (
        "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL",
        C::MinNotionalNotMet,
        false,
    ),
    ("ORDER_ENTRY_DISABLED", C::ExchangeMaintenance, true),
    ("UNKNOWN_CANCEL_ORDER", C::OrderNotFound, false),
    ("ORDER_NOT_FOUND", C::OrderNotFound, false),
    ("DUPLICATE_CANCEL_REQUEST", C::OrderRejected, false),
    ("COMMANDER_REJECTED_CANCEL_ORDER", C::OrderRejected, false),
    ("INVALID_CANCEL_REQUEST", C::OrderRejected, false),
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

/// A refusal with status 200, of whatever command: `{"success":false,"error_response":{…}}` of an
/// order, `{"success":false,"errors":[{…}]}` of an edit, `{"results":[{"success":false,…}]}` of a
/// cancellation.
#[derive(Deserialize)]
struct Refusal<'a> {
    success: Option<bool>,
    #[serde(borrow)]
    failure_reason: Option<Text<'a>>,
    #[serde(borrow)]
    error_response: Option<OrderError<'a>>,
    #[serde(borrow)]
    errors: Option<Vec<EditError<'a>>>,
    #[serde(borrow)]
    results: Option<Vec<CancelResult<'a>>>,
}

#[derive(Deserialize)]
struct OrderError<'a> {
    #[serde(borrow)]
    error: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    error_details: Option<Text<'a>>,
    #[serde(borrow)]
    preview_failure_reason: Option<Text<'a>>,
    #[serde(borrow)]
    new_order_failure_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct EditError<'a> {
    #[serde(borrow)]
    edit_failure_reason: Option<Text<'a>>,
    #[serde(borrow)]
    preview_failure_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct CancelResult<'a> {
    success: Option<bool>,
    #[serde(borrow)]
    failure_reason: Option<Text<'a>>,
}

/// The name and the text of a refusal with status 200; `None` when it is none.
fn refusal(body: &[u8]) -> Option<(Option<String>, String)> {
    // What can't be read is for those to say who read it: it proves nothing.
    let body: Refusal<'_> = serde_json::from_slice(body).ok()?;
    // Placeholders say nothing: `UNKNOWN_FAILURE_REASON` stands in successes too.
    let is_name = |name: &&str| {
        let is_placeholder = name.starts_with("UNKNOWN_") && name.ends_with("_REASON");
        !name.is_empty() && !is_placeholder
    };
    let first = |names: [&Option<Text<'_>>; 3]| {
        let mut names = names.into_iter().filter_map(|name| name.as_deref());
        names.find(is_name).map(str::to_owned)
    };
    if let Some(results) = &body.results {
        let failed = results.iter().find(|result| result.success != Some(true))?;
        return Some((first([&failed.failure_reason, &None, &None]), String::new()));
    }
    if body.success != Some(false) {
        return None;
    }
    if let Some(error) = &body.error_response {
        let name = first([
            &error.preview_failure_reason,
            &error.new_order_failure_reason,
            &error.error,
        ]);
        let texts = [&error.message, &error.error_details];
        let mut texts = texts.into_iter().filter_map(|text| text.as_deref());
        let text = texts.find(|text| !text.is_empty()).unwrap_or_default();
        return Some((name, text.to_owned()));
    }
    let edit = body.errors.as_deref().and_then(<[_]>::first);
    let name = edit.and_then(|error| {
        first([
            &error.edit_failure_reason,
            &error.preview_failure_reason,
            &None,
        ])
    });
    let name = name.or_else(|| first([&body.failure_reason, &None, &None]));
    Some((name, String::new()))
}

/// What an answer about orders or an account means that is no success, and what it proves; `None`
/// when it is one.
pub(super) fn failure(
    request: &NativeRequest,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> Option<Failure> {
    let is_command = request.method != Method::Get;
    let is_success = (200..=299).contains(&status);
    let (name, text) = match (is_success, is_command) {
        (true, false) => return None,
        (true, true) => refusal(body)?,
        (false, _) => named(body),
    };
    let (mut code, is_retryable) = meaning(status, name.as_deref(), &text);
    let known = known(name.as_deref(), &text);
    // The order of an id that nobody knows.
    let is_order_query = !is_command && request.path.contains("/orders/historical/");
    if is_order_query && code == C::NotFound {
        code = C::OrderNotFound;
    }
    // Nobody knows the name: whatever it is, the command was refused.
    if is_command && known.is_none() && (is_success || status == 400) {
        code = C::OrderRejected;
    }
    let says = |word: &str| name.as_deref().is_some_and(|name| name.starts_with(word));
    let proof = match status {
        429 => Proof::NotNow,
        // A token that came too late is told in the same words as a wrong one; and right ones are
        // refused now and then.
        401 => Proof::ClockSkew,
        408 | 500.. => Proof::Nothing,
        _ if code == C::ProviderUnavailable => Proof::Nothing,
        _ if says("DUPLICATE_CANCEL_REQUEST") => Proof::AlreadySo,
        _ if code == C::OrderNotFound => Proof::NoSuchOrder,
        _ if is_retryable => Proof::NotNow,
        // Words of somebody in between.
        400..=499 if known.is_none() && name.is_none() && status != 403 => Proof::Nothing,
        300..=399 => Proof::Nothing,
        _ => Proof::Refused,
    };
    let why = judged(status, retry_after, name, &text, code, is_retryable);
    Some(Failure {
        error: why.error,
        proof,
        retry_after_secs: why.retry_after_secs,
    })
}

/// What an answer with an error status means. `retry_after` is the header's text, seconds.
pub(super) fn rest_failure(status: u16, retry_after: Option<&str>, body: &[u8]) -> RestFailure {
    let (name, text) = named(body);
    let (code, is_retryable) = meaning(status, name.as_deref(), &text);
    judged(status, retry_after, name, &text, code, is_retryable)
}

fn judged(
    status: u16,
    retry_after: Option<&str>,
    name: Option<String>,
    text: &str,
    code: CryptoCode,
    is_retryable: bool,
) -> RestFailure {
    let retry_after_secs = retry_after
        .and_then(|text| text.trim().parse::<u64>().ok())
        .or((code == C::RateLimitExceeded).then_some(WINDOW_SECS));
    let shown = match (&name, text) {
        (Some(name), "") => name.as_str(),
        (None, "") => "no text",
        (_, text) => text,
    };
    let mut error = CryptoError::new(code, format!("coinbase answered {status}: {shown}"))
        .with("provider", "coinbase")
        .with("market", "spot")
        .with("http_status", status)
        .with("exchange_message", text);
    if let Some(name) = name {
        let is_known = known(Some(&name), text).is_some();
        error = error.with("exchange_code", name);
        if !is_known {
            error = error.unmapped();
        }
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

/// What the tables say.
fn known(name: Option<&str>, text: &str) -> Option<(CryptoCode, bool)> {
    let text = text.to_lowercase();
    if let Some((_, code, retry)) = TEXTS.iter().find(|(part, ..)| text.contains(part)) {
        return Some((*code, *retry));
    }
    let fits = |known: &str| {
        name.and_then(|name| name.get(..known.len()))
            .is_some_and(|head| head.eq_ignore_ascii_case(known))
    };
    let (_, code, retry) = NAMES.iter().find(|(known, ..)| fits(known))?;
    Some((*code, *retry))
}

fn meaning(status: u16, name: Option<&str>, text: &str) -> (CryptoCode, bool) {
    if status == 429 {
        return (C::RateLimitExceeded, true);
    }
    if let Some(meaning) = known(name, text) {
        return meaning;
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
