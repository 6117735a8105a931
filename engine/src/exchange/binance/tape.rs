//! The thorough way to read a frame: simd-json's tape, in reused buffers.
//!
//! It takes any valid JSON: blanks, escapes, unknown and repeated fields (the last one counts),
//! arrays of messages, control messages. simd-json unescapes strings inside the frame.

use simd_json::{Buffers, Node, StaticNode, Tape};

use crate::event::{BookLevel, Control, Event, EventSink, Skipped};
use crate::exchange::DecodeError;
use crate::num::{Price, Qty};

use super::digits::{Scale, fixed, fixed_prefix};
use super::fields::{FieldStore, Fields, Key, Slot};
use super::message::{self, Kind, Verdict};
use super::scan::Levels;
use super::symbols::{Symbol, Symbols};

/// Buffers of simd-json between two frames.
pub(super) struct TapeBuffers {
    buffers: Buffers,
    tape: Tape<'static>,
}

impl TapeBuffers {
    pub(super) fn new() -> Self {
        // A guess at a frame's size; buffers grow to the largest frame met.
        Self {
            buffers: Buffers::new(4096),
            tape: Tape(Vec::new()),
        }
    }

    /// Parses `json` and shows its nodes to `read`.
    pub(super) fn with<T>(
        &mut self,
        json: &mut [u8],
        read: impl FnOnce(&[Node<'_>]) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let answer = match simd_json::fill_tape(json, &mut self.buffers, &mut tape) {
            Ok(()) => read(&tape.0),
            Err(error) => Err(DecodeError::Json { at: error.index() }),
        };
        self.tape = tape.reset();
        answer
    }
}

/// Number of nodes that the value at the start of `nodes` takes.
fn span(nodes: &[Node<'_>]) -> usize {
    match nodes.first() {
        Some(Node::Object { count, .. } | Node::Array { count, .. }) => count + 1,
        _ => 1,
    }
}

/// The values of an array; empty when it is none.
fn elements<'t, 'i>(nodes: &'t [Node<'i>]) -> impl Iterator<Item = &'t [Node<'i>]> {
    let mut rest = match nodes.first() {
        Some(Node::Array { .. }) => nodes.get(1..span(nodes)).unwrap_or(&[]),
        _ => &[],
    };
    std::iter::from_fn(move || {
        let len = span(rest).min(rest.len());
        let (value, after) = rest.split_at(len);
        rest = after;
        (!value.is_empty()).then_some(value)
    })
}

/// The names and values of an object; empty when it is none.
pub(super) fn entries<'t, 'i>(
    nodes: &'t [Node<'i>],
) -> impl Iterator<Item = (&'i str, &'t [Node<'i>])> {
    let mut rest = match nodes.first() {
        Some(Node::Object { .. }) => nodes.get(1..span(nodes)).unwrap_or(&[]),
        _ => &[],
    };
    std::iter::from_fn(move || {
        let (Node::String(name), after) = rest.split_first()? else {
            return None;
        };
        let len = span(after).min(after.len());
        let (value, after) = after.split_at(len);
        rest = after;
        (!value.is_empty()).then_some((*name, value))
    })
}

/// Fields of an object and the texts they point to. Every text is followed by a quote, so that a
/// number that is read in words ends where it should.
struct Gathered {
    store: FieldStore,
    texts: Vec<u8>,
}

impl Gathered {
    fn new() -> Self {
        Self {
            store: FieldStore::new(),
            texts: Vec::with_capacity(256),
        }
    }

    fn set(&mut self, key: Key, nodes: &[Node<'_>]) {
        let slot = match nodes.first() {
            Some(Node::String(text)) => {
                let at = self.texts.len();
                self.texts.extend_from_slice(text.as_bytes());
                self.texts.push(b'"');
                // Texts are pieces of a frame, whose length has been checked to fit.
                Slot::Text {
                    at: at as u32,
                    len: text.len() as u32,
                }
            }
            Some(Node::Array { .. }) => Slot::Array,
            Some(Node::Static(StaticNode::Bool(truth))) => Slot::Bool(*truth),
            _ => unsigned(nodes).map_or(Slot::Other, Slot::Int),
        };
        self.store.set(key, slot);
    }

    fn fields(&self) -> Fields<'_> {
        Fields {
            store: &self.store,
            base: &self.texts,
        }
    }
}

fn unsigned(nodes: &[Node<'_>]) -> Option<u64> {
    match nodes.first() {
        Some(Node::Static(StaticNode::U64(number))) => Some(*number),
        Some(Node::Static(StaticNode::I64(number))) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn text<'i>(nodes: &[Node<'i>]) -> Option<&'i str> {
    match nodes.first() {
        Some(Node::String(text)) => Some(text),
        _ => None,
    }
}

/// An object with everything that a frame can mean by it.
struct Object<'t, 'i> {
    gathered: Gathered,
    bar: Option<&'t [Node<'i>]>,
    bids: &'t [Node<'i>],
    asks: &'t [Node<'i>],
    stream: Option<&'i str>,
    data: Option<&'t [Node<'i>]>,
    result: Option<&'t [Node<'i>]>,
    error: Option<&'t [Node<'i>]>,
    id: Option<&'t [Node<'i>]>,
    code: Option<i64>,
    message: Option<&'i str>,
    is_partial_book: bool,
}

impl<'t, 'i> Object<'t, 'i> {
    fn read(nodes: &'t [Node<'i>]) -> Self {
        let mut object = Self {
            gathered: Gathered::new(),
            bar: None,
            bids: &[],
            asks: &[],
            stream: None,
            data: None,
            result: None,
            error: None,
            id: None,
            code: None,
            message: None,
            is_partial_book: false,
        };
        for (name, nodes) in entries(nodes) {
            if let Some(key) = Key::of(name.as_bytes()) {
                object.gathered.set(key, nodes);
            }
            match name {
                "a" => object.asks = nodes,
                "b" => object.bids = nodes,
                "k" => object.bar = Some(nodes),
                "stream" => object.stream = text(nodes),
                "data" => object.data = Some(nodes),
                "result" => object.result = Some(nodes),
                "error" => object.error = Some(nodes),
                "id" => object.id = Some(nodes),
                "code" => object.code = integer(nodes),
                "msg" => object.message = text(nodes),
                "lastUpdateId" => object.is_partial_book = true,
                _ => {}
            }
        }
        object
    }
}

fn integer(nodes: &[Node<'_>]) -> Option<i64> {
    match nodes.first() {
        Some(Node::Static(StaticNode::I64(number))) => Some(*number),
        Some(Node::Static(StaticNode::U64(number))) => i64::try_from(*number).ok(),
        _ => None,
    }
}

/// Delivers everything in a frame.
pub(super) fn frame(
    nodes: &[Node<'_>],
    symbols: &mut Symbols,
    levels: &mut Levels,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let top = match nodes.first() {
        Some(Node::Object { .. }) => Object::read(nodes),
        _ => return messages(nodes, None, symbols, levels, sink),
    };
    match (top.stream, top.data) {
        (Some(stream), Some(data)) => messages(data, Some(stream), symbols, levels, sink),
        _ => object(&top, None, symbols, levels, sink),
    }
}

/// One message, or an array of them as on `!markPrice@arr`.
fn messages(
    nodes: &[Node<'_>],
    stream: Option<&str>,
    symbols: &mut Symbols,
    levels: &mut Levels,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let wrong = DecodeError::Field { field: "data" };
    match nodes.first() {
        Some(Node::Object { .. }) => object(&Object::read(nodes), stream, symbols, levels, sink),
        Some(Node::Array { .. }) => elements(nodes).try_for_each(|nodes| match nodes.first() {
            Some(Node::Object { .. }) => {
                object(&Object::read(nodes), stream, symbols, levels, sink)
            }
            _ => Err(wrong.clone()),
        }),
        _ => Err(wrong),
    }
}

fn object(
    object: &Object<'_, '_>,
    stream: Option<&str>,
    symbols: &mut Symbols,
    levels: &mut Levels,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let fields = &object.gathered.fields();
    if !fields.has(Key::KIND) {
        let is_answer = object.result.is_some() || object.error.is_some();
        if is_answer || (object.code.is_some() && object.message.is_some()) {
            match control(object) {
                Some(control) => sink.control(control),
                None => sink.skipped(Skipped::UnknownKind),
            }
            return Ok(());
        }
        if object.is_partial_book {
            sink.skipped(Skipped::UnknownKind);
            return Ok(());
        }
    }
    match message::classify(fields, stream.map(str::as_bytes), symbols)? {
        Verdict::Skip(reason) => sink.skipped(reason),
        Verdict::Shutdown => sink.control(Control::Shutdown),
        Verdict::Event(Kind::Book, symbol) => {
            levels.clear();
            book_side(object.bids, "b", symbol, &mut levels.bids)?;
            book_side(object.asks, "a", symbol, &mut levels.asks)?;
            let delta = message::book_delta(fields, symbols.market(), &levels.bids, &levels.asks)?;
            sink.event(symbol.id, Event::Book(delta));
        }
        Verdict::Event(kind, symbol) => {
            let bar = object.bar.map(Object::read);
            let bar = bar.as_ref().map(|bar| bar.gathered.fields());
            message::deliver(kind, symbol, fields, bar.as_ref(), sink)?;
        }
    }
    Ok(())
}

/// An answer to a request of ours; `None` when it can't be one.
///
/// Errors are documented bare (`{"code":2,"msg":…}`) and seen wrapped (`{"error":{…},"id":1}`).
fn control(object: &Object<'_, '_>) -> Option<Control> {
    let id = object.id.and_then(unsigned);
    if let Some(error) = object.error {
        let inner = Object::read(error);
        return Some(Control::Error {
            id,
            stream: None,
            code: inner.code?,
            message: inner.message.unwrap_or_default().to_owned(),
        });
    }
    if let (Some(code), Some(message)) = (object.code, object.message) {
        return Some(Control::Error {
            id,
            stream: None,
            code,
            message: message.to_owned(),
        });
    }
    let id = id?;
    let result = object.result?;
    match result.first()? {
        Node::Static(StaticNode::Null | StaticNode::Bool(_)) => Some(Control::Ack { id }),
        Node::Array { .. } => {
            let names = elements(result).map(|nodes| text(nodes).map(str::to_owned));
            let streams = names.collect::<Option<Vec<String>>>()?;
            Some(Control::Subscriptions {
                id: Some(id),
                streams,
            })
        }
        _ => None,
    }
}

/// Reads the levels of one side.
pub(super) fn book_side(
    nodes: &[Node<'_>],
    field: &'static str,
    symbol: Symbol,
    out: &mut Vec<BookLevel>,
) -> Result<(), DecodeError> {
    if !matches!(nodes.first(), Some(Node::Array { .. })) {
        return Err(DecodeError::Field { field });
    }
    let number = |text: &str, scale: u8| {
        if let Some((mantissa, len)) = fixed_prefix(text.as_bytes(), Scale::of(scale))
            && len == text.len()
        {
            return Ok(mantissa);
        }
        fixed(text.as_bytes(), scale).map_err(|error| DecodeError::Number { field, error })
    };
    for level in elements(nodes) {
        // Old messages have a third, empty element.
        let [
            Node::Array { .. },
            Node::String(price),
            Node::String(qty),
            ..,
        ] = level
        else {
            return Err(DecodeError::Field { field });
        };
        out.push(BookLevel {
            price: Price(number(price, symbol.price_scale)?),
            qty: Qty(number(qty, symbol.qty_scale)?),
        });
    }
    Ok(())
}

/// Reads a depth snapshot: its sequence number and, where sent, its event time in milliseconds.
pub(super) fn snapshot(
    nodes: &[Node<'_>],
    symbol: Symbol,
    levels: &mut Levels,
) -> Result<(u64, Option<u64>), DecodeError> {
    let (mut seq, mut time) = (None, None);
    let (mut bids, mut asks): (&[Node<'_>], &[Node<'_>]) = (&[], &[]);
    for (name, nodes) in entries(nodes) {
        match name {
            "lastUpdateId" => seq = unsigned(nodes),
            "E" => time = unsigned(nodes),
            "bids" => bids = nodes,
            "asks" => asks = nodes,
            _ => {}
        }
    }
    let seq = seq.ok_or(DecodeError::Field {
        field: "lastUpdateId",
    })?;
    levels.clear();
    book_side(bids, "bids", symbol, &mut levels.bids)?;
    book_side(asks, "asks", symbol, &mut levels.asks)?;
    Ok((seq, time))
}
