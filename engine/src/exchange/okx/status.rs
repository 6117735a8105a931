//! OKX's list of maintenance.
//!
//! Source: `GET /api/v5/system/status` of the v5 documentation; empty when there is none.

use serde::Deserialize;

use crate::exchange::{DecodeError, MaintenanceWindow};
use crate::instrument::Market;

use super::json::{Text, millis, read};

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Vec<Row<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    #[serde(borrow, default)]
    begin: Text<'a>,
    #[serde(borrow, default)]
    end: Text<'a>,
    #[serde(borrow, default)]
    service_type: Text<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow, default)]
    title: Text<'a>,
}

/// True when maintenance of this service concerns the market: 0 WebSocket, 1 spot and margin,
/// 3 perpetuals, 5 trading as a whole.
pub(super) fn concerns(market: Market, service: &str) -> bool {
    let own = match market {
        Market::Spot => "1",
        Market::Perp => "3",
    };
    service == own || matches!(service, "" | "0" | "5")
}

/// What is going on or to come.
pub(super) fn parse(market: Market, body: &[u8]) -> Result<Vec<MaintenanceWindow>, DecodeError> {
    let answer: Answer<'_> = read(body, "data")?;
    let rows = answer.data.iter().filter(|row| {
        let is_over = matches!(&*row.state.0, "completed" | "canceled");
        !is_over && concerns(market, &row.service_type.0)
    });
    rows.map(|row| {
        let time = |text: &Text<'_>, field| text.filled().map(|t| millis(t, field)).transpose();
        Ok(MaintenanceWindow {
            begin: time(&row.begin, "begin")?,
            end: time(&row.end, "end")?,
            text: row.title.0.clone().into_owned(),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::TsNanos;

    #[test]
    fn what_is_over_or_of_others_is_left_out() {
        let row = |service: &str, state: &str, end: &str| {
            format!(
                r#"{{"begin":"1621328400000","end":"{end}","href":"","serviceType":"{service}",
                "state":"{state}","system":"classic","title":"t {service} {state}"}}"#
            )
        };
        let rows = [
            row("1", "ongoing", "1621329000000"),
            row("3", "scheduled", ""),
            row("5", "completed", "1621329000000"),
            row("4", "ongoing", ""),
            row("0", "pre_open", "1621329000000"),
        ];
        let body = format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, rows.join(","));
        let spot = parse(Market::Spot, body.as_bytes()).unwrap();
        let texts = |windows: &[MaintenanceWindow]| -> Vec<String> {
            windows.iter().map(|window| window.text.clone()).collect()
        };
        assert_eq!(texts(&spot), ["t 1 ongoing", "t 0 pre_open"]);
        assert_eq!(spot[0].begin, Some(TsNanos::from_ms(1_621_328_400_000)));
        assert_eq!(spot[0].end, Some(TsNanos::from_ms(1_621_329_000_000)));
        let perp = parse(Market::Perp, body.as_bytes()).unwrap();
        assert_eq!(texts(&perp), ["t 3 scheduled", "t 0 pre_open"]);
        assert_eq!(perp[0].end, None, "OKX writes none as an empty text");
        assert_eq!(
            parse(Market::Spot, br#"{"code":"0","data":[]}"#),
            Ok(Vec::new())
        );
        let wrong = r#"{"data":[{"state":"ongoing","begin":"soon"}]}"#;
        assert_eq!(
            parse(Market::Spot, wrong.as_bytes()),
            Err(DecodeError::Field { field: "begin" })
        );
    }
}
