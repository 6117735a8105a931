//! Orders while everything goes wrong, from a printed seed. Several clients of one account place, repeat,
//! amend and cancel orders side by side, while answers are lost after the order was taken, requests are cut
//! before, answers come too late or are errors after acceptance, private streams lose, repeat and reorder
//! messages or are away, the exchange restarts, and the gateway dies at each step of an order's way.
//! Afterwards what the gateway believes of orders, executions, balances and positions is what the
//! exchange really has; no order is there twice, and none is lost.
//!
//! `BOOKWIRE_CHAOS_ORDERS` is how many orders an exchange has to have taken at least,
//! `BOOKWIRE_CHAOS_SEED` repeats what was drawn, `BOOKWIRE_CHAOS_TRANSPORT` says how orders travel. What the
//! long runs came to is in `docs/chaos.md`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bookwire_sim::{Exchange, FaultKind, FaultSpec, SimControl};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rig::Rig;
use crate::rig::account::{Account, ORDERS, number};
use crate::trading::live_by;

/// Orders of one run unless told otherwise.
const SHORT: usize = 40;
/// A run of so many orders has to have seen everything that can go wrong.
const LONG: usize = 5_000;
/// How long private streams are away: so long that something is executed meanwhile.
const OUTAGE_MS: i64 = 2_500;
/// Clients that trade side by side.
const CLIENTS: u64 = 8;
/// What can go wrong while an order is under way, and how often.
const FAULTS: [(&str, f64); 7] = [
    ("drop-reply", 0.08),
    ("late-reply:ms=4500,count=1", 0.03),
    ("cut-request", 0.06),
    ("fail-reply:status=502", 0.06),
    ("drop:stream=private,count=2", 0.06),
    ("duplicate:stream=private,count=3", 0.08),
    ("reorder:stream=private,count=2", 0.08),
];
/// What is placed, one as often as the other.
const KINDS: [&str; 8] = [
    "market",
    "market",
    "limit",
    "limit",
    "limit",
    "limit",
    "stop_market",
    "stop_limit",
];
/// How long limit orders last, or that they must not take.
const TIMES: [&str; 6] = ["GTC", "GTC", "GTC", "post_only", "IOC", "FOK"];
/// What stops everybody comes by the clock, or a faster run would be a milder one: so long after orders
/// are taken again, seconds. Else nothing would be done on a slow machine but to come back.
const PAUSE: std::ops::Range<f64> = 4.0..12.0;
/// How old the best prices may be that orders are placed by.
const FRESH: Duration = Duration::from_millis(700);
/// Steps at which the gateway dies; the last is any moment.
const STEPS: [&str; 7] = [
    "BeforeWrite",
    "Written",
    "Synced",
    "BeforeSend",
    "Answered",
    "Taken",
    "any moment",
];

/// One thing that is traded.
#[derive(Clone, Copy)]
struct Place {
    exchange: Exchange,
    entities: [&'static str; 2],
    quantity: &'static str,
    /// Which ways orders may travel; the seed chooses.
    transports: &'static [&'static str],
    /// Whether orders, market data and clients are on the same threads.
    shares_threads: bool,
}

const EITHER: &[&str] = &["rest", "websocket"];

fn market_of(entity: &str) -> &'static str {
    match entity.starts_with("cryptoperp_") {
        true => "perp",
        false => "spot",
    }
}

/// What the clients have in common.
struct Run {
    place: Place,
    /// What is offered, by market.
    support: Value,
    control: SimControl,
    /// Orders that the exchange has to have taken.
    wanted: usize,
    asked: AtomicUsize,
    /// Orders that it has taken: not every answer that says nothing of a refusal is one of it.
    taken: AtomicUsize,
    ids: Mutex<Vec<String>>,
    /// Cancellations of orders that were at the touch: those that came first, and those that came too late.
    races: [AtomicUsize; 2],
    /// Best prices by instrument, and when they were.
    touches: Mutex<BTreeMap<String, (Instant, Decimal, Decimal)>>,
    begun: Instant,
}

/// One of the clients.
struct Client {
    run: Arc<Run>,
    account: Account,
    random: StdRng,
}

impl Client {
    async fn trade(mut self) {
        let run = self.run.clone();
        while run.taken.load(Ordering::Relaxed) < run.wanted {
            let number = run.asked.fetch_add(1, Ordering::Relaxed);
            assert!(number < 3 * run.wanted + 500, "most orders are refused");
            for (fault, chance) in FAULTS {
                if self.random.random_bool(chance) {
                    run.control.inject(fault.parse().unwrap());
                }
            }
            self.order(number).await;
            if number % 100 == 99 {
                // Or the account would be full of orders that rest, and take no more.
                self.account.cancel_all().await;
                run.ids.lock().unwrap().clear();
            }
            if number % 1_000 == 999 {
                let secs = run.begun.elapsed().as_secs_f64();
                let rate = (number + 1) as f64 / secs;
                let provider = &self.account.provider;
                println!(
                    "{provider}: {} orders in {secs:.0} s, {rate:.1} a second",
                    number + 1
                );
            }
        }
    }

    async fn touch(&self, entity: &str) -> (Decimal, Decimal) {
        let known = self.run.touches.lock().unwrap().get(entity).copied();
        if let Some((_, bid, ask)) = known.filter(|(at, ..)| at.elapsed() < FRESH) {
            return (bid, ask);
        }
        let provider = &self.account.provider;
        let path = format!(
            "/api/data/CryptoOrderbook?provider={provider}&entity_ids={entity}&depth=1&numbers=string"
        );
        loop {
            // The book is away for moments too.
            let (status, book) = self.account.insist(Method::GET, &path, None).await;
            let row = &book["data"][0];
            if status == 200 && row["best_bid"].is_string() {
                let touch = (number(&row["best_bid"]), number(&row["best_ask"]));
                let told = (Instant::now(), touch.0, touch.1);
                let mut touches = self.run.touches.lock().unwrap();
                touches.insert(entity.to_owned(), told);
                return touch;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn order(&mut self, order_number: usize) {
        let place = self.run.place;
        let entity = place.entities[self.random.random_range(0..2)];
        let (bid, ask) = self.touch(entity).await;
        let random = &mut self.random;
        let is_buy = random.random_bool(0.5);
        let far =
            |price: Decimal, percent: i64| (price * Decimal::new(100 + percent, 2)).round_dp(0);
        let manner = random.random_range(0..3);
        let price = match (manner, is_buy) {
            (0, true) => far(bid, -4),
            (0, false) => far(ask, 4),
            // Rests near the touch, or takes.
            (1, true) => bid.round_dp(0),
            (1, false) => ask.round_dp(0),
            (_, true) => far(ask, 1),
            (_, false) => far(bid, -1),
        };
        let mut order = json!({
            "provider": self.account.provider,
            "entity_id": entity,
            "side": if is_buy { "buy" } else { "sell" },
            "quantity": place.quantity,
            "client_order_id": format!("chaos-{order_number}"),
        });
        let fields = order.as_object_mut().unwrap();
        let kind = KINDS[random.random_range(0..KINDS.len())];
        // A stop that the market does not sell is a limit order.
        let support = &self.run.support[market_of(entity)];
        let is_stop = support["types"].as_array().unwrap().contains(&json!(kind));
        let kind = if is_stop || kind == "market" {
            kind
        } else {
            "limit"
        };
        fields.insert("type".to_owned(), json!(kind));
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        match kind {
            "market" => {}
            "limit" => {
                set("price", json!(price.to_string()));
                let time = TIMES[random.random_range(0..TIMES.len())];
                if time == "post_only" {
                    set(time, json!(true));
                } else {
                    set("time_in_force", json!(time));
                }
            }
            _ => {
                // So near that the market comes by, or farther.
                let (from, sign) = if is_buy { (ask, 1) } else { (bid, -1) };
                let near = Decimal::new(sign * random.random_range(1..60), 5);
                let stop = (from * (Decimal::ONE + near)).round_dp(0);
                set("stop_price", json!(stop.to_string()));
                if kind == "stop_limit" {
                    let price = (stop * (Decimal::ONE + near)).round_dp(0);
                    set("price", json!(price.to_string()));
                }
            }
        }
        let (status, answer) = self
            .account
            .insist(Method::POST, ORDERS, Some(&order))
            .await;
        assert!(
            matches!(status, 200 | 201 | 202 | 400 | 403 | 422 | 504),
            "{order}: {status} {answer}"
        );
        if answer["reject_reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("limit is used up"))
        {
            // As a careful client does; without it a fast machine has most of its orders refused.
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        if let (200..=202, Some(id)) = (status, answer["order_id"].as_str()) {
            self.run.ids.lock().unwrap().push(id.to_owned());
            // What rests at the touch may be filled at this moment.
            let is_race = manner == 1 && kind == "limit" && self.random.random_bool(0.5);
            if is_race {
                let (status, answer) = self.on_order(Method::DELETE, id, None).await;
                let is_late = answer["error"]["details"]["status"] == "filled";
                if status == 200 || is_late {
                    self.run.races[usize::from(is_late)].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        if self.random.random_bool(0.1) {
            // Once more: it must not become two.
            self.account
                .insist(Method::POST, ORDERS, Some(&order))
                .await;
        }
        if self.random.random_bool(0.3) {
            self.on_any(Method::DELETE, None).await;
        }
        if self.random.random_bool(0.04) {
            let more = number(&json!(place.quantity)) * Decimal::TWO;
            let change = json!({"quantity": more.to_string()});
            self.on_any(Method::PATCH, Some(&change)).await;
        }
    }

    /// Something about an order that somebody has placed.
    async fn on_any(&mut self, method: Method, body: Option<&Value>) {
        let id = {
            let ids = self.run.ids.lock().unwrap();
            match ids.len() {
                0 => return,
                all => ids[self.random.random_range(0..all)].clone(),
            }
        };
        self.on_order(method, &id, body).await;
    }

    async fn on_order(&self, method: Method, id: &str, body: Option<&Value>) -> (u16, Value) {
        let path = format!("/api/trading/orders/{id}?numbers=string");
        let (status, answer) = self.account.insist(method.clone(), &path, body).await;
        // It may be over, under way, or nobody knows.
        assert!(
            matches!(status, 200 | 202 | 400 | 403 | 404 | 409 | 422 | 504),
            "{method} {id}: {status} {answer}"
        );
        (status, answer)
    }
}

/// What stops everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// Private streams are away.
    Outage,
    /// The exchange restarts.
    Restart,
    /// The gateway dies.
    Death,
}

/// Things drawn from a bag that is filled again when it is empty: none is left out for long.
struct Bag<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Bag<T> {
    fn new(all: &[T]) -> Self {
        Self {
            all: all.to_vec(),
            left: Vec::new(),
        }
    }

    fn draw(&mut self, random: &mut StdRng) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            self.left.shuffle(random);
        }
        self.left.pop().unwrap()
    }
}

struct Storm {
    random: StdRng,
    blows: Bag<Blow>,
    steps: Bag<&'static str>,
    /// What came, and how often.
    came: BTreeMap<String, usize>,
    /// When private streams began to be away, by the exchange's clock, ms.
    outages: Vec<i64>,
}

impl Storm {
    async fn blow(&mut self, rig: &mut Rig, control: &SimControl) {
        let blow = self.blows.draw(&mut self.random);
        let name = match blow {
            Blow::Outage => {
                self.outages.push(control.now_ms());
                let outage = format!("private-outage:for={OUTAGE_MS}ms");
                control.inject(outage.parse().unwrap());
                tokio::time::sleep(Duration::from_millis(500)).await;
                "private-outage".to_owned()
            }
            Blow::Restart => {
                control.inject("restart:ms=700".parse().unwrap());
                tokio::time::sleep(Duration::from_millis(500)).await;
                "restart of the exchange".to_owned()
            }
            Blow::Death => format!("death at {}", self.die(rig).await),
        };
        *self.came.entry(name).or_default() += 1;
    }

    /// The gateway dies and comes back; where it died.
    async fn die(&mut self, rig: &mut Rig) -> String {
        let step = self.steps.draw(&mut self.random);
        let moment = Duration::from_micros(self.random.random_range(0..20_000));
        let is_at_step = step != STEPS[6];
        if is_at_step {
            rig.die_at(step, self.random.random_range(1..=6));
            let end = Instant::now() + Duration::from_secs(5);
            while !rig.has_ended() && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } else {
            tokio::time::sleep(moment).await;
        }
        let has_ended = rig.has_ended();
        let died = rig.died();
        assert!(died.is_some() || !has_ended, "it ended by itself");
        rig.kill_gateway();
        rig.start_gateway().await;
        died.unwrap_or_else(|| STEPS[6].to_owned())
    }
}

async fn run(place: &Place) {
    let seed = std::env::var("BOOKWIRE_CHAOS_SEED").ok();
    let seed: u64 = seed.map_or_else(rand::random, |text| text.parse().unwrap());
    let count = std::env::var("BOOKWIRE_CHAOS_ORDERS").ok();
    let count: usize = count.map_or(SHORT, |text| text.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let provider = place.exchange.as_str();
    let chosen = place.transports[random.random_range(0..place.transports.len())];
    let transport = std::env::var("BOOKWIRE_CHAOS_TRANSPORT").ok();
    let transport = transport.as_deref().unwrap_or(chosen);
    let threads = match place.shares_threads {
        true => "shared threads",
        false => "threads of their own",
    };
    println!("chaos at {provider}: seed {seed}, {count} orders by {transport}, {threads}");
    // How many requests there may be is tested elsewhere.
    // What is late is later than that; a busy machine is not.
    let more = "answer_timeout_ms = 3000\njournal_sync = \"always\"\njournal_compact_bytes = 65536\n\n[limits]\nrequests_per_minute = 1000000\n\
                trading_per_minute = 1000000\ncancels_per_minute = 1000000\n";
    let more = format!(
        "{more}\n[engine]\nshare_threads = {}\n",
        place.shares_threads
    );
    let mut trader = live_by(&[place.exchange], transport, &more, |_| {}, Value::clone).await;
    trader.ready_by(provider, transport).await;
    let control = trader.rig.sim.control().of(place.exchange).unwrap();
    let (_, all) = trader.rig.get("/api/crypto/providers/capabilities").await;
    let run = Arc::new(Run {
        place: *place,
        support: all[provider]["order_support"].clone(),
        control: control.clone(),
        wanted: count,
        asked: AtomicUsize::new(0),
        taken: AtomicUsize::new(0),
        ids: Mutex::new(Vec::new()),
        races: Default::default(),
        touches: Mutex::new(BTreeMap::new()),
        begun: Instant::now(),
    });
    let account = trader.account(provider);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = Client {
            run: run.clone(),
            account: account.clone(),
            random: StdRng::from_rng(&mut random),
        };
        clients.spawn(client.trade());
    }
    let mut storm = Storm {
        blows: Bag::new(&[Blow::Outage, Blow::Restart, Blow::Death, Blow::Death]),
        steps: Bag::new(&STEPS),
        came: BTreeMap::new(),
        outages: Vec::new(),
        random,
    };
    // A short run has some of it as well.
    let mut marks = vec![count * 2 / 3, count / 3];
    let mut counted = Instant::now();
    let mut due = Instant::now() + Duration::from_secs_f64(storm.random.random_range(PAUSE));
    loop {
        let tick = tokio::time::sleep(Duration::from_millis(20));
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(Ok(())) => continue,
                // The test ends as the client did.
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                None => break,
            },
            () = tick => {}
        }
        if counted.elapsed() > Duration::from_millis(500) {
            let orders = control.accounts().remove(0).orders.len();
            run.taken.store(orders, Ordering::Relaxed);
            counted = Instant::now();
        }
        let taken = run.taken.load(Ordering::Relaxed);
        let is_marked = marks.pop_if(|mark| taken >= *mark).is_some();
        if (is_marked || Instant::now() >= due) && taken < count {
            storm.blow(&mut trader.rig, &control).await;
            account.comes_back().await;
            due = Instant::now() + Duration::from_secs_f64(storm.random.random_range(PAUSE));
        }
    }
    let secs = run.begun.elapsed().as_secs_f64();
    account
        .comes_to_the_truth(&control, &format!("seed {seed}"))
        .await;
    tell(&control, &storm, &run, secs);
}

/// Says what a run was, and that a long one has left nothing out.
fn tell(control: &SimControl, storm: &Storm, run: &Run, secs: f64) {
    let count = run.wanted;
    let truth = control.accounts().remove(0);
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for order in &truth.orders {
        *states.entry(order.state).or_default() += 1;
        *reasons.entry(order.reason).or_default() += 1;
    }
    let triggered = truth.orders.iter().filter(|order| order.was_triggered);
    let triggered = triggered.count();
    let name = control.exchange().as_str();
    println!(
        "{name}: {} orders {states:?}, {triggered} of them triggered, ended for {reasons:?}, with {} executions in {secs:.0} s",
        truth.orders.len(),
        truth.fills.len()
    );
    let kinds = FAULTS.map(|(fault, _)| fault.parse::<FaultSpec>().unwrap().kind);
    let kinds = kinds.into_iter().chain([FaultKind::Restart]);
    let strikes: BTreeMap<&str, u64> = kinds
        .map(|kind| (kind.as_str(), control.strikes(kind)))
        .collect();
    println!("{name}: faults {strikes:?}, {:?}", storm.came);
    let is_untold = |at: i64| {
        storm
            .outages
            .iter()
            .any(|from| (*from..from + OUTAGE_MS).contains(&at))
    };
    let untold = truth
        .fills
        .iter()
        .filter(|fill| is_untold(fill.ts_ms))
        .count();
    let [first, late] = [0, 1].map(|at: usize| run.races[at].load(Ordering::Relaxed));
    println!(
        "{name}: {untold} executions while private streams were away; of races {first} were won, {late} lost"
    );
    assert!(truth.orders.len() >= count, "{}", truth.orders.len());
    if count >= LONG {
        assert!(strikes.values().all(|times| *times > 0), "{strikes:?}");
        assert!(untold > 0 && first > 0 && late > 0 && triggered > 0);
        for step in STEPS {
            let name = format!("death at {step}");
            assert!(storm.came.contains_key(&name), "{name}: {:?}", storm.came);
        }
        assert!(
            storm.came.contains_key("private-outage"),
            "{:?}",
            storm.came
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_at_binance() {
    run(&Place {
        exchange: Exchange::Binance,
        entities: ["cryptopair_binance_btcusdt", "cryptoperp_binance_btcusdt"],
        quantity: "0.002",
        transports: EITHER,
        shares_threads: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_at_okx() {
    run(&Place {
        exchange: Exchange::Okx,
        entities: ["cryptopair_okx_btcusdt", "cryptoperp_okx_btcusdt"],
        quantity: "0.01",
        transports: &["websocket"],
        shares_threads: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_at_bybit() {
    run(&Place {
        exchange: Exchange::Bybit,
        entities: ["cryptopair_bybit_btcusdt", "cryptoperp_bybit_btcusdt"],
        quantity: "0.002",
        transports: EITHER,
        shares_threads: false,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_at_coinbase() {
    run(&Place {
        exchange: Exchange::Coinbase,
        entities: ["cryptopair_coinbase_btcusd", "cryptopair_coinbase_ethusd"],
        quantity: "0.01",
        transports: &["rest"],
        shares_threads: true,
    })
    .await;
}
