//! ccxt's error classes: what each means for the caller.
//!
//! The bridge sends a class with all its bases, so that a class that is not in the table is taken
//! for the nearest one that is. Source: `ccxt/base/errors.py` of ccxt 4.5.90.

use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::RestFailure;
use crate::instrument::Market;
use crate::trading::venue::{Failure, Proof};

use CryptoCode as C;

/// Class, the code to show, worth another try. Order does not matter: bases are looked up from the
/// nearest to the farthest.
const CLASSES: &[(&str, CryptoCode, bool)] = &[
    // The bridge's own.
    ("BadVenue", C::InvalidParameter, false),
    ("TooManyVenues", C::ProviderUnavailable, false),
    ("BadKey", C::Unauthorized, false),
    ("TooLate", C::ProviderUnavailable, true),
    ("OffStep", C::PrecisionError, false),
    ("Unprovable", C::OrderStateUnknown, true),
    // ccxt's.
    ("AuthenticationError", C::Unauthorized, false),
    ("PermissionDenied", C::Forbidden, false),
    ("AccountNotEnabled", C::Forbidden, false),
    ("AccountSuspended", C::Forbidden, false),
    ("RestrictedLocation", C::Forbidden, false),
    ("ArgumentsRequired", C::InvalidParameter, false),
    ("BadRequest", C::InvalidParameter, false),
    ("BadSymbol", C::PairNotFound, false),
    ("OperationRejected", C::OrderRejected, false),
    ("MarketClosed", C::ExchangeMaintenance, true),
    ("InsufficientFunds", C::InsufficientBalance, false),
    ("InvalidOrder", C::OrderRejected, false),
    ("OrderNotFound", C::OrderNotFound, false),
    ("OrderNotCached", C::OrderNotFound, false),
    ("DuplicateOrderId", C::DuplicateOrder, false),
    ("ContractUnavailable", C::ExchangeMaintenance, true),
    ("NotSupported", C::Unsupported, false),
    ("ExchangeClosedByUser", C::ProviderUnavailable, true),
    ("ExchangeError", C::OrderRejected, false),
    ("RateLimitExceeded", C::RateLimitExceeded, true),
    ("DDoSProtection", C::RateLimitExceeded, true),
    ("OnMaintenance", C::ExchangeMaintenance, true),
    ("ExchangeNotAvailable", C::ProviderUnavailable, true),
    ("InvalidNonce", C::OrderbookDesync, true),
    ("ChecksumError", C::OrderbookDesync, true),
    ("RequestTimeout", C::ProviderUnavailable, true),
    ("NetworkError", C::ProviderUnavailable, true),
    ("CancelPending", C::OrderRejected, false),
    ("BadResponse", C::ProviderUnavailable, true),
    ("OperationFailed", C::ProviderUnavailable, true),
    ("BaseError", C::ProviderUnavailable, true),
];

/// What a class proves of a command; others prove nothing, `ExchangeError` itself among them, which
/// is what ccxt makes of every code that it does not know, "internal error" too. Limits are no proof:
/// exchanges count them at more than one place.
const PROOFS: &[(&str, Proof)] = &[
    ("BadVenue", Proof::Refused),
    ("BadKey", Proof::Refused),
    ("OffStep", Proof::Refused),
    ("AuthenticationError", Proof::Refused),
    ("ArgumentsRequired", Proof::Refused),
    ("BadRequest", Proof::Refused),
    ("OperationRejected", Proof::Refused),
    ("NoChange", Proof::AlreadySo),
    ("InsufficientFunds", Proof::Refused),
    ("InvalidOrder", Proof::Refused),
    ("OrderNotFound", Proof::NoSuchOrder),
    ("OrderNotCached", Proof::NoSuchOrder),
    // Our ids are used once: one that is known there has arrived.
    ("DuplicateOrderId", Proof::Nothing),
    ("NotSupported", Proof::Refused),
    ("InvalidNonce", Proof::ClockSkew),
    ("ChecksumError", Proof::Nothing),
    ("CancelPending", Proof::AlreadySo),
];

/// What an error proves of a command, or says of a question.
pub(super) fn proof(error: &BridgeError, is_command: bool) -> Proof {
    let known = |name: &String| PROOFS.iter().find(|(class, _)| class == name);
    let mut names = std::iter::once(&error.class).chain(&error.bases);
    let found = names
        .find_map(known)
        .map_or(Proof::Nothing, |(_, proof)| *proof);
    match (found, is_command) {
        // ccxt refused it itself, or could not make a request of it.
        (Proof::Nothing, true) if error.sent == Some(false) => Proof::NotNow,
        (Proof::Nothing, false) if error.meaning().0 == C::RateLimitExceeded => Proof::NotNow,
        (found, _) => found,
    }
}

/// The exchange's own code, where its answer is in ccxt's text: `bybit {"retCode":170131,…}`.
fn native_code(message: &str) -> Option<serde_json::Value> {
    const NAMES: [&str; 5] = ["retCode", "sCode", "code", "error", "err_code"];
    let (_, rest) = message.split_once('{')?;
    let text = format!("{{{rest}");
    let answer = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
    let answer = answer.flatten().next()?;
    let inner = answer.pointer("/data/0/sCode");
    let found = inner.or_else(|| NAMES.iter().find_map(|name| answer.get(name)))?;
    (found.is_number() || found.is_string()).then(|| found.clone())
}

/// What an answer with an error status means for an order.
pub(super) fn order_failure(
    market: Market,
    is_command: bool,
    is_placing: bool,
    status: u16,
    body: &[u8],
) -> Failure {
    let failure = rest_failure(market, status, body);
    let Ok(Body { error }) = serde_json::from_slice(body) else {
        // Not the bridge's own words.
        return unproven(failure, is_command);
    };
    let proof = match proof(&error, is_command) {
        // An order that is being placed is neither of these.
        Proof::NoSuchOrder if is_placing => Proof::Refused,
        Proof::AlreadySo if is_placing => Proof::Nothing,
        proof => proof,
    };
    if proof == Proof::Nothing {
        return unproven(failure, is_command);
    }
    let mut error = failure.error;
    if proof == Proof::ClockSkew {
        // Of market data it is a book's numbers that do not fit.
        error.code = C::ProviderUnavailable;
        error.recovery_suggestions = vec![error.code.default_suggestion().to_owned()];
    }
    Failure {
        error,
        proof,
        retry_after_secs: None,
    }
}

fn unproven(failure: RestFailure, is_command: bool) -> Failure {
    let mut error = failure.error;
    if is_command {
        let code = C::OrderStateUnknown;
        error.recovery_suggestions = vec![code.default_suggestion().to_owned()];
        error.code = code;
    }
    Failure {
        error,
        proof: Proof::Nothing,
        retry_after_secs: None,
    }
}

/// An error as the bridge tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct BridgeError {
    /// `BadSymbol`
    pub(super) class: String,
    /// Nearest first.
    #[serde(default)]
    pub(super) bases: Vec<String>,
    /// ccxt's text; often the venue's own answer.
    #[serde(default)]
    pub(super) message: String,
    /// A request that changes something had gone to the exchange; of accounts alone.
    pub(super) sent: Option<bool>,
    /// HTTP status of the exchange's answer, where there was one; of accounts alone.
    pub(super) status: Option<u16>,
}

impl BridgeError {
    /// The code and whether another try can succeed. What no table knows, a `TypeError` inside of
    /// ccxt, is a defect there: another try can do no harm.
    pub(super) fn meaning(&self) -> (CryptoCode, bool) {
        let known = |name: &String| CLASSES.iter().find(|(class, ..)| class == name);
        let mut names = std::iter::once(&self.class).chain(&self.bases);
        names
            .find_map(known)
            .map_or((C::ProviderUnavailable, true), |(_, code, retry)| {
                (*code, *retry)
            })
    }

    /// As users see it.
    pub(super) fn shown(&self) -> CryptoError {
        let (code, _) = self.meaning();
        let mut error = CryptoError::new(code, format!("ccxt: {}: {}", self.class, self.message))
            .with("provider", "ccxt")
            .with("ccxt_class", self.class.as_str())
            .with("exchange_message", self.message.as_str());
        if let Some(status) = self.status {
            error = error.with("exchange_status", status);
        }
        if let Some(code) = native_code(&self.message) {
            error = error.with("exchange_code", code);
        }
        error
    }
}

/// `{"error":{"class":"BadSymbol","bases":["BadRequest",…],"message":"…"}}`
#[derive(Deserialize)]
struct Body {
    error: BridgeError,
}

/// What an answer with an error status means.
pub(super) fn rest_failure(market: Market, status: u16, body: &[u8]) -> RestFailure {
    let Ok(Body { error }) = serde_json::from_slice(body) else {
        let text = String::from_utf8_lossy(body.get(..300).unwrap_or(body)).into_owned();
        return RestFailure {
            error: CryptoError::new(
                C::ProviderUnavailable,
                format!("the ccxt bridge answered {status}: {text}"),
            )
            .with("provider", "ccxt")
            .with("http_status", status),
            retry_after_secs: None,
            is_retryable: status >= 500,
        };
    };
    RestFailure {
        is_retryable: error.meaning().1,
        // A venue that asks for a pause must not stop the others: ccxt keeps each one's pace.
        retry_after_secs: None,
        error: error.shown().with("market", market.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_mean_what_the_table_says_and_others_what_their_bases_do() {
        for (class, bases, expected) in [
            ("BadSymbol", vec!["BadRequest"], (C::PairNotFound, false)),
            (
                "OnMaintenance",
                vec!["ExchangeNotAvailable"],
                (C::ExchangeMaintenance, true),
            ),
            (
                "OrderImmediatelyFillable",
                vec!["InvalidOrder", "ExchangeError"],
                (C::OrderRejected, false),
            ),
            (
                "NewClass",
                vec!["RateLimitExceeded", "NetworkError"],
                (C::RateLimitExceeded, true),
            ),
            (
                "NullResponse",
                vec!["BadResponse", "OperationFailed"],
                (C::ProviderUnavailable, true),
            ),
            (
                "TypeError",
                vec!["Exception"],
                (C::ProviderUnavailable, true),
            ),
            ("BadVenue", vec![], (C::InvalidParameter, false)),
        ] {
            let error = BridgeError {
                class: class.to_owned(),
                bases: bases.into_iter().map(str::to_owned).collect(),
                message: "kraken {\"error\":[]}".to_owned(),
                sent: None,
                status: None,
            };
            assert_eq!(error.meaning(), expected, "{class}");
            assert_eq!(error.shown().details["ccxt_class"], class);
        }
    }

    #[test]
    fn an_answer_that_is_no_error_of_ccxt_is_shown_too() {
        let failure = rest_failure(Market::Spot, 404, b"404: Not Found");
        assert_eq!(failure.error.code, C::ProviderUnavailable);
        assert!(!failure.is_retryable);
        let body = br#"{"error":{"class":"DDoSProtection","bases":["NetworkError"],"message":"slow down"}}"#;
        let failure = rest_failure(Market::Spot, 503, body);
        assert_eq!(failure.error.code, C::RateLimitExceeded);
        assert_eq!(failure.retry_after_secs, None, "other venues go on");
    }
}
