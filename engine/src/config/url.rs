//! Base URLs of exchange hosts.

/// What a base URL must begin with, by what the host serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serves {
    Rest,
    Streams,
    Both,
}

impl Serves {
    fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Rest => &["http", "https"],
            Self::Streams => &["ws", "wss"],
            Self::Both => &["http", "https", "ws", "wss"],
        }
    }
}

/// Checks a base URL: scheme, host, optional port and path; nothing that would end up inside a
/// request or send credentials somewhere.
pub(super) fn check(url: &str, serves: Serves) -> Result<(), String> {
    let accepted = || {
        let schemes = serves.schemes().join(" or ");
        format!(
            "a base URL with {schemes} such as {}://127.0.0.1:41001",
            serves.schemes()[0]
        )
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(accepted)?;
    let is_clean = !rest.contains(|c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '@' | '\\')
    });
    if !serves.schemes().contains(&scheme) || !is_clean {
        return Err(accepted());
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']').ok_or_else(accepted)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| accepted())?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let has_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if host.is_empty() || !host.chars().all(is_name) || !has_port {
        return Err(accepted());
    }
    Ok(())
}
