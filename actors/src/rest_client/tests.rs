//! The client against a host that counts what reaches it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::exchange::{ProviderId, RestRequest};
use bookwire_engine::instrument::Market;
use bookwire_engine::time::TsNanos;

use super::budget::Priority;
use super::{RestClient, RestError};
use crate::clock::{Clock, ManualClock};
use crate::status::ProviderMeter;
use crate::testkit::{Host, gateway_at};

struct Bench {
    clock: ManualClock,
    client: RestClient,
    host: Host,
}

impl Bench {
    /// A client of one provider, all of whose hosts are this one.
    async fn start(provider: ProviderId) -> Self {
        let host = Host::default();
        let url = host.start().await;
        let gateway = gateway_at(provider, &url);
        let clock = ManualClock::new(TsNanos::from_ms(1_700_000_040_000));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let meters = [Arc::new(ProviderMeter::new(provider))];
        let handle = tokio::runtime::Handle::current();
        let client = RestClient::new(&gateway, &meters, handle, shared).unwrap();
        Self {
            clock,
            client,
            host,
        }
    }

    async fn ask(&self, market: Market, budget: usize, weight: u32) -> Result<(), RestError> {
        self.ask_as(market, budget, weight, Priority::Live).await
    }

    async fn ask_as(
        &self,
        market: Market,
        budget: usize,
        weight: u32,
        priority: Priority,
    ) -> Result<(), RestError> {
        let provider = self.client.0.hosts.keys().next().unwrap().0;
        let request = RestRequest {
            path: format!("/{market}/{budget}"),
            budget,
            weight,
        };
        let asked = self.client.get(provider, market, request, priority, 1);
        asked.await.map(drop)
    }

    /// True when a request goes out without a wait.
    async fn is_free(&self, market: Market, budget: usize, weight: u32) -> bool {
        let before = self.host.count();
        let asked = self.ask(market, budget, weight);
        let limit = tokio::time::sleep(Duration::from_millis(250));
        tokio::select! {
            result = asked => result.is_ok(),
            () = limit => self.host.count() > before,
        }
    }

    fn used(&self, market: Market) -> BTreeMap<&'static str, u32> {
        let provider = self.client.0.hosts.keys().next().unwrap().0;
        let rows = self.client.weight(provider);
        let rows = rows.iter().filter(|row| row.market == market);
        rows.map(|row| (row.budget, row.used)).collect()
    }
}

#[tokio::test]
async fn a_refusal_by_status_stops_the_whole_host_for_as_long_as_it_says() {
    for (status, headers, secs) in [
        (429, "retry-after: 7\r\n", 7),
        // None is told: the exchange's window.
        (429, "", 2),
        (429, "retry-after: Tue, 14 Nov 2023 22:14:12 GMT\r\n", 12),
    ] {
        let bench = Bench::start(ProviderId::OKX).await;
        let body = r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#;
        bench.host.next_answers(&[(status, headers, body)]);
        let error = bench.ask(Market::Spot, 2, 1).await.unwrap_err();
        assert!(matches!(error, RestError::Refused(_)), "{error}");
        // Another endpoint, another market, and cancels too.
        assert!(!bench.is_free(Market::Spot, 3, 1).await, "{headers}");
        assert!(!bench.is_free(Market::Perp, 4, 1).await, "{headers}");
        let cancel = bench.ask_as(Market::Perp, 5, 1, Priority::Cancel);
        let waited = tokio::time::timeout(Duration::from_millis(100), cancel).await;
        assert!(waited.is_err(), "{headers}");
        bench.clock.advance(Duration::from_secs(secs - 1));
        assert!(!bench.is_free(Market::Spot, 5, 1).await, "{headers}");
        bench.clock.advance(Duration::from_millis(1_001));
        assert!(bench.is_free(Market::Spot, 6, 1).await, "{headers}");
    }
}

#[tokio::test]
async fn a_refusal_inside_an_answer_stops_what_was_asked_for() {
    let bench = Bench::start(ProviderId::OKX).await;
    let body = r#"{"code":"50011","msg":"Too Many Requests","data":[]}"#;
    bench.host.next_answers(&[(200, "", body)]);
    bench.ask(Market::Spot, 2, 1).await.unwrap_err();
    assert!(
        !bench.is_free(Market::Perp, 2, 1).await,
        "shared by the markets"
    );
    assert!(bench.is_free(Market::Spot, 3, 1).await, "another endpoint");
    bench.clock.advance(Duration::from_millis(2_001));
    assert!(bench.is_free(Market::Spot, 2, 1).await);
}

#[tokio::test]
async fn a_ban_is_answered_and_not_waited_for() {
    let bench = Bench::start(ProviderId::BINANCE).await;
    let body = r#"{"code":-1003,"msg":"Way too much request weight used; IP banned"}"#;
    bench
        .host
        .next_answers(&[(418, "retry-after: 180\r\n", body)]);
    bench.ask(Market::Spot, 0, 1).await.unwrap_err();
    let asked = bench.host.count();
    match bench.ask(Market::Spot, 0, 1).await {
        Err(RestError::Budget { wait, .. }) => assert_eq!(wait, Duration::from_secs(180)),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.host.count(), asked, "nothing was sent");
    // Another host of the exchange has limits of its own, wherever it lives.
    assert!(bench.is_free(Market::Perp, 0, 1).await);
    bench.clock.advance(Duration::from_secs(180));
    assert!(bench.is_free(Market::Spot, 0, 1).await);
}

#[tokio::test]
async fn bybit_bans_by_403_and_tells_when_a_keys_limit_ends() {
    let bench = Bench::start(ProviderId::BYBIT).await;
    bench.host.next_answers(&[(403, "", "access too frequent")]);
    bench.ask(Market::Spot, 0, 1).await.unwrap_err();
    match bench.ask(Market::Perp, 0, 1).await {
        Err(RestError::Budget { wait, .. }) => assert!(wait >= Duration::from_secs(590)),
        other => panic!("{other:?}"),
    }
    let bench = Bench::start(ProviderId::BYBIT).await;
    let body = r#"{"retCode":10006,"retMsg":"Too many visits!","result":{}}"#;
    let headers = "x-bapi-limit: 50\r\nx-bapi-limit-status: 0\r\n\
                   x-bapi-limit-reset-timestamp: 1700000043000\r\n";
    bench.host.next_answers(&[(200, headers, body)]);
    bench.ask(Market::Spot, 0, 1).await.unwrap_err();
    bench.clock.advance(Duration::from_millis(2_900));
    assert!(!bench.is_free(Market::Spot, 0, 1).await);
    bench.clock.advance(Duration::from_millis(101));
    assert!(bench.is_free(Market::Spot, 0, 1).await);
}

#[tokio::test]
async fn the_exchanges_headers_are_believed() {
    let bench = Bench::start(ProviderId::BINANCE).await;
    let spent = (200, "x-mbx-used-weight-1m: 4700\r\n", "{}");
    bench.host.next_answers(&[spent]);
    bench.ask(Market::Spot, 0, 20).await.unwrap();
    assert_eq!(bench.used(Market::Spot)["weight"], 4700);
    assert_eq!(bench.used(Market::Perp)["weight"], 0);
    // 6000, less a tenth that is never used and a tenth of the rest for cancels.
    assert!(!bench.is_free(Market::Spot, 0, 200).await);
    let cancel = bench.ask_as(Market::Spot, 0, 200, Priority::Cancel);
    cancel.await.unwrap();

    let bench = Bench::start(ProviderId::COINBASE).await;
    bench
        .host
        .next_answers(&[(200, "x-ratelimit-remaining: 1\r\n", "{}")]);
    bench.ask(Market::Spot, 0, 1).await.unwrap();
    assert_eq!(bench.used(Market::Spot)["public"], 9);
    assert!(!bench.is_free(Market::Spot, 0, 1).await);
    bench.clock.advance(Duration::from_millis(1_100));
    assert!(bench.is_free(Market::Spot, 0, 1).await);
}

#[tokio::test]
async fn markets_of_a_host_share_its_budget() {
    let bench = Bench::start(ProviderId::BYBIT).await;
    bench.ask(Market::Spot, 0, 400).await.unwrap();
    bench.ask(Market::Perp, 0, 80).await.unwrap();
    assert_eq!(bench.used(Market::Spot)["ip"], 480);
    assert!(!bench.is_free(Market::Spot, 0, 20).await);
}

/// What is waited for before the question goes out is no part of the round trip: half of it would be taken for
/// a difference of the clocks, and what is signed by that is refused.
#[tokio::test]
async fn a_wait_for_the_limit_does_not_move_the_clock() {
    let bench = Bench::start(ProviderId::BINANCE).await;
    let body = r#"{"code":-1003,"msg":"Too many requests"}"#;
    let time = r#"{"serverTime":1700000047000}"#;
    bench
        .host
        .next_answers(&[(200, "", time), (429, "retry-after: 7\r\n", body)]);
    bench.ask(Market::Spot, 0, 1).await.unwrap_err();
    let client = bench.client.clone();
    let asked = tokio::spawn(async move {
        let priority = Priority::Cancel;
        client
            .clock_offset(ProviderId::BINANCE, Market::Spot, priority)
            .await
    });
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while bench.clock.sleepers() == 0 {
        assert!(std::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.clock.advance(Duration::from_secs(7));
    // 7 s later it is 7 s later there too.
    assert_eq!(asked.await.unwrap().unwrap(), 0);
}
