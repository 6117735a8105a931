//! What is accepted of changes, what is kept of them, and what is there after a restart.

#![allow(clippy::unwrap_used)]

use super::*;

fn base(folder: &Path) -> Config {
    let mut config = Config::default();
    config.server.data_dir = folder.to_owned();
    let binance = config.providers.get_mut("binance").unwrap();
    binance.endpoint_hosts = vec!["proxy.example.com".to_owned(), "127.0.0.1:41001".to_owned()];
    config
}

fn endpoint(host: &str, url: &str) -> ExchangeChange {
    ExchangeChange {
        endpoints: vec![(
            "api_endpoint".to_owned(),
            host.to_owned(),
            Some(url.to_owned()),
        )],
        ..ExchangeChange::default()
    }
}

#[test]
fn endpoints_move_to_hosts_on_the_list_alone() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(base(folder.path()));
    let of = |host: &str, url: &str| settings.changed(ProviderId::BINANCE, &endpoint(host, url));
    for (host, url) in [
        ("api.binance.com", "https://api.binance.com"),
        ("api.binance.com", "https://fapi.binance.com:443"),
        ("api.binance.com", "https://proxy.example.com/path"),
        ("api.binance.com", "https://PROXY.example.com:8443"),
        ("api.binance.com", "http://127.0.0.1:41001"),
        ("fstream.binance.com", "wss://stream.binance.com:9443"),
    ] {
        assert!(of(host, url).is_ok(), "{host} {url}");
    }
    for (host, url) in [
        ("api.binance.com", "https://evil.example.com"),
        (
            "api.binance.com",
            "https://api.binance.com.evil.example.com",
        ),
        (
            "api.binance.com",
            "https://api.binance.com@evil.example.com",
        ),
        ("api.binance.com", "https://api.binance.com:444"),
        ("api.binance.com", "http://api.binance.com"),
        ("api.binance.com", "http://proxy.example.com"),
        ("api.binance.com", "http://127.0.0.1:41002"),
        ("api.binance.com", "http://127.0.0.2:41001"),
        ("api.binance.com", "wss://proxy.example.com"),
        ("api.binance.com", "https://proxy.example.com?x=1"),
        ("api.binance.com", "https://www.okx.com"),
        ("fstream.binance.com", "https://proxy.example.com"),
        ("www.okx.com", "https://www.okx.com"),
    ] {
        let refusal = of(host, url).unwrap_err();
        assert_eq!(refusal.field, "api_endpoint", "{host} {url}");
        assert!(!refusal.accepted.is_empty());
    }
}

#[test]
fn all_of_a_change_is_refused_with_its_first_wrong_field() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(base(folder.path()));
    let mut change = endpoint("api.binance.com", "https://proxy.example.com");
    change.requests_per_minute = Some(Some(100));
    change.burst_limit = Some(Some(101));
    let refusal = settings.changed(ProviderId::BINANCE, &change).unwrap_err();
    assert_eq!(refusal.field, "rate_limits.burst_limit");
    assert_eq!(settings.shown(), shown(&base(folder.path())));
}

#[test]
fn a_change_is_there_after_a_restart_and_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(base(folder.path()));
    let id = ProviderId::BINANCE;
    let mut change = endpoint("api.binance.com", "https://proxy.example.com");
    change.requests_per_minute = Some(Some(600));
    let (overlay, config) = settings.changed(id, &change).unwrap();
    settings.keep(id, overlay).unwrap();
    assert_eq!(settings.effective(), config);
    let binance = &settings.shown().exchanges["binance"];
    assert_eq!(
        binance.api_endpoint.as_deref(),
        Some("https://proxy.example.com")
    );
    assert_eq!(binance.rate_limits.requests_per_minute, 600);
    assert_eq!(binance.rate_limits.burst_limit, 600);
    let again = Settings::load(base(folder.path())).unwrap();
    assert_eq!(again.shown(), settings.shown());
    assert_eq!(again.shown().etag(), settings.shown().etag());
    assert!(!folder.path().join("config-changes.json.new").exists());
    // Null: what is configured is in force again.
    let back = ExchangeChange {
        endpoints: vec![(String::new(), "api.binance.com".to_owned(), None)],
        requests_per_minute: Some(None),
        ..ExchangeChange::default()
    };
    let (overlay, _) = again.changed(id, &back).unwrap();
    again.keep(id, overlay).unwrap();
    assert_eq!(again.effective(), base(folder.path()));
    let text = fs::read_to_string(folder.path().join(Overlay::FILE)).unwrap();
    assert!(!text.contains("binance"), "{text}");
}

#[test]
fn a_file_that_is_wrong_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(Overlay::FILE);
    let load = |text: &str| {
        fs::write(&path, text).unwrap();
        Settings::load(base(folder.path())).unwrap_err()
    };
    let why = load("{\n\"exchanges\": {},\n\"more\": 1}");
    assert!(
        why.contains("config-changes.json:3:") && why.contains("more"),
        "{why}"
    );
    let why = load("{\"exchanges\": {\"mtgox\": {}}}");
    assert!(why.contains("mtgox") && why.contains("a provider"), "{why}");
    // The host has been taken off the list since.
    let why = load(
        "{\"exchanges\": {\"binance\": {\"endpoints\": {\n\
         \"api.binance.com\": \"https://gone.example.com\"}}}}",
    );
    assert!(why.contains("config-changes.json:2:1"), "{why}");
    assert!(
        why.contains("gone.example.com") && why.contains("endpoint_hosts"),
        "{why}"
    );
}

#[test]
fn nothing_secret_is_shown() {
    let mut config = base(Path::new("data"));
    config.server.admin_key_file = "/secret/admin".into();
    config.keys.master_key_file = "/secret/master".into();
    let text = serde_json::to_string(&shown(&config)).unwrap();
    assert!(!text.contains("secret"), "{text}");
}
