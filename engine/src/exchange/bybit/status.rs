//! Bybit's list of maintenance.
//!
//! Source: `docs/v5/system-status.mdx` of the exchange's documentation repository (2026-07-24).

use serde::Deserialize;

use crate::exchange::{DecodeError, MaintenanceWindow};
use crate::instrument::Market;
use crate::time::TsNanos;

use super::answer;

#[derive(Deserialize)]
struct List {
    list: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    title: String,
    state: String,
    #[serde(default)]
    begin: String,
    #[serde(default)]
    end: String,
    /// 1 futures, 2 spot, 3 options, 4 spreads.
    #[serde(default)]
    product: Vec<u32>,
}

/// What is going on or to come.
pub(super) fn parse(market: Market, body: &[u8]) -> Result<Vec<MaintenanceWindow>, DecodeError> {
    let own = match market {
        Market::Spot => 2,
        Market::Perp => 1,
    };
    let answer: List = answer::result(body, "list")?;
    let rows = answer.list.into_iter().filter(|row| {
        let is_over = matches!(row.state.as_str(), "completed" | "canceled");
        !is_over && (row.product.is_empty() || row.product.contains(&own))
    });
    rows.map(|row| {
        Ok(MaintenanceWindow {
            begin: time(&row.begin, "begin")?,
            end: time(&row.end, "end")?,
            text: row.title,
        })
    })
    .collect()
}

fn time(text: &str, field: &'static str) -> Result<Option<TsNanos>, DecodeError> {
    match text {
        "" | "0" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(ms) if ms > 0 && ms < i64::MAX / 1_000_000 => Ok(Some(TsNanos::from_ms(ms))),
            _ => Err(DecodeError::Field { field }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_or_of_others_is_left_out() {
        let row = |title: &str, state: &str, product: &str, end: &str| {
            format!(
                r#"{{"id":"4d95b2a0","title":"{title}","state":"{state}","begin":"1751596902000",
                "end":"{end}","href":"","serviceTypes":[2,3,4,5],"product":{product},
                "uidSuffix":[],"maintainType":1,"env":1}}"#
            )
        };
        let rows = [
            row("both", "ongoing", "[1,2]", "1751597011000"),
            row("futures", "scheduled", "[1]", ""),
            row("over", "completed", "[1,2]", "1751597011000"),
            row("options", "ongoing", "[3]", ""),
        ];
        let body = format!(
            r#"{{"retCode":0,"retMsg":"","result":{{"list":[{}]}},"retExtInfo":{{}},"time":1}}"#,
            rows.join(",")
        );
        let texts = |market| -> Vec<String> {
            let windows = parse(market, body.as_bytes()).unwrap();
            windows.into_iter().map(|window| window.text).collect()
        };
        assert_eq!(texts(Market::Spot), ["both"]);
        assert_eq!(texts(Market::Perp), ["both", "futures"]);
        let windows = parse(Market::Perp, body.as_bytes()).unwrap();
        assert_eq!(windows[0].begin, Some(TsNanos::from_ms(1_751_596_902_000)));
        assert_eq!(windows[0].end, Some(TsNanos::from_ms(1_751_597_011_000)));
        assert_eq!(windows[1].end, None);
        let wrong = br#"{"retCode":0,"result":{"list":[{"state":"ongoing","end":"never"}]}}"#;
        assert_eq!(
            parse(Market::Spot, wrong),
            Err(DecodeError::Field { field: "end" })
        );
    }
}
