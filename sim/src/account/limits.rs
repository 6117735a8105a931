//! Counts of orders per account, in fixed windows.

use std::collections::HashMap;

use super::AccountId;

/// How many orders an account may place in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OrderLimit {
    /// The exchange's word for it.
    pub(crate) name: &'static str,
    pub(crate) most: u32,
    /// Windows begin at multiples of this.
    pub(crate) window_ms: i64,
}

/// A window is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) limit: OrderLimit,
    /// Time to the window's end.
    pub(crate) wait_ms: i64,
}

/// The counts of all accounts.
#[derive(Debug)]
pub(crate) struct Orders {
    limits: Vec<OrderLimit>,
    used: HashMap<(AccountId, usize), (i64, u32)>,
}

impl Orders {
    pub(crate) fn new(limits: &[OrderLimit]) -> Self {
        Self {
            limits: limits.to_vec(),
            used: HashMap::new(),
        }
    }

    /// Counts `orders` more; what is refused is not counted.
    ///
    /// # Errors
    /// When a window is full.
    pub(crate) fn charge(
        &mut self,
        account: AccountId,
        orders: u32,
        now_ms: i64,
    ) -> Result<(), TooMany> {
        for (limit, used) in self.used(account, now_ms) {
            if used + orders > limit.most {
                let wait_ms = limit.window_ms - now_ms.rem_euclid(limit.window_ms);
                return Err(TooMany { limit, wait_ms });
            }
        }
        for (at, limit) in self.limits.iter().enumerate() {
            let window = now_ms.div_euclid(limit.window_ms);
            let entry = self.used.entry((account, at)).or_insert((window, 0));
            if entry.0 != window {
                *entry = (window, 0);
            }
            entry.1 += orders;
        }
        Ok(())
    }

    /// How many are counted in each window.
    pub(crate) fn used(&self, account: AccountId, now_ms: i64) -> Vec<(OrderLimit, u32)> {
        let count = |(at, limit): (usize, &OrderLimit)| {
            let window = now_ms.div_euclid(limit.window_ms);
            let known = self.used.get(&(account, at));
            let used = known.filter(|(known, _)| *known == window);
            (*limit, used.map_or(0, |(_, used)| *used))
        };
        self.limits.iter().enumerate().map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_its_windows() {
        let limit = |name, most, window_ms| OrderLimit {
            name,
            most,
            window_ms,
        };
        let mut orders = Orders::new(&[limit("10S", 2, 10_000), limit("1M", 3, 60_000)]);
        let [one, other] = [AccountId(0), AccountId(1)];
        assert_eq!(orders.charge(one, 2, 1_000), Ok(()));
        let full = orders.charge(one, 1, 9_000).unwrap_err();
        assert_eq!((full.limit.name, full.wait_ms), ("10S", 1_000));
        assert_eq!(orders.charge(other, 1, 9_000), Ok(()));
        assert_eq!(orders.charge(one, 1, 10_000), Ok(()));
        let used: Vec<u32> = orders.used(one, 10_500).iter().map(|it| it.1).collect();
        assert_eq!(used, [1, 3]);
        let full = orders.charge(one, 1, 20_000).unwrap_err();
        assert_eq!((full.limit.name, full.wait_ms), ("1M", 40_000));
        assert_eq!(orders.charge(one, 1, 60_000), Ok(()));
    }
}
