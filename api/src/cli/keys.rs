//! `bookwire keys …`: who may ask and trade.

use std::path::PathBuf;
use std::time::Duration;

use bookwire_engine::config::Config;
use bookwire_engine::keys::{ApiKey, KeySpec, KeyStore, expiry};
use bookwire_engine::time::TsNanos;
use bookwire_engine::vault::{MasterKey, Secret};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, GlobalArgs, audit, config, secrets};
use crate::error::wall_clock;

/// Keys of this API: who may ask and trade.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Makes a key and prints its secret, this once
    Create {
        /// What it may be used for: data_access, spot_trading, futures_trading, admin
        #[arg(
            long,
            env = "BOOKWIRE_KEY_PERMISSIONS",
            value_name = "LIST",
            default_value = "data_access"
        )]
        permissions: String,
        /// With which providers [default: all]
        #[arg(
            long,
            env = "BOOKWIRE_KEY_PROVIDERS",
            value_name = "LIST",
            default_value = "",
            hide_default_value = true
        )]
        providers: String,
        /// From which addresses and networks (10.0.0.0/8, 2001:db8::/32) [default: any]
        #[arg(
            long,
            env = "BOOKWIRE_KEY_IPS",
            value_name = "LIST",
            default_value = "",
            hide_default_value = true
        )]
        ips: String,
        /// When it ends: 90d, 12h, 30m from now, or a time [default: never]
        #[arg(long, env = "BOOKWIRE_KEY_EXPIRES", value_name = "TIME")]
        expires: Option<String>,
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
    /// Lists all keys, without their secrets
    List {
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
    /// Ends a key and its sessions; a running server does so within a fifth of a second
    Revoke {
        /// The key's id
        id: String,
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
    /// Gives a key another secret and prints it, this once
    Rotate {
        /// The key's id
        id: String,
        /// Seconds that the secret before is good for; 0: it ends now, with its sessions
        #[arg(
            long,
            env = "BOOKWIRE_KEY_OVERLAP",
            value_name = "SECONDS",
            default_value_t = 3600
        )]
        overlap: u64,
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
    /// Makes the master key, when there is none; the first `create` does so too
    InitMaster {
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct Place {
    /// Configuration file
    #[arg(long, env = "BOOKWIRE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Place {
    /// The configuration.
    pub fn load(&self, global: &GlobalArgs) -> Result<Config, Failure> {
        config::load(global, self.config.as_deref())
    }
}

/// Runs `bookwire keys …`.
pub fn run(global: &GlobalArgs, command: &KeysCommand) -> Result<(), Failure> {
    let now = wall_clock();
    match command {
        KeysCommand::Create {
            permissions,
            providers,
            ips,
            expires,
            place,
        } => {
            let mut spec = KeySpec::parse(permissions, providers, ips)?;
            spec.expires = expires
                .as_deref()
                .map(|text| expiry(text, now))
                .transpose()?;
            let config = place.load(global)?;
            let master = secrets::master_key(&config)?;
            let store = KeyStore::new(&config.server.data_dir, master);
            let (key, secret) = store.create(spec, now)?;
            audit::record(
                &config,
                "key.create",
                json!({
                    "key": key.id,
                    "permissions": key.permissions.names(),
                    "providers": key.providers.names(),
                    "expires": key.expires.map(TsNanos::to_rfc3339),
                }),
            )?;
            show(global, &key.id, &secret);
            if !global.quiet {
                super::say(&line(&key, now));
            }
        }
        KeysCommand::List { place } => {
            let config = place.load(global)?;
            let keys = match master(&config)? {
                Some(master) => KeyStore::new(&config.server.data_dir, master)
                    .load()?
                    .list(),
                None => Vec::new(),
            };
            for key in &keys {
                super::say(&line(key, now));
            }
            if keys.is_empty() && !global.quiet {
                super::say("there are no API keys; make one with `bookwire keys create`");
            }
        }
        KeysCommand::Revoke { id, place } => {
            let config = place.load(global)?;
            let key = existing(&config)?.revoke(id, now)?;
            audit::record(&config, "key.revoke", json!({"key": key.id}))?;
            super::say(&format!("{} is revoked", key.id));
        }
        KeysCommand::Rotate { id, overlap, place } => {
            let config = place.load(global)?;
            let store = existing(&config)?;
            let secret = store.rotate(id, Duration::from_secs(*overlap), now)?;
            let details = json!({"key": id, "overlap_seconds": overlap});
            audit::record(&config, "key.rotate", details)?;
            show(global, id, &secret);
            if !global.quiet {
                super::say(&match overlap {
                    0 => "the secret before has ended".to_owned(),
                    seconds => format!("the secret before is good for {seconds} s more"),
                });
            }
        }
        KeysCommand::InitMaster { place } => {
            let config = place.load(global)?;
            let key = secrets::master_key(&config)?;
            audit::record(&config, "master_key.init", json!({"master_key": key.id()}))?;
            super::say(&format!("master key {} of {}", key.id(), key.origin()));
        }
    }
    Ok(())
}

/// The master key, when there is one; without one nothing may be sealed.
fn master(config: &Config) -> Result<Option<MasterKey>, Failure> {
    let sources = secrets::master_sources(config);
    let found = MasterKey::find(&sources)?;
    if found.is_none() {
        sources.check_nothing_is_sealed()?;
    }
    Ok(found)
}

/// The store of keys that there are.
fn existing(config: &Config) -> Result<KeyStore, Failure> {
    let master = master(config)?.ok_or_else(|| {
        Failure::Usage("there are no API keys; make one with `bookwire keys create`".to_owned())
    })?;
    Ok(KeyStore::new(&config.server.data_dir, master))
}

/// The only place that prints a secret.
fn show(global: &GlobalArgs, id: &str, secret: &Secret) {
    let secret = secret.expose_text();
    if global.quiet {
        return super::say(&format!("{id}.{secret}"));
    }
    super::say(&format!("API key  {id}"));
    super::say(&format!("secret   {secret}  (shown this once)"));
    super::say(&format!("header   Authorization: Bearer {id}.{secret}"));
}

/// What is shown of a key.
fn line(key: &ApiKey, now: TsNanos) -> String {
    let providers = key.providers.names();
    let networks: Vec<String> = key.networks.iter().map(ToString::to_string).collect();
    let list = |names: &[&str], all: &str| match names {
        [] => all.to_owned(),
        names => names.join(","),
    };
    let state = match key.ended(now) {
        Some(ended) => ended.to_string(),
        None => match key.expires {
            Some(at) => format!("expires {}", at.to_rfc3339_seconds()),
            None => "does not expire".to_owned(),
        },
    };
    let from = match networks.is_empty() {
        true => "anywhere".to_owned(),
        false => networks.join(","),
    };
    format!(
        "{}  permissions {}  providers {}  from {from}  made {}  {state}",
        key.id,
        list(&key.permissions.names(), "none"),
        list(&providers.unwrap_or_default(), "all"),
        key.created.to_rfc3339_seconds(),
    )
}
