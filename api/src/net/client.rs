//! Whose a request is when a proxy has passed it on.
//!
//! A header that anybody can write proves nothing: it counts only when the connection comes from a proxy
//! that the configuration names, and of its hops the last one that is not such a proxy is the client.
//! What stands before it was written by the client itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{HttpMessage, HttpRequest};
use bookwire_engine::config::ProxyHeader;
use bookwire_engine::keys::Network;

/// Hops that are looked at, from the last one: nobody has more proxies.
const HOPS_MAX: usize = 32;

/// The proxies that are believed.
#[derive(Clone, Debug)]
pub struct Proxies {
    networks: Vec<Network>,
    header: ProxyHeader,
}

/// Where a request comes from; the gate puts it among the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl Proxies {
    /// Those of these networks, which tell clients' addresses in this header.
    #[must_use]
    pub const fn new(networks: Vec<Network>, header: ProxyHeader) -> Self {
        Self { networks, header }
    }

    /// Whether the address is one of them.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.has(address))
    }

    /// For whom `peer` asks: itself, unless it is a proxy.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.has(peer) {
            return peer;
        }
        let name = HeaderName::from_static(self.header.as_str());
        // Several headers of a name are one list.
        let lines: Vec<&str> = headers
            .get_all(&name)
            .map(|value| value.to_str().unwrap_or_default())
            .collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
        let mut known = peer;
        for hop in hops.take(HOPS_MAX) {
            let address = match self.header {
                ProxyHeader::XForwardedFor => node(hop.trim()),
                ProxyHeader::Forwarded => forwarded(hop),
            };
            // `unknown`, or a hidden name: what is before it can't be checked.
            let Some(address) = address else { break };
            known = address;
            if !self.has(address) {
                break;
            }
        }
        known
    }
}

/// The address of `for=…` in an element of `Forwarded`.
fn forwarded(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_for = name.trim().eq_ignore_ascii_case("for");
        is_for.then(|| node(value.trim().trim_matches('"')))?
    })
}

/// An address, with a port or without.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let found = bare.or_else(with_port).or_else(in_brackets)?;
    Some(found.to_canonical())
}

/// Where a request comes from.
#[must_use]
pub fn address(request: &HttpRequest) -> IpAddr {
    let told = request.extensions().get::<ClientAddress>().copied();
    told.map_or_else(|| peer(request.peer_addr()), |told| told.0)
}

/// Where a connection comes from.
#[must_use]
pub fn peer(address: Option<SocketAddr>) -> IpAddr {
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn client(header: ProxyHeader, peer: &str, lines: &[&str]) -> String {
        let networks = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];
        let networks = networks.map(|text| Network::parse(text).unwrap()).to_vec();
        let mut headers = HeaderMap::new();
        for line in lines {
            for name in ["x-forwarded-for", "forwarded"] {
                let value = HeaderValue::from_str(line).unwrap();
                headers.append(HeaderName::from_static(name), value);
            }
        }
        let proxies = Proxies::new(networks, header);
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_counts() {
        let rows: &[(&str, &[&str], &str)] = &[
            // Nobody who is no proxy is believed.
            ("192.0.2.9", &["198.51.100.1"], "192.0.2.9"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["1.1.1.1, 198.51.100.1,10.2.3.4"],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &["1.1.1.1", "198.51.100.1", "10.2.3.4"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["10.2.3.4, 127.0.0.1"], "10.2.3.4"),
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.9.9.9"], "10.9.9.9"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:80, fd00::1"], "2001:db8::1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
        ];
        for (peer, lines, expected) in rows {
            let found = client(ProxyHeader::XForwardedFor, peer, lines);
            assert_eq!(found, *expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let rows: &[(&[&str], &str)] = &[
            (&["for=198.51.100.1"], "198.51.100.1"),
            (
                &["for=1.1.1.1;proto=https, For=\"[2001:db8::1]:4711\";by=10.0.0.1"],
                "2001:db8::1",
            ),
            (&["for=198.51.100.1, for=10.0.0.7"], "198.51.100.1"),
            (&["for=198.51.100.1, for=_hidden"], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
        ];
        for (lines, expected) in rows {
            let found = client(ProxyHeader::Forwarded, "10.0.0.1", lines);
            assert_eq!(found, *expected, "{lines:?}");
        }
        // Only the configured header is looked at.
        assert_eq!(
            client(ProxyHeader::Forwarded, "10.0.0.1", &["198.51.100.1"]),
            "10.0.0.1"
        );
    }

    #[test]
    fn a_long_list_is_read_from_its_end_only() {
        let line = vec!["10.0.0.2"; 5_000].join(",") + ",10.0.0.3";
        let found = client(ProxyHeader::XForwardedFor, "10.0.0.1", &[&line]);
        assert_eq!(found, "10.0.0.2");
    }
}
