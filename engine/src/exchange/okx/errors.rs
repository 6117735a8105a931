//! OKX's error answers: what each code means for the caller.
//!
//! Of commands they also say what is proven: see [`failure`].
//!
//! Sources: error codes of the v5 documentation; exception table of ccxt 4.5.90. An answer with
//! status 200 can be an error: its `code`, or the `sCode` of its rows, tells.

use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::RestFailure;
use crate::instrument::Market;
use crate::trading::venue::{Failure, Method, NativeRequest, Proof};

use super::json::Text;

/// OKX's windows are two seconds long, and it does not say how much of one is left.
const WINDOW_SECS: u64 = 2;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The error to show; not worth another try.
    Fails(CryptoCode),
    /// The error to show; another try can succeed.
    Passes(CryptoCode),
    /// The clocks differ: synchronise, then try once more.
    ClockSkew,
}

use CryptoCode as C;
use Meaning::{ClockSkew, Fails, Passes};

/// Codes of REST and of the streams.
const CODES: &[(&[i64], Meaning)] = &[
    (
        &[51001, 51012, 51014, 51015, 51021, 51027, 60018],
        Fails(C::PairNotFound),
    ),
    (
        &[
            51008, 51119, 51127, 51131, 51502, 51736, 51764, 58350, 59103, 59108, 59200, 59201,
        ],
        Fails(C::InsufficientBalance),
    ),
    (
        &[51007, 51020, 51100, 51118, 51120],
        Fails(C::MinNotionalNotMet),
    ),
    (&[51006, 51121, 51150], Fails(C::PrecisionError)),
    (&[50023, 51030, 58111], Passes(C::FundingSettlement)),
    (
        &[50001, 51022, 51028, 51029, 64008],
        Passes(C::ExchangeMaintenance),
    ),
    // The outcome of an order is unknown; of a question, another try tells.
    (&[50004], Passes(C::ProviderUnavailable)),
    (
        &[50005, 50013, 50026, 50062, 51054, 51149],
        Passes(C::ProviderUnavailable),
    ),
    (&[50011, 50061, 51113, 60014], Passes(C::RateLimitExceeded)),
    (&[4004, 4005, 4006, 60015], Passes(C::WebsocketDisconnected)),
    (&[50102, 60006], ClockSkew),
    (
        &[
            50100, 50101, 50103, 50104, 50105, 50106, 50107, 50108, 50109, 50110, 50111, 50112,
            50113, 50115, 50119, 60001, 60002, 60003, 60004, 60005, 60007, 60008, 60009, 60010,
            60011, 60024, 60029, 60030, 60032,
        ],
        Fails(C::Unauthorized),
    ),
    // Blocked accounts and places; the identity has to be shown again.
    (
        &[
            4088, 50007, 50009, 50012, 50027, 50114, 50120, 51009, 51024, 51155,
        ],
        Fails(C::Forbidden),
    ),
    (
        &[51400, 51401, 51402, 51503, 51509, 51603],
        Fails(C::OrderNotFound),
    ),
    (&[51011, 51016], Fails(C::DuplicateOrder)),
    (
        &[
            51004, 51005, 51010, 51019, 51023, 51025, 51031, 51112, 51135, 51136, 51137, 51138,
            51169, 51174, 51410, 59000,
        ],
        Fails(C::OrderRejected),
    ),
    // A path or a message that we should not have sent.
    (
        &[
            50000, 50002, 50014, 50015, 50016, 50024, 50025, 51000, 51003, 59102, 59105, 60012,
            60013,
        ],
        Fails(C::InvalidParameter),
    ),
    (
        &[50006, 64001, 64002, 64003, 64004],
        Fails(C::InternalError),
    ),
];

fn look_up(code: i64) -> Option<Meaning> {
    let row = CODES.iter().find(|(codes, _)| codes.contains(&code))?;
    Some(row.1)
}

/// `{"code":"51001","msg":"Instrument ID does not exist","data":[]}`
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    code: Text<'a>,
    #[serde(borrow, default)]
    msg: Text<'a>,
    #[serde(borrow, default)]
    data: Rows<'a>,
}

/// Rows of an order's answer say more than the whole: `"code":"1"` is all that failed.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Rows<'a> {
    Some(#[serde(borrow)] Vec<Row<'a>>),
    Other(serde::de::IgnoredAny),
    #[default]
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    #[serde(borrow, default)]
    s_code: Text<'a>,
    #[serde(borrow, default)]
    s_msg: Text<'a>,
}

impl Body<'_> {
    /// The code and text to go by: a failed row's, else the answer's.
    fn verdict(&self) -> (&str, &str) {
        let failed = match &self.data {
            Rows::Some(rows) => rows.iter().find(|row| !matches!(&*row.s_code.0, "" | "0")),
            _ => None,
        };
        match failed {
            Some(row) => (&row.s_code.0, &row.s_msg.0),
            None => (&self.code.0, &self.msg.0),
        }
    }
}

/// The failure inside an answer with status 200; `None` when it is none.
pub(super) fn body_failure(market: Market, body: &[u8]) -> Option<RestFailure> {
    // An error is short; books and lists need not be read twice.
    let head = body.get(..64).unwrap_or(body);
    let is_fine = [&b"\"code\":\"0\""[..], b"\"code\": \"0\""]
        .into_iter()
        .any(|fine| memchr::memmem::find(head, fine).is_some());
    if is_fine {
        return None;
    }
    let parsed = serde_json::from_slice::<Body<'_>>(body).ok()?;
    (parsed.code.0 != "0").then(|| rest_failure(market, 200, None, body))
}

/// What an answer with an error status, or with an error inside, means.
pub(super) fn rest_failure(
    market: Market,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> RestFailure {
    let (code, text) = told(body);
    judged(market, status, retry_after, code, &text)
}

/// What the error of a connection's login or subscription means: it has a code and a text, and no
/// status. `None`: another try can succeed, or the code is not known.
pub(super) fn refusal(code: &str, text: &str) -> Option<CryptoError> {
    let number = code.parse::<i64>().ok()?;
    let Fails(public) = look_up(number)? else {
        return None;
    };
    let error = CryptoError::new(
        public,
        format!("okx refused the private connection: {text}"),
    )
    .with("provider", "okx")
    .with("exchange_code", number)
    .with("exchange_message", text);
    Some(error)
}

/// The code and the text of an error.
fn told(body: &[u8]) -> (Option<i64>, String) {
    match serde_json::from_slice::<Body<'_>>(body) {
        Ok(body) => {
            let (code, text) = body.verdict();
            (code.parse::<i64>().ok(), text.to_owned())
        }
        Err(_) => {
            let shown = body.get(..300).unwrap_or(body);
            (None, String::from_utf8_lossy(shown).into_owned())
        }
    }
}

/// Codes after which an order may exist or not: time ran out on their side, or an order has our id,
/// which is one that we sent.
const PROVE_NOTHING: [i64; 6] = [50004, 50026, 51011, 51016, 51054, 51149];
/// Of a cancellation: one is under way already.
const ALREADY_SO: [i64; 1] = [51410];

/// What an answer about orders or an account means that is no success, and what it proves; `None`
/// when it is one. An answer with status 200 fails when its code says so, or that of its row: algo
/// orders are refused under the code 0.
pub(super) fn failure(
    request: &NativeRequest,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> Option<Failure> {
    let is_command = request.method != Method::Get;
    let mut why = match status {
        200..=299 if is_command => {
            // What can't be read proves nothing: that is for those to say who read it.
            let parsed = serde_json::from_slice::<Body<'_>>(body).ok()?;
            if parsed.verdict().0 == "0" {
                return None;
            }
            rest_failure(request.market, status, retry_after, body)
        }
        200..=299 => body_failure(request.market, body)?,
        _ => rest_failure(request.market, status, retry_after, body),
    };
    let (code, text) = told(body);
    let names_order = |text: &str| text.contains("algoId") || text.contains("algoClOrdId");
    let proof = match (code, why.error.code) {
        _ if status == 429 => Proof::NotNow,
        _ if status >= 500 || status == 408 => Proof::Nothing,
        (None, _) => Proof::Nothing,
        (Some(code), _) if PROVE_NOTHING.contains(&code) => Proof::Nothing,
        (Some(code), _) if ALREADY_SO.contains(&code) => Proof::AlreadySo,
        // An algo order that is over is told as a wrong parameter.
        (Some(51000), _) if request.path.ends_with("/cancel-algos") && names_order(&text) => {
            why.error.code = C::OrderNotFound;
            Proof::NoSuchOrder
        }
        (Some(code), _) if look_up(code) == Some(ClockSkew) => Proof::ClockSkew,
        (_, C::OrderNotFound) => Proof::NoSuchOrder,
        _ if why.is_retryable => Proof::NotNow,
        _ => Proof::Refused,
    };
    Some(Failure {
        error: why.error,
        proof,
        retry_after_secs: why.retry_after_secs,
    })
}

fn judged(
    market: Market,
    status: u16,
    retry_after: Option<&str>,
    code: Option<i64>,
    text: &str,
) -> RestFailure {
    let (public, is_retryable, note) = match code.and_then(look_up) {
        // A status that slows down counts more than the code in its body.
        _ if status == 429 => (C::RateLimitExceeded, true, None),
        // "Parameter px error": a price or a size that is not on its step.
        Some(Fails(C::InvalidParameter)) if code == Some(51000) && names_a_number(text) => {
            (C::PrecisionError, false, None)
        }
        Some(Fails(public)) => (public, false, None),
        Some(Passes(public)) => (public, true, None),
        Some(ClockSkew) => (C::Unauthorized, true, Some("clock_skew")),
        None => by_status(status),
    };
    let retry_after_secs = retry_after
        .and_then(|text| text.trim().parse::<u64>().ok())
        .or((public == C::RateLimitExceeded).then_some(WINDOW_SECS));
    let shown = match text.trim() {
        "" => "no text",
        text => text,
    };
    let mut error = CryptoError::new(public, format!("okx answered {status}: {shown}"))
        .with("provider", "okx")
        .with("market", market.as_str())
        .with("http_status", status)
        .with("exchange_message", text);
    if let Some(code) = code {
        error = error.with("exchange_code", code);
        if look_up(code).is_none() {
            error = error.unmapped();
        }
    }
    if let Some(note) = note {
        error = error.with(note, true);
    }
    // Spot is told as `cash`, which accounts of the two higher modes do not take: the other word
    // would borrow in the lower ones.
    if code == Some(51000) && text.contains("tdMode") {
        error = error.suggest("set the account mode to spot, or to spot and futures, on okx.com");
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

fn names_a_number(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.any(|word| {
        matches!(
            word,
            "px" | "sz" | "newPx" | "newSz" | "triggerPx" | "orderPx"
        )
    })
}

/// Meaning of an answer whose code is not in the table.
fn by_status(status: u16) -> (CryptoCode, bool, Option<&'static str>) {
    match status {
        200..=299 => (C::OrderRejected, false, None),
        401 => (C::Unauthorized, false, None),
        // The firewall in front of the exchange.
        403 => (C::ProviderUnavailable, true, Some("blocked_by_firewall")),
        404 => (C::NotFound, false, None),
        451 => (C::ProviderUnavailable, false, Some("restricted_location")),
        400..=499 => (C::OrderRejected, false, None),
        _ => (C::ProviderUnavailable, true, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> (CryptoCode, bool) {
        let failure = rest_failure(Market::Spot, status, None, body.as_bytes());
        (failure.error.code, failure.is_retryable)
    }

    #[test]
    fn no_code_stands_twice() {
        let mut all: Vec<i64> = CODES
            .iter()
            .flat_map(|(codes, _)| codes.iter().copied())
            .collect();
        let len = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), len);
    }

    #[test]
    fn success_is_told_by_the_code_and_not_by_the_status() {
        let fine = br#"{"code":"0","msg":"","data":[]}"#;
        assert_eq!(body_failure(Market::Spot, fine), None);
        // Members in another order.
        let fine =
            br#"{"data":[{"a":"b"},{"a":"b"},{"a":"b"},{"a":"b"},{"a":"b"},{"a":"b"}],"code":"0"}"#;
        assert_eq!(body_failure(Market::Spot, fine), None);
        let wrong = br#"{"code":"51001","msg":"Instrument ID does not exist","data":[]}"#;
        let failure = body_failure(Market::Spot, wrong).unwrap();
        assert_eq!(failure.error.code, C::PairNotFound);
        assert_eq!(failure.error.details["exchange_code"], 51001);
        assert!(!failure.is_retryable);
        assert_eq!(body_failure(Market::Spot, b"<html>"), None);
    }

    #[test]
    fn a_failed_row_says_more_than_the_whole() {
        let body = r#"{"code":"1","data":[{"clOrdId":"","ordId":"","sCode":"0","sMsg":""},
            {"sCode":"51008","sMsg":"Order failed. Insufficient USDT margin in account "}],"msg":""}"#;
        let failure = body_failure(Market::Perp, body.as_bytes()).unwrap();
        assert_eq!(failure.error.code, C::InsufficientBalance);
        assert_eq!(failure.error.details["exchange_code"], 51008);
    }

    #[test]
    fn limits_wait_a_window() {
        let body = r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#;
        for status in [200, 429] {
            let failure = rest_failure(Market::Spot, status, None, body.as_bytes());
            assert_eq!(failure.retry_after_secs, Some(WINDOW_SECS), "{status}");
            assert!(failure.is_retryable);
            assert_eq!(failure.error.code, C::RateLimitExceeded);
        }
        let told = rest_failure(Market::Spot, 429, Some("7"), b"");
        assert_eq!(told.retry_after_secs, Some(7));
    }

    #[test]
    fn codes_and_statuses() {
        for (status, body, expected) in [
            (
                200,
                r#"{"code":"50001","msg":"upgrading"}"#,
                (C::ExchangeMaintenance, true),
            ),
            (
                400,
                r#"{"msg":"Timestamp request expired","code":"50102"}"#,
                (C::Unauthorized, true),
            ),
            (
                401,
                r#"{"code":"50113","msg":"Invalid Sign"}"#,
                (C::Unauthorized, false),
            ),
            (
                200,
                r#"{"code":"51121","msg":"lot"}"#,
                (C::PrecisionError, false),
            ),
            (503, "<html>", (C::ProviderUnavailable, true)),
            (403, "<html>", (C::ProviderUnavailable, true)),
            (404, "", (C::NotFound, false)),
            (
                200,
                r#"{"code":"99999","msg":"new"}"#,
                (C::OrderRejected, false),
            ),
        ] {
            assert_eq!(of(status, body), expected, "{status} {body}");
        }
    }
}
