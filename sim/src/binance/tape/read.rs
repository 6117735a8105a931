//! Reading recorded messages into markets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::stream::{Bar, Kind};
use super::{Content, Message, Rows, Snapshot, TapeMarket, TapeSymbol, owned};
use crate::config::{ReplayFile, ReplaySpeed, ReplayStart};
use crate::market::Segment;
use crate::replay::{self, Line, ReplayError};

#[derive(Deserialize)]
struct Combined<'a> {
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(rename = "lastUpdateId")]
    last_update_id: u64,
    #[serde(borrow)]
    bids: Rows<'a>,
    #[serde(borrow)]
    asks: Rows<'a>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(borrow)]
    k: Option<BarHead<'a>>,
}

#[derive(Deserialize)]
struct BarHead<'a> {
    #[serde(borrow)]
    i: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    symbols: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct ListingEntry<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
}

impl TapeMarket {
    fn new(market: Segment, speed: ReplaySpeed, start: ReplayStart) -> Self {
        Self {
            market,
            symbols: Vec::new(),
            messages: Vec::new().into_iter(),
            next: None,
            first_ns: 0,
            speed,
            start,
            wanted_since: None,
            started: None,
        }
    }

    fn symbol(&mut self, name: &str) -> usize {
        let name = name.to_uppercase();
        match self.symbols.iter().position(|symbol| symbol.name == name) {
            Some(at) => at,
            None => {
                self.symbols.push(TapeSymbol {
                    name,
                    ..TapeSymbol::default()
                });
                self.symbols.len() - 1
            }
        }
    }

    fn load(&mut self, path: &Path, lines: Vec<Line>) -> Result<Vec<Message>, ReplayError> {
        let mut messages: Vec<Message> = Vec::with_capacity(lines.len());
        let mut nameless = Vec::new();
        let mut listings = Vec::new();
        for line in lines {
            let recv_ns = line.recv_ns;
            if let Some((name, kind, body)) = stream_message(self.market, &line.raw) {
                let symbol = self.symbol(&name);
                let content = Content::Stream(kind);
                messages.push(Message {
                    recv_ns,
                    symbol,
                    content,
                    body,
                });
            } else if let Ok(answer) = serde_json::from_str::<Answer<'_>>(&line.raw) {
                let snapshot = Box::new(Snapshot {
                    last_id: answer.last_update_id,
                    bids: owned(answer.bids),
                    asks: owned(answer.asks),
                });
                let symbol = match line.url.as_deref().and_then(symbol_of_url) {
                    Some(name) => self.symbol(name),
                    None => {
                        nameless.push(messages.len());
                        0
                    }
                };
                let content = Content::Snapshot(snapshot);
                messages.push(Message {
                    recv_ns,
                    symbol,
                    content,
                    body: String::new(),
                });
            } else if line.raw.contains("\"symbols\"") {
                listings.push(line.raw);
            }
        }
        // A snapshot without a name belongs to the file's only symbol.
        let first = messages
            .iter()
            .find(|message| matches!(message.content, Content::Stream(_)))
            .map(|message| message.symbol);
        for at in nameless {
            if let (Some(symbol), Some(message)) = (first, messages.get_mut(at)) {
                message.symbol = symbol;
            }
        }
        let is_listing = !listings.is_empty();
        for text in listings {
            self.list(&text);
        }
        if messages.is_empty() && !is_listing {
            return Err(ReplayError::Empty { path: path.into() });
        }
        Ok(messages)
    }

    fn list(&mut self, text: &str) {
        let Ok(listing) = serde_json::from_str::<Listing<'_>>(text) else {
            return;
        };
        for entry in listing.symbols {
            if let Ok(head) = serde_json::from_str::<ListingEntry<'_>>(entry.get()) {
                let at = self.symbol(&head.symbol);
                if let Some(symbol) = self.symbols.get_mut(at) {
                    symbol.info = Some(entry.get().to_owned());
                }
            }
        }
    }

    fn set_messages(&mut self, mut files: Vec<Vec<Message>>) {
        let timed = files
            .iter()
            .flatten()
            .all(|message| message.recv_ns.is_some());
        let mut messages: Vec<Message> = files.drain(..).flatten().collect();
        if timed {
            messages.sort_by_key(|message| message.recv_ns);
        }
        self.first_ns = messages
            .iter()
            .find_map(|message| message.recv_ns)
            .unwrap_or(0);
        for message in &messages {
            if let (Content::Snapshot(snapshot), Some(symbol)) =
                (&message.content, self.symbols.get_mut(message.symbol))
                && symbol.ahead.is_none()
            {
                symbol.ahead = Some((**snapshot).clone());
            }
        }
        self.messages = messages.into_iter();
        self.next = self.messages.next();
    }
}

fn symbol_of_url(url: &str) -> Option<&str> {
    let query = url.split_once('?')?.1;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("symbol="))
}

/// Symbol, kind and payload of a stream message; `None` if it is none.
fn stream_message(market: Segment, raw: &str) -> Option<(String, Kind, String)> {
    if let Ok(Combined {
        stream: Some(stream),
        data: Some(data),
    }) = serde_json::from_str(raw)
    {
        let (symbol, suffix) = stream.split_once('@')?;
        return Some((
            symbol.to_owned(),
            Kind::parse(market, suffix)?,
            data.get().to_owned(),
        ));
    }
    let event: Event<'_> = serde_json::from_str(raw).ok()?;
    let kind = match event.e.as_deref() {
        Some("depthUpdate") => Kind::Depth(100),
        Some("trade") => Kind::Trade,
        Some("aggTrade") => Kind::AggTrade,
        Some("kline") => Kind::Kline(Bar::parse(&event.k?.i)?),
        Some("markPriceUpdate") => Kind::MarkPrice(1),
        Some("24hrTicker") => Kind::Ticker,
        Some("24hrMiniTicker") => Kind::MiniTicker,
        Some("bookTicker") => Kind::BookTicker,
        // Spot's best bid and ask have no event type.
        None if raw.contains("\"B\"") && raw.contains("\"A\"") => Kind::BookTicker,
        _ => return None,
    };
    Some((event.s?.into_owned(), kind, raw.to_owned()))
}

/// The market a file belongs to, by its name or else by what is in it.
fn market_of(file: &ReplayFile, lines: &[Line]) -> Segment {
    if let Some(market) = file.market {
        return market;
    }
    let name = file
        .path
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase());
    let name = name.unwrap_or_default();
    if name.contains("spot") {
        return Segment::Spot;
    }
    let futures_names = ["usdm", "perp", "futures", "linear"];
    let futures_fields = [
        "\"pu\"",
        "\"markPriceUpdate\"",
        "\"contractType\"",
        "\"ps\"",
    ];
    let in_lines = || {
        lines
            .iter()
            .any(|line| futures_fields.iter().any(|field| line.raw.contains(field)))
    };
    if futures_names.iter().any(|word| name.contains(word)) || in_lines() {
        Segment::Linear
    } else {
        Segment::Spot
    }
}

/// Reads the files and sorts them into markets.
pub(crate) fn load(
    files: &[ReplayFile],
    speed: ReplaySpeed,
    start: ReplayStart,
) -> Result<HashMap<Segment, TapeMarket>, ReplayError> {
    if let ReplaySpeed::Paced(factor) = speed
        && !(factor.is_finite() && factor > 0.0)
    {
        return Err(ReplayError::Speed);
    }
    let mut tapes = HashMap::new();
    let mut parts: HashMap<Segment, Vec<Vec<Message>>> = Default::default();
    for file in files {
        let lines = replay::read(&file.path)?;
        let market = market_of(file, &lines);
        let tape = tapes
            .entry(market)
            .or_insert_with(|| TapeMarket::new(market, speed, start));
        let messages = tape.load(&file.path, lines)?;
        parts.entry(market).or_default().push(messages);
    }
    for (market, tape) in &mut tapes {
        tape.set_messages(parts.remove(market).unwrap_or_default());
    }
    Ok(tapes)
}
