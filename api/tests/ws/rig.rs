//! A real server on a port of its own, with a shard that the test plays: it publishes on the
//! workers' lanes from the test's thread, as a shard does from its own.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant, SystemTime};

use actix_service::IntoServiceFactory;
use actix_web::App;
use bookwire_actors::body::Body;
use bookwire_actors::dispatcher::{MarketSource, WorkerHub};
use bookwire_actors::latency::Stamp;
use bookwire_actors::ring::{
    LaneMsg, LaneTx, PubKind, Publication, StatusEvent, StatusState, WorkerWake, lane,
};
use bookwire_actors::topic::{Slot, StreamKind, Topic, WorkerId};
use bookwire_actors::worker::{SessionMemory, WorkerMeter, WorkerPort};
use bookwire_api::auth::Auth;
use bookwire_api::net::accept::Door;
use bookwire_api::net::guard::Refuse;
use bookwire_api::net::serve::{Serving, serve};
use bookwire_api::ws::{WsOptions, WsState};
use bookwire_engine::config::Config;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::{Feed, ProviderId};
use bookwire_engine::instrument::{InstrumentId, InstrumentSpec, InstrumentTable, Market};
use bookwire_engine::time::TsNanos;
use futures_util::future::LocalBoxFuture;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub const LANE: usize = 1 << 16;

/// Where the monotonic clock of shard and workers begins.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// This moment.
fn stamp() -> Stamp {
    Stamp::of(START.elapsed())
}

/// A topic's side at the shard: what was published last, to whom.
#[derive(Default)]
struct TopicState {
    book: BTreeMap<u64, u64>,
    seq: u64,
    epoch: u32,
    last: Option<Body>,
}

#[derive(Default)]
struct Board {
    lanes: HashMap<WorkerId, LaneTx>,
    listeners: Vec<(WorkerId, Slot, Topic)>,
    topics: HashMap<Topic, TopicState>,
    subscribes: usize,
    unsubscribes: usize,
    refuse: bool,
    meters: Vec<Arc<WorkerMeter>>,
}

/// The shard that a test plays.
#[derive(Clone, Default)]
pub struct FakeShard(Arc<Mutex<Board>>);

impl Board {
    fn send(&mut self, worker: WorkerId, message: LaneMsg) {
        let lane = self.lanes.get_mut(&worker).expect("attached");
        lane.push(message).expect("the test's lanes are long");
    }

    fn publish(&mut self, topic: Topic, make: impl Fn(Slot) -> Publication) {
        for (worker, slot, _) in self.listeners.clone().into_iter().filter(|l| l.2 == topic) {
            self.send(worker, LaneMsg::Data(make(slot)));
        }
    }
}

fn publication(
    slot: Slot,
    kind: PubKind,
    state: &TopicState,
    prev: u64,
    body: &Body,
) -> Publication {
    Publication {
        slot,
        kind,
        epoch: state.epoch,
        seq: state.seq,
        prev_seq: prev,
        ts_recv: TsNanos(1),
        read_at: stamp(),
        stage_at: stamp(),
        body: body.clone(),
    }
}

/// A body of this text.
pub fn text(text: impl AsRef<[u8]>) -> Body {
    Body::new(&Arc::default(), text.as_ref())
}

fn snapshot_body(state: &TopicState) -> Body {
    let levels: Vec<_> = state.book.iter().collect();
    let data = serde_json::json!({"type": "snapshot", "bids": levels, "sequence": state.seq});
    text(data.to_string())
}

impl FakeShard {
    fn board<R>(&self, work: impl FnOnce(&mut Board) -> R) -> R {
        work(&mut self.0.lock().unwrap())
    }

    /// The topic of the only listener of this stream.
    pub fn topic(&self, kind: StreamKind) -> Topic {
        self.board(|board| {
            let mut topics = board.listeners.iter().map(|l| l.2);
            topics
                .find(|t| t.kind == kind)
                .expect("somebody subscribed")
        })
    }

    pub fn counts(&self) -> (usize, usize, usize) {
        self.board(|b| (b.subscribes, b.unsubscribes, b.listeners.len()))
    }

    /// What the workers count and measure.
    pub fn meters(&self) -> Vec<Arc<WorkerMeter>> {
        self.board(|board| board.meters.clone())
    }

    pub fn refuse(&self, refuse: bool) {
        self.board(|board| board.refuse = refuse);
    }

    /// An event with this body.
    pub fn event(&self, topic: Topic, kind: PubKind, body: &Body) {
        self.board(|board| {
            let state = board.topics.entry(topic).or_default();
            state.last = Some(body.clone());
            let empty = TopicState::default();
            board.publish(topic, |slot| publication(slot, kind, &empty, 0, body));
        });
    }

    /// A change of a delta book.
    pub fn change(&self, topic: Topic, price: u64, qty: u64) {
        self.board(|board| {
            let state = board.topics.entry(topic).or_default();
            let prev = state.seq;
            state.seq += 1 + price % 3;
            if qty == 0 {
                state.book.remove(&price);
            } else {
                state.book.insert(price, qty);
            }
            let data = serde_json::json!({"type": "update", "bids": [[price, qty]],
                "sequence": state.seq, "prev_sequence": prev});
            let body = text(data.to_string());
            let mut now = TopicState::default();
            (now.seq, now.epoch) = (state.seq, state.epoch);
            board.publish(topic, |slot| {
                publication(slot, PubKind::BookUpdate, &now, prev, &body)
            });
        });
    }

    /// The book as it is.
    pub fn book(&self, topic: Topic) -> BTreeMap<u64, u64> {
        self.board(|board| board.topics[&topic].book.clone())
    }

    /// The book is lost and found again.
    pub fn resync(&self, topic: Topic) {
        self.status(Some(topic.instrument), StatusState::Resyncing, "gap");
        self.board(|board| {
            let state = board.topics.entry(topic).or_default();
            state.epoch += 1;
            state.seq += 1000;
            state.book.insert(7, state.seq);
            let body = snapshot_body(state);
            let mut now = TopicState::default();
            (now.seq, now.epoch) = (state.seq, state.epoch);
            board.publish(topic, |slot| {
                publication(slot, PubKind::BookSnapshot, &now, 0, &body)
            });
        });
        self.status(
            Some(topic.instrument),
            StatusState::Connected,
            "synchronised",
        );
    }

    /// The lane was full for a while.
    pub fn lose(&self, topic: Topic, count: u64) {
        self.board(|board| {
            for (worker, slot, _) in board.listeners.clone().into_iter().filter(|l| l.2 == topic) {
                board.send(worker, LaneMsg::Lost { slot, count });
            }
        });
    }

    pub fn status(&self, instrument: Option<InstrumentId>, state: StatusState, reason: &str) {
        let event = Arc::new(StatusEvent {
            provider: ProviderId::BINANCE,
            instrument,
            // Trades fall silent, books are repaired.
            feed: instrument.map(|_| match state {
                StatusState::Stale => Feed::Trades,
                _ => Feed::Book,
            }),
            state,
            reason: reason.to_owned(),
            was: None,
            ts: TsNanos(0),
        });
        self.board(|board| {
            for worker in board.lanes.keys().copied().collect::<Vec<_>>() {
                board.send(worker, LaneMsg::Status(event.clone()));
            }
        });
    }
}

struct Source {
    shard: FakeShard,
    table: Arc<InstrumentTable>,
}

type Answer = LocalBoxFuture<'static, Result<(), CryptoError>>;

impl MarketSource for Source {
    fn instruments(&self) -> Arc<InstrumentTable> {
        self.table.clone()
    }

    fn subscribe(&self, worker: WorkerId, slot: Slot, topic: Topic) -> Answer {
        let shard = self.shard.clone();
        Box::pin(async move {
            tokio::task::yield_now().await;
            shard.board(|board| {
                if board.refuse {
                    let code = CryptoCode::ProviderUnavailable;
                    return Err(CryptoError::new(code, "refused by the test"));
                }
                board.subscribes += 1;
                board.listeners.push((worker, slot, topic));
                board.topics.entry(topic).or_default();
                Ok(())
            })
        })
    }

    fn unsubscribe(&self, worker: WorkerId, slot: Slot, _: InstrumentId) -> Answer {
        self.shard.board(|board| {
            board.unsubscribes += 1;
            board.listeners.retain(|l| (l.0, l.1) != (worker, slot));
        });
        Box::pin(async { Ok(()) })
    }

    fn refresh(&self, worker: WorkerId, slot: Slot, _: InstrumentId) -> Answer {
        self.shard.board(|board| {
            let Some(topic) = board
                .listeners
                .iter()
                .find(|l| (l.0, l.1) == (worker, slot))
                .map(|l| l.2)
            else {
                return;
            };
            let state = &board.topics[&topic];
            let message = if topic.kind.is_delta() {
                let body = snapshot_body(state);
                publication(slot, PubKind::BookSnapshot, state, 0, &body)
            } else if let Some(body) = &state.last {
                publication(slot, PubKind::LastState, &TopicState::default(), 0, body)
            } else {
                return;
            };
            board.send(worker, LaneMsg::Data(message));
        });
        Box::pin(async { Ok(()) })
    }

    fn now(&self) -> TsNanos {
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        TsNanos(since.as_nanos() as i64)
    }

    fn monotonic(&self) -> Duration {
        START.elapsed()
    }
}

fn spec(market: Market, base: &str) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: format!("{base}USDT"),
        base_symbol: base.to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| "USDT".to_owned()),
        price_step: "0.01".parse().unwrap(),
        qty_step: "0.001".parse().unwrap(),
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: None,
        contract_size: "1".parse().unwrap(),
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    }
}

/// BTCUSDT and ETHUSDT on both markets, ONLYUSDT spot alone.
fn table() -> InstrumentTable {
    let many = (0..300).map(|n| spec(Market::Spot, &format!("C{n}X")));
    let spot = ["BTC", "ETH", "ONLY"].map(|base| spec(Market::Spot, base));
    let perp = ["BTC", "ETH"].map(|base| spec(Market::Perp, base));
    let binance = ProviderId::BINANCE;
    InstrumentTable::default()
        .with_market(
            binance,
            Market::Spot,
            spot.into_iter().chain(many).collect(),
        )
        .with_market(binance, Market::Perp, perp.into())
}

/// A running server; it stops when dropped.
pub struct Rig {
    pub address: SocketAddr,
    pub shard: FakeShard,
    pub state: WsState,
    handle: actix_web::dev::ServerHandle,
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

impl Rig {
    pub fn start(workers: usize, options: WsOptions) -> Self {
        Self::start_within(workers, options, Arc::default())
    }

    /// A server whose sessions share this memory.
    pub fn start_within(workers: usize, options: WsOptions, memory: Arc<SessionMemory>) -> Self {
        Self::start_for(workers, options, memory, None)
    }

    /// A server whose sessions can prove these keys.
    pub fn start_with_keys(auth: Auth) -> Self {
        Self::start_for(1, WsOptions::default(), Arc::default(), Some(auth))
    }

    /// The same, where market data need a key.
    pub fn start_closed(auth: Auth) -> Self {
        let mut options = WsOptions::default();
        options.session.is_data_open = false;
        Self::start_for(1, options, Arc::default(), Some(auth))
    }

    fn start_for(
        workers: usize,
        options: WsOptions,
        memory: Arc<SessionMemory>,
        auth: Option<Auth>,
    ) -> Self {
        let shard = FakeShard::default();
        let instruments = Arc::new(table());
        let of_shard = shard.clone();
        let start_hub = move || -> LocalBoxFuture<'static, Result<Rc<WorkerHub>, CryptoError>> {
            let (shard, table) = (of_shard.clone(), instruments.clone());
            let memory = memory.clone();
            Box::pin(async move {
                let wake = WorkerWake::new(false);
                let (tx, rx) = lane(LANE, &wake);
                let meter: Arc<WorkerMeter> = Arc::default();
                let id = shard.board(|board| {
                    let id = WorkerId(board.lanes.len() as u16);
                    board.lanes.insert(id, tx);
                    board.meters.push(meter.clone());
                    id
                });
                let source = Rc::new(Source { shard, table });
                let port = WorkerPort {
                    id,
                    lanes: vec![rx],
                    wake,
                    meter,
                    memory: memory.clone(),
                };
                Ok(WorkerHub::start(port, source))
            })
        };
        let state = WsState::with_keys(options, Box::new(start_hub), auth);
        let (tx, rx) = mpsc::channel();
        let for_server = state.clone();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.set_nonblocking(true).unwrap();
                let address = listener.local_addr().unwrap();
                let mut config = Config::default();
                config.limits.connections_per_ip = 1_000;
                let serving = Serving {
                    door: Door::new(&config, None),
                    address,
                    keep_alive: Duration::from_secs(75),
                };
                let builder = actix_web::dev::Server::build();
                let end = builder.graceful_shutdown_signal();
                let pipeline = move || {
                    let state = for_server.clone();
                    let app = App::new().configure(move |config| state.configure(config));
                    let end = end.clone();
                    let end = move || {
                        let end = end.clone();
                        async move { end.notified().await }
                    };
                    let refuse: Rc<Refuse> = Rc::new(|refusal, _| panic!("{refusal:?}"));
                    serve(app.into_factory(), serving.clone(), end, refuse)
                };
                let server = builder.workers(workers).disable_signals();
                let server = server.listen("ws", listener, pipeline).unwrap().run();
                tx.send((address, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, handle) = rx.recv().unwrap();
        Self {
            address,
            shard,
            state,
            handle,
        }
    }

    pub async fn client(&self) -> Client {
        self.client_at("/ws").await
    }

    pub async fn client_at(&self, path: &str) -> Client {
        let url = format!("ws://{}{path}", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Client { socket }
    }
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// Longest wait for anything that must come.
const PATIENCE: Duration = Duration::from_secs(20);

impl Client {
    pub async fn send(&mut self, message: impl Into<Message>) {
        self.socket.send(message.into()).await.unwrap();
    }

    /// The next message that is no ping or pong.
    pub async fn frame(&mut self) -> Message {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            match next.await.expect("in time").expect("not ended") {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return message,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub async fn json(&mut self) -> Value {
        match self.frame().await {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The answer to a request; what comes before it is dropped.
    pub async fn ask(&mut self, request: &str) -> Value {
        self.send(request).await;
        loop {
            let message = self.json().await;
            if message.get("status").is_some() {
                return message;
            }
        }
    }

    /// Subscribes one stream of BTCUSDT.
    pub async fn subscribe(&mut self, rest: &str) -> Value {
        self.ask(&format!(
            r#"{{"method":"subscribe","provider":"binance","symbols":["btcusdt"],{rest}}}"#
        ))
        .await
    }

    /// The close code and reason; what comes before is dropped.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.frame().await {
                let frame = frame.expect("with a reason");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }
}

/// Waits for something that other threads do.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited)
        .await
        .unwrap_or_else(|_| panic!("waited for {what}"));
}
