//! Pages of bars from a host that sends what should not be believed.

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::keeper::Keeper;
use crate::options::{GatewayOptions, ProviderOptions};
use crate::status::ProviderMeter;
use crate::testkit::{row, table};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const MINUTE_MS: i64 = 60_000;
const MINUTE: i64 = MINUTE_MS * 1_000_000;
/// The first minute of the history.
const FIRST: i64 = 28_000_000;
const BARS: i64 = 3_000;
/// From here on the price is four times what it was.
const STEP: i64 = FIRST + 2_000;
const IMPOSSIBLE: i64 = FIRST + 500;
const SPIKE: i64 = FIRST + 1_200;

/// Open, high, low and close of a minute that the host tells otherwise than the rest.
type Odd = Arc<Mutex<BTreeMap<i64, [f64; 4]>>>;

/// A host that has bars of Binance spot.
async fn host(odd: Odd) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let number = |name: &str| -> i64 {
                let at = head.split(&format!("{name}=")).nth(1).unwrap();
                let digits = at.split(|c: char| !c.is_ascii_digit()).next();
                digits.unwrap().parse().unwrap()
            };
            let first = (number("startTime") + MINUTE_MS - 1).div_euclid(MINUTE_MS);
            let last = number("endTime").div_euclid(MINUTE_MS);
            let first = first.max(FIRST);
            let last = last.min(FIRST + BARS - 1).min(first + number("limit") - 1);
            let rows: Vec<String> = (first..=last).map(|m| bar(m, &odd)).collect();
            let body = format!("[{}]", rows.join(","));
            let answer = format!(
                "HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

fn bar(minute: i64, odd: &Odd) -> String {
    let base = if minute < STEP { 100.0 } else { 400.0 };
    let prices = [base, base + 2.0, base - 2.0, base + 1.0];
    let [open, high, low, close] = odd.lock().get(&minute).copied().unwrap_or(prices);
    let (start, end) = (minute * MINUTE_MS, (minute + 1) * MINUTE_MS - 1);
    format!(
        r#"[{start},"{open:.2}","{high:.2}","{low:.2}","{close:.2}","0.000",{end},"0.00000",1,"0","0","0"]"#
    )
}

fn span(first: i64, after: i64) -> Span {
    Span {
        start: TsNanos(first * MINUTE),
        end: TsNanos(after * MINUTE),
    }
}

/// Bars that are stored and spans that are promised, in minutes.
async fn fetch(pages: &mut Pages<'_>, span: Span) -> (Vec<i64>, Vec<(i64, i64)>) {
    let (mut bars, mut covered) = (Vec::new(), Vec::<(i64, i64)>::new());
    let mut left = span;
    while !left.is_empty() {
        let page = pages.fetch(left).await.unwrap();
        left.start = page.reached;
        bars.extend(page.rows.iter().map(|row| match row {
            Row::Kline(row) => row.ts.0 / MINUTE,
            other => panic!("{other:?}"),
        }));
        for span in page.covered {
            let (start, end) = (span.start.0 / MINUTE, span.end.0 / MINUTE);
            match covered.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => covered.push((start, end)),
            }
        }
    }
    (bars, covered)
}

#[tokio::test]
async fn what_should_not_be_believed_goes_into_quarantine() {
    let odd = Odd::default();
    odd.lock().insert(IMPOSSIBLE, [100.0, 99.0, 98.0, 98.5]);
    odd.lock().insert(SPIKE, [100.0, 900.0, 99.0, 101.0]);
    let provider = ProviderId::BINANCE;
    let mut options = ProviderOptions::new(provider);
    let url = host(odd.clone()).await;
    options.hosts.insert("api.binance.com".to_owned(), url);
    let options = GatewayOptions {
        providers: vec![options],
        ..GatewayOptions::default()
    };
    let now = TsNanos((FIRST + BARS) * MINUTE);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(now));
    let meters = [Arc::new(ProviderMeter::new(provider))];
    let handle = tokio::runtime::Handle::current();
    let rest = RestClient::new(&options, &meters, handle, clock).unwrap();
    let instrument = row(&table(Market::Spot), 0);
    let quarantine = Quarantine::open(Keeper::none(), true);
    let mut pages = Pages {
        rest: &rest,
        instrument: &instrument,
        series: Series::Klines(Level::M1),
        priority: Priority::Background,
        quarantine: &quarantine,
        now,
        hint: None,
    };
    let end = FIRST + BARS;
    let (bars, covered) = fetch(&mut pages, span(FIRST, end)).await;
    let expected: Vec<i64> = (FIRST..end)
        .filter(|minute| ![IMPOSSIBLE, SPIKE].contains(minute))
        .collect();
    assert_eq!(bars, expected);
    let promised = [
        (FIRST, IMPOSSIBLE),
        (IMPOSSIBLE + 1, SPIKE),
        (SPIKE + 1, end),
    ];
    assert_eq!(covered, promised);
    let (kept, _) = quarantine.list(|_| true, 0, 10);
    let kept: Vec<(i64, Fault)> = kept
        .iter()
        .map(|one| (one.row.ts.0 / MINUTE, one.fault))
        .collect();
    let both = [(SPIKE, Fault::Outlier), (IMPOSSIBLE, Fault::ImpossibleOhlc)];
    assert_eq!(kept, both);
    // A page that begins with the step has nothing to judge it by but what it asked for besides.
    for first in [STEP - 1, STEP, STEP + 1, SPIKE - 1, SPIKE] {
        let wanted = span(first, first + 1);
        let (bars, _) = fetch(&mut pages, wanted).await;
        assert_eq!(bars.is_empty(), first == SPIKE, "{}", first - FIRST);
    }
    // The exchange has corrected one of them.
    odd.lock().remove(&IMPOSSIBLE);
    for minute in [IMPOSSIBLE, SPIKE] {
        let (bars, _) = fetch(&mut pages, span(minute, minute + 1)).await;
        assert_eq!(bars.len(), usize::from(minute == IMPOSSIBLE));
    }
    assert_eq!(quarantine.len(), 1);
    // Switched off, everything is taken as it comes.
    let off = Quarantine::open(Keeper::none(), false);
    pages.quarantine = &off;
    let (bars, covered) = fetch(&mut pages, span(FIRST, end)).await;
    assert_eq!(bars.len(), usize::try_from(BARS).unwrap());
    assert_eq!((covered, off.len()), (vec![(FIRST, end)], 0));
}
