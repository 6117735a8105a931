//! Sessions, their subscriptions, and the way of a message to them, faults included.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::stream::{Kind, Route, Topic};
use crate::chaos::{self, FaultDesk, Target};
use crate::fault::{FaultKind, FaultSpec};
use crate::market::Segment;

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

struct Session {
    route: Route,
    is_combined: bool,
    queue: mpsc::Sender<Utf8Bytes>,
    fate: watch::Sender<Fate>,
    /// Stream names in the order of their subscription, with what they carry.
    streams: Vec<(Arc<str>, Option<Topic>)>,
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
#[derive(Default)]
pub(crate) struct Hub {
    sessions: BTreeMap<SessionId, Session>,
    index: HashMap<Topic, Vec<SessionId>>,
    next_id: SessionId,
    /// Delayed messages by due time.
    held: BTreeMap<(Instant, u64), (Topic, String)>,
    held_next: u64,
    /// Messages that wait for their successor.
    overtaken: HashMap<Topic, String>,
    closing: Vec<(Instant, SessionId)>,
    pub(crate) counters: Counters,
}

/// Most messages held back by delay faults; beyond it they go out at once.
const HELD_MAX: usize = 100_000;

impl Hub {
    pub(crate) fn open(&mut self, route: Route, is_combined: bool, queue_max: usize) -> Port {
        let (queue, queue_end) = mpsc::channel(queue_max.max(16));
        let (fate, fate_end) = watch::channel(Fate::Live);
        let id = self.next_id;
        self.next_id += 1;
        let session = Session {
            route,
            is_combined,
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

    fn leave(&mut self, id: SessionId, topic: Option<&Topic>) {
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
        let names = |s: &Session| s.streams.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.sessions.get(&id).map(names).unwrap_or_default()
    }

    pub(crate) fn is_combined(&self, id: SessionId) -> bool {
        self.sessions
            .get(&id)
            .is_some_and(|session| session.is_combined)
    }

    pub(crate) fn set_combined(&mut self, id: SessionId, is_combined: bool) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_combined = is_combined;
        }
    }

    /// Adds a stream; `topic` is `None` if it carries nothing here.
    pub(crate) fn subscribe(&mut self, id: SessionId, name: &str, topic: Option<Topic>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.streams.iter().any(|(known, _)| &**known == name) {
            return;
        }
        let topic = topic.filter(|topic| session.route.carries(topic.kind));
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

    pub(crate) fn is_wanted(&self, topic: &Topic) -> bool {
        self.index.contains_key(topic)
    }

    /// Topics somebody wants, of kinds that `pick` chooses, in a fixed order.
    pub(crate) fn wanted(&self, pick: impl Fn(&Topic) -> bool) -> Vec<Topic> {
        let mut topics: Vec<Topic> = self.index.keys().filter(|t| pick(t)).copied().collect();
        topics.sort_unstable_by_key(|t| (t.market == Segment::Linear, t.symbol, t.kind, t.micros));
        topics
    }

    /// Smallest free room among the queues of a market's live sessions.
    pub(crate) fn room(&self, market: Segment) -> usize {
        let live = |s: &&Session| s.route.market() == market && *s.fate.borrow() == Fate::Live;
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
        topic: Topic,
        symbol: Option<&str>,
        mut body: String,
    ) {
        if !self.is_wanted(&topic) {
            return;
        }
        let suffix = super::stream_suffix(&topic);
        let target = Target {
            market: topic.market,
            symbol,
            stream: Some((topic.kind.family(), &suffix)),
            path: None,
        };
        let is_diff = matches!(topic.kind, Kind::Depth(_));
        let strikes =
            |kind: FaultKind| kind.strikes_messages() && (kind != FaultKind::Gap || is_diff);
        let Some(fault) = faults.strike(strikes, &target) else {
            return self.send_in_turn(topic, &body);
        };
        self.counters.faulted += 1;
        match fault.kind {
            FaultKind::Duplicate => {
                self.send(topic, &body);
                self.send_in_turn(topic, &body);
            }
            FaultKind::Reorder if !self.overtaken.contains_key(&topic) => {
                self.overtaken.insert(topic, body);
            }
            FaultKind::Delay if self.held.len() < HELD_MAX => {
                self.held_next += 1;
                let due = Instant::now() + fault.delay;
                self.held.insert((due, self.held_next), (topic, body));
            }
            FaultKind::Malformed => {
                let mut half = body.len() / 2;
                while !body.is_char_boundary(half) {
                    half -= 1;
                }
                body.truncate(half);
                self.send_malformed(topic, &body);
            }
            FaultKind::Drop | FaultKind::Gap => {}
            _ => self.send_in_turn(topic, &body),
        }
    }

    fn send_in_turn(&mut self, topic: Topic, body: &str) {
        self.send(topic, body);
        if let Some(overtaken) = self.overtaken.remove(&topic) {
            self.send(topic, &overtaken);
        }
    }

    fn send(&mut self, topic: Topic, body: &str) {
        self.deliver(topic, body, |name, body| {
            format!("{{\"stream\":\"{name}\",\"data\":{body}}}")
        });
    }

    fn send_malformed(&mut self, topic: Topic, body: &str) {
        self.deliver(topic, body, |name, body| {
            format!("{{\"stream\":\"{name}\",\"data\":{body}")
        });
    }

    fn deliver(&mut self, topic: Topic, body: &str, wrap: impl Fn(&str, &str) -> String) {
        let Some(members) = self.index.get(&topic) else {
            return;
        };
        let mut raw: Option<Utf8Bytes> = None;
        let mut wrapped: Option<(Arc<str>, Utf8Bytes)> = None;
        let mut ready = Vec::with_capacity(members.len());
        for id in members {
            let Some(session) = self.sessions.get(id) else {
                continue;
            };
            for (name, known) in &session.streams {
                if *known != Some(topic) {
                    continue;
                }
                let text = if !session.is_combined {
                    raw.get_or_insert_with(|| body.to_owned().into()).clone()
                } else {
                    match &wrapped {
                        Some((done, text)) if done == name => text.clone(),
                        _ => {
                            let text = Utf8Bytes::from(wrap(name, body));
                            wrapped = Some((Arc::clone(name), text.clone()));
                            text
                        }
                    }
                };
                ready.push((*id, text));
            }
        }
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
            let (topic, body) = entry.remove();
            self.send(topic, &body);
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

    fn condemn(&mut self, id: SessionId, fate: Fate) {
        if let Some(session) = self.sessions.get(&id) {
            session.fate.send_replace(fate);
        }
    }

    /// Sessions that a fault is about.
    pub(crate) fn concerned(
        &self,
        spec: &FaultSpec,
        symbol_of: impl Fn(&Topic) -> Option<String>,
    ) -> Vec<SessionId> {
        let concerned = |session: &Session| {
            let market = session.route.market();
            if spec.symbol.is_none() && spec.stream.is_none() {
                return chaos::concerns(spec, &Target::market(market));
            }
            session
                .streams
                .iter()
                .filter_map(|(_, topic)| topic.as_ref())
                .any(|topic| {
                    let (symbol, suffix) = (symbol_of(topic), super::stream_suffix(topic));
                    let stream = Some((topic.kind.family(), suffix.as_str()));
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

    /// Does to sessions what a connection fault says.
    pub(crate) fn strike_sessions(&mut self, spec: &FaultSpec, ids: &[SessionId], event_ms: i64) {
        for id in ids {
            match spec.kind {
                FaultKind::Disconnect => self.condemn(*id, Fate::Abort),
                FaultKind::HalfOpen => self.condemn(*id, Fate::HalfOpen),
                FaultKind::ServerShutdown => {
                    let event = format!("{{\"e\":\"serverShutdown\",\"E\":{event_ms}}}");
                    let text = match self.is_combined(*id) {
                        true => format!("{{\"stream\":\"!serverShutdown\",\"data\":{event}}}"),
                        false => event,
                    };
                    self.reply(*id, text);
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
            .filter(|(_, session)| session.route.market() == market)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.condemn(id, Fate::Close(1001));
        }
    }
}

/// How long a half-open connection is kept before it is dropped after all.
pub(crate) const HALF_OPEN_MAX: Duration = Duration::from_secs(3_600);
