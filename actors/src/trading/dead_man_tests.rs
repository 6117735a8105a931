//! The exchange's own timer, against a host that refuses it; and connections that are kept open.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bookwire_engine::config::Transport;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentId, InstrumentTable};
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::keys::{KeyKind, Keys};
use bookwire_engine::trading::venue::Touch;
use futures_util::future::LocalBoxFuture;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::connection::backoff::ConnectBudgets;
use crate::rest_client::RestClient;
use crate::shard::paper::PaperCommand;
use crate::status::ProviderMeter;
use crate::testkit::{Answer, Host, gateway_at};
use crate::trading::market::MarketView;
use crate::trading::options::{AccountOptions, TradingOptions};
use crate::trading::{Trading, TradingContext};

const TIMER: &str = "/api/v5/trade/cancel-all-after";
const SET: Answer = (
    200,
    "",
    r#"{"code":"0","data":[{"triggerTime":"1700000070000","ts":"1700000040000"}],"msg":""}"#,
);

/// No instrument, no book.
struct Nothing;

impl MarketView for Nothing {
    fn table(&self) -> Arc<InstrumentTable> {
        Arc::default()
    }

    fn touch(&self, _: InstrumentId, _: Duration) -> LocalBoxFuture<'static, Touch> {
        Box::pin(std::future::ready(Touch::default()))
    }

    fn paper(&self, _: PaperCommand) -> LocalBoxFuture<'static, Result<(), CryptoError>> {
        let error = CryptoError::new(CryptoCode::Unsupported, "nothing here is on paper");
        Box::pin(std::future::ready(Err(error)))
    }

    fn next_funding(&self, _: InstrumentId) -> Option<TsNanos> {
        None
    }
}

struct Bench {
    clock: ManualClock,
    host: Host,
    trading: Trading,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// An account at OKX, whose timer is set for 30 s, and an exchange that answers this to it.
    async fn start(answer: Answer) -> Self {
        Self::start_by(answer, Trading::start).await
    }

    async fn start_by(
        answer: Answer,
        start: fn(TradingOptions, TradingContext) -> Result<Trading, super::super::TradingError>,
    ) -> Self {
        let provider = ProviderId::OKX;
        let host = Host::default();
        host.answer_always(TIMER, answer);
        let url = host.start().await;
        let gateway = gateway_at(provider, &url);
        let clock = ManualClock::new(TsNanos::from_ms(1_700_000_040_000));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let meters = [Arc::new(ProviderMeter::new(provider))];
        let handle = tokio::runtime::Handle::current();
        let rest = RestClient::new(&gateway, &meters, handle, shared.clone()).unwrap();
        let venue = provider.exchange().trading().unwrap();
        let streams = venue.private_routes().iter();
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::new(KeyKind::Hmac, "key", "secret", Some("phrase")).unwrap();
        let account = AccountOptions {
            provider,
            markets: provider.exchange().markets().to_vec(),
            name: "default".to_owned(),
            exchange: None,
            keys: Some(Arc::new(keys)),
            key_revision: 1,
            key_source: None,
            // Nobody listens there: private streams are not what this is about.
            hosts: streams
                .map(|route| (route.host.to_owned(), "ws://127.0.0.1:9".to_owned()))
                .collect::<BTreeMap<_, _>>(),
            journal: folder.path().join("okx.journal"),
            journal_compact_bytes: 1 << 20,
            is_journal_synced: false,
            transport: Transport::Rest,
            patience: Duration::from_secs(5),
            window_ms: 5_000,
            reconcile: Duration::from_secs(3_600),
            allows_withdrawal_keys: false,
            funding_lock_secs: 0,
            dead_man_secs: 30,
            limits: super::super::limits::LimitOptions::default(),
            paper: super::super::paper::PaperOptions::default(),
        };
        let options = TradingOptions {
            accounts: vec![account],
        };
        let context = TradingContext {
            market: Arc::new(Nothing),
            clock: shared,
            rest,
            connects: ConnectBudgets::default(),
            meters: meters.to_vec(),
        };
        Self {
            clock,
            host,
            trading: start(options, context).unwrap(),
            _folder: folder,
        }
    }

    /// Waits until the timer was asked for so often, and a moment more: not more often.
    async fn is_asked(&self, times: usize) {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while self.host.count_of(TIMER) < times {
            let asked = self.host.asked();
            assert!(std::time::Instant::now() < end, "{times} of {asked:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(self.host.count_of(TIMER), times);
    }
}

/// An account that may not have it today may have it tomorrow: who gives up then is without a guard, and
/// who asks on and on uses up the exchange's limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_was_refused_is_asked_for_again_a_minute_later() {
    let body = r#"{"code":"50120","data":[],"msg":"This API key doesn't have permission to use this function"}"#;
    let bench = Bench::start((401, "", body)).await;
    bench.is_asked(1).await;
    bench.clock.advance(Duration::from_secs(59));
    bench.is_asked(1).await;
    bench.clock.advance(Duration::from_secs(1));
    bench.is_asked(2).await;
    // Given at last, it is set in time again and again.
    bench.host.answer_always(TIMER, SET);
    bench.clock.advance(Duration::from_secs(60));
    bench.is_asked(3).await;
    bench.clock.advance(Duration::from_secs(9));
    bench.is_asked(3).await;
    bench.clock.advance(Duration::from_secs(1));
    bench.is_asked(4).await;
    bench.trading.stop().await;
}

/// One that could not be set runs on: what is left of it is for trying again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_could_not_be_set_is_set_as_soon_as_it_may_be() {
    let body = r#"{"code":"50001","data":[],"msg":"Service temporarily unavailable"}"#;
    let bench = Bench::start((503, "", body)).await;
    bench.is_asked(1).await;
    bench.host.answer_always(TIMER, SET);
    bench.clock.advance(Duration::from_secs(1));
    bench.is_asked(1).await;
    bench.clock.advance(Duration::from_millis(250));
    bench.is_asked(2).await;
    bench.clock.advance(Duration::from_secs(10));
    bench.is_asked(3).await;
    bench.trading.stop().await;
}

/// A host closes what is idle, and so do we: the order after a quiet minute would wait for TCP and TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_used_now_and_then_so_that_it_stays_open() {
    let time = "/api/v5/public/time";
    let bench = Bench::start(SET).await;
    let end = std::time::Instant::now() + Duration::from_secs(10);
    // The clocks of both markets are measured first, by another client.
    while bench.host.count_of(time) < 3 {
        let asked = bench.host.asked();
        assert!(std::time::Instant::now() < end, "{asked:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = bench.host.count_of(time);
        bench.clock.advance(super::super::wire::WARM);
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while bench.host.count_of(time) == before {
            let asked = bench.host.asked();
            assert!(std::time::Instant::now() < end, "{asked:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    bench.trading.stop().await;
}

/// Asking a host that wants a pause ends in a ban: it is left alone for that too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_wants_a_pause_is_not_kept_warm() {
    let time = "/api/v5/public/time";
    let body = r#"{"code":"50011","data":[],"msg":"Too Many Requests"}"#;
    let bench = Bench::start(SET).await;
    let until = async |count: usize| {
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while bench.host.count_of(time) < count {
            let asked = bench.host.asked();
            assert!(std::time::Instant::now() < end, "{asked:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        bench.host.count_of(time)
    };
    let before = until(3).await;
    bench
        .host
        .answer_always(time, (429, "retry-after: 50\r\n", body));
    bench.clock.advance(super::super::wire::WARM);
    let refused = until(before + 1).await;
    for _ in 0..2 {
        bench.clock.advance(super::super::wire::WARM);
        assert_eq!(until(refused).await, refused);
    }
    bench.clock.advance(super::super::wire::WARM);
    until(refused + 1).await;
    bench.trading.stop().await;
}

/// Accounts without a thread of their own run where they are hosted, end with that thread, and can be stopped
/// after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_run_on_the_thread_that_hosts_them() {
    let bench = Bench::start_by(SET, Trading::prepare).await;
    let error = bench
        .trading
        .router(ProviderId::OKX, "default")
        .unwrap_err();
    assert_eq!(error.code, CryptoCode::ProviderUnavailable);
    assert_eq!(bench.trading.routers(None, None).count(), 0);
    let hosted = bench.trading.clone();
    let thread = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            hosted.host();
            // It has been hosted.
            hosted.host();
            assert_eq!(hosted.routers(None, None).count(), 1);
            let router = hosted.router(ProviderId::OKX, "default").unwrap();
            let asked = crate::trading::router::FindOrder::ClientId("none".to_owned());
            assert_eq!(router.send(asked).await.unwrap().unwrap(), None);
            assert!(hosted.is_answering().await);
            hosted.stop().await;
        });
    });
    tokio::task::spawn_blocking(|| thread.join().unwrap())
        .await
        .unwrap();
    assert!(!bench.trading.is_answering().await);
    let stopped = tokio::time::timeout(Duration::from_secs(5), bench.trading.stop());
    stopped.await.unwrap();

    // One that was never hosted has nothing to stop.
    let bench = Bench::start_by(SET, Trading::prepare).await;
    bench.trading.stop().await;
    bench.trading.host();
    assert_eq!(bench.trading.routers(None, None).count(), 0);
}
