//! Times book layouts on recorded Binance deltas: apply an update, then read both top 20s.
//!
//! `cargo run --release -p bookwire-engine --example book_layouts -- spot FILE.jsonl.gz`
//!
//! The rejected layouts live here so that the choice stays measurable; all of them must end with
//! the same books. Results: docs/decisions/001-order-book-layout.md.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use bookwire_engine::book::Book;
use bookwire_engine::event::{
    BookLevel, BookSide, BookSnapshot, Control, Event, EventSink, Skipped,
};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentId, InstrumentSpec, InstrumentTable, Market};
use bookwire_engine::num::{Price, Qty};
use rust_decimal::Decimal;

const TOP: usize = 20;

trait Layout {
    fn load(&mut self, bids: &[BookLevel], asks: &[BookLevel]);
    fn apply(&mut self, bids: &[BookLevel], asks: &[BookLevel]);
    fn top(&self, side: BookSide, out: &mut Vec<BookLevel>);
}

impl Layout for Book {
    fn load(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        Book::load(self, bids, asks);
    }
    fn apply(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        Book::apply(self, bids, asks);
    }
    fn top(&self, side: BookSide, out: &mut Vec<BookLevel>) {
        Book::top(self, side, TOP, out);
    }
}

/// An ordered map a side.
#[derive(Default)]
struct Trees([BTreeMap<Price, Qty>; 2]);

impl Layout for Trees {
    fn load(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        *self = Self::default();
        self.apply(bids, asks);
    }
    fn apply(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        for (side, levels) in self.0.iter_mut().zip([bids, asks]) {
            for level in levels {
                if level.qty.0 == 0 {
                    side.remove(&level.price);
                } else {
                    side.insert(level.price, level.qty);
                }
            }
        }
    }
    fn top(&self, side: BookSide, out: &mut Vec<BookLevel>) {
        let row = |(price, qty): (&Price, &Qty)| BookLevel {
            price: *price,
            qty: *qty,
        };
        match side {
            BookSide::Bid => out.extend(self.0[0].iter().rev().take(TOP).map(row)),
            BookSide::Ask => out.extend(self.0[1].iter().take(TOP).map(row)),
        }
    }
}

/// A sorted vector a side, best last, so that changes near the touch move little.
#[derive(Default)]
struct Sorted([Vec<BookLevel>; 2]);

impl Layout for Sorted {
    fn load(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        *self = Self::default();
        self.apply(bids, asks);
    }
    fn apply(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        for (index, (side, levels)) in self.0.iter_mut().zip([bids, asks]).enumerate() {
            let key = |price: Price| if index == 0 { price.0 } else { !price.0 };
            for level in levels {
                match side.binary_search_by_key(&key(level.price), |row| key(row.price)) {
                    Ok(at) if level.qty.0 == 0 => {
                        side.remove(at);
                    }
                    Ok(at) => side[at].qty = level.qty,
                    Err(_) if level.qty.0 == 0 => {}
                    Err(at) => side.insert(at, *level),
                }
            }
        }
    }
    fn top(&self, side: BookSide, out: &mut Vec<BookLevel>) {
        let rows = &self.0[usize::from(side == BookSide::Ask)];
        out.extend(rows.iter().rev().take(TOP));
    }
}

/// A recorded delta with its own levels.
struct Update {
    bids: Vec<BookLevel>,
    asks: Vec<BookLevel>,
    last_seq: u64,
}

#[derive(Default)]
struct Collect(Vec<Update>);

impl EventSink for Collect {
    fn event(&mut self, _: InstrumentId, event: Event<'_>) {
        if let Event::Book(delta) = event {
            self.0.push(Update {
                bids: delta.bids.to_vec(),
                asks: delta.asks.to_vec(),
                last_seq: delta.last_seq,
            });
        }
    }
    fn control(&mut self, _: Control) {}
    fn skipped(&mut self, _: Skipped) {}
}

fn spec(market: Market, native: &str, scale: u32) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: native.to_owned(),
        base_symbol: native.to_owned(),
        quote_symbol: String::new(),
        settlement_symbol: None,
        price_step: Decimal::new(1, scale),
        qty_step: Decimal::new(1, 8),
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
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    }
}

/// Nanoseconds a level, and the top 20s at the end.
///
/// Each update is timed by itself and counts with the best of `runs`: what an update costs always
/// (moving the window, say) stays in, what other processes cost it drops out. The clock is read
/// once an update, which is in the figures.
fn time(
    make: &mut dyn FnMut() -> Box<dyn Layout>,
    snapshot: &BookSnapshot,
    updates: &[Update],
    reads: bool,
    runs: u32,
) -> (f64, Vec<BookLevel>) {
    let levels: usize = updates.iter().map(|u| u.bids.len() + u.asks.len()).sum();
    let mut best = vec![u64::MAX; updates.len()];
    let mut top = Vec::with_capacity(2 * TOP);
    for _ in 0..runs {
        let mut book = make();
        book.load(&snapshot.bids, &snapshot.asks);
        let mut before = Instant::now();
        for (update, best) in updates.iter().zip(&mut best) {
            book.apply(&update.bids, &update.asks);
            if reads {
                top.clear();
                book.top(BookSide::Bid, &mut top);
                book.top(BookSide::Ask, &mut top);
                black_box(&top);
            }
            let now = Instant::now();
            let took = now.duration_since(before).as_nanos();
            before = now;
            *best = (*best).min(u64::try_from(took).unwrap_or(u64::MAX));
        }
        top.clear();
        book.top(BookSide::Bid, &mut top);
        book.top(BookSide::Ask, &mut top);
    }
    (best.iter().sum::<u64>() as f64 / levels as f64, top)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [market, path, rest @ ..] = args.as_slice() else {
        return Err("usage: book_layouts spot|perp FILE.jsonl.gz [SYMBOL] [PRICE_SCALE]".into());
    };
    let market = Market::parse(market).ok_or("market: spot or perp")?;
    let native = rest.first().map_or("BTCUSDT", String::as_str);
    let scale: u32 = rest.get(1).map_or(Ok(8), |text| text.parse())?;
    let exchange = ProviderId::BINANCE.exchange();
    let table = Arc::new(InstrumentTable::default().with_market(
        ProviderId::BINANCE,
        market,
        vec![spec(market, native, scale)],
    ));
    let instrument = table.get(InstrumentId(0)).cloned().ok_or("no instrument")?;
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path)?).read_to_end(&mut text)?;
    let mut decoder = exchange.decoder(market, table);
    let mut sink = Collect::default();
    let mut snapshot = None;
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let mut line = line.to_vec();
        if line.starts_with(b"{\"lastUpdateId\"") {
            snapshot = Some(exchange.parse_snapshot(&instrument, &mut line)?);
        } else {
            decoder.decode(&line, &mut sink)?;
        }
    }
    let snapshot = snapshot.ok_or("the recording holds no snapshot")?;
    let mut updates = sink.0;
    updates.retain(|update| update.last_seq > snapshot.seq);
    let levels: usize = updates.iter().map(|u| u.bids.len() + u.asks.len()).sum();
    println!("{path}: {} updates, {levels} levels", updates.len());
    type Make = Box<dyn FnMut() -> Box<dyn Layout>>;
    let mut layouts: Vec<(String, Make)> = vec![
        (
            "two ordered maps".to_owned(),
            Box::new(|| Box::<Trees>::default()),
        ),
        (
            "two sorted vectors".to_owned(),
            Box::new(|| Box::<Sorted>::default()),
        ),
        ("engine book".to_owned(), Box::new(|| Box::new(Book::new()))),
    ];
    #[cfg(feature = "testkit")]
    for shift in [10, 11, 12, 13, 14, 15, 16, 17, 18, 20] {
        let make = move || Box::new(Book::with_window(1 << shift, 1 << shift)) as Box<dyn Layout>;
        layouts.push((format!("window of 2^{shift}"), Box::new(make)));
    }
    let mut expected: Option<Vec<BookLevel>> = None;
    for (name, make) in &mut layouts {
        let (apply, _) = time(&mut **make, &snapshot, &updates, false, 25);
        let (both, top) = time(&mut **make, &snapshot, &updates, true, 25);
        println!("{name:>22}: {both:6.1} ns a level with both top {TOP}, {apply:6.1} without");
        match &expected {
            Some(expected) if *expected != top => return Err("the books differ".into()),
            _ => expected = Some(top),
        }
    }
    Ok(())
}
