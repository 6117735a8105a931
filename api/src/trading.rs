//! From the configuration and the vault to the accounts that are traded on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bookwire_actors::trading::keys::{KeySource, Revised};
use bookwire_actors::trading::limits::LimitOptions;
use bookwire_actors::trading::options::{AccountOptions, TradingOptions};
use bookwire_actors::trading::paper::PaperOptions;
use bookwire_engine::config::{Config, JournalSync, ProviderConfig};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::trading::keys::{KeyKind, Keys};
use bookwire_engine::trading::order::TradingMode;
use bookwire_engine::trading::paper::Fees;
use bookwire_engine::vault::{Credential, SecretKind, Vault};
use rust_decimal::Decimal;

/// The accounts; `None` when trading is switched off.
///
/// # Errors
/// An account that is to trade live has no credential, or one that can't be used.
pub fn options(config: &Config, vault: &Vault) -> Result<Option<TradingOptions>, String> {
    if !config.trading.enabled {
        return Ok(None);
    }
    let mut accounts = Vec::new();
    for (name, provider) in &config.providers {
        let Some(id) = ProviderId::parse(name).filter(|_| provider.enabled) else {
            continue;
        };
        for account in &provider.trading.accounts {
            accounts.push(account_options(config, id, provider, account, vault)?);
        }
    }
    Ok(Some(TradingOptions { accounts }))
}

fn account_options(
    config: &Config,
    id: ProviderId,
    provider: &ProviderConfig,
    account: &str,
    vault: &Vault,
) -> Result<AccountOptions, String> {
    let trading = &config.trading;
    let mode = provider.trading.mode;
    let (keys, key_revision, key_source, exchange) = match mode {
        TradingMode::Paper => (None, 0, None, None),
        TradingMode::Live => {
            let source = VaultKeys {
                vault: vault.clone(),
                provider: id,
                account: account.to_owned(),
                bridged: bridged(id, provider, account)?,
            };
            let (revision, keys) = source.first()?;
            let exchange = source.bridged.as_ref().map(|(name, _)| name.clone());
            (
                Some(keys),
                revision,
                Some(Arc::new(source) as Arc<_>),
                exchange,
            )
        }
    };
    let journal = format!("{}-{account}-{}.journal", id.name(), mode.as_str());
    Ok(AccountOptions {
        provider: id,
        markets: provider.markets.clone(),
        name: account.to_owned(),
        exchange,
        keys,
        key_revision,
        key_source,
        hosts: provider.hosts.clone(),
        journal: config.trading_dir().join(journal),
        journal_compact_bytes: trading.journal_compact_bytes,
        is_journal_synced: trading.journal_sync == JournalSync::Always,
        transport: provider.trading.transport,
        patience: Duration::from_millis(trading.answer_timeout_ms),
        window_ms: trading.recv_window_ms,
        reconcile: Duration::from_secs(trading.reconcile_secs),
        allows_withdrawal_keys: trading.allow_withdrawal_keys,
        funding_lock_secs: trading.funding_lock_secs,
        dead_man_secs: trading.dead_man_secs,
        limits: LimitOptions {
            account: trading.limits.clone(),
            key: trading.key_limits.clone(),
        },
        paper: paper(config),
    })
}

fn paper(config: &Config) -> PaperOptions {
    let paper = &config.trading.paper;
    let mut options = PaperOptions::default();
    // Their form has been checked with the rest of the configuration.
    options.setup.balances = paper
        .balances
        .iter()
        .filter_map(|(asset, amount)| Some((asset.clone(), Decimal::from_str_exact(amount).ok()?)))
        .collect::<BTreeMap<_, _>>();
    options.latency = Duration::from_millis(paper.latency_ms);
    options.fees = Fees {
        maker: paper.maker_fee,
        taker: paper.taker_fee,
    };
    options
}

/// Of a provider behind a bridge: which exchange an account is of, and the markets it is used for.
type Bridged = Option<(String, Vec<Market>)>;

fn place(id: ProviderId) -> String {
    format!("providers.{}.trading.mode is \"live\"", id.name())
}

fn bridged(id: ProviderId, provider: &ProviderConfig, account: &str) -> Result<Bridged, String> {
    if id.exchange().bridge().is_none() {
        return Ok(None);
    }
    match provider.trading.exchanges.get(account) {
        Some(exchange) => Ok(Some((exchange.clone(), provider.markets.clone()))),
        None => Err(format!(
            "{}, and providers.{}.trading.exchanges does not say which exchange the account {account:?} is \
             of: add {account} = \"kraken\", or the id of another exchange",
            place(id),
            id.name()
        )),
    }
}

/// The vault as where an account's key comes from. What it holds is read anew elsewhere.
struct VaultKeys {
    vault: Vault,
    provider: ProviderId,
    account: String,
    bridged: Bridged,
}

impl VaultKeys {
    /// The key to start with.
    fn first(&self) -> Result<Revised, String> {
        let (id, account) = (self.provider, &self.account);
        let (name, place) = (id.name(), place(id));
        if id.exchange().trading().is_none() {
            return Err(format!(
                "{place}: orders can't be sent to {name}; accepted: \"paper\""
            ));
        }
        let Some(credential) = self.vault.credential(id, account) else {
            return Err(format!(
                "{place}, and there is no credential {account:?}: `bookwire credentials set {name} --account \
                 {account}` stores one"
            ));
        };
        let keys = self
            .prepare(&credential)
            .map_err(|what| format!("{place}: the credential {account:?}: {what}"))?;
        Ok((credential.revision, Arc::new(keys)))
    }

    /// A credential, ready to sign, or to be handed to the bridge that does.
    fn prepare(&self, credential: &Credential) -> Result<Keys, String> {
        let kind = match credential.kind {
            SecretKind::Hmac => KeyKind::Hmac,
            SecretKind::Ed25519 => KeyKind::Ed25519,
            SecretKind::Ec => KeyKind::Es256,
        };
        let passphrase = credential
            .passphrase
            .as_ref()
            .map(|text| text.expose_text());
        let key = credential.api_key.expose_text();
        let secret = credential.secret.expose_text();
        let keys = match &self.bridged {
            Some((exchange, markets)) => Keys::handed(exchange, markets, key, secret, passphrase),
            None => Keys::new(kind, key, secret, passphrase),
        };
        keys.map_err(|error| error.message)
    }
}

impl KeySource for VaultKeys {
    fn other_than(&self, revision: u64) -> Option<Result<Revised, (u64, String)>> {
        let now = self.vault.revision(self.provider, &self.account)?;
        if now == revision {
            return None;
        }
        let credential = self.vault.credential(self.provider, &self.account)?;
        let keys = self
            .prepare(&credential)
            .map(|keys| (credential.revision, Arc::new(keys)));
        Some(keys.map_err(|reason| (credential.revision, reason)))
    }
}
