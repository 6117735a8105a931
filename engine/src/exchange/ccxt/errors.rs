//! ccxt's error classes: what each means for the caller.
//!
//! The bridge sends a class with all its bases, so that a class that is not in the table is taken
//! for the nearest one that is. Source: `ccxt/base/errors.py` of ccxt 4.5.90.

use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::RestFailure;
use crate::instrument::Market;

use CryptoCode as C;

/// Class, the code to show, worth another try. Order does not matter: bases are looked up from the
/// nearest to the farthest.
const CLASSES: &[(&str, CryptoCode, bool)] = &[
    // The bridge's own.
    ("BadVenue", C::InvalidParameter, false),
    ("TooManyVenues", C::ProviderUnavailable, false),
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
        CryptoError::new(code, format!("ccxt: {}: {}", self.class, self.message))
            .with("provider", "ccxt")
            .with("ccxt_class", self.class.as_str())
            .with("exchange_message", self.message.as_str())
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
