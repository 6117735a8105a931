//! Sessions, their subscriptions, and the way of a message to them, faults included.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::chaos::{self, FaultDesk, Target};
use crate::fault::{FaultKind, FaultSpec};
use crate::market::Segment;

/// A stream as an exchange publishes it. Its order is the one in which streams are worked through.
pub(crate) trait Topic: Copy + Ord + Hash + Send + 'static {
    /// The market it belongs to.
    fn market(&self) -> Segment;
    /// The word a fault names its kind by, the same for all exchanges: `depth`, `trade`, ….
    fn family(&self) -> &'static str;
    /// The exchange's own name for it, without the symbol.
    fn suffix(&self) -> String;
    /// Whether it carries changes of a book, so that a lost message leaves a gap.
    fn is_diff(&self) -> bool;
}

/// What a connection makes of a stream's message.
pub(crate) trait Envelope: Send + 'static {
    /// Whether the sealed text depends on the stream's name and the message alone, so that it can
    /// be shared by connections that seal.
    const IS_SHARED: bool;
    /// Whether sealing numbers a message, so that the number is that of its place in the order in
    /// which messages were made, also when a fault sends it twice or later.
    const IS_NUMBERED: bool = false;

    /// The market that the connection serves; `None`: all.
    fn market(&self) -> Option<Segment>;

    /// Messages go out as they are.
    fn is_plain(&self) -> bool;

    /// The text to send, where it is not plain.
    fn seal(&mut self, name: &str, body: &str) -> String;

    /// A message to this connection was lost by a fault.
    fn lose(&mut self) {}
}

/// What is to become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It works.
    Live,
    /// It is up and dead.
    HalfOpen,
    /// It ends without a word.
    Abort,
    /// It ends with this close code.
    Close(u16),
}

/// Number of a session.
pub(crate) type SessionId = u64;

struct Session<T, E> {
    envelope: E,
    queue: mpsc::Sender<Utf8Bytes>,
    fate: watch::Sender<Fate>,
    /// Stream names in the order of their subscription, with what they carry.
    streams: Vec<(Arc<str>, Option<T>)>,
}

impl<T: Topic, E: Envelope> Session<T, E> {
    /// Whether it serves that market; a connection for all of them does while it has a stream of it.
    fn is_of(&self, market: Segment) -> bool {
        let mut topics = self.streams.iter().filter_map(|(_, topic)| topic.as_ref());
        match self.envelope.market() {
            Some(own) => own == market,
            None => topics.any(|topic| topic.market() == market),
        }
    }
}

/// The receiving end of a session.
pub(crate) struct Port {
    pub(crate) id: SessionId,
    pub(crate) queue: mpsc::Receiver<Utf8Bytes>,
    pub(crate) fate: watch::Receiver<Fate>,
}

/// Counts of what went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Messages put into a connection's queue.
    pub messages: u64,
    /// Messages changed, held or dropped by a fault.
    pub faulted: u64,
    /// Connections cut off because they read too slowly.
    pub slow_clients: u64,
    /// REST requests answered.
    pub requests: u64,
}

/// The sessions of an exchange.
pub(crate) struct Hub<T, E> {
    sessions: BTreeMap<SessionId, Session<T, E>>,
    index: HashMap<T, Vec<SessionId>>,
    next_id: SessionId,
    /// Delayed messages by due time.
    held: BTreeMap<(Instant, u64), (T, Parcel)>,
    held_next: u64,
    /// Messages that wait for their successor.
    overtaken: HashMap<T, Parcel>,
    closing: Vec<(Instant, SessionId)>,
    pub(crate) counters: Counters,
}

/// A message that is sent later than it was made.
enum Parcel {
    /// To whoever listens then.
    Body(String),
    /// To those who listened, as it was for each of them.
    Sealed(Vec<(SessionId, Utf8Bytes)>),
}

/// Most messages held back by delay faults; beyond it they go out at once.
const HELD_MAX: usize = 100_000;

impl<T, E> Default for Hub<T, E> {
    fn default() -> Self {
        Self {
            sessions: BTreeMap::new(),
            index: HashMap::new(),
            next_id: 0,
            held: BTreeMap::new(),
            held_next: 0,
            overtaken: HashMap::new(),
            closing: Vec::new(),
            counters: Counters::default(),
        }
    }
}

impl<T: Topic, E: Envelope> Hub<T, E> {
    /// Opens a session. Messages beyond `queue_max` that wait for its client cut it off.
    pub(crate) fn open(&mut self, envelope: E, queue_max: usize) -> Port {
        let (queue, queue_end) = mpsc::channel(queue_max.max(16));
        let (fate, fate_end) = watch::channel(Fate::Live);
        let id = self.next_id;
        self.next_id += 1;
        let session = Session {
            envelope,
            queue,
            fate,
            streams: Vec::new(),
        };
        self.sessions.insert(id, session);
        self.counters.connections += 1;
        self.counters.connections_open += 1;
        Port {
            id,
            queue: queue_end,
            fate: fate_end,
        }
    }

    pub(crate) fn close(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            self.counters.connections_open -= 1;
            for (_, topic) in &session.streams {
                self.leave(id, topic.as_ref());
            }
        }
    }

    fn leave(&mut self, id: SessionId, topic: Option<&T>) {
        let Some(topic) = topic else { return };
        if let Some(members) = self.index.get_mut(topic) {
            members.retain(|member| *member != id);
            if members.is_empty() {
                self.index.remove(topic);
                self.overtaken.remove(topic);
            }
        }
    }

    /// Puts a control answer into the session's queue.
    pub(crate) fn reply(&mut self, id: SessionId, text: String) {
        self.put(id, text.into());
    }

    pub(crate) fn stream_count(&self, id: SessionId) -> usize {
        self.sessions
            .get(&id)
            .map_or(0, |session| session.streams.len())
    }

    pub(crate) fn streams(&self, id: SessionId) -> Vec<Arc<str>> {
        let names =
            |s: &Session<T, E>| s.streams.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.sessions.get(&id).map(names).unwrap_or_default()
    }

    /// What the session makes of messages.
    pub(crate) fn envelope(&self, id: SessionId) -> Option<&E> {
        self.sessions.get(&id).map(|session| &session.envelope)
    }

    /// As [`Hub::envelope`], to change it.
    pub(crate) fn envelope_mut(&mut self, id: SessionId) -> Option<&mut E> {
        self.sessions
            .get_mut(&id)
            .map(|session| &mut session.envelope)
    }

    /// Puts a stream's message into one session's queue: a first image of what it subscribed to.
    pub(crate) fn tell(&mut self, id: SessionId, name: &str, body: String) {
        let Some(envelope) = self.envelope_mut(id) else {
            return;
        };
        let text = match envelope.is_plain() {
            true => body,
            false => envelope.seal(name, &body),
        };
        self.put(id, text.into());
    }

    /// Adds a stream; `topic` is `None` if it carries nothing here.
    pub(crate) fn subscribe(&mut self, id: SessionId, name: &str, topic: Option<T>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.streams.iter().any(|(known, _)| &**known == name) {
            return;
        }
        session.streams.push((name.into(), topic));
        if let Some(topic) = topic {
            self.index.entry(topic).or_default().push(id);
        }
    }

    pub(crate) fn unsubscribe(&mut self, id: SessionId, name: &str) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some(at) = session
            .streams
            .iter()
            .position(|(known, _)| &**known == name)
        {
            let (_, topic) = session.streams.remove(at);
            // Another name of the same stream (`@depth` and `@depth@1000ms`) keeps it.
            if !session.streams.iter().any(|(_, other)| *other == topic) {
                self.leave(id, topic.as_ref());
            }
        }
    }

    pub(crate) fn is_wanted(&self, topic: &T) -> bool {
        self.index.contains_key(topic)
    }

    /// Topics somebody wants, of kinds that `pick` chooses, in a fixed order.
    pub(crate) fn wanted(&self, pick: impl Fn(&T) -> bool) -> Vec<T> {
        let mut topics: Vec<T> = self.index.keys().filter(|t| pick(t)).copied().collect();
        topics.sort_unstable();
        topics
    }

    /// Smallest free room among the queues of a market's live sessions.
    pub(crate) fn room(&self, market: Segment) -> usize {
        let live = |s: &&Session<T, E>| s.is_of(market) && *s.fate.borrow() == Fate::Live;
        let rooms = self
            .sessions
            .values()
            .filter(live)
            .map(|session| session.queue.capacity());
        rooms.min().unwrap_or(usize::MAX)
    }

    /// Sends a message of a stream, or what a fault makes of it.
    pub(crate) fn publish(
        &mut self,
        faults: &mut FaultDesk,
        topic: T,
        symbol: Option<&str>,
        body: String,
    ) {
        if !self.is_wanted(&topic) {
            return;
        }
        let suffix = topic.suffix();
        let target = Target {
            market: topic.market(),
            symbol,
            stream: Some((topic.family(), &suffix)),
            path: None,
        };
        let is_diff = topic.is_diff();
        let strikes =
            |kind: FaultKind| kind.strikes_messages() && (kind != FaultKind::Gap || is_diff);
        let Some(fault) = faults.strike(strikes, &target) else {
            return self.send_in_turn(topic, &body);
        };
        self.counters.faulted += 1;
        match fault.kind {
            FaultKind::Duplicate if E::IS_NUMBERED => {
                let ready = self.seal(topic, &body, |text| text);
                self.put_all(ready.clone());
                self.put_all(ready);
                self.send_overtaken(topic);
            }
            FaultKind::Duplicate => {
                self.send(topic, &body);
                self.send_in_turn(topic, &body);
            }
            FaultKind::Reorder if !self.overtaken.contains_key(&topic) => {
                let parcel = self.pack(topic, body);
                self.overtaken.insert(topic, parcel);
            }
            FaultKind::Delay if self.held.len() < HELD_MAX => {
                self.held_next += 1;
                let due = Instant::now() + fault.delay;
                let parcel = self.pack(topic, body);
                self.held.insert((due, self.held_next), (topic, parcel));
            }
            FaultKind::Malformed => self.deliver(topic, &body, halve),
            FaultKind::Drop | FaultKind::Gap => self.lose(topic),
            _ => self.send_in_turn(topic, &body),
        }
    }

    fn send_in_turn(&mut self, topic: T, body: &str) {
        self.send(topic, body);
        self.send_overtaken(topic);
    }

    fn send_overtaken(&mut self, topic: T) {
        if let Some(overtaken) = self.overtaken.remove(&topic) {
            self.unpack(topic, overtaken);
        }
    }

    fn pack(&mut self, topic: T, body: String) -> Parcel {
        match E::IS_NUMBERED {
            true => Parcel::Sealed(self.seal(topic, &body, |text| text)),
            false => Parcel::Body(body),
        }
    }

    fn unpack(&mut self, topic: T, parcel: Parcel) {
        match parcel {
            Parcel::Body(body) => self.send(topic, &body),
            Parcel::Sealed(ready) => self.put_all(ready),
        }
    }

    fn send(&mut self, topic: T, body: &str) {
        self.deliver(topic, body, |text| text);
    }

    fn lose(&mut self, topic: T) {
        for id in self.index.get(&topic).into_iter().flatten() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.envelope.lose();
            }
        }
    }

    fn deliver(&mut self, topic: T, body: &str, spoil: impl Fn(String) -> String) {
        let ready = self.seal(topic, body, spoil);
        self.put_all(ready);
    }

    /// The texts of a message, one for each stream of each session that it belongs to.
    fn seal(
        &mut self,
        topic: T,
        body: &str,
        spoil: impl Fn(String) -> String,
    ) -> Vec<(SessionId, Utf8Bytes)> {
        let Some(members) = self.index.get(&topic) else {
            return Vec::new();
        };
        let mut raw: Option<Utf8Bytes> = None;
        let mut sealed: Option<(Arc<str>, Utf8Bytes)> = None;
        let mut ready = Vec::with_capacity(members.len());
        for id in members {
            let Some(session) = self.sessions.get_mut(id) else {
                continue;
            };
            let Session {
                envelope, streams, ..
            } = session;
            for (name, known) in &*streams {
                if *known != Some(topic) {
                    continue;
                }
                let text = match &sealed {
                    _ if envelope.is_plain() => raw
                        .get_or_insert_with(|| spoil(body.to_owned()).into())
                        .clone(),
                    Some((done, text)) if E::IS_SHARED && done == name => text.clone(),
                    _ => {
                        let text = Utf8Bytes::from(spoil(envelope.seal(name, body)));
                        sealed = Some((Arc::clone(name), text.clone()));
                        text
                    }
                };
                ready.push((*id, text));
            }
        }
        ready
    }

    fn put_all(&mut self, ready: Vec<(SessionId, Utf8Bytes)>) {
        for (id, text) in ready {
            self.put(id, text);
        }
    }

    fn put(&mut self, id: SessionId, text: Utf8Bytes) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        match session.queue.try_send(text) {
            Ok(()) => self.counters.messages += 1,
            Err(mpsc::error::TrySendError::Full(_)) => {
                if *session.fate.borrow() == Fate::Live {
                    self.counters.slow_clients += 1;
                    session.fate.send_replace(Fate::Abort);
                }
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Sends what was delayed until now, and closes who was told to expect it.
    pub(crate) fn release(&mut self) {
        if self.held.is_empty() && self.closing.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(entry) = self.held.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (topic, parcel) = entry.remove();
            self.unpack(topic, parcel);
        }
        let due = |at: &Instant| *at <= now;
        let ended: Vec<SessionId> = self
            .closing
            .iter()
            .filter(|(at, _)| due(at))
            .map(|(_, id)| *id)
            .collect();
        self.closing.retain(|(at, _)| !due(at));
        for id in ended {
            self.condemn(id, Fate::Close(1001));
        }
    }

    /// Whether the session is there and works.
    pub(crate) fn is_open(&self, id: SessionId) -> bool {
        let session = self.sessions.get(&id);
        session.is_some_and(|session| *session.fate.borrow() == Fate::Live)
    }

    /// Ends a connection without a word.
    pub(crate) fn cut(&mut self, id: SessionId) {
        self.condemn(id, Fate::Abort);
    }

    /// Ends all connections without a word.
    pub(crate) fn cut_all(&mut self) {
        for session in self.sessions.values() {
            session.fate.send_replace(Fate::Abort);
        }
    }

    /// A message to this session is lost by a fault.
    pub(crate) fn lose_one(&mut self, id: SessionId) {
        if let Some(envelope) = self.envelope_mut(id) {
            envelope.lose();
        }
    }

    fn condemn(&mut self, id: SessionId, fate: Fate) {
        if let Some(session) = self.sessions.get(&id) {
            session.fate.send_replace(fate);
        }
    }

    /// Sessions that a fault is about.
    pub(crate) fn concerned(
        &self,
        spec: &FaultSpec,
        symbol_of: impl Fn(&T) -> Option<String>,
    ) -> Vec<SessionId> {
        let concerned = |session: &Session<T, E>| {
            if spec.symbol.is_none() && spec.stream.is_none() {
                return match spec.market {
                    Some(market) => session.is_of(market),
                    None => true,
                };
            }
            session
                .streams
                .iter()
                .filter_map(|(_, topic)| topic.as_ref())
                .any(|topic| {
                    let (symbol, suffix) = (symbol_of(topic), topic.suffix());
                    let stream = Some((topic.family(), suffix.as_str()));
                    let market = topic.market();
                    let symbol = symbol.as_deref();
                    chaos::concerns(
                        spec,
                        &Target {
                            market,
                            symbol,
                            stream,
                            path: None,
                        },
                    )
                })
        };
        self.sessions
            .iter()
            .filter(|(_, s)| concerned(s))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Does to sessions what a connection fault says. `goodbye` is the notice before a shutdown.
    pub(crate) fn strike_sessions(
        &mut self,
        spec: &FaultSpec,
        ids: &[SessionId],
        goodbye: impl Fn(&mut E) -> Option<String>,
    ) {
        for id in ids {
            match spec.kind {
                FaultKind::Disconnect => self.condemn(*id, Fate::Abort),
                FaultKind::HalfOpen => self.condemn(*id, Fate::HalfOpen),
                FaultKind::ServerShutdown => {
                    if let Some(text) = self.envelope_mut(*id).and_then(&goodbye) {
                        self.reply(*id, text);
                    }
                    self.closing.push((Instant::now() + spec.delay, *id));
                }
                _ => {}
            }
        }
    }

    /// Ends every connection of a market.
    pub(crate) fn close_market(&mut self, market: Segment) {
        let ids: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.is_of(market))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.condemn(id, Fate::Close(1001));
        }
    }
}

/// How long a half-open connection is kept before it is dropped after all.
pub(crate) const HALF_OPEN_MAX: Duration = Duration::from_secs(3_600);

/// The first half of a text: no valid JSON.
pub(crate) fn halve(mut text: String) -> String {
    let mut half = text.len() / 2;
    while !text.is_char_boundary(half) {
        half -= 1;
    }
    text.truncate(half);
    text
}
