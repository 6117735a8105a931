use super::*;
use crate::exchange::ProviderId;

fn load(text: &str) -> Result<Config, ConfigErrors> {
    Config::load(
        Some(FileText {
            name: "bookwire.toml",
            text,
        }),
        [],
        &[],
    )
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn problems(text: &str) -> Vec<String> {
    match load(text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

const DEFAULT_TOML: &str = include_str!("../../../config/default.toml");

#[test]
fn the_default_file_is_the_default() {
    assert_eq!(load(DEFAULT_TOML).unwrap(), Config::default());
    assert_eq!(load("").unwrap(), Config::default());
}

#[test]
fn the_default_file_sets_and_explains_every_key() {
    let table: toml::Table = DEFAULT_TOML.parse().unwrap();
    for key in Config::keys() {
        let steps: Vec<&str> = key
            .split('.')
            .filter(|step| !step.starts_with('<'))
            .collect();
        let mut value = Some(&toml::Value::Table(table.clone())).cloned();
        for step in &steps {
            value = value.and_then(|value| value.get(step).cloned());
        }
        assert!(value.is_some(), "{key} is not in config/default.toml");
    }
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(lines[at - 1].starts_with('#'), "no comment above `{line}`");
        }
    }
}

#[test]
fn orders_travel_by_websocket_where_there_is_one() {
    let of = |name: &str, transport: &str| {
        format!("[providers.{name}.trading]\ntransport = \"{transport}\"\n")
    };
    for name in ["binance", "okx", "bybit"] {
        let config = load(&of(name, "websocket")).unwrap();
        let transport = config.providers[name].trading.transport;
        assert_eq!(transport, Transport::Websocket, "{name}");
    }
    for name in ["coinbase", "ccxt"] {
        assert!(load(&of(name, "rest")).is_ok(), "{name}");
        let place =
            format!("bookwire.toml:2:1: `providers.{name}.trading.transport` = \"websocket\"");
        let accepted = format!("rest, as {name} takes no orders over WebSocket");
        assert_eq!(
            problems(&of(name, "websocket")),
            [format!("{place}: not accepted; accepted: {accepted}")]
        );
    }
    let wrong = problems(&of("okx", "fix"));
    assert!(wrong[0].ends_with("accepted: rest, websocket"), "{wrong:?}");
}

#[test]
fn every_key_can_be_set_from_the_environment() {
    for key in Config::keys() {
        let name = format!("BOOKWIRE_{}", key.replace('.', "__").to_uppercase());
        let (name, bad) = match name.split_once("__<") {
            Some((table, _)) => (table.to_owned(), "nowhere"),
            None => (name, "\0"),
        };
        let errors = Config::load(None, env(&[(&name, bad)]), &[]).unwrap_err();
        assert_eq!(errors.0[0].place, Place::Env(name.clone()), "{name}");
        assert_eq!(errors.0[0].message, "not accepted", "{name}");
    }
}

#[test]
fn later_sources_win() {
    let file = FileText {
        name: "f",
        text: "[server]\nlisten = \"127.0.0.1:1\"\nworkers = 1\n[log]\nlevel = \"warn\"",
    };
    let env = env(&[
        ("BOOKWIRE_SERVER__LISTEN", "127.0.0.1:2"),
        ("BOOKWIRE_SERVER__WORKERS", "2"),
        (
            "BOOKWIRE_PROVIDERS__BINANCE__SYMBOLS",
            "btcusdt, ETH/USDT:USDT",
        ),
        (
            "BOOKWIRE_PROVIDERS__BINANCE__HOSTS",
            "api.binance.com=http://127.0.0.1:4, stream.binance.com:9443=ws://127.0.0.1:5",
        ),
        ("BOOKWIRE_PROVIDERS__BINANCE__MARKETS", "spot"),
        ("BOOKWIRE_CAPTURES", "/somewhere"),
        ("OTHER__THING", "x"),
    ]);
    let flags = [Override {
        key: "server.listen".to_owned(),
        value: "127.0.0.1:3".to_owned(),
        flag: "--listen".to_owned(),
    }];
    let config = Config::load(Some(file), env, &flags).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.workers, 2);
    assert_eq!(config.log.level, LogLevel::Warn);
    let binance = &config.providers["binance"];
    assert_eq!(binance.symbols, ["btcusdt", "ETH/USDT:USDT"]);
    assert_eq!(binance.markets, [Market::Spot]);
    assert_eq!(binance.hosts["stream.binance.com:9443"], "ws://127.0.0.1:5");
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let found = problems(
        "[server]\nlisten = \"localhost\"\nworkrs = 3\n\n[webocket]\nping_secs = 5\n\n[log]\n  level = 3\n",
    );
    assert_eq!(
        found,
        [
            "bookwire.toml:2:1: `server.listen` = \"localhost\": not accepted; accepted: an address and a port such as 127.0.0.1:8080 or [::1]:8080",
            "bookwire.toml:9:3: `log.level` = 3: not accepted; accepted: error, warn, info, debug, trace",
            "bookwire.toml:3:1: `server.workrs`: unknown key; did you mean `server.workers`?",
            "bookwire.toml:5:2: `webocket`: unknown key; did you mean `websocket`?",
        ]
    );
}

#[test]
fn flags_and_variables_are_named() {
    let flags = [Override {
        key: "log.format".to_owned(),
        value: "xml".to_owned(),
        flag: "--log-format".to_owned(),
    }];
    let env = env(&[
        ("BOOKWIRE_SERVER__LISTNE", "127.0.0.1:1"),
        ("BOOKWIRE_STORE__BATCH", "0"),
    ]);
    let errors = Config::load(None, env, &flags).unwrap_err().to_string();
    for expected in [
        "environment variable BOOKWIRE_STORE__BATCH: `store.batch` = \"0\": not accepted; accepted: a whole number from 1 to 100000",
        "option --log-format: `log.format` = \"xml\": not accepted; accepted: text, json",
        "environment variable BOOKWIRE_SERVER__LISTNE: `server.listne`: unknown key; did you mean `server.listen`?",
    ] {
        assert!(errors.contains(expected), "{errors}");
    }
}

#[test]
fn a_broken_file_still_shows_its_other_problems() {
    let found = problems("[server]\nworkers = \nlisten = 5\n[log\n");
    assert!(
        found.iter().any(|one| one.starts_with("bookwire.toml:2:")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|one| one.contains("not valid TOML")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|one| one.contains("`server.listen` = 5")),
        "{found:#?}"
    );
}

#[test]
fn refused_values() {
    for (text, key) in [
        ("[server]\nworkers = -1", "server.workers"),
        ("[server]\nworkers = 1.5", "server.workers"),
        ("[server]\nworkers = \"4\"", "server.workers"),
        ("[server]\nworkers = 99999999999999999999", "server.workers"),
        ("[server]\ndata_dir = \"\"", "server.data_dir"),
        ("server = 5", "server"),
        ("[server.listen]\nport = 5", "server.listen"),
        ("[engine]\nbusy_poll = 1", "engine.busy_poll"),
        ("[providers.binnance]\nenabled = true", "providers.binnance"),
        (
            "[providers.binance]\nmarkets = [\"futures\"]",
            "providers.binance.markets",
        ),
        (
            "[providers.binance]\nmarkets = []",
            "providers.binance.markets",
        ),
        (
            "[providers.binance]\nsymbols = [\"\"]",
            "providers.binance.symbols",
        ),
        (
            "[providers.binance]\nsymbols = [\"btc usdt\"]",
            "providers.binance.symbols",
        ),
        (
            "[providers.binance]\nsymbols = [5]",
            "providers.binance.symbols",
        ),
        (
            "[providers.binance]\nstreams_per_connection = 1025",
            "providers.binance.streams_per_connection",
        ),
        ("[websocket]\nidle_secs = 20", "websocket.idle_secs"),
        (
            "[websocket]\nallowed_origins = [\"example.com\"]",
            "websocket.allowed_origins",
        ),
        (
            "[websocket]\nallowed_origins = [\"https://example.com/page\"]",
            "websocket.allowed_origins",
        ),
        ("[store]\nkind = \"oracle\"", "store.kind"),
        (
            "[store.questdb]\nhttp = \"127.0.0.1:9000\"",
            "store.questdb.http",
        ),
        (
            "[store.questdb]\nhttp = \"http://db:9000/path\"",
            "store.questdb.http",
        ),
        ("[store.questdb]\npg = \"db:port\"", "store.questdb.pg"),
        (
            "[store.questdb]\ntable_prefix = \"a b\"",
            "store.questdb.table_prefix",
        ),
        (
            "[store.questdb]\npassword = \"secret\"",
            "store.questdb.password",
        ),
        ("listen = \"127.0.0.1:1\"", "listen"),
    ] {
        match load(text) {
            Ok(_) => panic!("accepted: {text}"),
            Err(errors) => assert_eq!(errors.0[0].key, key, "{text}: {errors}"),
        }
    }
    let found = problems("listen = \"127.0.0.1:1\"");
    assert!(
        found[0].ends_with("did you mean `server.listen`?"),
        "{found:?}"
    );
}

#[test]
fn hosts_must_be_the_providers_and_urls_usable() {
    let with =
        |host: &str, url: &str| load(&format!("[providers.binance.hosts]\n{host:?} = {url:?}"));
    for (host, url) in [
        ("api.binance.com", "http://127.0.0.1:41001"),
        ("api.binance.com", "https://proxy.example.com/binance"),
        ("fapi.binance.com", "http://[::1]:8080"),
        ("stream.binance.com:9443", "ws://127.0.0.1:1"),
        ("fstream.binance.com", "wss://stream.example.com"),
    ] {
        assert!(with(host, url).is_ok(), "{host} {url}");
    }
    for (host, url) in [
        ("api.binance.com", "127.0.0.1:41001"),
        ("api.binance.com", "ws://127.0.0.1:41001"),
        ("api.binance.com", "ftp://127.0.0.1"),
        ("api.binance.com", "http://"),
        ("api.binance.com", "http://user:secret@host"),
        ("api.binance.com", "http://host:0"),
        ("api.binance.com", "http://host:99999"),
        ("api.binance.com", "http://host?x=1"),
        ("api.binance.com", "http://ho st"),
        ("api.binance.com", "http://[::1"),
        ("fstream.binance.com", "http://127.0.0.1:1"),
    ] {
        assert!(with(host, url).is_err(), "{host} {url}");
    }
    let error = with("api.binanse.com", "http://127.0.0.1:1").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("did you mean \"api.binance.com\"?"),
        "{error}"
    );
}

#[test]
fn a_simulators_endpoints_are_taken() {
    let mut config = Config::default();
    let endpoints = serde_json::json!({
        "binance": {"hosts": {
            "api.binance.com": "http://127.0.0.1:1",
            "fstream.binance.com": "ws://127.0.0.1:2",
            "ws-api.binance.com:443": "ws://127.0.0.1:3",
            "stream-sbe.binance.com": "ws://127.0.0.1:5",
        }, "credentials": {"api_key": "k", "secret": "s"}},
        "elsewhere": {"hosts": {"www.example.com": "http://127.0.0.1:4"}},
    });
    assert_eq!(config.use_endpoints("endpoints.json", &endpoints), Ok(3));
    assert_eq!(
        config.providers["binance"].hosts["fstream.binance.com"],
        "ws://127.0.0.1:2"
    );
    let bad = serde_json::json!({"binance": {"hosts": {"api.binance.com": 5}}});
    let error = config.use_endpoints("endpoints.json", &bad).unwrap_err();
    assert!(error.to_string().contains("binance.hosts"), "{error}");
    assert!(
        config
            .use_endpoints("endpoints.json", &serde_json::json!([]))
            .is_err()
    );
}

#[test]
fn a_questdb_server_is_described() {
    let config = load(
        "[store]\nkind = \"questdb\"\n[store.questdb]\nhttp = \"https://[::1]:443\"\n\
         pg = \"db.example.com\"\nkeep_trades_days = 30\nrequest_timeout_ms = 2500\n",
    )
    .unwrap();
    assert_eq!(config.store.kind, StoreKind::QuestDb);
    let options = config.store.questdb.options;
    assert!(options.is_tls);
    assert_eq!(options.http.to_string(), "[::1]:443");
    assert_eq!(options.pg.to_string(), "db.example.com:8812");
    assert_eq!(options.keep_trades_days, 30);
    assert_eq!(options.request_timeout.as_millis(), 2_500);
}

#[test]
fn a_certificate_needs_its_key_and_names_are_names() {
    for (key, other) in [
        ("tls_certificate_file", "tls_key_file"),
        ("tls_key_file", "tls_certificate_file"),
    ] {
        let found = problems(&format!("[server]\n{key} = \"x.pem\""));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&format!("server.{other}")), "{found:?}");
    }
    let both = "[server]\ntls_certificate_file = \"c\"\ntls_key_file = \"k\"\n";
    assert_eq!(load(both).unwrap().server.tls_key_file, PathBuf::from("k"));
    for (line, key) in [
        ("allowed_hosts = [\"http://x\"]", "server.allowed_hosts"),
        ("allowed_hosts = [\"x:80\"]", "server.allowed_hosts"),
        ("cors_origins = [\"desk.example\"]", "server.cors_origins"),
        (
            "trusted_proxies = [\"10.0.0.1/8\"]",
            "server.trusted_proxies",
        ),
        ("trusted_proxies = [\"proxy\"]", "server.trusted_proxies"),
        ("proxy_header = \"x-real-ip\"", "server.proxy_header"),
    ] {
        let found = problems(&format!("[server]\n{line}"));
        assert!(found[0].contains(key), "{found:?}");
    }
    let text = "[server]\nallowed_hosts = [\"Desk.Example\"]\ntrusted_proxies = [\"10.0.0.0/8\", \
                \"::1\"]\nproxy_header = \"forwarded\"\ncors_origins = [\"*\"]";
    let server = load(text).unwrap().server;
    assert_eq!(server.allowed_hosts, ["desk.example"]);
    assert_eq!(server.trusted_proxies.len(), 2);
    assert_eq!(server.proxy_header, ProxyHeader::Forwarded);
}

/// Each host that an adapter dials can be moved, and is on the list of those that others may be moved to.
#[test]
fn every_host_of_an_exchange_is_known_with_its_base() {
    for id in ProviderId::all().filter(|id| id.exchange().bridge().is_none()) {
        let bases = default_bases(id);
        for host in id.hosts() {
            assert!(bases.contains_key(host), "{}: {host}", id.name());
        }
    }
    let binance = default_bases(ProviderId::BINANCE);
    for route in ProviderId::BINANCE
        .exchange()
        .trading()
        .unwrap()
        .order_routes()
    {
        assert_eq!(binance.get(route.host), Some(&route.base_url));
    }
}

#[test]
fn levels_of_modules_are_configured() {
    let text = "[log]\nlevel = \"warn\"\nmodules = [\"bookwire_actors=debug\", \"rustls=off\"]\n";
    let config = load(text).unwrap();
    let filter = config.log.filter().to_string();
    assert_eq!(filter, "warn,bookwire_actors=debug,rustls=off");
    let bad = "[log]\nmodules = [\"tungstenite=trace\"]\n";
    let told = problems(bad).join(" ");
    assert!(told.contains("log.modules"), "{told}");
}
