//! `bookwire credentials …`: exchanges' keys, sealed on disk.

use std::path::{Path, PathBuf};

use bookwire_engine::config::Config;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::vault::{
    self, AccountView, DEFAULT_ACCOUNT, MASTER_KEY_FILE, MasterKey, NewCredential, Secret,
    SecretKind, Vault,
};
use clap::{Args, Subcommand};
use serde_json::json;

use super::keys::Place;
use super::{Failure, GlobalArgs, audit, secrets};

/// Exchanges' keys that orders are sent with, sealed on disk.
#[derive(Debug, Subcommand)]
pub enum CredentialsCommand {
    /// Stores the key of a new account. It is read from standard input (lines, or JSON such as the file
    /// that the exchange has given out) or BOOKWIRE_API_KEY, BOOKWIRE_API_SECRET and
    /// BOOKWIRE_API_PASSPHRASE
    Set(Key),
    /// Lists all accounts, without their secrets
    List {
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
    /// Replaces the key of an account; a running server takes it within a fifth of a second
    Rotate(Key),
    /// Forgets the key of an account
    Remove(Account),
    /// Seals everything with another master key: credentials and our own API keys. The new one is read from
    /// BOOKWIRE_NEW_MASTER_KEY or a file; stop the server first, and start it with the new one. What broke
    /// off is finished by the same command again
    Rekey {
        /// File with the new master key: 32 bytes as hex or base64 in one line, mode 0600
        #[arg(long, env = "BOOKWIRE_NEW_MASTER_KEY_FILE", value_name = "FILE")]
        new_key_file: Option<PathBuf>,
        /// Where the configuration is
        #[command(flatten)]
        place: Place,
    },
}

/// Which account.
#[derive(Debug, Args)]
pub struct Account {
    /// The exchange
    pub provider: String,
    /// Your name of the account
    #[arg(long, env = "BOOKWIRE_ACCOUNT", value_name = "NAME", default_value = DEFAULT_ACCOUNT)]
    pub account: String,
    /// Where the configuration is
    #[command(flatten)]
    pub place: Place,
}

/// Which account, and what its key is.
#[derive(Debug, Args)]
pub struct Key {
    /// Which account
    #[command(flatten)]
    pub account: Account,
    /// How it signs: hmac, ed25519, ec [default: what the secret looks like]
    #[arg(long, env = "BOOKWIRE_KIND", value_name = "KIND")]
    pub kind: Option<String>,
}

impl Account {
    fn provider(&self) -> Result<ProviderId, Failure> {
        ProviderId::parse(&self.provider).ok_or_else(|| {
            let names: Vec<&str> = ProviderId::all().map(ProviderId::name).collect();
            let name: String = self.provider.chars().take(40).collect();
            Failure::Usage(format!(
                "there is no provider {name:?}; accepted: {}",
                names.join(", ")
            ))
        })
    }
}

impl Key {
    fn kind(&self) -> Result<Option<SecretKind>, Failure> {
        let kind = self.kind.as_deref().map(|name| {
            SecretKind::parse(name).ok_or_else(|| {
                let name: String = name.chars().take(40).collect();
                Failure::Usage(format!("--kind {name:?}; accepted: hmac, ed25519, ec"))
            })
        });
        kind.transpose()
    }
}

/// Runs `bookwire credentials …`.
pub fn run(global: &GlobalArgs, command: &CredentialsCommand) -> Result<(), Failure> {
    match command {
        CredentialsCommand::Set(key) => put(global, key, false),
        CredentialsCommand::Rotate(key) => put(global, key, true),
        CredentialsCommand::Remove(account) => {
            let provider = account.provider()?;
            let vault = existing(global, &account.place)?;
            vault.remove(provider, &account.account)?;
            let details = json!({"provider": provider.name(), "account": account.account});
            audit::record(&account.place.load(global)?, "credential.remove", details)?;
            super::say(&format!(
                "the key of {}/{} is forgotten; revoke it at the exchange too",
                provider.name(),
                account.account
            ));
            Ok(())
        }
        CredentialsCommand::Rekey {
            new_key_file,
            place,
        } => reseal(&place.load(global)?, new_key_file.as_deref()),
        CredentialsCommand::List { place } => {
            let list = existing(global, place)?.list();
            for view in &list {
                super::say(&line(view));
            }
            if list.is_empty() && !global.quiet {
                super::say("there are no credentials; store one with `bookwire credentials set`");
            }
            Ok(())
        }
    }
}

/// The environment's name of the key that is to take the place of the master key.
const NEW_KEY_VARIABLE: &str = "BOOKWIRE_NEW_MASTER_KEY";

fn new_key(file: Option<&Path>) -> Result<MasterKey, Failure> {
    let told = std::env::var_os(NEW_KEY_VARIABLE)
        .map(|text| Secret::new(text.to_string_lossy().into_owned()))
        .filter(|text| !text.expose_text().trim().is_empty());
    match (told, file) {
        (Some(_), Some(_)) => Err(Failure::Usage(format!(
            "{NEW_KEY_VARIABLE} and --new-key-file are both given; accepted: one of them"
        ))),
        (Some(text), None) => Ok(MasterKey::parse(NEW_KEY_VARIABLE, text.expose_text())?),
        (None, Some(file)) => Ok(MasterKey::of_file(file)?),
        (None, None) => Err(Failure::Usage(format!(
            "there is no new master key; accepted: {NEW_KEY_VARIABLE}, or --new-key-file FILE \
             (`head -c 32 /dev/urandom | base64`)"
        ))),
    }
}

/// Each step can be done again: what is done is found to be.
fn reseal(config: &Config, file: Option<&Path>) -> Result<(), Failure> {
    let sources = secrets::master_sources(config);
    let new = new_key(file)?;
    let Some(old) = MasterKey::find(&sources)? else {
        sources.check_nothing_is_sealed()?;
        super::say("there is no master key, and nothing that is sealed: nothing to do");
        return Ok(());
    };
    let data_dir = &config.server.data_dir;
    let done = vault::rekey(data_dir, &old, &new)?;
    for file in &done {
        let how = match file.was_done {
            true => "was sealed with the new key before",
            false => "is sealed with the new key",
        };
        let path = file.path.display();
        super::say(&format!("{path}: {how}, entries: {}", file.entries));
    }
    let details = json!({"old_key": old.id(), "new_key": new.id()});
    if let Some(aside) = audit::put_aside(config, &old)? {
        super::say(&format!(
            "the audit log so far is in {}: verify it with the old key",
            aside.display()
        ));
    }
    audit::record_under(config, &new, "master_key.change", details)?;
    // Where it was made by itself it is replaced; elsewhere it is somebody's who has put it there.
    let own = data_dir.join(MASTER_KEY_FILE);
    let is_own = old.origin() == own.display().to_string();
    match is_own {
        true => {
            let path = new.install(data_dir)?;
            super::say(&format!("{} is the new key", path.display()));
        }
        false => super::say(&format!(
            "put the new key (id {}) where the old one is: {}",
            new.id(),
            old.origin()
        )),
    }
    super::say("start the server again, with the new key; keep the old one for older backups");
    Ok(())
}

fn put(global: &GlobalArgs, key: &Key, is_there: bool) -> Result<(), Failure> {
    let account = &key.account;
    let (provider, kind) = (account.provider()?, key.kind()?);
    let config = account.place.load(global)?;
    let parts = secrets::read_parts(provider.exchange().credential_form().has_passphrase)?;
    let vault = Vault::open(&config.server.data_dir, secrets::master_key(&config)?)?;
    let new = NewCredential {
        kind,
        api_key: parts.api_key,
        secret: parts.secret,
        passphrase: parts.passphrase,
    };
    match is_there {
        true => vault.rotate(provider, &account.account, new)?,
        false => vault.set(provider, &account.account, new)?,
    }
    let action = match is_there {
        true => "credential.rotate",
        false => "credential.set",
    };
    let details = json!({"provider": provider.name(), "account": account.account});
    audit::record(&config, action, details)?;
    let name = &account.account;
    let mut list = vault.list().into_iter();
    if let Some(view) = list.find(|view| view.provider == provider && view.account == *name) {
        super::say(&line(&view));
    }
    Ok(())
}

/// The vault that there is; one without a master key is empty.
fn existing(global: &GlobalArgs, place: &Place) -> Result<Vault, Failure> {
    let config = place.load(global)?;
    let sources = secrets::master_sources(&config);
    match MasterKey::find(&sources)? {
        Some(master) => Ok(Vault::open(&config.server.data_dir, master)?),
        None => {
            sources.check_nothing_is_sealed()?;
            Ok(Vault::closed())
        }
    }
}

fn line(view: &AccountView) -> String {
    let passphrase = match view.has_passphrase {
        true => "  with passphrase",
        false => "",
    };
    format!(
        "{}/{}  {}  key {}{passphrase}  revision {}",
        view.provider.name(),
        view.account,
        view.kind.as_str(),
        view.api_key,
        view.revision
    )
}
