//! A network in CIDR notation (RFC 4632, RFC 4291).

use std::fmt;
use std::net::IpAddr;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// What is accepted, for messages.
pub(crate) const ACCEPTED: &str =
    "addresses and networks such as 10.1.2.3, 10.0.0.0/8, 2001:db8::/32";

impl Network {
    /// Reads `address` or `address/bits`; bits after the prefix must be zero, so that a typing error
    /// does not let in more than was meant.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = base.parse().ok()?;
        let base = written.to_canonical();
        let most = width(base);
        let bits = match bits {
            None => most,
            // `+8` and `08` are numbers for the parser.
            Some(bits) if bits.len() > 1 && bits.starts_with(['0', '+']) => return None,
            Some(bits) => bits.parse::<u8>().ok()?,
        };
        // A mapped network counts from the front of the IPv6 address.
        let bits = match (written, base) {
            (IpAddr::V6(_), IpAddr::V4(_)) if text.contains('/') => bits.checked_sub(96)?,
            _ => bits,
        };
        let network = Self { base, bits };
        (bits <= most && masked(base, bits) == value(base)).then_some(network)
    }

    /// Whether the address is one of them. An IPv4 address that came as an IPv6 one is the same.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.base) && masked(address, self.bits) == value(self.base)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn value(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with everything after the prefix zero.
fn masked(address: IpAddr, bits: u8) -> u128 {
    let rest = u32::from(width(address).saturating_sub(bits));
    // Shifting out all bits is no shift.
    let kept = value(address).checked_shr(rest).unwrap_or(0);
    kept.checked_shl(rest).unwrap_or(0)
}
