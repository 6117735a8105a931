//! Every key: its name, its target, what it accepts; then what must hold between keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use rust_decimal::Decimal;

use super::change;
use super::log;
use super::problem::{ConfigErrors, ConfigProblem, Place};
use super::read::Reader;
use super::trading;
use super::url::{self, Serves};
use super::zvt;
use super::{
    BridgeConfig, Config, Durability, LogFormat, LogLevel, OpenData, ProviderConfig, ProxyHeader,
    QuestDbConfig, ServerConfig, StoreKind,
};
use crate::exchange::ProviderId;
use crate::instrument::{Market, edit_distance};
use crate::keys::{NETWORKS, Network};
use crate::store::{HostPort, QuestDbOptions};

/// What [`file`] accepts.
const FILE: &str = "the path of a file, or \"\" for none";

/// Reads all keys into `config`.
pub(super) fn visit(config: &mut Config, reader: &mut Reader<'_>) {
    reader.section("server", |r| {
        let server = &mut config.server;
        let address = "an address and a port such as 127.0.0.1:8080 or [::1]:8080";
        r.text("listen", &mut server.listen, address, |text| {
            text.parse().ok()
        });
        r.int("workers", &mut server.workers, 0..=512);
        r.text(
            "data_dir",
            &mut server.data_dir,
            "the path of a folder",
            path,
        );
        r.text("admin_key_file", &mut server.admin_key_file, FILE, file);
        visit_doors(server, r);
    });
    reader.section("engine", |r| {
        r.int("shards", &mut config.engine.shards, 0..=256);
        r.flag("share_threads", &mut config.engine.share_threads);
        r.flag("busy_poll", &mut config.engine.busy_poll);
        r.flag("core_pinning", &mut config.engine.core_pinning);
    });
    reader.section("providers", |r| {
        for id in ProviderId::all() {
            let provider = config
                .providers
                .entry(id.name().to_owned())
                .or_insert_with(|| ProviderConfig::of(id));
            r.section(id.name(), |r| visit_provider(id, provider, r));
        }
    });
    reader.section("websocket", |r| {
        let ws = &mut config.websocket;
        r.int(
            "connections_per_ip",
            &mut ws.connections_per_ip,
            1..=100_000,
        );
        let subscriptions = &mut ws.subscriptions_per_connection;
        r.int("subscriptions_per_connection", subscriptions, 1..=100_000);
        r.int(
            "frame_bytes_max",
            &mut ws.frame_bytes_max,
            1_024..=16_777_216,
        );
        r.int(
            "messages_per_second",
            &mut ws.messages_per_second,
            1..=100_000,
        );
        r.int("outbox_messages", &mut ws.outbox_messages, 16..=16_384);
        r.int(
            "memory_bytes_max",
            &mut ws.memory_bytes_max,
            16_777_216..=1_099_511_627_776,
        );
        r.int("ping_secs", &mut ws.ping_secs, 1..=3_600);
        r.int("idle_secs", &mut ws.idle_secs, 2..=86_400);
        r.list(
            "allowed_origins",
            &mut ws.allowed_origins,
            ORIGINS,
            origin_of,
        );
        if ws.idle_secs <= ws.ping_secs {
            let accepted = format!("more than websocket.ping_secs, which is {}", ws.ping_secs);
            r.problem("idle_secs", ws.idle_secs.to_string(), &accepted);
        }
    });
    reader.section("store", |r| {
        r.choice("kind", &mut config.store.kind, &StoreKind::ALL);
        r.text("path", &mut config.store.path, "the path of a file", path);
        r.int("batch", &mut config.store.batch, 1..=100_000);
        r.int("flush_ms", &mut config.store.flush_ms, 1..=60_000);
        r.choice("durability", &mut config.store.durability, &Durability::ALL);
        r.int(
            "spool_bytes_max",
            &mut config.store.spool_bytes_max,
            1_048_576..=1_099_511_627_776,
        );
        r.int(
            "book_snapshot_secs",
            &mut config.store.book_snapshot_secs,
            0..=86_400,
        );
        r.int(
            "book_snapshot_depth",
            &mut config.store.book_snapshot_depth,
            1..=1_000,
        );
        r.int(
            "answer_cache_bytes",
            &mut config.store.answer_cache_bytes,
            0..=1_099_511_627_776,
        );
        r.section("questdb", |r| visit_questdb(&mut config.store.questdb, r));
    });
    reader.section("trading", |r| trading::visit(&mut config.trading, r));
    reader.section("limits", |r| {
        let limits = &mut config.limits;
        for (name, target) in [
            ("requests_per_minute", &mut limits.requests_per_minute),
            ("trading_per_minute", &mut limits.trading_per_minute),
            ("cancels_per_minute", &mut limits.cancels_per_minute),
            ("wrong_keys_per_minute", &mut limits.wrong_keys_per_minute),
        ] {
            r.int(name, target, 1..=10_000_000);
        }
        r.int(
            "connections_max",
            &mut limits.connections_max,
            16..=1_000_000,
        );
        r.int(
            "connections_per_ip",
            &mut limits.connections_per_ip,
            1..=1_000_000,
        );
        r.int(
            "body_bytes_max",
            &mut limits.body_bytes_max,
            1_024..=16_777_216,
        );
        // What is above 96 headers or 128 KiB is refused whatever is configured.
        r.int("headers_max", &mut limits.headers_max, 8..=96);
        r.int(
            "header_bytes_max",
            &mut limits.header_bytes_max,
            1_024..=126_976,
        );
        r.int("uri_bytes_max", &mut limits.uri_bytes_max, 256..=65_534);
        for (name, target) in [
            ("header_timeout_ms", &mut limits.header_timeout_ms),
            ("body_timeout_ms", &mut limits.body_timeout_ms),
            ("answer_timeout_ms", &mut limits.answer_timeout_ms),
        ] {
            r.int(name, target, 100..=3_600_000);
        }
        // Its clock goes in steps of half a second.
        r.int(
            "keep_alive_ms",
            &mut limits.keep_alive_ms,
            1_000..=3_600_000,
        );
        r.int(
            "answer_rate_min",
            &mut limits.answer_rate_min,
            1..=1_073_741_824,
        );
    });
    reader.section("keys", |r| {
        let keys = &mut config.keys;
        r.text("master_key_file", &mut keys.master_key_file, FILE, file);
        r.int(
            "signature_window_ms",
            &mut keys.signature_window_ms,
            100..=60_000,
        );
    });
    reader.section("data_collection", |r| {
        let data = &mut config.data_collection;
        r.int(
            "default_backfill_days",
            &mut data.default_backfill_days,
            0..=3_650,
        );
        r.int(
            "backfill_trades_max",
            &mut data.backfill_trades_max,
            0..=100_000_000,
        );
        r.int(
            "max_concurrent_streams",
            &mut data.max_concurrent_streams,
            1..=100_000,
        );
        r.flag(
            "data_quality_checks_enabled",
            &mut data.data_quality_checks_enabled,
        );
        r.int("price_check_secs", &mut data.price_check_secs, 0..=3_600);
        let percent = "a number above 0 and up to 100 as text, such as \"1\"";
        let deviation = &mut data.price_deviation_percent;
        r.text("price_deviation_percent", deviation, percent, |text| {
            let value = Decimal::from_str_exact(text.trim()).ok()?;
            (value > Decimal::ZERO && value <= Decimal::ONE_HUNDRED).then_some(value)
        });
    });
    reader.section("audit", |r| {
        let audit = &mut config.audit;
        r.flag("enabled", &mut audit.enabled);
        r.flag("required", &mut audit.required);
        r.int(
            "file_bytes_max",
            &mut audit.file_bytes_max,
            65_536..=1_099_511_627_776,
        );
        if audit.required && !audit.enabled {
            r.problem(
                "required",
                "true".to_owned(),
                "false, or audit.enabled = true",
            );
        }
    });
    reader.section("zvt", |r| zvt::visit(&mut config.zvt, r));
    reader.section("log", |r| {
        r.choice("format", &mut config.log.format, &LogFormat::ALL);
        r.choice("level", &mut config.log.level, &LogLevel::ALL);
        let accepted =
            "texts such as \"bookwire_actors::trading=debug\"; of libraries nothing below info";
        r.list("modules", &mut config.log.modules, accepted, log::module);
    });
}

/// How the server is encrypted, and who may address it.
fn visit_doors(server: &mut ServerConfig, r: &mut Reader<'_>) {
    let certificate = &mut server.tls_certificate_file;
    r.text("tls_certificate_file", certificate, FILE, file);
    r.text("tls_key_file", &mut server.tls_key_file, FILE, file);
    let is_empty = |path: &PathBuf| path.as_os_str().is_empty();
    let (certificate, key) = (&server.tls_certificate_file, &server.tls_key_file);
    if is_empty(certificate) != is_empty(key) {
        let (name, other) = match is_empty(key) {
            true => ("tls_key_file", "tls_certificate_file"),
            false => ("tls_certificate_file", "tls_key_file"),
        };
        let accepted = format!("the path of a file, because server.{other} names one");
        r.problem(name, "\"\"".to_owned(), &accepted);
    }
    r.choice("open_data", &mut server.open_data, &OpenData::ALL);
    let hosts = &mut server.allowed_hosts;
    r.list("allowed_hosts", hosts, HOSTS, host_name);
    r.list("cors_origins", &mut server.cors_origins, ORIGINS, origin_of);
    let proxies = &mut server.trusted_proxies;
    r.list("trusted_proxies", proxies, NETWORKS, Network::parse);
    r.choice("proxy_header", &mut server.proxy_header, &ProxyHeader::ALL);
}

/// What [`host_name`] accepts.
const HOSTS: &str = "host names such as desk.example.com, without scheme and port";

/// What [`origin_of`] accepts.
const ORIGINS: &str = "origins such as https://desk.example.com, or \"*\" for all";

/// The name of a host, in lower case.
fn host_name(text: &str) -> Option<String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = (1..=253).contains(&text.len()) && text.bytes().all(is_part);
    is_name.then(|| text.to_ascii_lowercase())
}

fn visit_provider(id: ProviderId, provider: &mut ProviderConfig, r: &mut Reader<'_>) {
    let exchange = id.exchange();
    r.flag("enabled", &mut provider.enabled);
    let names: Vec<&str> = exchange
        .markets()
        .iter()
        .map(|market| market.as_str())
        .collect();
    let accepted = format!("markets out of {}", names.join(", "));
    r.list("markets", &mut provider.markets, &accepted, |text| {
        Market::parse(text).filter(|market| exchange.markets().contains(market))
    });
    provider.markets.sort_unstable();
    provider.markets.dedup();
    if provider.enabled && provider.markets.is_empty() {
        r.problem(
            "markets",
            "[]".to_owned(),
            "at least one, or enabled = false",
        );
    }
    r.list(
        "symbols",
        &mut provider.symbols,
        "symbols such as \"btcusdt\"",
        symbol,
    );
    let hosts = hosts_of(id);
    let is_free = provider.bridge.is_some();
    r.table("hosts", "<host>", &mut provider.hosts, |host, url| {
        match is_free {
            // Those of a hundred exchanges: only the bridge knows them.
            true => url::check(url, Serves::Both),
            false => check_host(&hosts, host, url),
        }
    });
    if let Some(bridge) = &mut provider.bridge {
        visit_bridge(bridge, r);
    }
    r.int("snapshot_depth", &mut provider.snapshot_depth, 5..=5_000);
    r.int("linger_secs", &mut provider.linger_secs, 0..=86_400);
    let limit = exchange
        .markets()
        .iter()
        .map(|market| exchange.limits(*market).streams_per_connection)
        .min()
        .and_then(|limit| i64::try_from(limit).ok())
        .unwrap_or(i64::MAX);
    r.int(
        "streams_per_connection",
        &mut provider.streams_per_connection,
        0..=limit,
    );
    r.int(
        "requests_per_minute",
        &mut provider.requests_per_minute,
        0..=10_000_000,
    );
    r.int("burst_limit", &mut provider.burst_limit, 0..=10_000_000);
    if !change::is_burst(provider.requests_per_minute, provider.burst_limit) {
        let accepted = change::BURST;
        r.problem("burst_limit", provider.burst_limit.to_string(), accepted);
    }
    r.list(
        "endpoint_hosts",
        &mut provider.endpoint_hosts,
        "hosts such as \"proxy.example.com\" or \"127.0.0.1:41001\"",
        change::host_of,
    );
    r.section("trading", |r| {
        trading::visit_provider(id, &mut provider.trading, r)
    });
}

fn visit_questdb(questdb: &mut QuestDbConfig, r: &mut Reader<'_>) {
    let options = &mut questdb.options;
    let mut http = (options.is_tls, options.http.clone());
    let accepted =
        "http or https, a host and a port, without a path, such as http://127.0.0.1:9000";
    r.text("http", &mut http, accepted, http_address);
    (options.is_tls, options.http) = http;
    let accepted = "a host and a port such as 127.0.0.1:8812";
    r.text("pg", &mut options.pg, accepted, |text| {
        HostPort::parse(text, QuestDbOptions::PG_PORT)
    });
    r.text("user", &mut options.user, "the name of a user", |text| {
        let is_bad = text.is_empty() || text.contains(|c: char| c.is_control() || c == ':');
        (!is_bad).then(|| text.to_owned())
    });
    let file = "the path of a file, or \"\" for none";
    r.text("password_file", &mut questdb.password_file, file, |text| {
        (!text.contains('\0')).then(|| PathBuf::from(text))
    });
    let prefix = &mut options.table_prefix;
    r.text(
        "table_prefix",
        prefix,
        QuestDbOptions::PREFIX_FORM,
        |text| QuestDbOptions::is_prefix(text).then(|| text.to_owned()),
    );
    r.int(
        "keep_trades_days",
        &mut options.keep_trades_days,
        0..=36_500,
    );
    r.int("keep_books_days", &mut options.keep_books_days, 0..=36_500);
    r.int(
        "keep_klines_months",
        &mut options.keep_klines_months,
        0..=1_200,
    );
    r.int(
        "keep_funding_months",
        &mut options.keep_funding_months,
        0..=1_200,
    );
    r.flag("materialized_views", &mut options.materialized_views);
    millis("request_timeout_ms", &mut options.request_timeout, r);
    millis("flush_timeout_ms", &mut options.flush_timeout, r);
}

fn millis(name: &str, target: &mut Duration, r: &mut Reader<'_>) {
    let mut value = u64::try_from(target.as_millis()).unwrap_or(u64::MAX);
    r.int(name, &mut value, 100..=600_000);
    *target = Duration::from_millis(value);
}

/// Whether it is encrypted, and where.
fn http_address(text: &str) -> Option<(bool, HostPort)> {
    let (scheme, rest) = text.split_once("://")?;
    let at = HostPort::parse(
        rest.strip_suffix('/').unwrap_or(rest),
        QuestDbOptions::HTTP_PORT,
    )?;
    match scheme {
        "http" => Some((false, at)),
        "https" => Some((true, at)),
        _ => None,
    }
}

fn visit_bridge(bridge: &mut BridgeConfig, r: &mut Reader<'_>) {
    r.text(
        "python",
        &mut bridge.python,
        "a Python interpreter: python3, or a path",
        |text| (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned()),
    );
    r.list(
        "venues",
        &mut bridge.venues,
        "ids of exchanges such as \"kraken\"",
        |text| is_venue(text).then(|| text.to_owned()),
    );
    r.int("venues_max", &mut bridge.venues_max, 1..=128);
    if bridge.venues.len() > bridge.venues_max {
        let accepted = format!("at most venues_max, which is {}", bridge.venues_max);
        r.problem("venues", format!("{:?}", bridge.venues), &accepted);
    }
    r.table("options", "<venue>", &mut bridge.options, |venue, text| {
        let is_object = serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(text).is_ok();
        match is_venue(venue) && is_object {
            true => Ok(()),
            false => Err("an exchange's id = a JSON object as text".to_owned()),
        }
    });
}

/// The form of a venue's id.
fn is_venue(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=32).contains(&text.len()) && text.bytes().all(is_part)
}

fn file(text: &str) -> Option<PathBuf> {
    (!text.contains('\0')).then(|| PathBuf::from(text))
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text))
}

/// The form only; whether it is listed is known when the exchange has told its instruments.
fn symbol(text: &str) -> Option<String> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control();
    let length = text.chars().count();
    ((1..=64).contains(&length) && !text.contains(is_bad)).then(|| text.to_owned())
}

/// An `Origin` header's form: scheme and authority, no path.
fn origin_of(text: &str) -> Option<String> {
    let is_origin =
        text == "*" || (url::check(text, Serves::Rest).is_ok() && text.matches('/').count() == 2);
    is_origin.then(|| text.to_owned())
}

/// The hosts that a provider's protocol code dials.
pub(super) fn hosts_of(id: ProviderId) -> BTreeMap<&'static str, Serves> {
    let exchange = id.exchange();
    let mut hosts = BTreeMap::new();
    let mut add = |host, serves| {
        hosts
            .entry(host)
            .and_modify(|known| {
                if *known != serves {
                    *known = Serves::Both;
                }
            })
            .or_insert(serves);
    };
    for market in exchange.markets() {
        add(exchange.rest_host(*market).0, Serves::Rest);
        for route in exchange.routes(*market) {
            add(route.host, Serves::Streams);
        }
    }
    if let Some(venue) = exchange.trading() {
        for route in venue.private_routes() {
            add(route.host, Serves::Streams);
        }
        for route in venue.order_routes() {
            add(route.host, Serves::Streams);
        }
    }
    hosts
}

/// A misspelt host would leave the real exchange in use: unknown ones are refused.
pub(super) fn check_host(
    hosts: &BTreeMap<&str, Serves>,
    host: &str,
    url: &str,
) -> Result<(), String> {
    if let Some(serves) = hosts.get(host) {
        return url::check(url, *serves);
    }
    let near = hosts
        .keys()
        .filter_map(|known| Some((edit_distance(host, known, 4)?, *known)))
        .min();
    Err(match near {
        Some((_, near)) => format!("a host of this provider; did you mean \"{near}\"?"),
        None => {
            let all: Vec<String> = hosts.keys().map(|host| format!("{host:?}")).collect();
            format!("a host of this provider: {}", all.join(", "))
        }
    })
}

/// See [`Config::use_endpoints`].
pub(super) fn use_endpoints(
    config: &mut Config,
    source: &str,
    endpoints: &serde_json::Value,
) -> Result<usize, ConfigErrors> {
    let mut problems = Vec::new();
    let mut problem = |key: String, value: &str, accepted: String| {
        problems.push(ConfigProblem {
            place: Place::File {
                name: source.to_owned(),
                line: 1,
                column: 1,
            },
            key,
            value: format!("{value:?}"),
            message: "not accepted".to_owned(),
            accepted: format!("accepted: {accepted}"),
        });
    };
    let mut taken = 0;
    let mut is_endpoints = false;
    // What a bridge asks are the same hosts, of whichever exchange.
    let all = endpoints.as_object().into_iter().flatten();
    let all: Vec<_> = all
        .filter_map(|(_, one)| one["hosts"].as_object())
        .collect();
    for provider in config.providers.values_mut().filter(|p| p.bridge.is_some()) {
        for (host, url) in all.iter().copied().flatten() {
            let url = url.as_str().unwrap_or_default();
            if url::check(url, Serves::Both).is_ok() {
                provider.hosts.insert(host.clone(), url.to_owned());
            }
        }
    }
    for id in ProviderId::all() {
        let Some(hosts) = endpoints[id.name()]["hosts"].as_object() else {
            continue;
        };
        is_endpoints = true;
        let known = hosts_of(id);
        for (host, url) in hosts {
            let Some(serves) = known.get(host.as_str()) else {
                continue;
            };
            let url = url.as_str().unwrap_or_default();
            match url::check(url, *serves) {
                Ok(()) => {
                    if let Some(provider) = config.providers.get_mut(id.name()) {
                        provider.hosts.insert(host.clone(), url.to_owned());
                        taken += 1;
                    }
                }
                Err(accepted) => problem(format!("{}.hosts.{host:?}", id.name()), url, accepted),
            }
        }
    }
    if !is_endpoints {
        let accepted = "an object with `<provider>.hosts`, as `bookwire sim --endpoints` writes it";
        problem(String::new(), "", accepted.to_owned());
    }
    if problems.is_empty() {
        Ok(taken)
    } else {
        Err(ConfigErrors(problems))
    }
}
