//! Books that begin with an image by REST.

use std::collections::BTreeMap;

use serde_json::Value;

use super::listing;
use super::stream::{Kind, Topic};
use super::trade::Trading;
use super::venue::{Connection, Core, Okx};
use crate::chaos::FaultDesk;
use crate::clock::Clock;
use crate::config::OkxLimits;
use crate::market::{Event, Market, MarketConfig, Segment};
use crate::venue::Venue;
use crate::venue::hub::Port;

const START_MS: i64 = 1_700_000_000_000;
const SYMBOL: &str = "BTC-USDT-SWAP";
/// Moments of the market between two pushes.
const MOMENTS: i64 = 20;
const MOMENT_MS: i64 = 5;
const DEPTH: usize = 400;

/// Levels of a client, by price in units that order them; sizes as they came.
#[derive(Clone, Default)]
struct Book {
    seq: i64,
    sides: [BTreeMap<i64, String>; 2],
}

fn price(text: &str) -> i64 {
    let (whole, tenths) = text.split_once('.').unwrap_or((text, "0"));
    format!("{whole}{tenths}").parse().unwrap()
}

impl Book {
    fn take(&mut self, row: &Value) {
        self.seq = row["seqId"].as_i64().unwrap();
        for (side, name) in self.sides.iter_mut().zip(["bids", "asks"]) {
            let prices: Vec<i64> = row[name]
                .as_array()
                .unwrap()
                .iter()
                .map(|level| {
                    let price = price(level[0].as_str().unwrap());
                    match level[1].as_str().unwrap() {
                        "0" => side.remove(&price),
                        size => side.insert(price, size.to_owned()),
                    };
                    price
                })
                .collect();
            let is_ordered = match name {
                "bids" => prices.is_sorted_by(|a, b| a > b),
                _ => prices.is_sorted_by(|a, b| a < b),
            };
            assert!(is_ordered, "{name} out of order or twice: {row}");
        }
    }

    /// The levels that the channel shows.
    fn shown(&self) -> [Vec<(i64, String)>; 2] {
        let row = |(price, size): (&i64, &String)| (*price, size.clone());
        let [bids, asks] = &self.sides;
        [
            bids.iter().rev().take(DEPTH).map(row).collect(),
            asks.iter().take(DEPTH).map(row).collect(),
        ]
    }
}

/// An exchange whose time moves when it is told to, and one listener of a book.
struct Stage {
    core: Core,
    topic: Topic,
    port: Port,
    now_ms: i64,
    events: Vec<Event>,
}

impl Stage {
    fn new(limits: &OkxLimits) -> Self {
        let (listings, terms) = listing::standard(START_MS);
        let market = Market::new(MarketConfig {
            listings,
            // More comes and goes between two pushes.
            intensity: 5.0,
            ..MarketConfig::standard(3, START_MS)
        });
        let market = market.unwrap();
        let venue = Okx::new(&market, terms, limits, Trading::new(1));
        let clock = Clock::new(START_MS, 1.0, std::time::Instant::now());
        let mut core = Core::new(market, clock, FaultDesk::new(1, &[]), venue);
        let topic = core.topic(Kind::Books, SYMBOL).unwrap();
        assert_eq!(topic.market, Segment::Linear);
        let name = "one".to_owned();
        let port = core.hub.open(Connection { name }, 1_000);
        core.first(topic);
        core.hub.subscribe(port.id, SYMBOL, Some(topic));
        Self {
            core,
            topic,
            port,
            now_ms: START_MS,
            events: Vec::new(),
        }
    }

    fn moment(&mut self) {
        self.now_ms += MOMENT_MS;
        self.events.clear();
        self.core.market.advance(self.now_ms, &mut self.events);
        for event in &self.events {
            Okx::on_event(&mut self.core, event);
        }
    }

    /// The answer of `market/books`.
    fn image(&self) -> Book {
        let depth = self.core.market.depth(self.topic.ix, DEPTH);
        let listed = self.core.listed(self.topic.ix).unwrap();
        let seq = super::encode::seq(depth.update_id);
        let mut book = Book::default();
        book.take(&serde_json::from_str(&listed.image(&depth, seq)).unwrap());
        book
    }

    /// What the listener is sent.
    fn push(&mut self) -> Vec<Value> {
        Okx::flush(&mut self.core);
        let mut rows = Vec::new();
        while let Ok(text) = self.port.queue.try_recv() {
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(message["action"], "update");
            rows.push(message["data"][0].clone());
        }
        rows
    }
}

/// Wherever between two pushes the image is of, the pushes that the rule lets follow it lead to the
/// book as it is.
#[test]
fn an_image_and_the_pushes_after_it_are_the_book() {
    let mut stage = Stage::new(&OkxLimits {
        has_images: false,
        ..OkxLimits::default()
    });
    let mut began: Vec<Book> = Vec::new();
    let mut compared = 0;
    for _ in 0..60 {
        for _ in 0..MOMENTS {
            stage.moment();
            began.push(stage.image());
        }
        let pushed = stage.push();
        let truth = stage.image();
        for book in &mut began {
            for row in &pushed {
                let (prev, seq) = (row["prevSeqId"].as_i64(), row["seqId"].as_i64());
                if prev <= Some(book.seq) && Some(book.seq) < seq {
                    book.take(row);
                }
            }
            assert_eq!(book.seq, truth.seq);
            assert!(book.shown() == truth.shown(), "at {}", truth.seq);
            compared += 1;
        }
        // Some go on: what an image left behind may come into view later.
        began.drain(..began.len().saturating_sub(30));
    }
    assert!(compared > 1_000);
}

/// Where images come with the stream no message names a level that its listener has not.
#[test]
fn pushes_after_an_image_of_the_stream_are_net_changes() {
    let mut stage = Stage::new(&OkxLimits::default());
    let mut book = stage.image();
    let mut rows = 0;
    for _ in 0..60 {
        (0..MOMENTS).for_each(|_| stage.moment());
        for row in stage.push() {
            for (name, side) in ["bids", "asks"].iter().zip(&book.sides) {
                for level in row[*name].as_array().unwrap() {
                    let known = side.get(&price(level[0].as_str().unwrap()));
                    let size = level[1].as_str().unwrap();
                    assert_ne!(known.map_or("0", String::as_str), size, "{name} {level}");
                    rows += 1;
                }
            }
            book.take(&row);
        }
        assert!(book.shown() == stage.image().shown());
    }
    assert!(rows > 500, "{rows}");
}
