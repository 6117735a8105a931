//! One side of a book: a flat array of quantities round the touch, an ordered map for the rest.
//!
//! A price becomes a *key* that ascends from the best level on (asks: the price, bids: its bitwise
//! complement). The window is a ring of slots, one per price step; slot `head` stands for the key
//! `base`. Finding a slot is one multiplication: the distance from `base` is divided exactly by
//! the step with its modular inverse, and a distance that is no multiple gives a quotient outside
//! the window, so a single comparison tells "in the window and on the grid" from everything else.
//!
//! Invariants:
//! - no level has a key below `base`; every level in `far` lies at or beyond the window's end, so
//!   window first, then `far`, is best first;
//! - a slot's bit is set exactly when its quantity is not 0;
//! - no bit is set before word `first` (counted from `head`), and after [`Ladder::apply`] that
//!   word is not empty unless the whole window is.
//!
//! The step is not told from outside: it is the greatest common divisor of the distances seen, so
//! coarse scales and changed tick sizes need no special case. Figures: docs/decisions/001.

use std::collections::BTreeMap;

use crate::event::{BookLevel, BookSide};
use crate::num::{Price, Qty};

/// Price steps in a window to begin with: 64 KiB of quantities.
const SLOTS_MIN: usize = 1 << 13;

/// Price steps in the window of a busy book: 256 KiB. Larger ones are slower: they leave the cache.
const SLOTS_MAX: usize = 1 << 15;

/// Touched levels that a window twice as long would have held, before it is made so.
const GROW_AFTER: u32 = if cfg!(test) { 50 } else { 512 };

/// Largest step: a window of them must fit 64 bits, up to 2^17 slots.
const STRIDE_MAX: u64 = 1 << 46;

/// The window keeps this part of its slots on the better side of the touch.
const MARGIN_SHIFT: u32 = 3;

/// Divides multiples of a step exactly; other values give quotients beyond `u64::MAX / step`.
#[derive(Clone, Copy, Debug)]
struct Grid {
    step: u64,
    inverse: u64,
    shift: u32,
}

impl Grid {
    fn new(step: u64) -> Self {
        let mut step = step.max(1);
        while step > STRIDE_MAX {
            step = if step.is_multiple_of(2) { step / 2 } else { 1 };
        }
        let shift = step.trailing_zeros();
        let odd = step >> shift;
        // Newton's iteration for the inverse modulo 2^64: correct bits double from 3 to 96.
        let mut inverse = odd;
        for _ in 0..5 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        Self {
            step,
            inverse,
            shift,
        }
    }

    #[inline]
    fn quotient(self, distance: u64) -> u64 {
        distance.wrapping_mul(self.inverse).rotate_right(self.shift)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Ladder {
    /// Key = price XOR this: 0 for asks, all ones for bids.
    complement: i64,
    /// Key of slot `head`.
    base: i64,
    grid: Grid,
    /// Quantities by slot; empty until the first level.
    qty: Vec<i64>,
    /// One bit per slot.
    bits: Vec<u64>,
    /// Slot of `base`; a multiple of 64.
    head: usize,
    /// Words from `head` on that are known to be empty.
    first: usize,
    /// Levels in the window.
    count: usize,
    /// Levels beyond the window, by key.
    far: BTreeMap<i64, i64>,
    slots: usize,
    slots_max: usize,
    /// Levels touched just beyond the window since it was laid out.
    near_misses: u32,
}

impl Ladder {
    pub(super) fn new(side: BookSide) -> Self {
        Self::with_slots(side, SLOTS_MIN, SLOTS_MAX)
    }

    pub(super) fn with_slots(side: BookSide, slots: usize, slots_max: usize) -> Self {
        debug_assert!(slots.is_power_of_two() && slots >= 64);
        debug_assert!(slots_max.is_power_of_two() && slots_max >= slots);
        Self {
            complement: match side {
                BookSide::Bid => -1,
                BookSide::Ask => 0,
            },
            base: 0,
            grid: Grid::new(1),
            qty: Vec::new(),
            bits: Vec::new(),
            head: 0,
            first: 0,
            count: 0,
            far: BTreeMap::new(),
            slots,
            slots_max,
            near_misses: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count + self.far.len()
    }

    pub(super) fn clear(&mut self) {
        let words = self.bits.len();
        for word in 0..words {
            while self.bits[word] != 0 {
                let bit = self.bits[word].trailing_zeros() as usize;
                self.bits[word] &= self.bits[word] - 1;
                self.qty[word * 64 + bit] = 0;
            }
        }
        self.first = words;
        self.count = 0;
        self.far.clear();
    }

    pub(super) fn load(&mut self, levels: &[BookLevel]) {
        self.clear();
        let keys = || {
            levels
                .iter()
                .filter(|level| level.qty.0 > 0)
                .map(|level| level.price.0 ^ self.complement)
        };
        let Some(best) = keys().min() else { return };
        let step = keys().fold(0, |step, key| gcd(step, key.abs_diff(best)));
        self.place(best, step);
        self.apply(levels);
    }

    #[inline]
    pub(super) fn apply(&mut self, levels: &[BookLevel]) {
        for level in levels {
            self.set(level.price.0 ^ self.complement, level.qty.0);
        }
        self.settle();
    }

    pub(super) fn best(&self) -> Option<BookLevel> {
        if self.count == 0 {
            let (key, qty) = self.far.first_key_value()?;
            return Some(self.level(*key, *qty));
        }
        let slots = self.bits.len() * 64;
        for word in self.first..self.bits.len() {
            let start = (self.head + word * 64) & (slots - 1);
            let bits = self.bits[start / 64];
            if bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                return Some(self.level(self.key_at(word * 64 + bit), self.qty[start + bit]));
            }
        }
        None
    }

    /// Quantity at a price.
    pub(super) fn at(&self, price: i64) -> i64 {
        let key = price ^ self.complement;
        let offset = self.grid.quotient(key.wrapping_sub(self.base) as u64);
        if key >= self.base && offset < self.qty.len() as u64 {
            return self.qty[(self.head + offset as usize) & (self.qty.len() - 1)];
        }
        self.far.get(&key).copied().unwrap_or(0)
    }

    pub(super) fn top(&self, n: usize, out: &mut Vec<BookLevel>) {
        let mut left = n.min(self.len());
        out.reserve(left);
        let slots = self.bits.len() * 64;
        let in_window = self.count.min(left);
        left -= in_window;
        let mut wanted = in_window;
        let mut word = self.first;
        while wanted > 0 && word < self.bits.len() {
            let start = (self.head + word * 64) & (slots - 1);
            let mut bits = self.bits[start / 64];
            while bits != 0 && wanted > 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                out.push(self.level(self.key_at(word * 64 + bit), self.qty[start + bit]));
                wanted -= 1;
            }
            word += 1;
        }
        let far = self.far.iter().take(left);
        out.extend(far.map(|(key, qty)| self.level(*key, *qty)));
    }

    #[inline]
    fn level(&self, key: i64, qty: i64) -> BookLevel {
        BookLevel {
            price: Price(key ^ self.complement),
            qty: Qty(qty),
        }
    }

    #[inline]
    fn key_at(&self, offset: usize) -> i64 {
        // In range: the slot holds a level, and levels have 64-bit keys.
        self.base
            .wrapping_add((offset as u64).wrapping_mul(self.grid.step) as i64)
    }

    #[inline]
    fn set(&mut self, key: i64, qty: i64) {
        let offset = self.grid.quotient(key.wrapping_sub(self.base) as u64);
        if key >= self.base && offset < self.qty.len() as u64 {
            self.set_slot(offset as usize, qty);
        } else {
            self.set_outside(key, qty);
        }
    }

    #[inline]
    fn set_slot(&mut self, offset: usize, qty: i64) {
        let slot = (self.head + offset) & (self.qty.len() - 1);
        let qty = qty.max(0);
        let is_set = u64::from(qty != 0);
        let old = std::mem::replace(&mut self.qty[slot], qty);
        self.count = self.count + is_set as usize - usize::from(old != 0);
        let word = &mut self.bits[slot / 64];
        *word = (*word & !(1 << (slot % 64))) | (is_set << (slot % 64));
        let candidate = if is_set == 1 { offset / 64 } else { self.first };
        self.first = self.first.min(candidate);
    }

    #[inline(never)]
    fn set_outside(&mut self, key: i64, qty: i64) {
        if qty <= 0 {
            if self.far.remove(&key).is_some() {
                self.count_miss(key);
            }
        } else if self.len() == 0 {
            self.place(key, self.grid.step);
            self.set(key, qty);
        } else if key < self.base {
            self.make_room(key);
            self.set(key, qty);
        } else if key.abs_diff(self.base) >= self.span() {
            self.far.insert(key, qty);
            self.count_miss(key);
            if self.far.len() >= self.count && self.far.len().is_power_of_two() {
                self.coarsen();
            }
        } else {
            let step = gcd(self.grid.step, key.abs_diff(self.base));
            self.rebuild(self.best_key().unwrap_or(key), step);
            self.set(key, qty);
        }
    }

    /// Makes the window twice as long when that would have held enough of what was touched beyond
    /// it. Books of quiet instruments stay small.
    fn count_miss(&mut self, key: i64) {
        if self.slots >= self.slots_max || key.abs_diff(self.base) / 2 >= self.span() {
            return;
        }
        self.near_misses += 1;
        if self.near_misses < GROW_AFTER {
            return;
        }
        let best = self.best_key().unwrap_or(key);
        self.evict(0);
        self.near_misses = 0;
        self.slots *= 2;
        (self.qty, self.bits) = (Vec::new(), Vec::new());
        self.place(best, self.grid.step);
        self.pull();
    }

    /// Distance from `base` to the window's end.
    fn span(&self) -> u64 {
        self.qty.len() as u64 * self.grid.step
    }

    fn best_key(&self) -> Option<i64> {
        self.best().map(|level| level.price.0 ^ self.complement)
    }

    /// Lays an empty window so that `best` stands behind the margin.
    fn place(&mut self, best: i64, step: u64) {
        debug_assert_eq!(self.count, 0);
        if self.qty.is_empty() {
            self.qty = vec![0; self.slots];
            self.bits = vec![0; self.slots / 64];
        }
        self.grid = Grid::new(step);
        let margin = (self.slots >> MARGIN_SHIFT) as u64;
        let room = best.abs_diff(i64::MIN) / self.grid.step;
        self.base = best.wrapping_sub_unsigned(margin.min(room) * self.grid.step);
        self.head = 0;
        self.first = self.bits.len();
    }

    /// Moves every level to a new window with `best` behind its margin. Rare: a finer step showed
    /// up, or the touch left the window altogether.
    fn rebuild(&mut self, best: i64, step: u64) {
        self.evict(0);
        self.place(best, step);
        self.pull();
    }

    /// Widens the step when all levels allow it: a book that grew out of one level began with 1.
    #[inline(never)]
    fn coarsen(&mut self) {
        let Some(best) = self.best_key() else { return };
        let mut step = 0;
        for word in 0..self.bits.len() {
            let mut bits = self.bits[(self.head / 64 + word) & (self.bits.len() - 1)];
            while bits != 0 && step != self.grid.step {
                let key = self.key_at(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
                step = gcd(step, key.abs_diff(best));
            }
        }
        for key in self.far.keys() {
            if step == self.grid.step {
                return;
            }
            step = gcd(step, key.abs_diff(best));
        }
        if Grid::new(step).step > self.grid.step {
            self.rebuild(best, step);
        }
    }

    /// Moves the window so that `key`, which is better than all of it, fits.
    fn make_room(&mut self, key: i64) {
        let distance = self.base.abs_diff(key);
        if !distance.is_multiple_of(self.grid.step) {
            return self.rebuild(key, gcd(self.grid.step, distance));
        }
        let words = self.bits.len();
        let steps = distance / self.grid.step + (self.slots as u64 >> MARGIN_SHIFT);
        let back = steps.div_ceil(64);
        let moved = back.saturating_mul(64).saturating_mul(self.grid.step);
        if back >= words as u64 || moved > self.base.abs_diff(i64::MIN) {
            return self.rebuild(key, self.grid.step);
        }
        let back = back as usize;
        self.evict(words - back);
        self.base = self.base.wrapping_sub_unsigned(moved);
        self.head = (self.head + (words - back) * 64) & (self.slots - 1);
        self.first = (self.first + back).min(words);
    }

    /// Moves the levels of all words from `from` on (counted from `head`) to the far map.
    fn evict(&mut self, from: usize) {
        for word in from..self.bits.len() {
            let start = (self.head + word * 64) & (self.slots - 1);
            let mut bits = std::mem::take(&mut self.bits[start / 64]);
            while bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let qty = std::mem::take(&mut self.qty[start + bit]);
                self.far.insert(self.key_at(word * 64 + bit), qty);
                self.count -= 1;
            }
        }
    }

    /// Brings far levels that the window covers into it.
    fn pull(&mut self) {
        while let Some(entry) = self.far.first_entry() {
            let key = *entry.key();
            let distance = key.abs_diff(self.base);
            if distance >= self.qty.len() as u64 * self.grid.step {
                return;
            }
            let offset = self.grid.quotient(distance);
            if offset < self.qty.len() as u64 {
                let qty = entry.remove();
                self.set_slot(offset as usize, qty);
            } else {
                let step = gcd(self.grid.step, distance);
                let best = self.best_key().unwrap_or(key);
                self.evict(0);
                self.place(best, step);
            }
        }
    }

    /// Finds the touch again and keeps the window round it.
    #[inline]
    fn settle(&mut self) {
        let words = self.bits.len();
        while self.first < words && self.bits[(self.head / 64 + self.first) & (words - 1)] == 0 {
            self.first += 1;
        }
        if self.first > words / 2 {
            self.follow();
        }
    }

    /// Moves the window after a touch that went away from its start.
    #[inline(never)]
    fn follow(&mut self) {
        if self.count == 0 {
            if let Some(key) = self.far.first_key_value().map(|(key, _)| *key) {
                self.rebuild(key, self.grid.step);
                self.settle();
            }
            return;
        }
        let ahead = self.first - (self.bits.len() >> MARGIN_SHIFT);
        self.base = self
            .base
            .wrapping_add_unsigned(ahead as u64 * 64 * self.grid.step);
        self.head = (self.head + ahead * 64) & (self.slots - 1);
        self.first -= ahead;
        self.pull();
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
