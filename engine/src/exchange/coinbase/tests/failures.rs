//! What failed answers mean and prove.

use serde_json::json;

use super::orders::venue;
use crate::error::CryptoCode as C;
use crate::instrument::Market;
use crate::trading::venue::{Access, Failure, Method, NativeRequest, Proof};

pub(super) fn failure(method: Method, path: &str, status: u16, body: &str) -> Option<Failure> {
    let request = NativeRequest {
        method,
        market: Market::Spot,
        path: format!("/api/v3/brokerage/{path}"),
        query: String::new(),
        body: String::new(),
        access: Access::Signed,
        budget: (1, 1),
        counts_for: None,
    };
    venue().failure(&request, status, None, body.as_bytes())
}

#[test]
fn what_failures_prove() {
    let refused = |name: &str| {
        json!({
            "success": false, "failure_reason": "UNKNOWN_FAILURE_REASON", "order_id": "",
            "error_response": { "error": name, "message": "why", "error_details": "",
                "preview_failure_reason": "UNKNOWN_PREVIEW_FAILURE_REASON",
                "new_order_failure_reason": name },
        })
        .to_string()
    };
    let canceled = |name: &str| {
        json!({ "results": [{ "success": false, "failure_reason": name, "order_id": "1" }] })
            .to_string()
    };
    let edited = |name: &str| {
        json!({ "success": false, "errors": [{ "edit_failure_reason": name }] }).to_string()
    };
    let named = |name: &str| json!({ "error": name, "message": "why" }).to_string();
    for (path, status, body, code, proof) in [
        (
            "orders",
            200,
            refused("UNSUPPORTED_ORDER_CONFIGURATION"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INSUFFICIENT_FUND"),
            C::InsufficientBalance,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_PRODUCT_ID"),
            C::PairNotFound,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INELIGIBLE_PAIR"),
            C::PairNotFound,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_LEDGER_BALANCE"),
            C::InsufficientBalance,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_SIZE_PRECISION"),
            C::PrecisionError,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_PRICE_PRECISION"),
            C::PrecisionError,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_LIMIT_PRICE_POST_ONLY"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_NO_LIQUIDITY"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("COMMANDER_REJECTED_NEW_ORDER"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("GEOFENCING_RESTRICTION"),
            C::Forbidden,
            Proof::Refused,
        ),
        // Nobody knows this one.
        (
            "orders",
            200,
            refused("BRAND_NEW_REASON"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            400,
            named("BRAND_NEW_REASON"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            400,
            named("INVALID_ARGUMENT"),
            C::InvalidParameter,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("ORDER_ENTRY_DISABLED"),
            C::ExchangeMaintenance,
            Proof::NotNow,
        ),
        (
            "orders",
            200,
            refused("INTERNAL"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "orders",
            403,
            named("PERMISSION_DENIED"),
            C::Forbidden,
            Proof::Refused,
        ),
        (
            "orders",
            401,
            "Unauthorized\n".to_owned(),
            C::Unauthorized,
            Proof::ClockSkew,
        ),
        (
            "orders",
            429,
            String::new(),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            "orders",
            403,
            named("rate_limit_exceeded"),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            "orders",
            500,
            named("INTERNAL"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "orders",
            503,
            "<html>".to_owned(),
            C::ExchangeMaintenance,
            Proof::Nothing,
        ),
        (
            "orders",
            400,
            "<html>".to_owned(),
            C::OrderRejected,
            Proof::Nothing,
        ),
        (
            "orders/batch_cancel",
            200,
            canceled("UNKNOWN_CANCEL_ORDER"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "orders/batch_cancel",
            200,
            canceled("DUPLICATE_CANCEL_REQUEST"),
            C::OrderRejected,
            Proof::AlreadySo,
        ),
        (
            "orders/batch_cancel",
            200,
            canceled("COMMANDER_REJECTED_CANCEL_ORDER"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders/edit",
            200,
            edited("ORDER_NOT_FOUND"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "orders/edit",
            200,
            edited("ONLY_LIMIT_ORDER_EDITS_SUPPORTED"),
            C::OrderRejected,
            Proof::Refused,
        ),
    ] {
        let found = failure(Method::Post, path, status, &body).unwrap();
        assert_eq!(
            (found.error.code, found.proof),
            (code, proof),
            "{status} {body}"
        );
    }
    let shown = failure(Method::Post, "orders", 200, &refused("BRAND_NEW_REASON"))
        .unwrap()
        .error;
    assert_eq!(shown.details["exchange_code"], "BRAND_NEW_REASON");
    assert!(shown.is_unmapped());
    assert_eq!(shown.details["exchange_message"], "why");
    // The preview's reason says the most.
    let body = r#"{"success":false,"error_response":{"error":"UNKNOWN_FAILURE_REASON","message":"","preview_failure_reason":"PREVIEW_INSUFFICIENT_FUND","new_order_failure_reason":"UNKNOWN_FAILURE_REASON"}}"#;
    let found = failure(Method::Post, "orders", 200, body).unwrap();
    assert_eq!(found.error.code, C::InsufficientBalance);
    assert!(!found.error.is_unmapped());
    let body =
        r#"{"success":false,"error_response":{"error":"X","message":"account is not available"}}"#;
    let found = failure(Method::Post, "orders", 200, body).unwrap();
    assert_eq!(found.error.code, C::InsufficientBalance);
    // Questions.
    let gone = r#"{"error":"NOT_FOUND","error_details":"","message":"order not found"}"#;
    let found = failure(Method::Get, "orders/historical/1", 404, gone).unwrap();
    assert_eq!(
        (found.error.code, found.proof),
        (C::OrderNotFound, Proof::NoSuchOrder)
    );
    let gone = r#"{"error":"unknown","error_details":"order with this orderID was not found","message":"order with this orderID was not found"}"#;
    let found = failure(Method::Get, "orders/historical/1", 400, gone).unwrap();
    assert_eq!(found.proof, Proof::NoSuchOrder);
    assert_eq!(failure(Method::Get, "accounts", 200, "{}"), None);
    // A success that can't be read is for the reader of it, who proves nothing by it.
    assert_eq!(failure(Method::Post, "orders", 200, "<html>"), None);
}
