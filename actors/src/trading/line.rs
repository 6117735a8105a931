//! Lines: connections on which an exchange takes an account's orders, one for each of
//! [`TradingVenue::order_routes`](bookwire_engine::trading::venue::TradingVenue::order_routes).
//!
//! What an order's fate hangs on is told apart here as it is for HTTP: whether its frame can have reached
//! the exchange. A frame counts as written from the moment at which it is given to the socket. Before that
//! nothing was sent, whatever happens to the line; after that only an answer with its number proves
//! anything, and a line that ends leaves everything on it in doubt. No frame is written twice.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bookwire_engine::trading::socket::{Heard, OrderAnswer, OrderRoute, OrderSession};
use bookwire_engine::trading::venue::TradingVenue;
use futures_util::future::{Either, select};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Interval;
use tokio_tungstenite::tungstenite::Message;

use super::link::{self, LOGIN, Pauses, Pulse};
use super::live::Live;
use super::{LineStatus, LinesStatus};
use crate::connection::socket::Wire as Socket;

/// Requests that may be under way on a line; more go by HTTP.
const UNDER_WAY_MAX: usize = 64;
/// Requests that may wait to be written; the line's task takes them at once.
const WAITING_MAX: usize = 64;
/// A line that the exchange ends is listened to for so long, for answers that are under way.
const FAREWELL: Duration = Duration::from_secs(5);
/// Longest time that writing a frame may take.
const WRITE: Duration = Duration::from_secs(5);

/// What became of a request on a line.
#[derive(Debug)]
pub(crate) enum Sent {
    /// The exchange has answered.
    Answer(OrderAnswer),
    /// Nothing was written: the exchange can't know of it.
    Never(String),
    /// It was written and is not answered: the exchange may have done it.
    Lost(String),
}

/// A request on its way to the line's task.
struct Job {
    id: u64,
    text: String,
    is_written: Rc<Cell<bool>>,
    reply: oneshot::Sender<Result<OrderAnswer, String>>,
}

/// A request that was written.
struct UnderWay {
    since: Duration,
    reply: oneshot::Sender<Result<OrderAnswer, String>>,
}

/// Figures of an account's lines.
#[derive(Debug, Default)]
struct LineStats {
    /// Commands whose frame was written.
    written: Cell<u64>,
    /// Those of them that were answered; the others are in doubt.
    answered: Cell<u64>,
    /// Commands that went by HTTP because a line was not up, or had too much under way.
    by_rest: Cell<u64>,
    /// Lines that were up and ended.
    reconnects: Cell<u64>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// One line.
struct Line {
    route: &'static OrderRoute,
    base: String,
    is_used: bool,
    is_up: Cell<bool>,
    /// Frames that were written and are not answered.
    in_flight: Cell<usize>,
    jobs: mpsc::Sender<Job>,
    /// Taken by the task that keeps the line.
    waiting: RefCell<Option<mpsc::Receiver<Job>>>,
}

impl Line {
    fn status(&self) -> Option<LineStatus> {
        self.is_used.then(|| LineStatus {
            name: self.route.name,
            is_up: self.is_up.get(),
            in_flight: self.in_flight.get(),
        })
    }
}

/// All lines of an account.
pub(crate) struct Lines {
    lines: Vec<Rc<Line>>,
    last_id: Cell<u64>,
    stats: LineStats,
}

impl Lines {
    /// Lines that nobody keeps yet. `base` gives the address of a route's host; those that are not used
    /// stay down.
    pub fn new(
        venue: &dyn TradingVenue,
        base: impl Fn(&OrderRoute) -> String,
        is_used: impl Fn(&OrderRoute) -> bool,
    ) -> Self {
        let lines = venue.order_routes().iter().map(|route| {
            let (jobs, waiting) = mpsc::channel(WAITING_MAX);
            Rc::new(Line {
                route,
                base: base(route),
                is_used: is_used(route),
                is_up: Cell::new(false),
                in_flight: Cell::new(0),
                jobs,
                waiting: RefCell::new(Some(waiting)),
            })
        });
        Self {
            lines: lines.collect(),
            last_id: Cell::new(0),
            stats: LineStats::default(),
        }
    }

    /// How they stand.
    pub fn status(&self) -> LinesStatus {
        LinesStatus {
            is_up: self
                .lines
                .iter()
                .all(|line| line.is_up.get() || !line.is_used),
            lines: self.lines.iter().filter_map(|line| line.status()).collect(),
            written: self.stats.written.get(),
            answered: self.stats.answered.get(),
            by_rest: self.stats.by_rest.get(),
            reconnects: self.stats.reconnects.get(),
        }
    }

    /// A number that no other request of this account has.
    pub fn next_id(&self) -> u64 {
        self.last_id.set(self.last_id.get() + 1);
        self.last_id.get()
    }

    /// Sends the frame of request `id`, waits up to `patience` for its answer.
    pub async fn send(&self, route: usize, id: u64, text: String, patience: Duration) -> Sent {
        let sent = self.send_on(route, id, text, patience).await;
        match &sent {
            Sent::Never(_) => count(&self.stats.by_rest),
            Sent::Answer(_) => {
                count(&self.stats.written);
                count(&self.stats.answered);
            }
            Sent::Lost(_) => count(&self.stats.written),
        }
        sent
    }

    async fn send_on(&self, route: usize, id: u64, text: String, patience: Duration) -> Sent {
        let never = |reason: &str| Sent::Never(reason.to_owned());
        let Some(line) = self.lines.get(route) else {
            return never("there is no such line");
        };
        if !line.is_up.get() {
            return never("the line is not up");
        }
        let is_written = Rc::new(Cell::new(false));
        let (reply, answer) = oneshot::channel();
        let job = Job {
            id,
            text,
            is_written: is_written.clone(),
            reply,
        };
        if line.jobs.try_send(job).is_err() {
            return never("too much is under way on the line");
        }
        let reason = match tokio::time::timeout(patience, answer).await {
            Ok(Ok(Ok(answer))) => return Sent::Answer(answer),
            Ok(Ok(Err(reason))) => reason,
            Ok(Err(_)) => "the line ended".to_owned(),
            // What was not written by now never is: nobody waits for its answer any more.
            Err(_) => format!("no answer within {} ms", patience.as_millis()),
        };
        match is_written.get() {
            true => Sent::Lost(reason),
            false => Sent::Never(reason),
        }
    }

    /// Keeps the lines for ever, each by a task of its own on this thread.
    pub fn keep(self: &Rc<Self>, live: &Live, account: &str) {
        for (route, line) in self.lines.iter().enumerate() {
            if !line.is_used {
                continue;
            }
            if let Some(waiting) = line.waiting.take() {
                let keeper = Keeper {
                    lines: self.clone(),
                    line: line.clone(),
                    route,
                    live: live.clone(),
                    account: account.to_owned(),
                    waiting,
                };
                crate::alive::spawn(keeper.keep());
            }
        }
    }
}

/// Why a life ended.
enum End {
    /// Wrong key or the like: trying again soon is no use.
    Refused(String),
    /// It has reached its age.
    Renewed,
    /// Anything else.
    Lost(String),
}

/// The task of one line.
struct Keeper {
    lines: Rc<Lines>,
    line: Rc<Line>,
    route: usize,
    live: Live,
    account: String,
    waiting: mpsc::Receiver<Job>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut pauses = Pauses::default();
        loop {
            let mut under_way = BTreeMap::new();
            let epoch = self.live.keys.epoch();
            let end = self.life(&mut under_way).await;
            let was_up = self.line.is_up.replace(false);
            let (reason, is_refused) = match end {
                End::Refused(reason) => (reason, true),
                End::Lost(reason) => (reason, false),
                End::Renewed => ("it has reached its age".to_owned(), false),
            };
            // Nobody can be added: the line is down. What was not written is told so by being dropped.
            while self.waiting.try_recv().is_ok() {}
            let left = under_way.len();
            self.line.in_flight.set(0);
            for (_, request) in std::mem::take(&mut under_way) {
                let _ = request.reply.send(Err(format!("the line ended: {reason}")));
            }
            if was_up {
                count(&self.lines.stats.reconnects);
            }
            tracing::warn!(provider = self.live.provider.name(), account = %self.account,
                line = self.line.route.name, %reason, in_doubt = left,
                "the line for orders is down; they go by HTTP");
            let pause = std::pin::pin!(self.live.clock.sleep(pauses.next(was_up, is_refused)));
            // What was refused may be taken from another key at once.
            let rotated = std::pin::pin!(self.live.keys.after(epoch));
            if let Either::Right(_) = select(pause, rotated).await {
                pauses = Pauses::default();
            }
        }
    }

    async fn life(&mut self, under_way: &mut BTreeMap<u64, UnderWay>) -> End {
        let Some(mut session) = self.live.venue.order_session(self.route) else {
            return End::Refused("there is no such line".to_owned());
        };
        let url = format!("{}{}", self.line.base, self.line.route.path);
        let OrderRoute { host, markets, .. } = *self.line.route;
        let mut socket = match link::open(&self.live, host, markets, &url).await {
            Ok(socket) => socket,
            Err(reason) => return End::Lost(reason),
        };
        let epoch = self.live.keys.epoch();
        let keys = self.live.keys.get();
        let texts = match session.opened(&keys, self.live.exchange_now()) {
            Ok(texts) => texts,
            Err(error) => return End::Refused(error.message),
        };
        self.line.is_up.set(texts.is_empty());
        for text in texts {
            if let Err(error) = socket.send(Message::text(text)).await {
                return End::Lost(format!("can't send: {error}"));
            }
        }
        let mut life = Life {
            session: session.as_mut(),
            pulse: Pulse::new(self.live.clock.monotonic()),
            ticks: link::ticks(),
            leaving: None,
            epoch,
            under_way,
        };
        loop {
            let turned = self.turn(&mut life, &mut socket).await;
            self.line.in_flight.set(life.under_way.len());
            if let Err(end) = turned {
                return end;
            }
        }
    }

    /// Waits for the next thing and does it.
    async fn turn(&mut self, life: &mut Life<'_>, socket: &mut Socket) -> Result<(), End> {
        let is_open = self.line.is_up.get() && life.under_way.len() < UNDER_WAY_MAX;
        let clock = self.live.clock.clone();
        let keys = self.live.keys.clone();
        tokio::select! {
            () = keys.after(life.epoch), if life.leaving.is_none() => {
                self.leave(life, "another key is in force".to_owned());
                Ok(())
            }
            message = socket.next() => {
                life.pulse.hear(clock.monotonic());
                let text = link::text_of(message, socket).await.map_err(End::Lost)?;
                match text {
                    Some(text) => self.take(life, text.as_bytes()),
                    None => Ok(()),
                }
            }
            job = self.waiting.recv(), if is_open => match job {
                Some(job) => write(life, socket, job, clock.monotonic()).await,
                None => Err(End::Lost("the account is gone".to_owned())),
            },
            _ = life.ticks.tick() => self.tick(life, socket, clock.monotonic()).await,
        }
    }

    /// Takes a frame.
    fn take(&self, life: &mut Life<'_>, text: &[u8]) -> Result<(), End> {
        match life.session.frame(text) {
            Ok(Heard::Nothing) => {}
            Ok(Heard::Ready) => self.line.is_up.set(life.leaving.is_none()),
            Ok(Heard::Refused(error)) => return Err(End::Refused(error.message)),
            Ok(Heard::Leave(reason)) => self.leave(life, reason),
            Ok(Heard::Answer(answer)) => {
                if answer.is_last {
                    self.leave(life, "the exchange takes nothing more on it".to_owned());
                }
                // Nobody waits for one that is late: what became of its order is asked for.
                if let Some(request) = life.under_way.remove(&answer.id) {
                    let _ = request.reply.send(Ok(answer));
                }
            }
            Err(error) => {
                tracing::warn!(provider = self.live.provider.name(), account = %self.account,
                    line = self.line.route.name, %error, "an answer on the line can't be read");
            }
        }
        Ok(())
    }

    /// Takes nothing more; what is under way may still be answered.
    fn leave(&self, life: &mut Life<'_>, reason: String) {
        if life.leaving.is_none() {
            life.leaving = Some((reason, self.live.clock.monotonic()));
            if self.line.is_up.replace(false) {
                count(&self.lines.stats.reconnects);
            }
        }
    }

    async fn tick(
        &mut self,
        life: &mut Life<'_>,
        socket: &mut Socket,
        now: Duration,
    ) -> Result<(), End> {
        let route = self.line.route;
        // A line on which nothing comes after a request, not even the answer to a ping, is dead long
        // before it is silent for too long.
        let oldest = life.under_way.values().map(|request| request.since).min();
        if let Some(oldest) = oldest {
            let doubt = life.pulse.doubt(socket, now, oldest, self.live.patience);
            doubt.await.map_err(End::Lost)?;
        }
        life.under_way
            .retain(|_, request| !request.reply.is_closed());
        let is_idle = life.under_way.is_empty() && self.waiting.is_empty();
        if let Some((reason, since)) = &life.leaving {
            if is_idle || now.saturating_sub(*since) > FAREWELL {
                return Err(End::Lost(reason.clone()));
            }
        } else if !self.line.is_up.get() && life.pulse.age(now) > LOGIN {
            return Err(End::Lost("the login was not answered".to_owned()));
        }
        let is_old = |secs: u64| life.pulse.age(now) > Duration::from_secs(secs);
        if is_idle && route.lifetime_secs.is_some_and(is_old) {
            return Err(End::Renewed);
        }
        let keepalive = life.session.keepalive();
        let beat = life.pulse.beat(socket, now, route.silence_secs, keepalive);
        beat.await.map_err(End::Lost)
    }
}

/// One life of a line.
struct Life<'a> {
    session: &'a mut dyn OrderSession,
    pulse: Pulse,
    ticks: Interval,
    /// Why it ends soon, and since when that is known.
    leaving: Option<(String, Duration)>,
    /// Of the key that it is logged in with.
    epoch: u64,
    under_way: &'a mut BTreeMap<u64, UnderWay>,
}

async fn write(
    life: &mut Life<'_>,
    socket: &mut Socket,
    job: Job,
    now: Duration,
) -> Result<(), End> {
    // Who waited for it has been told that nothing was sent.
    if job.reply.is_closed() {
        return Ok(());
    }
    // From here on it may have arrived, even where writing fails.
    job.is_written.set(true);
    let request = UnderWay {
        since: now,
        reply: job.reply,
    };
    life.under_way.insert(job.id, request);
    match tokio::time::timeout(WRITE, socket.send(Message::text(job.text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::Lost(format!("can't send: {error}"))),
        Err(_) => Err(End::Lost("can't send in time".to_owned())),
    }
}
