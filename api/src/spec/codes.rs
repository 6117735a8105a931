//! The error codes as documents show them, with what the runbook says of each.

use bookwire_engine::error::CryptoCode;
use serde_json::{Value, json};

use super::shape::{map_of, object, text, time};

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// What the runbook says of a code.
pub(super) fn runbook(code: CryptoCode) -> &'static str {
    let heading = format!("### {}\n", code.as_str());
    let section = RUNBOOK.split_once(&heading).map_or("", |(_, rest)| rest);
    section.split("\n#").next().unwrap_or_default().trim()
}

/// All codes, with status, what to do, and the runbook's text.
pub(super) fn codes() -> Value {
    let rows = CryptoCode::ALL.iter().map(|code| {
        json!({
            "code": code.as_str(),
            "status": code.http_status(),
            "suggestion": code.default_suggestion(),
            "runbook": runbook(*code),
        })
    });
    rows.collect()
}

/// The names of all codes.
pub(super) fn names() -> Value {
    let names = CryptoCode::ALL.iter().map(|code| code.as_str());
    json!({
        "type": "string",
        "enum": names.collect::<Vec<_>>(),
        "description": "What went wrong. `x-codes` has the HTTP status and the advice of each.",
        "x-codes": codes(),
    })
}

/// The inner object of every error.
pub(super) fn error() -> Value {
    let mut suggestions = super::shape::list(text());
    suggestions["minItems"] = 1.into();
    let mut details = map_of(json!({}));
    details["description"] =
        "Values that help to understand it; an exchange's own code is kept here.".into();
    object([
        ("code", super::shape::reference("ErrorCode")),
        ("message", text()),
        ("details", details),
        ("recovery_suggestions", suggestions),
        ("timestamp", time()),
        (
            "trace_id",
            super::shape::about(text(), "also in the log and in `X-Trace-Id`"),
        ),
    ])
}

/// An error to look at.
pub(super) fn example(code: CryptoCode) -> Value {
    json!({"error": {
        "code": code.as_str(),
        "message": "what happened, in a sentence",
        "details": {},
        "recovery_suggestions": [code.default_suggestion()],
        "timestamp": "2024-08-01T12:34:56.789Z",
        "trace_id": "01910d5e-1b2c-7def-8a90-1234567890ab",
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runbook_has_every_code() {
        for code in CryptoCode::ALL {
            let said = runbook(*code);
            let begins = format!("HTTP {}", code.http_status());
            assert!(said.starts_with(&begins), "{}: {said}", code.as_str());
            assert!(!said.contains("###"), "{}", code.as_str());
        }
    }
}
