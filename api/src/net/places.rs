//! How many connections there are, in all and of each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open connections by address; one for all worker threads.
#[derive(Debug, Default)]
pub struct ConnectionCounter {
    // Touched when a connection opens or closes, never for a message.
    open: Mutex<HashMap<IpAddr, u32>>,
}

/// An open connection's place; dropping it gives the place back.
#[derive(Debug)]
pub struct Permit {
    counter: Arc<ConnectionCounter>,
    address: IpAddr,
}

/// IPv6 clients own whole /64 networks, so that is what is counted.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

impl ConnectionCounter {
    /// A place for one more connection of `address`.
    ///
    /// # Errors
    /// It holds `most` already: how many.
    pub fn admit(self: &Arc<Self>, address: IpAddr, most: u32) -> Result<Permit, u32> {
        let address = counted(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get(&address) {
            Some(count) if *count >= most => return Err(*count),
            _ => *open.entry(address).or_default() += 1,
        }
        let counter = self.clone();
        Ok(Permit { counter, address })
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().map(|count| *count as usize).sum()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let open = &self.counter.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Counts all open connections.
#[derive(Clone, Debug, Default)]
pub struct Total(Arc<AtomicUsize>);

/// A place among all.
#[derive(Debug)]
pub struct Place(Total);

impl Total {
    /// A place for one more, unless there are `most`.
    #[must_use]
    pub fn admit(&self, most: usize) -> Option<Place> {
        let place = Place(self.clone());
        // A place that is too many is given back by its drop.
        (self.0.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places() {
        let counter = Arc::new(ConnectionCounter::default());
        let admit = |text: &str| counter.admit(text.parse().unwrap(), 2);
        let first = admit("10.0.0.1").unwrap();
        let _second = admit("::ffff:10.0.0.1").unwrap();
        assert_eq!(admit("10.0.0.1").unwrap_err(), 2);
        let _other = admit("10.0.0.2").unwrap();
        assert_eq!(counter.open(), 3);
        drop(first);
        let _third = admit("10.0.0.1").unwrap();
        let _v6 = [admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap()];
        assert!(admit("2001:db8::3").is_err(), "one network");
    }

    #[test]
    fn nothing_stays_of_those_that_are_gone() {
        let counter = Arc::new(ConnectionCounter::default());
        for n in 0..1_000_u32 {
            drop(counter.admit(IpAddr::V4(n.into()), 1).unwrap());
        }
        assert!(counter.open.lock().unwrap().is_empty());
        let total = Total::default();
        let places = [total.admit(2), total.admit(2)];
        assert!(total.admit(2).is_none());
        assert_eq!(total.open(), 2);
        drop(places);
        assert_eq!(total.open(), 0);
    }
}
