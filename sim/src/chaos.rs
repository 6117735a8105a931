//! The faults in force: whom they strike, and when they end.

use std::collections::HashMap;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fault::{FaultKind, FaultSpec};
use crate::market::Segment;

/// Number of a fault in force, for taking it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FaultId(u64);

/// A fault in force, as [`crate::SimControl::faults`] tells.
#[derive(Clone, Debug)]
pub struct FaultState {
    /// Its number.
    pub id: FaultId,
    /// What it is.
    pub spec: FaultSpec,
    /// How often it struck.
    pub strikes: u64,
}

/// What a fault may strike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) market: Segment,
    pub(crate) symbol: Option<&'a str>,
    /// Kind of a stream, and the stream name after the symbol.
    pub(crate) stream: Option<(&'a str, &'a str)>,
    pub(crate) path: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub(crate) fn request(market: Segment, path: &'a str, symbol: Option<&'a str>) -> Self {
        Self {
            market,
            symbol,
            stream: None,
            path: Some(path),
        }
    }
}

struct Active {
    id: FaultId,
    spec: FaultSpec,
    given: Instant,
    strikes: u64,
    last: Option<Instant>,
    rng: StdRng,
}

impl Active {
    fn is_due(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.given);
        let ended = self
            .spec
            .duration
            .is_some_and(|length| age >= self.spec.after + length);
        let exhausted = self.spec.count.is_some_and(|count| self.strikes >= count);
        let too_soon = self.last.is_some_and(|last| {
            !self.spec.every.is_zero() && now.saturating_duration_since(last) < self.spec.every
        });
        age >= self.spec.after && !ended && !exhausted && !too_soon
    }

    fn is_over(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.given);
        self.spec
            .duration
            .is_some_and(|length| age >= self.spec.after + length)
            || self.spec.count.is_some_and(|count| self.strikes >= count)
    }

    fn strike(&mut self, now: Instant) -> bool {
        if self.spec.probability < 1.0 && !self.rng.random_bool(self.spec.probability) {
            return false;
        }
        self.strikes += 1;
        self.last = Some(now);
        true
    }
}

/// Whether a fault is about such a target.
pub(crate) fn concerns(spec: &FaultSpec, target: &Target<'_>) -> bool {
    let symbol = |wanted: &String| {
        target
            .symbol
            .is_some_and(|s| s.eq_ignore_ascii_case(wanted))
    };
    let stream = |wanted: &String| {
        target
            .stream
            .is_some_and(|(kind, name)| kind == wanted || name == wanted)
    };
    let path = |wanted: &String| target.path.is_some_and(|path| path.starts_with(wanted));
    spec.market.is_none_or(|market| market == target.market)
        && spec.symbol.as_ref().is_none_or(symbol)
        && spec.stream.as_ref().is_none_or(stream)
        && spec.path.as_ref().is_none_or(path)
}

/// The faults in force.
pub(crate) struct FaultDesk {
    seed: u64,
    next_id: u64,
    active: Vec<Active>,
    /// How often each kind has struck since the start.
    struck: HashMap<FaultKind, u64>,
}

impl FaultDesk {
    pub(crate) fn new(seed: u64, specs: &[FaultSpec]) -> Self {
        let mut desk = Self {
            seed,
            next_id: 1,
            active: Vec::new(),
            struck: HashMap::new(),
        };
        for spec in specs {
            desk.inject(spec.clone());
        }
        desk
    }

    pub(crate) fn inject(&mut self, spec: FaultSpec) -> FaultId {
        let now = Instant::now();
        self.active.retain(|fault| !fault.is_over(now));
        let id = FaultId(self.next_id);
        self.next_id += 1;
        let rng = StdRng::seed_from_u64(self.seed.rotate_left(17) ^ id.0);
        self.active.push(Active {
            id,
            spec,
            given: now,
            strikes: 0,
            last: None,
            rng,
        });
        id
    }

    pub(crate) fn clear(&mut self, id: Option<FaultId>) {
        self.active
            .retain(|fault| id.is_some_and(|id| fault.id != id));
    }

    pub(crate) fn states(&self) -> Vec<FaultState> {
        let state = |f: &Active| FaultState {
            id: f.id,
            spec: f.spec.clone(),
            strikes: f.strikes,
        };
        self.active.iter().map(state).collect()
    }

    /// The first fault of a wanted kind that strikes this target now.
    pub(crate) fn strike(
        &mut self,
        wanted: impl Fn(FaultKind) -> bool,
        target: &Target<'_>,
    ) -> Option<FaultSpec> {
        if self.active.is_empty() {
            return None;
        }
        let now = Instant::now();
        self.active.iter_mut().find_map(|fault| {
            let strikes = wanted(fault.spec.kind)
                && fault.is_due(now)
                && concerns(&fault.spec, target)
                && fault.strike(now);
            strikes.then(|| {
                *self.struck.entry(fault.spec.kind).or_default() += 1;
                fault.spec.clone()
            })
        })
    }

    /// How often faults of a kind have struck since the start.
    pub(crate) fn struck(&self, kind: FaultKind) -> u64 {
        self.struck.get(&kind).copied().unwrap_or(0)
    }

    /// Whether a fault of this kind is in force for a market; does not count as a strike.
    pub(crate) fn is_in_force(&self, kind: FaultKind, market: Segment) -> bool {
        let now = Instant::now();
        self.active.iter().any(|fault| {
            fault.spec.kind == kind
                && fault.is_due(now)
                && fault.spec.market.is_none_or(|wanted| wanted == market)
        })
    }

    /// Faults against connections that strike now: each for all connections `has_any` knows of.
    pub(crate) fn strike_connections(
        &mut self,
        has_any: impl Fn(&FaultSpec) -> bool,
    ) -> Vec<FaultSpec> {
        let now = Instant::now();
        let mut struck = Vec::new();
        for fault in &mut self.active {
            let kind = fault.spec.kind;
            let wanted = matches!(
                kind,
                FaultKind::Disconnect
                    | FaultKind::HalfOpen
                    | FaultKind::ServerShutdown
                    | FaultKind::Restart
            );
            let is_met = kind == FaultKind::Restart || has_any(&fault.spec);
            if wanted && fault.is_due(now) && is_met && fault.strike(now) {
                *self.struck.entry(kind).or_default() += 1;
                struck.push(fault.spec.clone());
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(symbol: &str) -> Target<'_> {
        Target {
            market: Segment::Spot,
            symbol: Some(symbol),
            stream: Some(("depth", "depth@100ms")),
            path: None,
        }
    }

    fn strikes(seed: u64, text: &str, tries: usize) -> Vec<usize> {
        let mut desk = FaultDesk::new(seed, &[text.parse().unwrap()]);
        (0..tries)
            .filter(|_| {
                desk.strike(FaultKind::strikes_messages, &target("BTCUSDT"))
                    .is_some()
            })
            .collect()
    }

    #[test]
    fn same_seed_same_strikes() {
        let first = strikes(7, "drop:p=0.1", 1_000);
        assert_eq!(first, strikes(7, "drop:p=0.1", 1_000));
        assert_ne!(first, strikes(8, "drop:p=0.1", 1_000));
        assert!((60..140).contains(&first.len()), "{}", first.len());
    }

    #[test]
    fn strikes_whom_it_names() {
        assert_eq!(strikes(1, "gap", 3), vec![0]);
        assert_eq!(strikes(1, "gap:count=2", 3), vec![0, 1]);
        assert_eq!(
            strikes(1, "drop:symbol=btcusdt,stream=depth@100ms", 2),
            vec![0, 1]
        );
        for other in [
            "symbol=ETHUSDT",
            "stream=trade",
            "market=usdm",
            "after=1h",
            "path=/x",
        ] {
            assert!(
                strikes(1, &format!("drop:{other}"), 2).is_empty(),
                "{other}"
            );
        }
        assert_eq!(strikes(1, "drop:every=1h", 3), vec![0]);
    }
}
