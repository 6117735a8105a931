//! Which names the server answers to, and the pages of which origins may use it.
//!
//! A page whose own name was made to point at this server is same-origin for a browser (DNS rebinding);
//! its `Host` gives it away. A page of another origin is told by its `Origin`: unless that is configured,
//! a browser lets it read nothing (no CORS headers), and here nothing that it sends is carried out.

use std::net::IpAddr;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bookwire_engine::config::Config;
use bookwire_engine::error::{CryptoCode, CryptoError};

/// Methods that a page may be allowed to use.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// Headers that a page may be allowed to send.
const SENT: &str =
    "authorization, content-type, if-match, x-api-key, x-signature, x-timestamp, x-trace-id";

/// Headers of answers that a page may be allowed to read.
const READ: &str =
    "etag, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-trace-id";

/// Seconds that a browser need not ask again.
const MAX_AGE: &str = "600";

/// Host names and origins that are accepted.
#[derive(Clone, Debug)]
pub struct Origins {
    /// Names under which the server may be addressed; `None`: any.
    hosts: Option<Vec<String>>,
    /// Origins whose pages may read; `*` for all.
    cors: Vec<String>,
}

/// What a request's `Origin` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// No page, or one of this server.
    Own,
    /// One that may read.
    Allowed(HeaderValue),
    /// Another one.
    Foreign,
}

impl Origins {
    /// What the configuration allows for a server that is reachable on loopback only, or not.
    #[must_use]
    pub fn new(config: &Config, is_loopback: bool) -> Self {
        let named = &config.server.allowed_hosts;
        let allowed = &config.websocket.allowed_origins;
        let hosts = (is_loopback || !named.is_empty()).then(|| {
            let of_origins = allowed
                .iter()
                .filter_map(|origin| origin.split_once("://"))
                .map(|(_, host)| host_name(host).to_ascii_lowercase());
            let own = std::iter::once("localhost".to_owned());
            own.chain(named.iter().cloned()).chain(of_origins).collect()
        });
        Self {
            hosts,
            cors: config.server.cors_origins.clone(),
        }
    }

    /// Refuses a name that is not ours.
    ///
    /// # Errors
    /// `CRYPTO_FORBIDDEN` naming it.
    pub fn check_host(&self, headers: &HeaderMap) -> Result<(), CryptoError> {
        let (Some(hosts), Some(sent)) = (&self.hosts, headers.get(header::HOST)) else {
            return Ok(());
        };
        let name = host_name(sent.to_str().unwrap_or_default()).to_ascii_lowercase();
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if is_address || hosts.contains(&name) || name.ends_with(".localhost") {
            return Ok(());
        }
        let shown: String = name.chars().take(200).collect();
        Err(CryptoError::new(
            CryptoCode::Forbidden,
            "the server is not addressed by this host name",
        )
        .with("host", shown)
        .suggest(
            "use its address or http://localhost, or add the name to server.allowed_hosts in the \
             configuration",
        ))
    }

    /// Whose page sent the request.
    #[must_use]
    pub fn page(&self, headers: &HeaderMap) -> Page {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Page::Own;
        };
        let text = origin.to_str().unwrap_or("null");
        if self.cors.iter().any(|one| one == "*") {
            return Page::Allowed(HeaderValue::from_static("*"));
        }
        if self.cors.iter().any(|one| one.eq_ignore_ascii_case(text)) {
            return Page::Allowed(origin.clone());
        }
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let authority = text.split_once("://").map(|(_, authority)| authority);
        match (authority, host) {
            (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => Page::Own,
            _ => Page::Foreign,
        }
    }

    /// Refuses what a page of another origin commands.
    ///
    /// # Errors
    /// `CRYPTO_FORBIDDEN` naming the origin.
    pub fn check_page(
        &self,
        page: &Page,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), CryptoError> {
        // A page may read when the answer says so; a browser throws away what does not.
        let is_harmless = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        if is_harmless || *page != Page::Foreign {
            return Ok(());
        }
        let origin = headers.get(header::ORIGIN);
        let origin = origin.and_then(|origin| origin.to_str().ok());
        let shown: String = origin.unwrap_or("null").chars().take(200).collect();
        Err(CryptoError::new(
            CryptoCode::Forbidden,
            "pages of this origin may not command",
        )
        .with("origin", shown)
        .suggest("add the origin to server.cors_origins in the configuration"))
    }

    /// Whether a browser asks what it may send.
    #[must_use]
    pub fn is_preflight(&self, method: &Method, headers: &HeaderMap) -> bool {
        *method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Tells a browser what the page may do.
    pub fn add_headers(&self, page: &Page, is_preflight: bool, headers: &mut HeaderMap) {
        if self.cors.is_empty() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Page::Allowed(origin) = page else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        );
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        if is_preflight {
            set(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, SENT);
            set(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            set(header::ACCESS_CONTROL_EXPOSE_HEADERS, READ);
        }
    }
}

/// The name in `name:port`.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::default();
        change(&mut config);
        config
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn check(origins: &Origins, host: &str) -> bool {
        let headers = headers(&[(header::HOST, host)]);
        origins.check_host(&headers).is_ok()
    }

    #[test]
    fn a_rebound_name_is_refused() {
        let config = config(|config| {
            config.websocket.allowed_origins = vec!["https://desk.example:8443".to_owned()];
            config.server.allowed_hosts = vec!["gate.example".to_owned()];
        });
        // A name that is configured closes the door to others elsewhere too.
        for origins in [Origins::new(&config, true), Origins::new(&config, false)] {
            for host in [
                "127.0.0.1:8080",
                "localhost",
                "LOCALHOST:1",
                "[::1]:8080",
                "desk.example:1",
                "Gate.Example",
            ] {
                assert!(check(&origins, host), "{host}");
            }
            for host in [
                "evil.example",
                "evil.example:8080",
                "127.0.0.1.evil.example",
                "gate.example.evil",
                "",
            ] {
                assert!(!check(&origins, host), "{host}");
            }
            let nothing = HeaderMap::new();
            assert!(origins.check_host(&nothing).is_ok(), "HTTP/1.0 has no host");
        }
        let default = Config::default();
        assert!(!check(&Origins::new(&default, true), "evil.example"));
        assert!(check(&Origins::new(&default, false), "evil.example"));
    }

    #[test]
    fn pages_of_other_origins_neither_read_nor_command() {
        let closed = Origins::new(&Config::default(), true);
        let one = Origins::new(
            &config(|config| config.server.cors_origins = vec!["https://desk.example".to_owned()]),
            true,
        );
        let all = Origins::new(
            &config(|config| config.server.cors_origins = vec!["*".to_owned()]),
            true,
        );
        let host = (header::HOST, "127.0.0.1:8080");
        let sent = |origin| headers(&[(header::ORIGIN, origin), host.clone()]);
        for (origins, origin, is_allowed, is_foreign) in [
            (&closed, "https://desk.example", false, true),
            (&closed, "null", false, true),
            (&closed, "http://127.0.0.1:8080", false, false),
            (&closed, "http://127.0.0.1:3000", false, true),
            (&one, "https://desk.example", true, false),
            (&one, "https://desk.example.evil", false, true),
            (&one, "http://desk.example", false, true),
            (&all, "https://evil.example", true, false),
        ] {
            let headers = sent(origin);
            let page = origins.page(&headers);
            assert_eq!(matches!(page, Page::Allowed(_)), is_allowed, "{origin}");
            assert_eq!(page == Page::Foreign, is_foreign, "{origin}");
            for (method, is_harmless) in [(Method::GET, true), (Method::POST, false)] {
                let checked = origins.check_page(&page, &method, &headers);
                assert_eq!(checked.is_ok(), is_harmless || !is_foreign, "{origin}");
            }
            let mut answer = HeaderMap::new();
            origins.add_headers(&page, true, &mut answer);
            let told = answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(told, is_allowed, "{origin}");
            assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        }
        assert_eq!(closed.page(&headers(&[host])), Page::Own);
    }
}
