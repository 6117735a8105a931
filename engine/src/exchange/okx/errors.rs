//! OKX's error answers: what each code means for the caller.
//!
//! Sources: error codes of the v5 documentation; exception table of ccxt 4.5.90. An answer with
//! status 200 can be an error: its `code`, or the `sCode` of its rows, tells.

use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::RestFailure;
use crate::instrument::Market;

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
            51008, 51119, 51127, 51131, 51502, 51736, 51764, 58350, 59200,
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
        &[50005, 50013, 50026, 51054, 51149],
        Passes(C::ProviderUnavailable),
    ),
    (&[50011, 50061, 51113, 60014], Passes(C::RateLimitExceeded)),
    (&[4004, 4005, 4006, 60015], Passes(C::WebsocketDisconnected)),
    (&[50102, 60006], ClockSkew),
    (
        &[
            50100, 50101, 50103, 50104, 50105, 50106, 50107, 50108, 50109, 50110, 50111, 50112,
            50113, 50115, 50119, 60001, 60003, 60004, 60005, 60007, 60008, 60009, 60010, 60011,
            60024, 60029, 60030, 60032,
        ],
        Fails(C::Unauthorized),
    ),
    (&[50114, 50120, 50027, 51024, 51155], Fails(C::Forbidden)),
    (
        &[51400, 51401, 51402, 51503, 51509, 51603],
        Fails(C::OrderNotFound),
    ),
    (&[51011, 51016], Fails(C::DuplicateOrder)),
    (
        &[51010, 51019, 51136, 51137, 51138, 51169, 51174],
        Fails(C::OrderRejected),
    ),
    // A path or a message that we should not have sent.
    (
        &[50000, 50002, 50014, 50015, 50016, 51000, 60012, 60013],
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
    let parsed = serde_json::from_slice::<Body<'_>>(body).ok();
    let (code, text) = match &parsed {
        Some(body) => {
            let (code, text) = body.verdict();
            (code.parse::<i64>().ok(), text.to_owned())
        }
        None => {
            let shown = body.get(..300).unwrap_or(body);
            (None, String::from_utf8_lossy(shown).into_owned())
        }
    };
    let (public, is_retryable, note) = match code.and_then(look_up) {
        // A status that slows down counts more than the code in its body.
        _ if status == 429 => (C::RateLimitExceeded, true, None),
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
        .with("exchange_message", text.as_str());
    if let Some(code) = code {
        error = error.with("exchange_code", code);
    }
    if let Some(note) = note {
        error = error.with(note, true);
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
