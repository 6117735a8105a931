//! How far the history is that is fetched at the start: a line on a terminal that is drawn anew,
//! log lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use bookwire_actors::gateway::Gateway;
use bookwire_actors::history::backfill::BackfillSummary;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Characters of the bar.
const WIDTH: usize = 24;

/// Shows the backfill until it is over; ends with being dropped too.
pub async fn show(gateway: Gateway, is_quiet: bool) {
    let is_terminal = !is_quiet && std::io::stderr().is_terminal();
    let mut tenths = None;
    loop {
        tokio::time::sleep(LOOK).await;
        if gateway.is_stopping() {
            break;
        }
        let sum = gateway.backfill().summary();
        if sum.series == 0 {
            if sum.is_planned {
                return;
            }
            continue;
        }
        let is_over = sum.over == sum.series && sum.is_planned;
        if is_terminal {
            // Log lines may come between: the line is cleared and drawn anew below them.
            draw(&format!("\r\x1b[2K{}", line(&sum)));
        } else {
            log(&sum, &mut tenths, is_over);
        }
        if is_over {
            break;
        }
    }
    if is_terminal {
        draw("\n");
    }
}

fn draw(text: &str) {
    let mut out = std::io::stderr().lock();
    // Nobody looks any more when it is closed.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line at the beginning, at each tenth, and at the end.
fn log(sum: &BackfillSummary, tenths: &mut Option<u64>, is_over: bool) {
    let percent = percent(sum);
    let new = match is_over {
        true => 11,
        false => percent / 10,
    };
    if tenths.is_some_and(|old| old >= new) {
        return;
    }
    *tenths = Some(new);
    let BackfillSummary {
        series,
        over,
        failed,
        retrying,
        rows,
        ..
    } = *sum;
    let what = match is_over {
        true => "backfill is over",
        false => "backfill",
    };
    tracing::info!(percent, series, over, failed, retrying, rows, "{what}");
}

/// Whole percent, 100 only when all is done.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 100"
)]
fn percent(sum: &BackfillSummary) -> u64 {
    (sum.done.clamp(0.0, 1.0) * 100.0) as u64
}

/// `backfill [######..................]  25 %  3 of 12 series, 10080 rows, 2 min left`.
pub fn line(sum: &BackfillSummary) -> String {
    let percent = percent(sum);
    let full = (WIDTH * usize::try_from(percent).unwrap_or(0)) / 100;
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(WIDTH - full));
    let left = match sum.eta {
        _ if sum.over == sum.series && sum.is_planned => String::new(),
        Some(eta) if eta.as_secs() >= 120 => format!(", {} min left", eta.as_secs() / 60),
        Some(eta) => format!(", {} s left", eta.as_secs()),
        None => String::new(),
    };
    let trouble = match (sum.retrying, sum.failed) {
        (0, 0) => String::new(),
        (retrying, 0) => format!(", {retrying} retrying"),
        (0, failed) => format!(", {failed} failed"),
        (retrying, failed) => format!(", {retrying} retrying, {failed} failed"),
    };
    format!(
        "backfill [{bar}] {percent:>3} %  {} of {} series, {} rows{trouble}{left}",
        sum.over, sum.series, sum.rows
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_all_of_it() {
        let mut sum = BackfillSummary {
            series: 12,
            over: 3,
            failed: 0,
            retrying: 1,
            done: 0.256,
            rows: 10_080,
            eta: Some(Duration::from_secs(130)),
            is_planned: true,
        };
        assert_eq!(
            line(&sum),
            "backfill [######..................]  25 %  3 of 12 series, 10080 rows, 1 retrying, \
             2 min left"
        );
        (sum.done, sum.over, sum.retrying) = (1.0, 12, 0);
        assert_eq!(
            line(&sum),
            "backfill [########################] 100 %  12 of 12 series, 10080 rows"
        );
    }
}
