//! The error that users see: one of the contract's codes, what happened, and what to do next.
//!
//! Operations inside the engine have their own small error enums; they become a [`CryptoError`]
//! where an answer to a user is made.

use serde_json::{Map, Value};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $status:literal, $hint:literal;)+) => {
        /// Every error code of the public contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CryptoCode { $($(#[$doc])* $variant,)+ }

        impl CryptoCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The public name: `CRYPTO_PAIR_NOT_FOUND`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status it is answered with.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// What a user can do, when the place that failed has nothing better to say.
            #[must_use]
            pub const fn default_suggestion(self) -> &'static str {
                match self { $(Self::$variant => $hint,)+ }
            }
        }
    };
}

codes! {
    /// The instrument is well-formed but not listed.
    PairNotFound, "CRYPTO_PAIR_NOT_FOUND", 404,
        "list what is tradable with GET /api/data/CryptoPair or /api/data/CryptoPerp";
    /// The provider is down, disabled or unreachable.
    ProviderUnavailable, "CRYPTO_PROVIDER_UNAVAILABLE", 503,
        "retry in a few seconds; GET /api/crypto/health says what is wrong";
    /// Not enough free balance.
    InsufficientBalance, "CRYPTO_INSUFFICIENT_BALANCE", 400,
        "reduce the quantity or add funds; GET /api/trading/balances shows what is free";
    /// Price × quantity is below the instrument's minimum.
    MinNotionalNotMet, "CRYPTO_MIN_NOTIONAL_NOT_MET", 400,
        "raise the quantity until price × quantity reaches min_notional";
    /// A price or quantity is not on the instrument's step.
    PrecisionError, "CRYPTO_PRECISION_ERROR", 400,
        "use a multiple of price_step and qty_step";
    /// Funding is being settled.
    FundingSettlement, "CRYPTO_FUNDING_SETTLEMENT", 423,
        "retry after the settlement";
    /// Too many requests.
    RateLimitExceeded, "CRYPTO_RATE_LIMIT_EXCEEDED", 429,
        "wait for retry_after_seconds before the next request";
    /// The live stream is not connected.
    WebsocketDisconnected, "CRYPTO_WEBSOCKET_DISCONNECTED", 503,
        "retry in a few seconds; the connection is being restored";
    /// Data contradict each other.
    DataQualityFailure, "CRYPTO_DATA_QUALITY_FAILURE", 422,
        "compare the providers' prices before relying on them";
    /// The book is being resynchronised.
    OrderbookDesync, "CRYPTO_ORDERBOOK_DESYNC", 503,
        "retry in a second; the book is fetched anew";
    /// No funding for this instrument.
    FundingRateMissing, "CRYPTO_FUNDING_RATE_MISSING", 404,
        "ask for a perpetual: spot pairs have no funding";
    /// The exchange is under maintenance.
    ExchangeMaintenance, "CRYPTO_EXCHANGE_MAINTENANCE", 503,
        "retry when the exchange is back; system.status announces it";
    /// The text is not a symbol or names several.
    SymbolMappingError, "CRYPTO_SYMBOL_MAPPING_ERROR", 400,
        "use the code (btcusdt), the code with -perp, or the entity id";
    /// A parameter is unknown, malformed or out of range.
    InvalidParameter, "CRYPTO_INVALID_PARAMETER", 400,
        "correct the parameter named in details";
    /// No or a wrong key.
    Unauthorized, "CRYPTO_UNAUTHORIZED", 401,
        "send a valid API key";
    /// The key may not do this.
    Forbidden, "CRYPTO_FORBIDDEN", 403,
        "use a key with the permission named in details";
    /// No such order.
    OrderNotFound, "CRYPTO_ORDER_NOT_FOUND", 404,
        "list the orders with GET /api/trading/orders";
    /// The client order id was used with another body.
    DuplicateOrder, "CRYPTO_DUPLICATE_ORDER", 409,
        "use a new client_order_id for a new order";
    /// The exchange refused the order.
    OrderRejected, "CRYPTO_ORDER_REJECTED", 422,
        "read the exchange's reason in details";
    /// A risk limit refused the order.
    RiskLimit, "CRYPTO_RISK_LIMIT", 403,
        "reduce the order or raise the limit in the configuration";
    /// The kill switch is engaged.
    TradingHalted, "CRYPTO_TRADING_HALTED", 423,
        "release the kill switch before new orders";
    /// The outcome of an order is not proven yet.
    OrderStateUnknown, "CRYPTO_ORDER_STATE_UNKNOWN", 504,
        "do not send it again: query the order until it is reconciled";
    /// Not offered here.
    Unsupported, "CRYPTO_UNSUPPORTED", 501,
        "GET /api/crypto/providers/capabilities lists what is offered";
    /// Too many subscriptions.
    SubscriptionLimit, "CRYPTO_SUBSCRIPTION_LIMIT", 429,
        "unsubscribe from something or open another connection";
    /// No such path or thing.
    NotFound, "CRYPTO_NOT_FOUND", 404,
        "check the path against the documentation";
    /// A defect of ours.
    InternalError, "CRYPTO_INTERNAL_ERROR", 500,
        "report it with the trace_id";
}

/// An error as users see it, before a timestamp and a trace id are added.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct CryptoError {
    /// The code.
    pub code: CryptoCode,
    /// What happened: lower case, no full stop.
    pub message: String,
    /// Values that help to understand it; an exchange's own code is kept here.
    pub details: Map<String, Value>,
    /// What to do next; never empty.
    pub recovery_suggestions: Vec<String>,
}

/// The detail of an error whose exchange's code no table has.
const UNMAPPED: &str = "exchange_code_unmapped";

impl CryptoError {
    /// Notes that the exchange has told a code that no table has: what it means was guessed.
    #[must_use]
    pub fn unmapped(self) -> Self {
        self.with(UNMAPPED, true)
    }

    /// Whether the exchange's code was one that no table has.
    #[must_use]
    pub fn is_unmapped(&self) -> bool {
        self.details.get(UNMAPPED) == Some(&Value::Bool(true))
    }

    /// An error with the code's default suggestion.
    #[must_use]
    pub fn new(code: CryptoCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Map::new(),
            recovery_suggestions: vec![code.default_suggestion().to_owned()],
        }
    }

    /// `CRYPTO_INVALID_PARAMETER` naming the parameter, its value and what is accepted.
    #[must_use]
    pub fn invalid_parameter(name: &str, value: &str, accepted: impl Into<String>) -> Self {
        let accepted = accepted.into();
        let shown: String = value.chars().take(200).collect();
        let mut error = Self::new(
            CryptoCode::InvalidParameter,
            format!("parameter `{name}` has the value `{shown}`; accepted: {accepted}"),
        )
        .with("parameter", name)
        .with("value", shown)
        .with("accepted", accepted.clone());
        error.recovery_suggestions = vec![format!("set `{name}` to {accepted}")];
        error
    }

    /// The same error with one more detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// The same error with this suggestion instead of the default.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.recovery_suggestions = vec![suggestion.into()];
        self
    }
}

impl From<crate::instrument::SymbolError> for CryptoError {
    fn from(error: crate::instrument::SymbolError) -> Self {
        use crate::instrument::SymbolError;
        let message = error.to_string();
        match error {
            SymbolError::Malformed { text } => Self::new(CryptoCode::SymbolMappingError, message)
                .with("symbol", text)
                .with("candidates", Vec::<String>::new()),
            SymbolError::Ambiguous { text, candidates } => {
                let hint = format!("use one of: {}", candidates.join(", "));
                Self::new(CryptoCode::SymbolMappingError, message)
                    .with("symbol", text)
                    .with("candidates", candidates)
                    .suggest(hint)
            }
            SymbolError::NotListed { text, near } => {
                let error = Self::new(CryptoCode::PairNotFound, message)
                    .with("symbol", text)
                    .with("near", near.clone());
                if near.is_empty() {
                    error
                } else {
                    error.suggest(format!("did you mean {}?", near.join(", ")))
                }
            }
        }
    }
}
