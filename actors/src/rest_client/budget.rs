//! Rate budget of one host: answers "when", never waits itself.
//!
//! What is allowed is shared out by priority: a part is never used, a part is kept for cancels, and
//! of the rest a part is kept for what somebody waits for now. A pause that the exchange asks for
//! stops everything, cancels too: asking on would make it longer.

use std::collections::VecDeque;
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::exchange::{BudgetWindows, RestBudget};
use bookwire_engine::time::TsNanos;

/// Part of a window's weight that is never used, per mille: others behind the same address count
/// on the same budget, and the exchange's clock is not exactly ours.
const HEADROOM_PER_MILLE: u32 = 100;
/// Part of the usable weight that only cancels may use, per mille; of a budget of three or more at
/// least one.
const CANCELS_PER_MILLE: u32 = 100;
/// Part of what is left that history and housekeeping may not use, per mille.
const RESERVE_PER_MILLE: u32 = 300;
/// The same for history that nobody waits for.
const BACKFILL_RESERVE_PER_MILLE: u32 = 600;
/// Parts of a sliding window: weight is forgotten a part at a time.
const SLOTS: i64 = 20;

/// Who asks, from what matters least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// History that nobody waits for: leaves room for that which somebody does wait for.
    Backfill,
    /// History and housekeeping: leaves a reserve for what somebody waits for.
    Background,
    /// A book, an instrument list or an order waits for it.
    Live,
    /// Takes an order out of the market: the last that is refused.
    Cancel,
}

/// Weight used in the running window.
#[derive(Debug)]
pub struct RateBudget {
    limit: u32,
    window_nanos: i64,
    used: Used,
    /// Weight of requests whose answer has not come: the exchange may count them at any moment.
    in_flight: u32,
}

#[derive(Debug)]
enum Used {
    Aligned {
        window: i64,
        used: u32,
    },
    /// Number of the slot and what was used in it, oldest first; at most [`SLOTS`] and one.
    Sliding(VecDeque<(i64, u32)>),
}

impl RateBudget {
    /// An unused budget.
    #[must_use]
    pub fn new(budget: RestBudget, windows: BudgetWindows) -> Self {
        let secs = i64::try_from(budget.window_secs).unwrap_or(60).max(1);
        Self {
            limit: budget.weight_per_window.max(1),
            window_nanos: secs.saturating_mul(1_000_000_000),
            used: match windows {
                BudgetWindows::Aligned => Used::Aligned {
                    window: i64::MIN,
                    used: 0,
                },
                BudgetWindows::Sliding => Used::Sliding(VecDeque::new()),
            },
            in_flight: 0,
        }
    }

    /// Weight that this priority may use in a window.
    #[must_use]
    pub fn share(&self, priority: Priority) -> u32 {
        let usable = self.limit - per_mille(self.limit, HEADROOM_PER_MILLE);
        let least = u32::from(self.limit >= 3);
        let live = usable - per_mille(usable, CANCELS_PER_MILLE).max(least);
        match priority {
            Priority::Cancel => usable,
            Priority::Live => live,
            Priority::Background => live - per_mille(live, RESERVE_PER_MILLE),
            Priority::Backfill => live - per_mille(live, BACKFILL_RESERVE_PER_MILLE),
        }
    }

    /// Takes `weight`, or says how long to wait before asking again.
    ///
    /// # Errors
    /// The time after which the answer can be different.
    pub fn take(&mut self, now: TsNanos, weight: u32, priority: Priority) -> Result<(), Duration> {
        let used = self.used(now);
        // A request that costs more than all there is may go when nothing else was used.
        if used > 0 && used.saturating_add(weight) > self.share(priority) {
            let over = used.saturating_add(weight) - self.share(priority);
            return Err(self.wait_for(now, over));
        }
        self.in_flight = self.in_flight.saturating_add(weight);
        Ok(())
    }

    /// How long until `over` of what is used is forgotten.
    fn wait_for(&self, now: TsNanos, over: u32) -> Duration {
        match &self.used {
            Used::Aligned { window, .. } => {
                let next = (window + 1).saturating_mul(self.window_nanos);
                nanos(next.saturating_sub(now.0))
            }
            Used::Sliding(slots) => {
                let mut freed = 0u32;
                let row = slots.iter().find(|(_, used)| {
                    freed = freed.saturating_add(*used);
                    freed >= over
                });
                let slot_nanos = self.window_nanos / SLOTS;
                match row {
                    // A slot counts until the last instant of it is a window ago.
                    Some((slot, _)) => {
                        let free = (slot + 1 + SLOTS).saturating_mul(slot_nanos);
                        nanos(free.saturating_sub(now.0))
                    }
                    // Answers have to come first.
                    None => nanos(slot_nanos),
                }
            }
        }
    }

    /// What was taken was not asked for.
    fn give_back(&mut self, weight: u32) {
        self.in_flight = self.in_flight.saturating_sub(weight);
    }

    /// A request that took `weight` is over; `told` is what the exchange says is used now.
    pub fn settle(&mut self, now: TsNanos, weight: u32, told: Option<u32>) {
        self.roll(now);
        self.in_flight = self.in_flight.saturating_sub(weight);
        let slot = self.slot(now);
        match &mut self.used {
            Used::Aligned { used, .. } => {
                // Never less than we know: answers overtake each other, and some requests are
                // charged here that cost the exchange's budget nothing.
                *used = used.saturating_add(weight).max(told.unwrap_or(0));
            }
            Used::Sliding(slots) => {
                // It counts from now: when the exchange counted it lies between then and now.
                let known: u32 = slots.iter().map(|(_, used)| *used).sum();
                let known = known.saturating_add(weight).saturating_add(self.in_flight);
                let by_others = told.map_or(0, |told| told.saturating_sub(known));
                let used = weight.saturating_add(by_others);
                match slots.back_mut() {
                    Some((last, sum)) if *last >= slot => *sum = sum.saturating_add(used),
                    _ => slots.push_back((slot, used)),
                }
            }
        }
    }

    /// As [`RateBudget::settle`], where a request that took `weight` has cost nothing after all.
    pub fn settle_free(&mut self, now: TsNanos, weight: u32, told: Option<u32>) {
        self.in_flight = self.in_flight.saturating_sub(weight);
        self.settle(now, 0, told);
    }

    /// Weight used in the window of `now`, what is under way included.
    pub fn used(&mut self, now: TsNanos) -> u32 {
        self.roll(now);
        let settled = match &self.used {
            Used::Aligned { used, .. } => *used,
            Used::Sliding(slots) => slots
                .iter()
                .fold(0, |sum, (_, used)| used.saturating_add(sum)),
        };
        settled.saturating_add(self.in_flight)
    }

    /// The exchange says that another weight is in force.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit.max(1);
    }

    /// Weight allowed in a window.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn slot(&self, now: TsNanos) -> i64 {
        now.0.div_euclid(self.window_nanos / SLOTS)
    }

    fn roll(&mut self, now: TsNanos) {
        let slot = self.slot(now);
        match &mut self.used {
            Used::Aligned { window, used } => {
                let current = now.0.div_euclid(self.window_nanos);
                if current != *window {
                    (*window, *used) = (current, 0);
                }
            }
            Used::Sliding(slots) => {
                while slots.front().is_some_and(|(old, _)| old + SLOTS < slot) {
                    slots.pop_front();
                }
            }
        }
    }
}

/// A budget, and those of single instruments where the exchange counts each by itself.
#[derive(Debug)]
pub struct Budgets {
    terms: RestBudget,
    windows: BudgetWindows,
    all: RateBudget,
    by_instrument: AHashMap<Box<str>, RateBudget>,
}

/// Instruments whose budgets are kept; beyond that those are forgotten that are not in use.
const INSTRUMENTS_MAX: usize = 1_000;

impl Budgets {
    /// Unused budgets.
    #[must_use]
    pub fn new(terms: RestBudget, windows: BudgetWindows) -> Self {
        Self {
            terms,
            windows,
            all: RateBudget::new(terms, windows),
            by_instrument: AHashMap::new(),
        }
    }

    /// What all instruments share.
    pub fn all(&mut self) -> &mut RateBudget {
        &mut self.all
    }

    /// As [`RateBudget::take`], of both budgets or of none.
    ///
    /// # Errors
    /// The time after which the answer can be different.
    pub fn take(
        &mut self,
        now: TsNanos,
        weight: u32,
        priority: Priority,
        instrument: Option<&str>,
    ) -> Result<(), Duration> {
        self.all.take(now, weight, priority)?;
        let taken = match self.of(instrument, now) {
            Some(own) => own.take(now, weight, priority),
            None => Ok(()),
        };
        taken.inspect_err(|_| self.all.give_back(weight))
    }

    /// As [`RateBudget::settle`], and [`RateBudget::settle_free`] where it was free.
    pub fn settle(
        &mut self,
        now: TsNanos,
        (weight, is_free): (u32, bool),
        told: Option<u32>,
        instrument: Option<&str>,
    ) {
        let settle = |rate: &mut RateBudget, told| match is_free {
            true => rate.settle_free(now, weight, told),
            false => rate.settle(now, weight, told),
        };
        settle(&mut self.all, told);
        if let Some(own) = self.of(instrument, now) {
            settle(own, None);
        }
    }

    fn of(&mut self, instrument: Option<&str>, now: TsNanos) -> Option<&mut RateBudget> {
        let weight_per_window = self.terms.weight_per_instrument?;
        let instrument = instrument?;
        let (all, is_known) = (&mut self.by_instrument, |all: &AHashMap<_, _>| {
            all.contains_key(instrument)
        });
        if all.len() >= INSTRUMENTS_MAX && !is_known(all) {
            all.retain(|_, rate| rate.used(now) > 0);
        }
        let terms = RestBudget {
            weight_per_window,
            ..self.terms
        };
        let windows = self.windows;
        Some(
            all.entry(instrument.into())
                .or_insert_with(|| RateBudget::new(terms, windows)),
        )
    }
}

/// A pause that an exchange asks for: of a whole host, or of one of its budgets.
#[derive(Debug)]
pub struct Pause {
    until: TsNanos,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            until: TsNanos(i64::MIN),
        }
    }
}

impl Pause {
    /// Nothing goes out for `pause`; a longer one that is known already stays.
    pub fn begin(&mut self, now: TsNanos, pause: Duration) {
        let pause = i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX);
        self.until = self.until.max(TsNanos(now.0.saturating_add(pause)));
    }

    /// How long it lasts still; `None` when there is none.
    #[must_use]
    pub fn left(&self, now: TsNanos) -> Option<Duration> {
        (now < self.until).then(|| nanos(self.until.0.saturating_sub(now.0)))
    }
}

fn per_mille(whole: u32, part: u32) -> u32 {
    u32::try_from(u64::from(whole) * u64::from(part) / 1000).unwrap_or(whole)
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bookwire_engine::exchange::ProviderId;

    fn of(limit: u32, window_secs: u64, windows: BudgetWindows) -> RateBudget {
        let budget = RestBudget {
            name: "weight",
            weight_per_window: limit,
            weight_per_instrument: None,
            window_secs,
            used_header: Some("x-used"),
            remaining_header: None,
        };
        RateBudget::new(budget, windows)
    }

    fn budget() -> RateBudget {
        of(1000, 60, BudgetWindows::Aligned)
    }

    fn at(secs: i64) -> TsNanos {
        at_ms(secs * 1000)
    }

    fn at_ms(ms: i64) -> TsNanos {
        TsNanos::from_ms(ms)
    }

    #[test]
    fn each_priority_has_its_share() {
        let mut budget = budget();
        assert_eq!(budget.take(at(10), 560, Priority::Background), Ok(()));
        let full = Err(Duration::from_secs(50));
        assert_eq!(budget.take(at(10), 50, Priority::Background), full);
        assert_eq!(budget.take(at(10), 250, Priority::Live), Ok(()));
        assert_eq!(budget.take(at(10), 1, Priority::Live), full);
        // Whatever the others do, this is left.
        assert_eq!(budget.take(at(10), 90, Priority::Cancel), Ok(()));
        assert_eq!(budget.take(at(10), 1, Priority::Cancel), full);
        for weight in [560, 250, 90] {
            budget.settle(at(11), weight, None);
        }
        assert_eq!(budget.used(at(11)), 900);
        assert_eq!(budget.take(at(60), 1, Priority::Background), Ok(()));
    }

    #[test]
    fn every_budget_of_every_exchange_keeps_room_for_a_cancel() {
        for provider in ProviderId::all() {
            let exchange = provider.exchange();
            for market in exchange.markets() {
                for terms in exchange.rest_budgets(*market) {
                    let budget = RateBudget::new(*terms, exchange.budget_windows(*market));
                    let share = |priority| budget.share(priority);
                    let name = terms.name;
                    assert!(share(Priority::Backfill) >= 1, "{name}");
                    assert!(
                        share(Priority::Backfill) <= share(Priority::Background),
                        "{name}"
                    );
                    assert!(share(Priority::Background) >= 1, "{name}");
                    assert!(
                        share(Priority::Background) <= share(Priority::Live),
                        "{name}"
                    );
                    assert!(share(Priority::Cancel) <= terms.weight_per_window, "{name}");
                    if terms.weight_per_window >= 3 {
                        assert!(share(Priority::Live) < share(Priority::Cancel), "{name}");
                    }
                    if terms.weight_per_window >= 10 {
                        assert!(share(Priority::Cancel) < terms.weight_per_window, "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_costs_nothing_when_it_is_taken_is_no_limit() {
        let mut budget = budget();
        for _ in 0..5_000 {
            assert_eq!(budget.take(at(1), 1, Priority::Live), Ok(()));
            // The exchange tells what is used, and does not count it.
            budget.settle_free(at(1), 1, Some(3));
        }
        assert_eq!(budget.used(at(1)), 3);
        // One that is refused counts, and so does what is under way.
        assert_eq!(budget.take(at(1), 1, Priority::Live), Ok(()));
        assert_eq!(budget.used(at(1)), 4);
        budget.settle(at(1), 1, None);
        assert_eq!(budget.used(at(1)), 4);
    }

    #[test]
    fn believes_the_exchange() {
        let mut budget = budget();
        assert_eq!(budget.take(at(1), 100, Priority::Live), Ok(()));
        assert_eq!(budget.take(at(1), 50, Priority::Live), Ok(()));
        // Somebody else behind the same address has used 600.
        budget.settle(at(2), 100, Some(700));
        assert_eq!(budget.used(at(2)), 750, "with what is under way");
        assert!(budget.take(at(2), 200, Priority::Live).is_err());
        // An answer that was overtaken tells less.
        budget.settle(at(3), 50, Some(650));
        assert_eq!(budget.used(at(3)), 750);
        assert_eq!(budget.take(at(4), 50, Priority::Live), Ok(()));
        // What is under way counts in the next window too: the answer may come from there.
        assert_eq!(budget.used(at(61)), 50);
    }

    #[test]
    fn a_limit_that_is_told_is_in_force() {
        let mut budget = budget();
        assert_eq!(budget.take(at(1), 500, Priority::Live), Ok(()));
        budget.set_limit(600);
        assert_eq!(budget.limit(), 600);
        assert!(budget.take(at(1), 50, Priority::Live).is_err());
        budget.set_limit(2000);
        assert_eq!(budget.take(at(1), 50, Priority::Live), Ok(()));
    }

    #[test]
    fn what_the_exchange_does_not_count_stays_charged() {
        let mut budget = budget();
        for _ in 0..10 {
            assert_eq!(budget.take(at(1), 24, Priority::Live), Ok(()));
            budget.settle(at(1), 24, Some(3));
        }
        assert_eq!(budget.used(at(1)), 240);
    }

    #[test]
    fn no_span_of_a_sliding_window_holds_more_than_is_allowed() {
        // As fast as it lets us, with answers that take 70 ms: Coinbase's terms.
        for (limit, secs) in [(10u32, 1u64), (600, 5), (20, 2), (1, 5)] {
            let mut budget = of(limit, secs, BudgetWindows::Sliding);
            let (mut sent, mut open): (Vec<i64>, VecDeque<i64>) = Default::default();
            for ms in 0..30_000 {
                while open.front().is_some_and(|end| *end <= ms) {
                    open.pop_front();
                    budget.settle(at_ms(ms), 1, None);
                }
                while budget.take(at_ms(ms), 1, Priority::Cancel).is_ok() {
                    sent.push(ms);
                    open.push_back(ms + 70);
                }
            }
            let window = i64::try_from(secs * 1000).unwrap();
            // The exchange may count a request when it is sent, answered, or between: one counted
            // late and others counted early may fall into one window.
            for (index, first) in sent.iter().enumerate() {
                let end = first + 70 + window;
                let within = sent[index..].iter().take_while(|ms| **ms < end).count();
                assert!(within <= limit as usize, "{within} of {limit} in {secs} s");
            }
            let per_window = sent.len() as f64 / (30_000.0 / window as f64);
            assert!(
                per_window > 0.6 * f64::from(limit),
                "{per_window} of {limit}"
            );
        }
    }

    #[test]
    fn a_wait_is_as_long_as_it_has_to_be() {
        let mut budget = of(10, 1, BudgetWindows::Sliding);
        for _ in 0..8 {
            assert_eq!(budget.take(at_ms(100), 1, Priority::Live), Ok(()));
        }
        let wait = budget.take(at_ms(100), 1, Priority::Live).unwrap_err();
        assert!(wait <= Duration::from_millis(50), "no answer yet: {wait:?}");
        for _ in 0..8 {
            budget.settle(at_ms(120), 1, None);
        }
        let wait = budget.take(at_ms(200), 1, Priority::Live).unwrap_err();
        let later = 200 + i64::try_from(wait.as_millis()).unwrap();
        assert!((1100..=1200).contains(&later), "{later}");
        assert_eq!(budget.take(at_ms(later), 1, Priority::Live), Ok(()));
    }

    #[test]
    fn a_sliding_window_learns_of_others() {
        let mut budget = of(10, 1, BudgetWindows::Sliding);
        assert_eq!(budget.take(at_ms(0), 1, Priority::Live), Ok(()));
        assert_eq!(budget.take(at_ms(0), 1, Priority::Live), Ok(()));
        // Seven are used, of which two are ours.
        budget.settle(at_ms(50), 1, Some(7));
        assert_eq!(budget.used(at_ms(50)), 7);
        budget.settle(at_ms(60), 1, Some(7));
        assert_eq!(budget.used(at_ms(60)), 7, "they are not counted twice");
        assert!(budget.take(at_ms(60), 2, Priority::Live).is_err());
        assert_eq!(budget.used(at_ms(1200)), 0);
    }

    #[test]
    fn a_pause_ends_and_is_never_shortened() {
        let mut pause = Pause::default();
        assert_eq!(pause.left(at(5)), None);
        pause.begin(at(5), Duration::from_secs(120));
        pause.begin(at(6), Duration::from_secs(1));
        assert_eq!(pause.left(at(65)), Some(Duration::from_secs(60)));
        assert_eq!(pause.left(at(125)), None);
    }

    #[test]
    fn a_request_larger_than_the_budget_is_not_stuck_for_ever() {
        for windows in [BudgetWindows::Aligned, BudgetWindows::Sliding] {
            let mut budget = of(1000, 60, windows);
            assert_eq!(budget.take(at(1), 5000, Priority::Background), Ok(()));
            assert!(budget.take(at(1), 1, Priority::Cancel).is_err());
        }
    }

    #[test]
    fn instruments_have_budgets_of_their_own_within_one_for_all() {
        let terms = RestBudget {
            name: "order",
            weight_per_window: 30,
            weight_per_instrument: Some(20),
            window_secs: 2,
            used_header: None,
            remaining_header: None,
        };
        let mut budgets = Budgets::new(terms, BudgetWindows::Sliding);
        let now = TsNanos::from_ms(1_000);
        let take = |budgets: &mut Budgets, of: Option<&str>| {
            let mut taken = 0;
            while budgets.take(now, 1, Priority::Live, of).is_ok() {
                budgets.settle(now, (1, false), None, of);
                taken += 1;
            }
            taken
        };
        // A tenth is headroom, a tenth of the rest for cancels: 17 of 20, 25 of 30.
        assert_eq!(take(&mut budgets, Some("BTC-USDT")), 17);
        assert_eq!(
            take(&mut budgets, Some("BTC-USDT")),
            0,
            "its own is used up"
        );
        assert_eq!(take(&mut budgets, Some("ETH-USDT")), 8, "and that of all");
        // What the one had and the other had not was given back.
        let cancel = budgets.take(now, 1, Priority::Cancel, Some("BTC-USDT"));
        assert_eq!(cancel, Ok(()));
        let later = TsNanos::from_ms(4_000);
        assert_eq!(
            budgets.take(later, 17, Priority::Live, Some("BTC-USDT")),
            Err(Duration::from_millis(100))
        );
        budgets.settle(later, (1, true), None, Some("BTC-USDT"));
        assert_eq!(
            budgets.take(later, 17, Priority::Live, Some("BTC-USDT")),
            Ok(())
        );
        // Where nothing is counted by instrument they all share one.
        let mut shared = Budgets::new(
            RestBudget {
                weight_per_instrument: None,
                ..terms
            },
            BudgetWindows::Sliding,
        );
        assert_eq!(take(&mut shared, Some("BTC-USDT")), 25);
        assert_eq!(take(&mut shared, Some("ETH-USDT")), 0);
    }
}
