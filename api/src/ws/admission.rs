//! Who may connect: pages of which origin, and how many connections an address may hold.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::wire::Numbers;

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
    /// `CRYPTO_RATE_LIMIT_EXCEEDED` when it holds `most` already.
    pub fn admit(self: &Arc<Self>, address: IpAddr, most: u32) -> Result<Permit, CryptoError> {
        let address = counted(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= most {
            return Err(CryptoError::new(
                CryptoCode::RateLimitExceeded,
                format!("an address may hold {most} WebSocket connections"),
            )
            .with("rate_limit", most)
            // A place is free as soon as another connection of the address ends.
            .with("retry_after_seconds", 1)
            .with("current_usage", *count)
            .suggest("close a connection, or subscribe to several streams on one"));
        }
        *count += 1;
        Ok(Permit {
            counter: self.clone(),
            address,
        })
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
        let mut open = self
            .counter
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Refuses pages of other origins. Programs send no `Origin`. Our own page is recognised by its
/// host being the one it connects to, but only if that is an address or `localhost`: a foreign
/// name can be made to point here (DNS rebinding).
///
/// # Errors
/// `CRYPTO_FORBIDDEN` naming the origin.
pub fn check_origin(
    origin: Option<&str>,
    host: Option<&str>,
    allowed: &[String],
) -> Result<(), CryptoError> {
    let Some(origin) = origin else { return Ok(()) };
    if allowed.iter().any(|one| one == "*" || one == origin) {
        return Ok(());
    }
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    if let (Some(authority), Some(host)) = (authority, host)
        && authority.eq_ignore_ascii_case(host)
        && is_local_name(host)
    {
        return Ok(());
    }
    let shown: String = origin.chars().take(200).collect();
    Err(CryptoError::new(
        CryptoCode::Forbidden,
        format!("pages of `{shown}` may not connect"),
    )
    .with("origin", shown)
    .suggest("add the origin to websocket.allowed_origins in the configuration"))
}

fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// How numbers are printed on the connection: `numbers=number` or `string`.
///
/// # Errors
/// `CRYPTO_INVALID_PARAMETER` for another value or another parameter.
pub fn numbers_of(query: &str) -> Result<Numbers, CryptoError> {
    let mut numbers = Numbers::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        numbers = match (name, Numbers::parse(value)) {
            ("numbers", Some(numbers)) => numbers,
            ("numbers", None) => {
                let accepted = "number or string";
                return Err(CryptoError::invalid_parameter(name, value, accepted));
            }
            _ => {
                let accepted = "numbers is the only parameter of /ws";
                return Err(CryptoError::invalid_parameter(name, value, accepted));
            }
        };
    }
    Ok(numbers)
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
        let error = admit("10.0.0.1").unwrap_err();
        assert_eq!(error.code, CryptoCode::RateLimitExceeded);
        assert_eq!(error.details["current_usage"], 2);
        let _other = admit("10.0.0.2").unwrap();
        assert_eq!(counter.open(), 3);
        drop(first);
        let _third = admit("10.0.0.1").unwrap();
        let _v6 = [admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap()];
        assert!(admit("2001:db8::3").is_err(), "one network");
    }

    #[test]
    fn origins_are_closed_by_default() {
        let allowed = ["https://desk.example".to_owned()];
        for (origin, host, is_ok) in [
            (None, "127.0.0.1:8080", true),
            (Some("http://127.0.0.1:8080"), "127.0.0.1:8080", true),
            (Some("http://localhost:8080"), "localhost:8080", true),
            (Some("http://[::1]:8080"), "[::1]:8080", true),
            (Some("https://desk.example"), "127.0.0.1:8080", true),
            (Some("https://evil.example"), "127.0.0.1:8080", false),
            (Some("http://evil.example:8080"), "evil.example:8080", false),
            (Some("http://localhost:3000"), "localhost:8080", false),
            (Some("null"), "127.0.0.1:8080", false),
        ] {
            let found = check_origin(origin, Some(host), &allowed);
            assert_eq!(found.is_ok(), is_ok, "{origin:?} {host}");
        }
        assert!(check_origin(Some("http://x"), None, &["*".to_owned()]).is_ok());
    }

    #[test]
    fn only_numbers_can_be_chosen() {
        assert_eq!(numbers_of(""), Ok(Numbers::Number));
        assert_eq!(numbers_of("numbers=string"), Ok(Numbers::String));
        for query in ["numbers=float", "number=string", "x"] {
            assert!(numbers_of(query).is_err(), "{query}");
        }
    }
}
