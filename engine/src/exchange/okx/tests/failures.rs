//! What failed answers mean and prove.

use super::trading::failure;
use crate::error::CryptoCode as C;
use crate::trading::venue::{Method, Proof};

#[test]
fn what_failures_prove() {
    let row = |code: &str| {
        format!(
            r#"{{"code":"1","data":[{{"clOrdId":"","ordId":"","sCode":"{code}","sMsg":"why"}}],"msg":"All operations failed"}}"#
        )
    };
    let whole = |code: &str| format!(r#"{{"code":"{code}","msg":"why","data":[]}}"#);
    for (path, status, body, code, proof) in [
        (
            "trade/order",
            200,
            row("51008"),
            C::InsufficientBalance,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51020"),
            C::MinNotionalNotMet,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51121"),
            C::PrecisionError,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51001"),
            C::PairNotFound,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51010"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51155"),
            C::Forbidden,
            Proof::Refused,
        ),
        // Nobody knows this one.
        (
            "trade/order",
            200,
            row("51999"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51030"),
            C::FundingSettlement,
            Proof::NotNow,
        ),
        (
            "trade/order",
            200,
            row("51028"),
            C::ExchangeMaintenance,
            Proof::NotNow,
        ),
        (
            "trade/order",
            200,
            row("50061"),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        // Our own id is taken: by the order that we sent.
        (
            "trade/order",
            200,
            row("51016"),
            C::DuplicateOrder,
            Proof::Nothing,
        ),
        (
            "trade/order",
            200,
            row("51149"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            400,
            whole("50004"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            200,
            whole("50004"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            500,
            whole("50026"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            503,
            whole("50001"),
            C::ExchangeMaintenance,
            Proof::Nothing,
        ),
        (
            "trade/order",
            502,
            "<html>".to_owned(),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            403,
            "<html>".to_owned(),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            429,
            whole("50011"),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            "trade/order",
            429,
            String::new(),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            "trade/order",
            401,
            whole("50102"),
            C::Unauthorized,
            Proof::ClockSkew,
        ),
        (
            "trade/order",
            401,
            whole("50113"),
            C::Unauthorized,
            Proof::Refused,
        ),
        (
            "trade/cancel-order",
            200,
            row("51400"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "trade/cancel-order",
            200,
            row("51401"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "trade/cancel-order",
            200,
            row("51402"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "trade/cancel-order",
            200,
            row("51410"),
            C::OrderRejected,
            Proof::AlreadySo,
        ),
        (
            "trade/amend-order",
            200,
            row("51503"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "account/set-leverage",
            200,
            whole("59102"),
            C::InvalidParameter,
            Proof::Refused,
        ),
    ] {
        let found = failure(Method::Post, path, status, &body).unwrap();
        assert_eq!(
            (found.error.code, found.proof),
            (code, proof),
            "{status} {body}"
        );
        if status == 429 {
            assert_eq!(found.retry_after_secs, Some(2));
        }
    }
    let shown = failure(Method::Post, "trade/order", 200, &row("51999"))
        .unwrap()
        .error;
    assert_eq!(shown.details["exchange_code"], 51999);
    assert!(shown.is_unmapped());
    let known = failure(Method::Post, "trade/order", 200, &row("51008")).unwrap();
    assert!(!known.error.is_unmapped());
    assert_eq!(shown.details["exchange_message"], "why");
    // Algo orders are refused under the code 0.
    let refused = r#"{"code":"0","msg":"","data":[{"algoId":"","sCode":"51000","sMsg":"Parameter orderPx error"}]}"#;
    let found = failure(Method::Post, "trade/order-algo", 200, refused).unwrap();
    assert_eq!(
        (found.error.code, found.proof),
        (C::PrecisionError, Proof::Refused)
    );
    let gone = r#"{"code":"0","msg":"","data":[{"algoId":"1","sCode":"51000","sMsg":"Parameter algoId error"}]}"#;
    let found = failure(Method::Post, "trade/cancel-algos", 200, gone).unwrap();
    assert_eq!(
        (found.error.code, found.proof),
        (C::OrderNotFound, Proof::NoSuchOrder)
    );
    // An account whose mode has another word for spot.
    let mode = r#"{"code":"1","data":[{"ordId":"","sCode":"51000","sMsg":"Parameter tdMode error "}],"msg":""}"#;
    let found = failure(Method::Post, "trade/order", 200, mode).unwrap();
    assert_eq!(found.error.code, C::InvalidParameter);
    assert!(found.error.recovery_suggestions[0].contains("account mode"));
    // Questions.
    let found = failure(Method::Get, "trade/order", 200, &whole("51603")).unwrap();
    assert_eq!(found.proof, Proof::NoSuchOrder);
    let fine = r#"{"code":"0","msg":"","data":[{"sCode":"0","ordId":"1"}]}"#;
    for method in [Method::Get, Method::Post] {
        assert_eq!(failure(method, "trade/order", 200, fine), None);
    }
    // A success that can't be read is for the reader of it, who proves nothing by it.
    assert_eq!(failure(Method::Post, "trade/order", 200, "<html>"), None);
}

/// Every code of the document's table.
#[test]
fn codes_of_the_document() {
    for (codes, code) in [
        (
            &[51001, 51012, 51014, 51015, 60018, 51021, 51027][..],
            C::PairNotFound,
        ),
        (
            &[
                51008, 51119, 51127, 51131, 51502, 59200, 58350, 51736, 51764,
            ],
            C::InsufficientBalance,
        ),
        (&[51020, 51100, 51118, 51120, 51007], C::MinNotionalNotMet),
        (&[51121, 51150, 51006], C::PrecisionError),
        (&[51030, 50023, 58111], C::FundingSettlement),
        (&[51028, 51029, 51022, 50001, 64008], C::ExchangeMaintenance),
        (
            &[50004, 50005, 50013, 50026, 51054, 51149],
            C::ProviderUnavailable,
        ),
        (&[50011, 50061, 60014, 51113], C::RateLimitExceeded),
        (&[60015, 4004, 4005, 4006], C::WebsocketDisconnected),
        (
            &[
                50100, 50101, 50102, 50103, 50105, 50110, 50113, 50119, 60001, 60009, 60024, 60032,
            ],
            C::Unauthorized,
        ),
        (
            &[51400, 51401, 51402, 51503, 51509, 51603],
            C::OrderNotFound,
        ),
        (&[51011, 51016], C::DuplicateOrder),
        (
            &[51010, 51169, 51174, 51136, 51137, 51138, 59000],
            C::OrderRejected,
        ),
        (&[50027, 51024, 51155, 4088], C::Forbidden),
    ] {
        for number in codes {
            let body = format!(r#"{{"code":"{number}","msg":"m","data":[]}}"#);
            let found = failure(Method::Post, "trade/order", 200, &body).unwrap();
            assert_eq!(found.error.code, code, "{number}");
        }
    }
}
