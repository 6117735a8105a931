//! The form of every error, REST and WebSocket alike.

use serde_json::{Value, json};

use crate::error::CryptoError;
use crate::time::TsNanos;

/// The inner object: `{"code","message","details","recovery_suggestions","timestamp","trace_id"}`.
#[must_use]
pub fn error_value(error: &CryptoError, trace_id: &str, now: TsNanos) -> Value {
    // The type lets a caller empty the list; the contract says that it never is.
    let suggestions = match error.recovery_suggestions.as_slice() {
        [] => vec![error.code.default_suggestion().to_owned()],
        some => some.to_vec(),
    };
    json!({
        "code": error.code.as_str(),
        "message": error.message,
        "details": error.details,
        "recovery_suggestions": suggestions,
        "timestamp": now.to_rfc3339(),
        "trace_id": trace_id,
    })
}

/// Appends the inner object of [`error_value`].
pub fn error_object(out: &mut Vec<u8>, error: &CryptoError, trace_id: &str, now: TsNanos) {
    out.extend_from_slice(error_value(error, trace_id, now).to_string().as_bytes());
}

/// A whole answer: `{"error":{…}}`.
#[must_use]
pub fn error_body(error: &CryptoError, trace_id: &str, now: TsNanos) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"error\":");
    error_object(&mut out, error, trace_id, now);
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CryptoCode;

    #[test]
    fn has_every_field_and_never_an_empty_suggestion() {
        for &code in CryptoCode::ALL {
            let mut error = CryptoError::new(code, "it \"failed\"").with("exchange_code", -1121);
            error.recovery_suggestions.clear();
            let body = error_body(&error, "0193-abc", TsNanos(1_722_515_696_789_000_000));
            let value: Value = serde_json::from_slice(&body).unwrap();
            let error = &value["error"];
            assert_eq!(error["code"], code.as_str());
            assert_eq!(error["message"], "it \"failed\"");
            assert_eq!(error["details"]["exchange_code"], -1121);
            assert_eq!(error["timestamp"], "2024-08-01T12:34:56.789Z");
            assert_eq!(error["trace_id"], "0193-abc");
            assert_eq!(error["recovery_suggestions"][0], code.default_suggestion());
        }
    }
}
