use super::backoff::ConnectBudgets;
use super::*;
use crate::clock::Clock;
use crate::clock::ManualClock;
use crate::incidents::Subject;
use crate::ring::{LaneMsg, LaneRx, WorkerWake, lane};
use crate::state::ShardState;
use crate::supervisor::Supervisor;
use crate::testkit::{table, trade};
use crate::topic::{Slot, StreamKind, Topic, WorkerId};
use crate::upstream::{ConnectionPlan, StreamKey};
use actix::Addr;
use bookwire_engine::exchange::{ConnectionLimits, Feed};
use bookwire_engine::instrument::{InstrumentId, Market};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::Numbers;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const BTC: InstrumentId = InstrumentId(0);

/// A connection under supervision, a worker's lane behind it, and an exchange in front of it.
struct Bench {
    clock: ManualClock,
    exchange: TcpListener,
    plan: SharedPlan,
    meter: Arc<ProviderMeter>,
    state: Rc<RefCell<ShardState>>,
    addr: Rc<RefCell<Option<Addr<ExchangeConnection>>>>,
    rx: LaneRx,
    _supervisor: Supervisor,
}

type Peer = WebSocketStream<TcpStream>;

impl Bench {
    async fn start(lifetime_secs: Option<u64>) -> Self {
        let binance = ProviderId::BINANCE.exchange().limits(Market::Spot);
        Self::start_within(ConnectionLimits {
            lifetime_secs,
            silence_secs: 60,
            ..binance
        })
        .await
    }

    async fn start_within(limits: ConnectionLimits) -> Self {
        let exchange = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", exchange.local_addr().unwrap());
        let clock = ManualClock::new(TsNanos::from_ms(1_700_000_000_000));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let counters = Arc::default();
        let mut state = ShardState::new(shared.clone(), Arc::clone(&counters), None);
        state.set_table(table(Market::Spot));
        let (tx, rx) = lane(1024, &WorkerWake::new(false));
        state.attach(WorkerId(0), tx);
        let topic = Topic {
            instrument: BTC,
            kind: StreamKind::Trades,
            numbers: Numbers::Number,
        };
        state.subscribe(WorkerId(0), Slot(0), topic).unwrap();
        let plan = Rc::new(RefCell::new(ConnectionPlan {
            provider: ProviderId::BINANCE,
            market: Market::Spot,
            route: 0,
            number: 0,
            streams: [(Arc::from("btcusdt@trade"), key())].into(),
            revision: 1,
            starts: 0,
            is_up: false,
            live: 0,
            opened: 0,
            trouble: None,
        }));
        let meter = Arc::new(ProviderMeter::new(ProviderId::BINANCE));
        meter.connection_wanted(true);
        let state = Rc::new(RefCell::new(state));
        let setup = ConnectionSetup {
            plan: plan.clone(),
            state: state.clone(),
            clock: shared.clone(),
            meter: meter.clone(),
            budgets: ConnectBudgets::default(),
            tls: crate::rest_client::tls_config(),
            address: Address::Url(url),
            host: "stream.binance.com:9443",
            shard: 0,
            route: "stream",
            limits,
            tap: None,
            probe: Rc::new(|| Box::pin(async {})),
        };
        let supervisor = Supervisor::start(shared, counters);
        let addr: Rc<RefCell<Option<Addr<ExchangeConnection>>>> = Rc::default();
        supervisor.supervise("connection".to_owned(), {
            let addr = addr.clone();
            move |life| {
                *addr.borrow_mut() = Some(ExchangeConnection::new(setup.clone(), life).start());
            }
        });
        Self {
            clock,
            exchange,
            plan,
            meter,
            state,
            addr,
            rx,
            _supervisor: supervisor,
        }
    }

    /// The exchange's side of the next connection.
    async fn accept(&self) -> Peer {
        let accepting = async {
            let (socket, _) = self.exchange.accept().await.unwrap();
            tokio_tungstenite::accept_async(socket).await.unwrap()
        };
        self.while_time_passes(accepting).await
    }

    /// Runs `work` while the clock goes on.
    async fn while_time_passes<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        for _ in 0..20_000 {
            // Real time only lets the sockets work; every time-out is on the manual clock.
            let turn = tokio::time::timeout(Duration::from_millis(1), &mut work);
            if let Ok(result) = turn.await {
                return result;
            }
            self.clock.advance(TICK * 4);
        }
        panic!("nothing happened for 8000 s");
    }

    /// Accepts a connection and acknowledges its first request.
    async fn accept_subscribed(&self) -> Peer {
        let mut peer = self.accept().await;
        let request = self.while_time_passes(request(&mut peer)).await;
        assert_eq!(request["method"], "SUBSCRIBE");
        assert_eq!(request["params"], json!(["btcusdt@trade"]));
        send(
            &mut peer,
            &json!({"result": null, "id": request["id"]}).to_string(),
        )
        .await;
        peer
    }

    async fn messages(&mut self, count: usize) -> Vec<LaneMsg> {
        let mut found = Vec::new();
        for _ in 0..10_000 {
            self.rx.drain(usize::MAX, |message| found.push(message));
            if found.len() >= count {
                return found;
            }
            tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>())
                .await
                .unwrap_err();
        }
        panic!("only {found:?}");
    }

    fn trades(messages: &[LaneMsg]) -> usize {
        let is_data = |message: &&LaneMsg| matches!(message, LaneMsg::Data(_));
        messages.iter().filter(is_data).count()
    }

    fn reasons(messages: &[LaneMsg]) -> Vec<String> {
        let reason = |message: &LaneMsg| match message {
            LaneMsg::Status(event) => Some(format!("{:?}: {}", event.state, event.reason)),
            _ => None,
        };
        messages.iter().filter_map(reason).collect()
    }
}

fn key() -> StreamKey {
    StreamKey {
        instrument: BTC,
        feed: Feed::Trades,
    }
}

async fn request(peer: &mut Peer) -> Value {
    loop {
        match peer.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn send(peer: &mut Peer, text: &str) {
    peer.send(Message::text(text)).await.unwrap();
}

#[actix::test]
async fn subscribes_delivers_and_answers_pings() {
    let mut bench = Bench::start(None).await;
    let mut peer = bench.accept_subscribed().await;
    send(&mut peer, &trade("BTCUSDT", 1)).await;
    let messages = bench.messages(2).await;
    assert_eq!(
        Bench::reasons(&messages),
        ["Connected: spot/public/0 connected"]
    );
    assert_eq!(Bench::trades(&messages), 1);
    peer.send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    let pong = bench.while_time_passes(peer.next()).await.unwrap().unwrap();
    assert_eq!(
        pong,
        Message::Pong("are you there".into()),
        "the same payload"
    );
    let status = bench.meter.status(bench.clock.monotonic());
    assert!(status.websocket_connected && status.last_data.is_some());
    bench.clock.advance(Duration::from_secs(2));
    bench
        .while_time_passes(async {
            while bench.plan.borrow().live != 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
}

#[actix::test]
async fn comes_back_after_a_loss_and_tells_it() {
    let mut bench = Bench::start(None).await;
    let mut peer = bench.accept_subscribed().await;
    send(&mut peer, &trade("BTCUSDT", 1)).await;
    bench.messages(2).await;
    let incidents = bench.meter.clone();
    let open = |clock: &ManualClock| incidents.incidents.view(Moment::of(clock)).open;
    assert!(open(&bench.clock).is_empty());
    drop(peer);
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if !open(&bench.clock).is_empty() {
            break;
        }
    }
    let down = open(&bench.clock);
    let name = "spot/public/0".to_owned();
    assert_eq!(down[0].subject, Subject::Connection(0, name));
    let mut peer = bench.accept_subscribed().await;
    assert!(open(&bench.clock).is_empty());
    send(&mut peer, &trade("BTCUSDT", 1)).await;
    send(&mut peer, &trade("BTCUSDT", 2)).await;
    let messages = bench.messages(3).await;
    let reasons = Bench::reasons(&messages);
    assert!(
        reasons[0].starts_with("Disconnected: spot/public/0: "),
        "{reasons:?}"
    );
    let back = &reasons[1];
    assert!(
        back.starts_with("Connected: spot/public/0 connected after ") && back.contains(" s: "),
        "{reasons:?}"
    );
    assert_eq!(
        Bench::trades(&messages),
        1,
        "the repeated trade is left out"
    );
    assert_eq!(bench.meter.status(Duration::ZERO).reconnects, 1);
}

/// A link that carried data shows that the exchange serves: however often such links are lost, it is
/// not left alone for the half minute that one gets which can't be reached.
#[actix::test]
async fn comes_back_soon_to_an_exchange_that_serves() {
    let mut bench = Bench::start(None).await;
    let mut peer = bench.accept_subscribed().await;
    for round in 1..=9 {
        send(&mut peer, &trade("BTCUSDT", round)).await;
        while Bench::trades(&bench.messages(1).await) == 0 {}
        let lost = bench.clock.monotonic();
        drop(peer);
        let socket = {
            let mut accepting = std::pin::pin!(bench.exchange.accept());
            loop {
                let turn = tokio::time::timeout(Duration::from_millis(1), &mut accepting);
                match turn.await {
                    Ok(accepted) => break accepted.unwrap().0,
                    Err(_) => bench.clock.advance(TICK),
                }
            }
        };
        let pause = bench.clock.monotonic() - lost;
        assert!(pause < Duration::from_secs(10), "loss {round}: {pause:?}");
        peer = tokio_tungstenite::accept_async(socket).await.unwrap();
        let request = bench.while_time_passes(request(&mut peer)).await;
        assert_eq!(request["method"], "SUBSCRIBE");
    }
}

#[actix::test]
async fn asks_again_when_nobody_answers() {
    let bench = Bench::start(None).await;
    let mut peer = bench.accept().await;
    let first = bench.while_time_passes(request(&mut peer)).await;
    let second = bench.while_time_passes(request(&mut peer)).await;
    assert_eq!(first["params"], second["params"]);
    assert_ne!(first["id"], second["id"]);
    let error = json!({"error": {"code": 2, "msg": "Invalid request"}, "id": second["id"]});
    send(&mut peer, &error.to_string()).await;
    let third = bench.while_time_passes(request(&mut peer)).await;
    assert_eq!(first["params"], third["params"]);
    assert_eq!(bench.state.borrow().counters().subscribe_failures.get(), 2);
}

impl Bench {
    /// Refuses the next connection, and says how long it was until there was another.
    async fn refused(&self, header: &str) -> Duration {
        let refusing = async {
            let (mut socket, _) = self.exchange.accept().await.unwrap();
            let answer = format!(
                "HTTP/1.1 429 Too Many Requests\r\n{header}content-length: 0\r\nconnection: close\r\n\r\n"
            );
            // The request comes first: an early end would look like a reset.
            let mut head = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut head).await;
            tokio::io::AsyncWriteExt::write_all(&mut socket, answer.as_bytes())
                .await
                .unwrap();
        };
        self.while_time_passes(refusing).await;
        let refused_at = self.clock.monotonic();
        self.accept_subscribed().await;
        self.clock.monotonic().saturating_sub(refused_at)
    }
}

#[actix::test]
async fn a_host_that_refuses_is_left_alone_as_long_as_it_says() {
    let bench = Bench::start(None).await;
    let waited = bench.refused("retry-after: 90\r\n").await;
    assert!(waited >= Duration::from_secs(85), "{waited:?}");
}

/// Another program at the same address may have used up OKX's three connections a second.
#[actix::test]
async fn too_many_attempts_are_forgotten_with_the_window_they_are_counted_in() {
    let binance = ProviderId::BINANCE.exchange().limits(Market::Spot);
    let waited = Bench::start_within(binance).await.refused("").await;
    assert!(waited >= Duration::from_secs(55), "{waited:?}");
    let okx = ProviderId::OKX.exchange().limits(Market::Spot);
    let waited = Bench::start_within(okx).await.refused("").await;
    let (least, most) = (Duration::from_millis(950), Duration::from_secs(10));
    assert!((least..most).contains(&waited), "{waited:?}");
}

#[actix::test]
async fn a_half_open_socket_is_noticed() {
    let bench = Bench::start(None).await;
    let _mute = bench.accept_subscribed().await;
    // It says nothing more, not even pongs: nobody polls it.
    let _next = bench.accept_subscribed().await;
    assert_eq!(bench.meter.status(Duration::ZERO).reconnects, 1);
}

#[actix::test]
async fn changes_over_before_the_exchange_cuts() {
    let mut bench = Bench::start(Some(600)).await;
    let mut old = bench.accept_subscribed().await;
    send(&mut old, &trade("BTCUSDT", 1)).await;
    bench.messages(2).await;
    // The exchange pings as it does, so that nothing looks dead meanwhile.
    let pinging = async {
        let mut old = old;
        loop {
            old.send(Message::Ping("".into())).await.unwrap();
            old.next().await.unwrap().unwrap();
        }
    };
    let mut new = {
        let accepting = std::pin::pin!(bench.accept_subscribed());
        let pinging = std::pin::pin!(pinging);
        match select(accepting, pinging).await {
            Either::Left((new, _)) => new,
            Either::Right(_) => unreachable!("pings for ever"),
        }
    };
    let passed = bench.clock.monotonic();
    assert!(passed >= Duration::from_secs(540) && passed < Duration::from_secs(600));
    send(&mut new, &trade("BTCUSDT", 1)).await;
    send(&mut new, &trade("BTCUSDT", 2)).await;
    let messages = bench.messages(1).await;
    assert_eq!(Bench::trades(&messages), 1);
    assert!(Bench::reasons(&messages).is_empty(), "nobody has noticed");
    assert_eq!(bench.meter.status(Duration::ZERO).reconnects, 0);
}

#[actix::test]
async fn an_announced_shutdown_changes_over_at_once() {
    let mut bench = Bench::start(None).await;
    let mut old = bench.accept_subscribed().await;
    send(&mut old, &trade("BTCUSDT", 1)).await;
    bench.messages(2).await;
    send(&mut old, r#"{"e":"serverShutdown","E":1770123456789}"#).await;
    let mut new = bench.accept_subscribed().await;
    send(&mut new, &trade("BTCUSDT", 2)).await;
    assert_eq!(Bench::trades(&bench.messages(1).await), 1);
    // The old link is given up as soon as the new one delivers.
    let end = bench.while_time_passes(old.next()).await;
    assert!(end.is_none_or(|end| end.is_err()));
    assert_eq!(bench.meter.status(Duration::ZERO).reconnects, 0);
}

#[actix::test]
async fn a_malformed_frame_is_counted_and_the_connection_lives() {
    let mut bench = Bench::start(None).await;
    let mut peer = bench.accept_subscribed().await;
    send(&mut peer, r#"{"e":"trade","s":"BTC"#).await;
    send(&mut peer, &trade("BTCUSDT", 1)).await;
    assert_eq!(Bench::trades(&bench.messages(2).await), 1);
    assert_eq!(bench.state.borrow().counters().malformed.get(), 1);
}

#[actix::test]
async fn follows_its_plan_and_an_operator() {
    let bench = Bench::start(None).await;
    let mut peer = bench.accept_subscribed().await;
    {
        let mut plan = bench.plan.borrow_mut();
        plan.streams.insert(
            Arc::from("ethusdt@trade"),
            StreamKey {
                instrument: InstrumentId(1),
                feed: Feed::Trades,
            },
        );
        plan.revision += 1;
    }
    let addr = bench.addr.borrow().clone().unwrap();
    addr.send(Nudge).await.unwrap();
    let more = bench.while_time_passes(request(&mut peer)).await;
    assert_eq!(more["params"], json!(["ethusdt@trade"]));
    bench
        .plan
        .borrow_mut()
        .streams
        .retain(|name, _| &**name == "btcusdt@trade");
    bench.plan.borrow_mut().revision += 1;
    let less = bench.while_time_passes(request(&mut peer)).await;
    assert_eq!(less["method"], "UNSUBSCRIBE");
    assert_eq!(less["params"], json!(["ethusdt@trade"]));
    addr.send(ReconnectNow).await.unwrap();
    bench.accept_subscribed().await;
    addr.send(StopConnection).await.unwrap_or_default();
}
