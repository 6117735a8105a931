//! Which streams are wanted, and on which connection each of them lives. Pure bookkeeping: the
//! shard's actor acts on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::{Feed, ProviderId};
use bookwire_engine::instrument::{InstrumentId, Market};

/// A feed of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// Of which instrument.
    pub instrument: InstrumentId,
    /// Which.
    pub feed: Feed,
}

#[derive(Debug, Default)]
struct Want {
    users: usize,
    is_pinned: bool,
    idle_since: Option<Duration>,
}

/// Counts who wants what. The first user starts a stream, the last one's leaving stops it after a
/// linger, so that a client that reconnects finds it running.
#[derive(Debug, Default)]
pub struct Demand {
    wants: AHashMap<StreamKey, Want>,
}

impl Demand {
    /// One more user. True when the stream has to be started.
    pub fn acquire(&mut self, key: StreamKey) -> bool {
        let is_new = !self.wants.contains_key(&key);
        let want = self.wants.entry(key).or_default();
        want.users += 1;
        want.idle_since = None;
        is_new
    }

    /// Always on from now on. True when the stream has to be started.
    pub fn pin(&mut self, key: StreamKey) -> bool {
        let is_new = !self.wants.contains_key(&key);
        let want = self.wants.entry(key).or_default();
        want.is_pinned = true;
        want.idle_since = None;
        is_new
    }

    /// One user less.
    pub fn release(&mut self, key: StreamKey, now: Duration) {
        if let Some(want) = self.wants.get_mut(&key) {
            want.users = want.users.saturating_sub(1);
            if want.users == 0 && !want.is_pinned {
                want.idle_since.get_or_insert(now);
            }
        }
    }

    /// Streams that nobody has wanted for as long as `linger` says; they are forgotten here.
    pub fn expire(
        &mut self,
        now: Duration,
        linger: impl Fn(StreamKey) -> Duration,
    ) -> Vec<StreamKey> {
        let is_over = |key: &StreamKey, want: &Want| {
            want.idle_since
                .is_some_and(|since| now.saturating_sub(since) >= linger(*key))
        };
        let over: Vec<StreamKey> = self
            .wants
            .iter()
            .filter(|(key, want)| is_over(key, want))
            .map(|(key, _)| *key)
            .collect();
        for key in &over {
            self.wants.remove(key);
        }
        over
    }

    /// The stream could not be started: nobody has it.
    pub fn forget(&mut self, key: StreamKey) {
        self.wants.remove(&key);
    }

    /// True when the stream is to be running.
    #[must_use]
    pub fn is_wanted(&self, key: StreamKey) -> bool {
        self.wants.contains_key(&key)
    }
}

/// Streams of all shards together, and how many there may be.
#[derive(Debug)]
pub struct StreamRoom {
    most: usize,
    used: AtomicUsize,
}

impl StreamRoom {
    /// Room for `most` streams.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            used: AtomicUsize::new(0),
        }
    }

    /// Takes room for `count` streams.
    ///
    /// # Errors
    /// `CRYPTO_SUBSCRIPTION_LIMIT` when there is not so much.
    pub fn take(&self, count: usize) -> Result<(), CryptoError> {
        let fits = |used: usize| used.checked_add(count).filter(|sum| *sum <= self.most);
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        match self.used.fetch_update(success, failure, fits) {
            Ok(_) => Ok(()),
            Err(used) => {
                let most = self.most;
                let mut error = CryptoError::new(
                    CryptoCode::SubscriptionLimit,
                    format!(
                        "{used} of {most} streams are in use, and {count} more are needed: the \
                         limit is data_collection.max_concurrent_streams"
                    ),
                )
                .with("limit", most)
                .with("current_usage", used)
                .with("needed", count);
                error.recovery_suggestions = vec![
                    "unsubscribe from what is not needed; a stream ends some seconds later".into(),
                    "raise data_collection.max_concurrent_streams in the configuration".into(),
                ];
                Err(error)
            }
        }
    }

    /// Gives it back.
    pub fn give_back(&self, count: usize) {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self
            .used
            .fetch_update(success, failure, |used| Some(used.saturating_sub(count)));
    }

    /// Streams in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// What one connection is to carry; shared with its actor, survives it.
#[derive(Debug)]
pub struct ConnectionPlan {
    /// Whose.
    pub provider: ProviderId,
    /// Product line.
    pub market: Market,
    /// Index into the market's routes.
    pub route: usize,
    /// Number on that route.
    pub number: usize,
    /// Native stream names → what they carry.
    pub streams: BTreeMap<Arc<str>, StreamKey>,
    /// Grows with each change of `streams`.
    pub revision: u64,
    /// Written by the actor: how often it has been started.
    pub starts: u32,
    /// Written by the actor: the connection is up.
    pub is_up: bool,
    /// Written by the actor: streams acknowledged.
    pub live: usize,
    /// Written by the actor: links that were opened.
    pub opened: u64,
    /// Written by the actor: why it is not up, or was not the last time.
    pub trouble: Option<String>,
}

impl ConnectionPlan {
    /// `spot/public/0`: for logs and status.
    #[must_use]
    pub fn name(&self) -> String {
        let routes = self.provider.exchange().routes(self.market);
        let route = routes.get(self.route).map_or("?", |route| route.name);
        format!("{}/{route}/{}", self.market, self.number)
    }
}

/// A plan and its users.
pub type SharedPlan = Rc<RefCell<ConnectionPlan>>;

/// What the shard has to do after a change.
#[derive(Debug)]
pub enum Change {
    /// A connection has to be opened.
    Open(SharedPlan),
    /// A connection's streams changed.
    Update(SharedPlan),
    /// A connection carries nothing any more.
    Close(SharedPlan),
}

/// Spreads streams over connections: a stream goes to the first connection of its route with room.
#[derive(Debug, Default)]
pub struct Upstream {
    plans: Vec<SharedPlan>,
    places: AHashMap<StreamKey, (SharedPlan, Vec<Arc<str>>)>,
}

/// Where a stream belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Whose.
    pub provider: ProviderId,
    /// Product line.
    pub market: Market,
    /// Index into the market's routes.
    pub route: usize,
    /// Streams that a connection of this route takes.
    pub room: usize,
}

impl Upstream {
    /// Adds a feed with the native streams that carry it; `None` when it is there already.
    pub fn add<'n>(
        &mut self,
        key: StreamKey,
        names: impl IntoIterator<Item = &'n str>,
        place: Place,
    ) -> Option<Change> {
        if self.places.contains_key(&key) {
            return None;
        }
        let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
        let fits = |plan: &&SharedPlan| {
            let plan = plan.borrow();
            (plan.provider, plan.market, plan.route) == (place.provider, place.market, place.route)
                && plan.streams.len() + names.len() <= place.room.max(names.len())
        };
        let (plan, is_new) = match self.plans.iter().find(fits) {
            Some(plan) => (plan.clone(), false),
            None => {
                let plan = Rc::new(RefCell::new(self.new_plan(place)));
                self.plans.push(plan.clone());
                (plan, true)
            }
        };
        {
            let mut plan = plan.borrow_mut();
            for name in &names {
                plan.streams.insert(name.clone(), key);
            }
            plan.revision += 1;
        }
        self.places.insert(key, (plan.clone(), names));
        Some(match is_new {
            true => Change::Open(plan),
            false => Change::Update(plan),
        })
    }

    fn new_plan(&self, place: Place) -> ConnectionPlan {
        let mut number = 0;
        while self.plans.iter().any(|plan| {
            let plan = plan.borrow();
            (plan.provider, plan.market, plan.route, plan.number)
                == (place.provider, place.market, place.route, number)
        }) {
            number += 1;
        }
        ConnectionPlan {
            provider: place.provider,
            market: place.market,
            route: place.route,
            number,
            streams: BTreeMap::new(),
            revision: 0,
            starts: 0,
            is_up: false,
            live: 0,
            opened: 0,
            trouble: None,
        }
    }

    /// Native streams that carry a feed; 0 when it is not there.
    #[must_use]
    pub fn width(&self, key: StreamKey) -> usize {
        self.places.get(&key).map_or(0, |(_, names)| names.len())
    }

    /// Removes a stream; `None` when it is not there.
    pub fn remove(&mut self, key: StreamKey) -> Option<Change> {
        let (plan, names) = self.places.remove(&key)?;
        let is_empty = {
            let mut plan = plan.borrow_mut();
            for name in &names {
                plan.streams.remove(name);
            }
            plan.revision += 1;
            plan.streams.is_empty()
        };
        if !is_empty {
            return Some(Change::Update(plan));
        }
        self.plans.retain(|other| !Rc::ptr_eq(other, &plan));
        Some(Change::Close(plan))
    }

    /// The connection that carries a stream.
    #[must_use]
    pub fn plan_of(&self, key: StreamKey) -> Option<&SharedPlan> {
        self.places.get(&key).map(|(plan, _)| plan)
    }

    /// All connections.
    #[must_use]
    pub fn plans(&self) -> &[SharedPlan] {
        &self.plans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u32) -> StreamKey {
        StreamKey {
            instrument: InstrumentId(id),
            feed: Feed::Trades,
        }
    }

    fn place(route: usize) -> Place {
        Place {
            provider: ProviderId::BINANCE,
            market: Market::Perp,
            route,
            room: 2,
        }
    }

    const LINGER: Duration = Duration::from_secs(30);

    #[test]
    fn the_first_starts_and_the_last_ends_after_a_linger() {
        let at = Duration::from_secs;
        let mut demand = Demand::default();
        assert!(demand.acquire(key(1)));
        assert!(!demand.acquire(key(1)));
        demand.release(key(1), at(0));
        assert!(
            demand.expire(at(1000), |_| LINGER).is_empty(),
            "one user left"
        );
        demand.release(key(1), at(1000));
        assert!(demand.expire(at(1029), |_| LINGER).is_empty());
        assert!(!demand.acquire(key(1)), "still running");
        demand.release(key(1), at(1029));
        assert_eq!(demand.expire(at(1059), |_| LINGER), [key(1)]);
        assert!(demand.acquire(key(1)), "has to be started again");
    }

    #[test]
    fn room_is_limited_over_all() {
        let room = StreamRoom::new(3);
        assert!(room.take(2).is_ok());
        let error = room.take(2).unwrap_err();
        assert_eq!(error.code, CryptoCode::SubscriptionLimit);
        assert_eq!(error.details["limit"], 3);
        assert_eq!(error.details["current_usage"], 2);
        assert_eq!(room.used(), 2, "nothing was taken");
        assert!(room.take(1).is_ok());
        room.give_back(3);
        assert!(room.take(3).is_ok());
        assert!(StreamRoom::new(usize::MAX).take(5).is_ok());
    }

    #[test]
    fn what_is_always_on_never_ends() {
        let mut demand = Demand::default();
        assert!(demand.pin(key(1)));
        assert!(!demand.acquire(key(1)));
        demand.release(key(1), Duration::ZERO);
        assert!(demand.expire(Duration::MAX, |_| LINGER).is_empty());
        assert!(demand.is_wanted(key(1)));
    }

    #[test]
    fn streams_fill_connections_of_their_route() {
        let mut upstream = Upstream::default();
        assert!(matches!(
            upstream.add(key(1), ["a"], place(0)),
            Some(Change::Open(_))
        ));
        assert!(matches!(
            upstream.add(key(2), ["b"], place(0)),
            Some(Change::Update(_))
        ));
        assert!(matches!(
            upstream.add(key(3), ["c"], place(0)),
            Some(Change::Open(_))
        ));
        assert!(matches!(
            upstream.add(key(4), ["d"], place(1)),
            Some(Change::Open(_))
        ));
        assert!(upstream.add(key(4), ["d"], place(1)).is_none());
        let names: Vec<String> = upstream.plans().iter().map(|p| p.borrow().name()).collect();
        assert_eq!(names, ["perp/public/0", "perp/public/1", "perp/market/0"]);
        assert!(matches!(upstream.remove(key(1)), Some(Change::Update(_))));
        // The room is used again before another connection is opened.
        assert!(matches!(
            upstream.add(key(5), ["e"], place(0)),
            Some(Change::Update(_))
        ));
        assert!(matches!(upstream.remove(key(3)), Some(Change::Close(_))));
        assert!(upstream.remove(key(3)).is_none());
        assert_eq!(upstream.plans().len(), 2);
        assert_eq!(upstream.plan_of(key(5)).unwrap().borrow().number, 0);
    }
}
