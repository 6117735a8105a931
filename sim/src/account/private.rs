//! Private streams: which connections hear of which account, and what faults do to what they hear.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::AccountId;
use crate::chaos::{self, Target};
use crate::fault::{FaultKind, FaultSpec, PRIVATE};
use crate::market::Segment;
use crate::venue::{Core, SessionId, Venue};

/// Most messages held back by faults; beyond it they go out at once.
const HELD_MAX: usize = 10_000;

/// A connection that hears of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    pub(crate) session: SessionId,
    pub(crate) account: AccountId,
    /// `None`: of all markets.
    pub(crate) market: Option<Segment>,
    /// The exchange's name of what was subscribed to.
    pub(crate) channel: String,
}

/// What a private message is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) account: AccountId,
    pub(crate) market: Segment,
    /// Native symbol, where it is about one.
    pub(crate) symbol: Option<&'a str>,
    /// The word a fault names it by: `order`, `account`.
    pub(crate) family: &'static str,
}

/// A message for one session: the channel, and the text.
type Parcel = (SessionId, String, String);

/// The listeners, and what waits for them.
#[derive(Default)]
pub(crate) struct PrivateDesk {
    listeners: Vec<Listener>,
    /// Messages that wait for their successor, by account and family.
    overtaken: HashMap<(AccountId, &'static str), Vec<Parcel>>,
    held: BTreeMap<(Instant, u64), Vec<Parcel>>,
    held_next: u64,
    is_down: HashMap<Segment, bool>,
}

impl PrivateDesk {
    /// What sessions hear.
    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Sessions that a connection fault about private streams means.
    pub(crate) fn concerned(&self, spec: &FaultSpec) -> Vec<SessionId> {
        let Some(family) = spec.stream.as_deref().filter(|name| PRIVATE.contains(name)) else {
            return Vec::new();
        };
        let hit = |listener: &&Listener| {
            let markets = match listener.market {
                Some(market) => vec![market],
                None => vec![Segment::Spot, Segment::Linear],
            };
            markets.into_iter().any(|market| {
                let target = Target {
                    market,
                    symbol: spec.symbol.as_deref(),
                    stream: Some((PRIVATE[0], family)),
                    path: None,
                };
                chaos::concerns(spec, &target)
            })
        };
        let mut ids: Vec<SessionId> = self
            .listeners
            .iter()
            .filter(hit)
            .map(|listener| listener.session)
            .collect();
        ids.dedup();
        ids
    }
}

impl<V: Venue> Core<V> {
    /// Lets a session hear of an account; false if it does already.
    pub(crate) fn listen_private(&mut self, listener: Listener) -> bool {
        let desk = &mut self.private;
        let is_new = !desk.listeners.contains(&listener);
        if is_new {
            desk.listeners.push(listener);
        }
        is_new
    }

    /// Ends what `pick` wants; returns how many that were.
    pub(crate) fn leave_private(&mut self, pick: impl Fn(&Listener) -> bool) -> usize {
        let before = self.private.listeners.len();
        self.private.listeners.retain(|listener| !pick(listener));
        before - self.private.listeners.len()
    }

    /// Whether a fault keeps a market's private streams down: nothing may be subscribed to then.
    pub(crate) fn is_private_down(&self, market: Segment) -> bool {
        self.faults.is_in_force(FaultKind::PrivateOutage, market)
    }

    /// Sends a private message, or what a fault makes of it. `text` makes what a listener is to
    /// hear; `None`: nothing.
    pub(crate) fn publish_private(
        &mut self,
        subject: &Subject<'_>,
        text: impl Fn(&Listener) -> Option<String>,
    ) {
        let hub = &self.hub;
        let listeners = &mut self.private.listeners;
        listeners.retain(|listener| hub.is_open(listener.session));
        let hears = |listener: &&Listener| {
            listener.account == subject.account
                && listener
                    .market
                    .is_none_or(|market| market == subject.market)
        };
        let parcels: Vec<Parcel> = listeners
            .iter()
            .filter(hears)
            .filter_map(|it| Some((it.session, it.channel.clone(), text(it)?)))
            .collect();
        if parcels.is_empty() {
            return;
        }
        if self.is_private_down(subject.market) {
            return self.lose_private(&parcels);
        }
        let target = Target {
            market: subject.market,
            symbol: subject.symbol,
            stream: Some((PRIVATE[0], subject.family)),
            path: None,
        };
        let strikes = |kind: FaultKind| kind.strikes_messages() && kind != FaultKind::Gap;
        let fault = self.faults.strike(strikes, &target);
        self.hub.counters.faulted += u64::from(fault.is_some());
        let key = (subject.account, subject.family);
        match fault.map(|fault| (fault.kind, fault.delay)) {
            Some((FaultKind::Drop, _)) => return self.lose_private(&parcels),
            Some((FaultKind::Duplicate, _)) => {
                self.deliver_private(parcels.clone());
                self.deliver_private(parcels);
            }
            Some((FaultKind::Reorder, _)) if !self.private.overtaken.contains_key(&key) => {
                self.private.overtaken.insert(key, parcels);
                return;
            }
            Some((FaultKind::Delay, delay)) if self.private.held.len() < HELD_MAX => {
                self.private.held_next += 1;
                let at = (Instant::now() + delay, self.private.held_next);
                self.private.held.insert(at, parcels);
                return;
            }
            Some((FaultKind::Malformed, _)) => {
                let cut = |(session, channel, text): Parcel| {
                    (session, channel, crate::venue::hub::halve(text))
                };
                self.deliver_private(parcels.into_iter().map(cut).collect());
            }
            _ => self.deliver_private(parcels),
        }
        if let Some(parcels) = self.private.overtaken.remove(&key) {
            self.deliver_private(parcels);
        }
    }

    fn deliver_private(&mut self, parcels: Vec<Parcel>) {
        for (session, channel, text) in parcels {
            self.hub.tell(session, &channel, text);
        }
    }

    fn lose_private(&mut self, parcels: &[Parcel]) {
        for (session, ..) in parcels {
            self.hub.lose_one(*session);
        }
    }

    /// Sends what faults have held back until now, and cuts connections where an outage begins.
    pub(crate) fn release_private(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.private.held.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let parcels = entry.remove();
            self.deliver_private(parcels);
        }
        for market in [Segment::Spot, Segment::Linear] {
            let is_down = self.is_private_down(market);
            let was_down = self.private.is_down.insert(market, is_down) == Some(true);
            if is_down && !was_down {
                let hit = |it: &&Listener| it.market.is_none_or(|of| of == market);
                let ids: Vec<SessionId> = self
                    .private
                    .listeners
                    .iter()
                    .filter(hit)
                    .map(|listener| listener.session)
                    .collect();
                for id in ids {
                    self.hub.cut(id);
                }
            }
        }
    }
}
