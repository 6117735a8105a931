//! Who may connect: pages of which origin, and what an address with too many connections is told.

use std::net::IpAddr;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::wire::Numbers;

/// The answer to an address that has `most` connections already.
#[must_use]
pub fn too_many(most: u32, open: u32) -> CryptoError {
    CryptoError::new(
        CryptoCode::RateLimitExceeded,
        format!("an address may hold {most} WebSocket connections"),
    )
    .with("rate_limit", most)
    // A place is free as soon as another connection of the address ends.
    .with("retry_after_seconds", 1)
    .with("current_usage", open)
    .suggest("close a connection, or subscribe to several streams on one")
}

/// Refuses pages of other origins. Programs send no `Origin`. Our own page is recognised by its
/// host being the one it connects to, but only if that is an address, `localhost` or one of `hosts`: a
/// foreign name can be made to point here (DNS rebinding).
///
/// # Errors
/// `CRYPTO_FORBIDDEN` naming the origin.
pub fn check_origin(
    origin: Option<&str>,
    host: Option<&str>,
    allowed: &[String],
    hosts: &[String],
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
        && is_own_name(host, hosts)
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

fn is_own_name(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || hosts.iter().any(|own| name.eq_ignore_ascii_case(own))
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
    fn origins_are_closed_by_default() {
        let allowed = ["https://desk.example".to_owned()];
        let hosts = ["gate.example".to_owned()];
        for (origin, host, is_ok) in [
            (None, "127.0.0.1:8080", true),
            (Some("http://127.0.0.1:8080"), "127.0.0.1:8080", true),
            (Some("http://localhost:8080"), "localhost:8080", true),
            (Some("http://[::1]:8080"), "[::1]:8080", true),
            (Some("https://desk.example"), "127.0.0.1:8080", true),
            (Some("https://Gate.example:8080"), "gate.example:8080", true),
            (
                Some("https://gate.example.evil"),
                "gate.example.evil",
                false,
            ),
            (Some("https://evil.example"), "127.0.0.1:8080", false),
            (Some("http://evil.example:8080"), "evil.example:8080", false),
            (Some("http://localhost:3000"), "localhost:8080", false),
            (Some("null"), "127.0.0.1:8080", false),
        ] {
            let found = check_origin(origin, Some(host), &allowed, &hosts);
            assert_eq!(found.is_ok(), is_ok, "{origin:?} {host}");
        }
        assert!(check_origin(Some("http://x"), None, &["*".to_owned()], &[]).is_ok());
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
