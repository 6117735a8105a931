//! The vault: credentials of exchanges, encrypted on disk, and what our own API keys are sealed with.
//!
//! [`Vault`] holds the credentials of named accounts. Everything on disk is sealed with the
//! [`MasterKey`]; without it a copy of the data directory gives names of accounts and nothing else.
//! Secrets are [`Secret`]s: they can be neither printed nor serialised, and are overwritten when they
//! are dropped. Where a file is changed while a server runs, [`Vault::refresh`] takes the change.

mod error;
pub(crate) mod fields;
pub(crate) mod file;
mod master;
mod rekey;
mod secret;
pub(crate) mod signing;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

pub use error::VaultError;
pub use master::{
    MASTER_KEY_CREDENTIAL, MASTER_KEY_FILE, MASTER_KEY_VARIABLE, MasterKey, MasterSources,
};
pub use rekey::{Rekeyed, rekey};
pub use secret::Secret;
pub use signing::{SecretKind, ec, ed25519};

pub(crate) use secret::fill;

use self::file::{Entries, Kind, SealedFile, Stamp};
use crate::exchange::ProviderId;

/// Name of the credentials' file in the data directory.
pub const CREDENTIALS_FILE: &str = "credentials.vault";

/// Name of our own keys' file in the data directory.
pub const KEYS_FILE: &str = "keys.vault";

/// The account that is meant when none is named.
pub const DEFAULT_ACCOUNT: &str = "default";

/// Longest API key of an exchange, and longest passphrase, bytes.
const TEXT_MAX: usize = 512;

/// What one account of an exchange is used with.
#[derive(Clone)]
pub struct Credential {
    /// The exchange.
    pub provider: ProviderId,
    /// Our name of the account.
    pub account: String,
    /// How it signs.
    pub kind: SecretKind,
    /// The exchange's name of the key; for Coinbase `organizations/…/apiKeys/…`. Sent with requests,
    /// but shown to nobody.
    pub api_key: Secret,
    /// What signs: a text, or a key that [`ed25519`] or [`ec`] reads.
    pub secret: Secret,
    /// The third part that OKX has.
    pub passphrase: Option<Secret>,
    /// Rises with each change of it: a holder of an older one has been rotated out.
    pub revision: u64,
}

/// Who it is, and no secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("provider", &self.provider.name())
            .field("account", &self.account)
            .field("kind", &self.kind)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// What is shown of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// The exchange.
    pub provider: ProviderId,
    /// Our name of the account.
    pub account: String,
    /// How it signs.
    pub kind: SecretKind,
    /// The first characters of the exchange's name of the key.
    pub api_key: String,
    /// It has a passphrase.
    pub has_passphrase: bool,
    /// Rises with each change.
    pub revision: u64,
}

/// A credential that is to be stored.
pub struct NewCredential {
    /// How it signs; `None`: what the secret looks like.
    pub kind: Option<SecretKind>,
    /// The exchange's name of the key.
    pub api_key: Secret,
    /// What signs.
    pub secret: Secret,
    /// The third part that OKX has.
    pub passphrase: Option<Secret>,
}

/// Credentials by exchange and account.
type Accounts = BTreeMap<(ProviderId, String), Credential>;

/// The credentials of all accounts. Clones share what is loaded.
#[derive(Clone)]
pub struct Vault(Arc<RwLock<Loaded>>);

#[derive(Default)]
struct Loaded {
    /// `None`: there is no master key, and so nothing that could be opened.
    file: Option<SealedFile>,
    stamp: Option<Stamp>,
    accounts: Arc<Accounts>,
}

impl Vault {
    /// A vault without anything, for a server without a master key.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::default())
    }

    /// Opens the vault of a data directory; one that is not there yet is empty.
    ///
    /// # Errors
    /// It can't be read, others can read it, it is damaged, or the master key is not its own.
    pub fn open(data_dir: &Path, master: MasterKey) -> Result<Self, VaultError> {
        let vault = Self::closed();
        vault.unlock(data_dir, master)?;
        Ok(vault)
    }

    /// Opens a vault that was closed, for all who share it.
    ///
    /// # Errors
    /// As [`Vault::open`]; then it is what it was.
    pub fn unlock(&self, data_dir: &Path, master: MasterKey) -> Result<(), VaultError> {
        let path = data_dir.join(CREDENTIALS_FILE);
        self.load(SealedFile::new(path, Kind::Credentials, master))
    }

    /// True when there is a master key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.loaded().file.is_some()
    }

    fn loaded(&self) -> RwLockReadGuard<'_, Loaded> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The credential of an account.
    #[must_use]
    pub fn credential(&self, provider: ProviderId, account: &str) -> Option<Credential> {
        let accounts = self.accounts();
        accounts.get(&(provider, account.to_owned())).cloned()
    }

    /// The revision of an account's credential; `None`: there is none.
    #[must_use]
    pub fn revision(&self, provider: ProviderId, account: &str) -> Option<u64> {
        let key = (provider, account.to_owned());
        Some(self.accounts().get(&key)?.revision)
    }

    /// All accounts, by exchange and name.
    #[must_use]
    pub fn list(&self) -> Vec<AccountView> {
        self.accounts().values().map(view).collect()
    }

    fn accounts(&self) -> Arc<Accounts> {
        self.loaded().accounts.clone()
    }

    /// Takes over what another process has changed; true when something was. A look at the file's
    /// times when nothing was. On an error what was loaded before stays in force: an exchange's key is
    /// revoked at the exchange.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn refresh(&self) -> Result<bool, VaultError> {
        let (file, known) = {
            let loaded = self.loaded();
            (loaded.file.clone(), loaded.stamp)
        };
        let Some(file) = file else { return Ok(false) };
        if file.stamp()? == known {
            return Ok(false);
        }
        self.load(file)?;
        Ok(true)
    }

    fn load(&self, file: SealedFile) -> Result<(), VaultError> {
        let (entries, stamp) = file.read()?;
        let mut accounts = Accounts::new();
        for name in file.names(&entries) {
            let credential = read(&file, &entries, name)?;
            let key = (credential.provider, credential.account.clone());
            accounts.insert(key, credential);
        }
        let mut loaded = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *loaded = Loaded {
            file: Some(file),
            stamp,
            accounts: Arc::new(accounts),
        };
        Ok(())
    }

    fn update(
        &self,
        change: impl FnOnce(&SealedFile, &mut Entries) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let Some(file) = self.loaded().file.clone() else {
            return Err(VaultError::Missing {
                what: "master key".to_owned(),
            });
        };
        file.update(change)?;
        self.load(file)
    }

    /// Stores the credential of a new account.
    ///
    /// # Errors
    /// The account is there already; a value that is not accepted; the file can't be changed.
    pub fn set(
        &self,
        provider: ProviderId,
        account: &str,
        new: NewCredential,
    ) -> Result<(), VaultError> {
        self.put(provider, account, new, false)
    }

    /// Replaces the credential of an account that there is.
    ///
    /// # Errors
    /// There is no such account; else as [`Vault::set`].
    pub fn rotate(
        &self,
        provider: ProviderId,
        account: &str,
        new: NewCredential,
    ) -> Result<(), VaultError> {
        self.put(provider, account, new, true)
    }

    fn put(
        &self,
        provider: ProviderId,
        account: &str,
        new: NewCredential,
        is_there: bool,
    ) -> Result<(), VaultError> {
        let name = name_of(provider, account)?;
        let (kind, content) = check(provider, new)?;
        self.update(|file, entries| {
            match (file.open(entries, &name)?.is_some(), is_there) {
                (true, false) => {
                    return Err(VaultError::Exists {
                        what: format!("the account `{account}` of {}", provider.name()),
                        hint: "replace its key with `bookwire credentials rotate`",
                    });
                }
                (false, true) => return Err(missing(provider, account)),
                _ => {}
            }
            let revision = (entries.generation + 1).to_string();
            let mut parts: Vec<(&str, &[u8])> = vec![
                ("kind", kind.as_str().as_bytes()),
                ("revision", revision.as_bytes()),
                ("api_key", content.api_key.expose()),
                ("secret", content.secret.expose()),
            ];
            if let Some(passphrase) = &content.passphrase {
                parts.push(("passphrase", passphrase.expose()));
            }
            file.seal(entries, &name, &fields::encode(&parts))
        })
    }

    /// Forgets an account.
    ///
    /// # Errors
    /// There is no such account, or the file can't be changed.
    pub fn remove(&self, provider: ProviderId, account: &str) -> Result<(), VaultError> {
        let name = name_of(provider, account)?;
        self.update(|_, entries| {
            if SealedFile::remove(entries, &name) {
                return Ok(());
            }
            Err(missing(provider, account))
        })
    }
}

fn missing(provider: ProviderId, account: &str) -> VaultError {
    VaultError::Missing {
        what: format!("account `{account}` of {}", provider.name()),
    }
}

/// The entry's name of an account.
fn name_of(provider: ProviderId, account: &str) -> Result<String, VaultError> {
    let is_part = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    if account.is_empty() || account.len() > 32 || !account.bytes().all(is_part) {
        let shown: String = account.chars().take(40).collect();
        let accepted = "1 to 32 lower case letters, digits, - and _";
        let why = format!("has the value {shown:?}");
        return Err(VaultError::invalid("account", why, accepted));
    }
    Ok(format!("{}/{account}", provider.name()))
}

/// The values as they are stored.
fn check(
    provider: ProviderId,
    new: NewCredential,
) -> Result<(SecretKind, NewCredential), VaultError> {
    let text = |field: &'static str, value: &Secret| {
        let text = value.expose_text().trim();
        let is_ok = !text.is_empty()
            && text.len() <= TEXT_MAX
            && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if is_ok {
            return Ok(Secret::new(text.as_bytes()));
        }
        let accepted = format!("1 to {TEXT_MAX} printable ASCII characters");
        Err(VaultError::invalid(
            field,
            "is empty, too long or no text",
            accepted,
        ))
    };
    let api_key = text("api_key", &new.api_key)?;
    let passphrase = new
        .passphrase
        .as_ref()
        .map(|value| text("passphrase", value))
        .transpose()?;
    let secret = signing::tidy(&new.secret)?;
    let form = provider.exchange().credential_form();
    let kind = match new.kind {
        Some(kind) => kind,
        None => SecretKind::of(&secret, !form.kinds.contains(&SecretKind::Hmac))?,
    };
    if !form.kinds.contains(&kind) {
        let accepted: Vec<&str> = form.kinds.iter().map(|kind| kind.as_str()).collect();
        let why = format!(
            "is `{}`, which {} does not take",
            kind.as_str(),
            provider.name()
        );
        return Err(VaultError::invalid("kind", why, accepted.join(", ")));
    }
    signing::check(kind, &secret)?;
    match (form.has_passphrase, &passphrase) {
        (Some(true), None) => {
            let why = format!("is missing; {} has given one with the key", provider.name());
            return Err(VaultError::invalid("passphrase", why, "a text"));
        }
        (Some(false), Some(_)) => {
            let why = format!("is there, and {} has none", provider.name());
            return Err(VaultError::invalid("passphrase", why, "none"));
        }
        _ => {}
    }
    let content = NewCredential {
        kind: Some(kind),
        api_key,
        secret,
        passphrase,
    };
    Ok((kind, content))
}

fn view(credential: &Credential) -> AccountView {
    let api_key = credential.api_key.expose_text();
    // Short ones would be shown whole.
    let shown = api_key.get(..4).filter(|_| api_key.len() >= 16);
    AccountView {
        provider: credential.provider,
        account: credential.account.clone(),
        kind: credential.kind,
        api_key: format!("{}…", shown.unwrap_or_default()),
        has_passphrase: credential.passphrase.is_some(),
        revision: credential.revision,
    }
}

fn read(file: &SealedFile, entries: &Entries, name: &str) -> Result<Credential, VaultError> {
    let damaged = || VaultError::Damaged {
        path: file.path().to_owned(),
        why: "an entry is not a credential of this version",
    };
    let (provider, account) = name.split_once('/').ok_or_else(damaged)?;
    let provider = ProviderId::parse(provider).ok_or_else(damaged)?;
    let content = file.open(entries, name)?.ok_or_else(damaged)?;
    let parts = fields::decode(&content).ok_or_else(damaged)?;
    let text = |name| fields::text(&parts, name);
    let secret = |name| parts.get(name).map(|bytes| Secret::new(*bytes));
    Ok(Credential {
        provider,
        account: account.to_owned(),
        kind: text("kind")
            .and_then(SecretKind::parse)
            .ok_or_else(damaged)?,
        revision: text("revision")
            .and_then(|text| text.parse().ok())
            .ok_or_else(damaged)?,
        api_key: secret("api_key").ok_or_else(damaged)?,
        secret: secret("secret").ok_or_else(damaged)?,
        passphrase: secret("passphrase"),
    })
}

#[cfg(test)]
mod tests;
