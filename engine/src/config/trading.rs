//! `[trading]`, `[providers.<name>.trading]`: who trades where, and within which limits.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::read::Reader;
use crate::exchange::ProviderId;
use crate::trading::order::TradingMode;
use crate::trading::risk::Limits;

/// `[trading]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TradingConfig {
    /// Orders are taken at all.
    pub enabled: bool,
    /// When the journal reaches the disk.
    pub journal_sync: JournalSync,
    /// A journal of more bytes is written anew without what is no longer kept.
    pub journal_compact_bytes: u64,
    /// Milliseconds that an exchange's answer to an order is waited for.
    pub answer_timeout_ms: u64,
    /// Milliseconds that a request may be under way, where the exchange takes such a limit.
    pub recv_window_ms: u32,
    /// Seconds between two comparisons of an account with its exchange.
    pub reconcile_secs: u64,
    /// Seconds around a funding settlement in which perpetuals take no orders; 0: none.
    pub funding_lock_secs: u32,
    /// Seconds of our silence after which the exchange cancels everything; 0: never.
    pub dead_man_secs: u32,
    /// Keys of exchanges that can withdraw are used all the same.
    pub allow_withdrawal_keys: bool,
    /// `[trading.limits]`: of each account.
    pub limits: Limits,
    /// `[trading.key_limits]`: of each API key.
    pub key_limits: Limits,
    /// `[trading.paper]`
    pub paper: PaperConfig,
}

/// When the journal of orders reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalSync {
    /// Soon after each change: the death of the process loses nothing, that of the machine some
    /// milliseconds.
    Soon,
    /// Before an order is sent.
    Always,
}

impl JournalSync {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 2] = [("soon", Self::Soon), ("always", Self::Always)];
}

/// `[trading.paper]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaperConfig {
    /// What a new paper account has: asset to amount.
    pub balances: BTreeMap<String, String>,
    /// Milliseconds from here to the exchange.
    pub latency_ms: u64,
    /// Fee of resting orders where the exchange's is not public, as a fraction.
    pub maker_fee: Decimal,
    /// Fee of orders that take, likewise.
    pub taker_fee: Decimal,
}

/// How live orders travel to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Each is an HTTP request.
    Rest,
    /// As frames on the exchange's WebSocket for orders, by HTTP while that is not up.
    Websocket,
}

impl Transport {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 2] =
        [("rest", Self::Rest), ("websocket", Self::Websocket)];
}

/// `[providers.<name>.trading]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderTradingConfig {
    /// Whether orders go to the exchange.
    pub mode: TradingMode,
    /// How live orders, cancellations and amendments travel.
    pub transport: Transport,
    /// Names of the accounts; live ones need a credential of that name.
    pub accounts: Vec<String>,
    /// Of a provider behind a bridge: which exchange each live account is of.
    pub exchanges: BTreeMap<String, String>,
}

impl Default for ProviderTradingConfig {
    fn default() -> Self {
        Self {
            mode: TradingMode::Paper,
            transport: Transport::Rest,
            accounts: vec!["default".to_owned()],
            exchanges: BTreeMap::new(),
        }
    }
}

impl Default for TradingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            journal_sync: JournalSync::Soon,
            journal_compact_bytes: 64 << 20,
            answer_timeout_ms: 5_000,
            recv_window_ms: 5_000,
            reconcile_secs: 60,
            funding_lock_secs: 0,
            dead_man_secs: 0,
            allow_withdrawal_keys: false,
            limits: Limits {
                max_open_orders: Some(200),
                max_orders_per_second: Some(50),
                price_collar_percent: Some(Decimal::TEN),
                ..Limits::default()
            },
            key_limits: Limits::default(),
            paper: PaperConfig {
                balances: [
                    ("USDT", "100000"),
                    ("USD", "100000"),
                    ("BTC", "1"),
                    ("ETH", "10"),
                ]
                .map(|(asset, amount)| (asset.to_owned(), amount.to_owned()))
                .into(),
                latency_ms: 5,
                maker_fee: Decimal::new(2, 4),
                taker_fee: Decimal::new(5, 4),
            },
        }
    }
}

pub(super) fn visit(trading: &mut TradingConfig, r: &mut Reader<'_>) {
    r.flag("enabled", &mut trading.enabled);
    r.choice("journal_sync", &mut trading.journal_sync, &JournalSync::ALL);
    r.int(
        "journal_compact_bytes",
        &mut trading.journal_compact_bytes,
        65_536..=4_294_967_296,
    );
    r.int(
        "answer_timeout_ms",
        &mut trading.answer_timeout_ms,
        100..=60_000,
    );
    r.int("recv_window_ms", &mut trading.recv_window_ms, 100..=60_000);
    r.int("reconcile_secs", &mut trading.reconcile_secs, 1..=86_400);
    r.int(
        "funding_lock_secs",
        &mut trading.funding_lock_secs,
        0..=7_200,
    );
    r.int("dead_man_secs", &mut trading.dead_man_secs, 0..=300);
    r.flag("allow_withdrawal_keys", &mut trading.allow_withdrawal_keys);
    r.section("limits", |r| visit_limits(&mut trading.limits, r));
    r.section("key_limits", |r| visit_limits(&mut trading.key_limits, r));
    r.section("paper", |r| {
        let paper = &mut trading.paper;
        let mut balances = BTreeMap::new();
        r.table("balances", "<asset>", &mut balances, |asset, amount| {
            let is_asset = !asset.is_empty() && asset.bytes().all(|b| b.is_ascii_alphanumeric());
            match is_asset && decimal(amount).is_some() {
                true => Ok(()),
                false => Err("an asset = an amount as text, such as USDT = \"100000\"".to_owned()),
            }
        });
        if !balances.is_empty() {
            paper.balances = balances;
        }
        r.int("latency_ms", &mut paper.latency_ms, 0..=10_000);
        for (name, fee) in [
            ("maker_fee", &mut paper.maker_fee),
            ("taker_fee", &mut paper.taker_fee),
        ] {
            r.text(
                name,
                fee,
                "a fraction as text, such as \"0.0005\"",
                |text| {
                    let fee = Decimal::from_str_exact(text).ok()?;
                    (fee.abs() < Decimal::ONE).then_some(fee)
                },
            );
        }
    });
}

fn visit_limits(limits: &mut Limits, r: &mut Reader<'_>) {
    for (name, limit) in [
        ("max_order_notional", &mut limits.max_order_notional),
        ("max_position", &mut limits.max_position),
        ("max_position_notional", &mut limits.max_position_notional),
        ("price_collar_percent", &mut limits.price_collar_percent),
    ] {
        r.text(
            name,
            limit,
            "a positive number as text, or \"\" for no limit",
            |text| match text.trim() {
                "" => Some(None),
                text => decimal(text).filter(|value| !value.is_zero()).map(Some),
            },
        );
    }
    for (name, limit) in [
        ("max_open_orders", &mut limits.max_open_orders),
        ("max_orders_per_second", &mut limits.max_orders_per_second),
    ] {
        let mut number = limit.unwrap_or(0);
        r.int(name, &mut number, 0..=1_000_000);
        *limit = (number > 0).then_some(number);
    }
    let mut instruments: Vec<String> = limits.instruments.iter().flatten().cloned().collect();
    r.list("instruments", &mut instruments, "entity ids", |text| {
        let is_id = text.starts_with("cryptopair_") || text.starts_with("cryptoperp_");
        is_id.then(|| text.to_ascii_lowercase())
    });
    limits.instruments = (!instruments.is_empty()).then(|| instruments.into_iter().collect());
}

pub(super) fn visit_provider(
    id: ProviderId,
    trading: &mut ProviderTradingConfig,
    r: &mut Reader<'_>,
) {
    let modes = [("paper", TradingMode::Paper), ("live", TradingMode::Live)];
    r.choice("mode", &mut trading.mode, &modes);
    let venue = id.exchange().trading();
    match venue.is_some_and(|venue| !venue.order_routes().is_empty()) {
        true => r.choice("transport", &mut trading.transport, &Transport::ALL),
        false => {
            let name = id.name();
            let accepted = format!("rest, as {name} takes no orders over WebSocket");
            r.text("transport", &mut trading.transport, &accepted, |text| {
                (text == "rest").then_some(Transport::Rest)
            });
        }
    }
    let name = "names of up to 32 lower-case letters, digits, - and _";
    r.list("accounts", &mut trading.accounts, name, |text| {
        let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        let is_name = (1..=32).contains(&text.len()) && text.bytes().all(is_part);
        is_name.then(|| text.to_owned())
    });
    trading.accounts.dedup();
    if id.exchange().bridge().is_none() {
        return;
    }
    let accounts = trading.accounts.clone();
    r.table(
        "exchanges",
        "<account>",
        &mut trading.exchanges,
        |account, exchange| {
            let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            let is_id = (1..=32).contains(&exchange.len()) && exchange.bytes().all(is_part);
            match is_id && accounts.iter().any(|name| name == account) {
                true => Ok(()),
                false => Err(format!(
                    "one of the accounts ({}) = the id of an exchange, such as kraken",
                    accounts.join(", ")
                )),
            }
        },
    );
}

fn decimal(text: &str) -> Option<Decimal> {
    let value = Decimal::from_str_exact(text.trim()).ok()?;
    (value >= Decimal::ZERO).then_some(value)
}
