//! The file of our own keys, and the keys of a moment.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{ApiKey, Ended, Identity, KeySecret, Network, Permission, Permissions, Providers};
use crate::exchange::ProviderId;
use crate::time::TsNanos;
use crate::vault::file::{Entries, Kind, SealedFile, Stamp};
use crate::vault::{KEYS_FILE, MasterKey, Secret, VaultError, fields};

/// Random bytes of a secret.
pub const SECRET_BYTES: usize = 32;

/// Random bytes of an id.
const ID_BYTES: usize = 10;

/// Keys in a file.
const KEYS_MAX: usize = 10_000;

/// What a new key shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What it may be used for.
    pub permissions: Permissions,
    /// With which providers.
    pub providers: Providers,
    /// From where; empty: from anywhere.
    pub networks: Vec<Network>,
    /// When it ends.
    pub expires: Option<TsNanos>,
}

impl KeySpec {
    /// A key for everything, from anywhere, for good.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            permissions: Permissions::all(),
            providers: Providers::All,
            networks: Vec::new(),
            expires: None,
        }
    }

    /// Reads the lists of a command line: names with commas between; no providers: all.
    ///
    /// # Errors
    /// Which item is none, and what is accepted.
    pub fn parse(permissions: &str, providers: &str, networks: &str) -> Result<Self, VaultError> {
        let items = |text: &str| -> Vec<String> {
            let items = text.split(',').map(str::trim);
            items
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let wrong = |field, item: &str, accepted: String| {
            VaultError::invalid(field, format!("has the item {item:?}"), accepted)
        };
        let mut spec = Self {
            permissions: Permissions::default(),
            ..Self::unlimited()
        };
        let names = Permission::ALL.map(Permission::as_str).join(", ");
        let mut wanted = Vec::new();
        for item in items(permissions) {
            let one = Permission::parse(&item);
            wanted.push(one.ok_or_else(|| wrong("permissions", &item, names.clone()))?);
        }
        if wanted.is_empty() {
            return Err(VaultError::invalid("permissions", "is empty", names));
        }
        spec.permissions = wanted.into_iter().collect();
        let mut only = Vec::new();
        for item in items(providers) {
            let one = ProviderId::parse(&item).ok_or_else(|| {
                let names: Vec<&str> = ProviderId::all().map(ProviderId::name).collect();
                wrong("providers", &item, names.join(", "))
            })?;
            only.push(one);
        }
        if !only.is_empty() {
            spec.providers = Providers::Only(only);
        }
        for item in items(networks) {
            let one = Network::parse(&item);
            let accepted = super::network::ACCEPTED.to_owned();
            spec.networks
                .push(one.ok_or_else(|| wrong("ips", &item, accepted))?);
        }
        Ok(spec)
    }
}

/// When a key ends: a time, or `90d`, `12h`, `30m` from `now` on.
///
/// # Errors
/// It is neither, or has passed.
pub fn expiry(text: &str, now: TsNanos) -> Result<TsNanos, VaultError> {
    let text = text.trim();
    let accepted = "a time to come such as 2030-01-31T12:00:00Z, or 90d, 12h, 30m from now";
    let wrong = |why: &str| VaultError::invalid("expires", why, accepted);
    let unit = match text.bytes().last() {
        Some(b'd') => Some(86_400),
        Some(b'h') => Some(3_600),
        Some(b'm') => Some(60),
        _ => None,
    };
    let count = text.get(..text.len().saturating_sub(1));
    let relative = unit.zip(count.and_then(|count| count.parse::<u32>().ok()));
    let at = match relative {
        Some((unit, count)) => i64::from(count)
            .checked_mul(unit * 1_000_000_000)
            .and_then(|nanos| now.0.checked_add(nanos))
            .map(TsNanos),
        // A bare number would be a time of 1970.
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => None,
        None => TsNanos::parse(text),
    };
    match at {
        None => Err(wrong("is no time")),
        Some(at) if at <= now => Err(wrong("is no time to come")),
        Some(at) => Ok(at),
    }
}

/// The keys of a moment.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: HashMap<String, Arc<ApiKey>>,
    /// Those that are in no file.
    memory: HashMap<String, Arc<ApiKey>>,
    stamp: Option<Stamp>,
}

impl KeyRing {
    /// The key of an id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<ApiKey>> {
        self.memory.get(id).or_else(|| self.keys.get(id))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<ApiKey>> {
        self.memory.values().chain(self.keys.values())
    }

    /// `newer` with the keys that are in no file; those alone when there is none.
    #[must_use]
    pub fn replaced_by(&self, newer: Option<Self>) -> Self {
        let mut newer = newer.unwrap_or_default();
        newer.memory = self.memory.clone();
        newer
    }

    /// All keys, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<ApiKey>> {
        let mut all: Vec<Arc<ApiKey>> = self.all().cloned().collect();
        all.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        all
    }

    /// True when a key that is good has the permission.
    #[must_use]
    pub fn has(&self, permission: Permission, now: TsNanos) -> bool {
        let mut all = self.all();
        all.any(|key| key.permissions.has(permission) && key.ended(now).is_none())
    }

    /// Why somebody who has proven a key is nobody any more.
    #[must_use]
    pub fn ended(&self, identity: &Identity, now: TsNanos) -> Option<Ended> {
        let Some(key) = self.get(&identity.key_id) else {
            return Some(Ended::Gone);
        };
        if let Some(ended) = key.ended(now) {
            return Some(ended);
        }
        let is_same = key.permissions == identity.permissions
            && key.providers == *identity.providers
            && key.has_serial(identity.serial, now);
        (!is_same).then_some(Ended::Rotated)
    }

    /// Adds a key that is in no file. Returns its secret.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn add(&mut self, id: &str, spec: KeySpec, now: TsNanos) -> Result<Secret, VaultError> {
        let (key, secret) = make(id.to_owned(), spec, now)?;
        self.memory.insert(id.to_owned(), Arc::new(key));
        Ok(secret)
    }
}

fn make(id: String, spec: KeySpec, now: TsNanos) -> Result<(ApiKey, Secret), VaultError> {
    let secret = Secret::random(SECRET_BYTES)?;
    let key = ApiKey {
        id,
        permissions: spec.permissions,
        providers: spec.providers,
        networks: spec.networks,
        created: now,
        expires: spec.expires,
        revoked: None,
        secrets: vec![KeySecret {
            serial: 1,
            secret: secret.clone(),
            until: None,
        }],
    };
    Ok((key, secret))
}

/// The file of the keys.
#[derive(Clone)]
pub struct KeyStore {
    file: SealedFile,
}

impl KeyStore {
    /// The keys of a data directory. Nothing is read so far.
    #[must_use]
    pub fn new(data_dir: &Path, master: MasterKey) -> Self {
        Self {
            file: SealedFile::new(data_dir.join(KEYS_FILE), Kind::Keys, master),
        }
    }

    /// All keys; no file is one without keys.
    ///
    /// # Errors
    /// It can't be read, others can read it, it is damaged, or the master key is not its own.
    pub fn load(&self) -> Result<KeyRing, VaultError> {
        let (entries, stamp) = self.file.read()?;
        let mut keys = HashMap::new();
        for id in self.file.names(&entries) {
            let key = self.read(&entries, id)?;
            keys.insert(id.to_owned(), Arc::new(key));
        }
        Ok(KeyRing {
            keys,
            stamp,
            ..KeyRing::default()
        })
    }

    /// True when the file is not the one that `ring` was read from. One look at its times.
    ///
    /// # Errors
    /// The system refuses.
    pub fn has_changed(&self, ring: &KeyRing) -> Result<bool, VaultError> {
        Ok(self.file.stamp()? != ring.stamp)
    }

    /// Makes a key. The secret is returned here and never again.
    ///
    /// # Errors
    /// The file can't be changed, or holds too many.
    pub fn create(&self, spec: KeySpec, now: TsNanos) -> Result<(ApiKey, Secret), VaultError> {
        self.file.update(|file, entries| {
            if file.names(entries).count() >= KEYS_MAX {
                let accepted = format!("at most {KEYS_MAX}");
                return Err(VaultError::invalid("keys", "are too many", accepted));
            }
            let mut id = [0; ID_BYTES];
            crate::vault::fill(&mut id)?;
            let id = data_encoding::BASE32_NOPAD.encode(&id).to_ascii_lowercase();
            let (key, secret) = make(format!("bw-{id}"), spec, now)?;
            write(file, entries, &key)?;
            Ok((key, secret))
        })
    }

    /// Ends a key. Its secrets are gone for good; that it was there stays.
    ///
    /// # Errors
    /// There is no such key, or the file can't be changed.
    pub fn revoke(&self, id: &str, now: TsNanos) -> Result<ApiKey, VaultError> {
        self.change(id, |key| {
            key.revoked.get_or_insert(now);
            key.secrets.clear();
            Ok(())
        })
    }

    /// Gives a key another secret; the one before is good for `overlap` more. One before that, which
    /// may still have been, is not.
    ///
    /// # Errors
    /// There is no such key, it has ended, or the file can't be changed.
    pub fn rotate(&self, id: &str, overlap: Duration, now: TsNanos) -> Result<Secret, VaultError> {
        let secret = Secret::random(SECRET_BYTES)?;
        let overlap = i64::try_from(overlap.as_nanos()).unwrap_or(i64::MAX);
        self.change(id, |key| {
            if let Some(ended) = key.ended(now) {
                let accepted = "a key that is good; make a new one";
                return Err(VaultError::invalid("id", ended.to_string(), accepted));
            }
            let last = key.secrets.pop();
            let serial = last
                .as_ref()
                .map_or(1, |last| last.serial.saturating_add(1));
            key.secrets.clear();
            if let Some(last) = last.filter(|_| overlap > 0) {
                key.secrets.push(KeySecret {
                    until: Some(TsNanos(now.0.saturating_add(overlap))),
                    ..last
                });
            }
            key.secrets.push(KeySecret {
                serial,
                secret: secret.clone(),
                until: None,
            });
            Ok(())
        })?;
        Ok(secret)
    }

    fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut ApiKey) -> Result<(), VaultError>,
    ) -> Result<ApiKey, VaultError> {
        self.file.update(|file, entries| {
            if !file.names(entries).any(|name| name == id) {
                let shown: String = id.chars().take(64).collect();
                let what = format!("API key {shown:?}");
                return Err(VaultError::Missing { what });
            }
            let mut key = self.read(entries, id)?;
            change(&mut key)?;
            write(file, entries, &key)?;
            Ok(key)
        })
    }

    fn read(&self, entries: &Entries, id: &str) -> Result<ApiKey, VaultError> {
        let damaged = || VaultError::Damaged {
            path: self.file.path().to_owned(),
            why: "an entry is not a key of this version",
        };
        let content = self.file.open(entries, id)?.ok_or_else(damaged)?;
        let parts = fields::decode(&content).ok_or_else(damaged)?;
        parse(id, &parts).ok_or_else(damaged)
    }
}

fn write(file: &SealedFile, entries: &mut Entries, key: &ApiKey) -> Result<(), VaultError> {
    let time = |at: TsNanos| at.0.to_string();
    let providers = match key.providers.names() {
        None => "*".to_owned(),
        Some(names) => names.join(","),
    };
    let networks: Vec<String> = key.networks.iter().map(ToString::to_string).collect();
    let mut texts = vec![
        ("permissions".to_owned(), key.permissions.names().join(",")),
        ("providers".to_owned(), providers),
        ("networks".to_owned(), networks.join(",")),
        ("created".to_owned(), time(key.created)),
    ];
    texts.extend(key.expires.map(|at| ("expires".to_owned(), time(at))));
    texts.extend(key.revoked.map(|at| ("revoked".to_owned(), time(at))));
    for (index, own) in key.secrets.iter().enumerate() {
        texts.push((format!("serial.{index}"), own.serial.to_string()));
        texts.extend(own.until.map(|at| (format!("until.{index}"), time(at))));
    }
    let names: Vec<String> = (0..key.secrets.len())
        .map(|n| format!("secret.{n}"))
        .collect();
    let mut parts: Vec<(&str, &[u8])> = texts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_bytes()))
        .collect();
    for (name, own) in names.iter().zip(&key.secrets) {
        parts.push((name, own.secret.expose()));
    }
    file.seal(entries, &key.id, &fields::encode(&parts))
}

fn parse(id: &str, parts: &BTreeMap<&str, &[u8]>) -> Option<ApiKey> {
    let text = |name: &str| fields::text(parts, name);
    // What is there has to be a time.
    let time = |name: &str| match text(name) {
        None => Some(None),
        Some(text) => text.parse().ok().map(|at| Some(TsNanos(at))),
    };
    let list = |name: &str| -> Option<Vec<&str>> {
        Some(
            text(name)?
                .split(',')
                .filter(|item| !item.is_empty())
                .collect(),
        )
    };
    let providers = match text("providers")? {
        "*" => Providers::All,
        _ => Providers::Only(
            list("providers")?
                .into_iter()
                .map(ProviderId::parse)
                .collect::<Option<_>>()?,
        ),
    };
    let mut secrets = Vec::new();
    for index in 0.. {
        let Some(secret) = parts.get(format!("secret.{index}").as_str()) else {
            break;
        };
        secrets.push(KeySecret {
            serial: text(&format!("serial.{index}"))?.parse().ok()?,
            secret: Secret::new(*secret),
            until: time(&format!("until.{index}"))?,
        });
    }
    Some(ApiKey {
        id: id.to_owned(),
        permissions: list("permissions")?
            .into_iter()
            .map(Permission::parse)
            .collect::<Option<Permissions>>()?,
        providers,
        networks: list("networks")?
            .into_iter()
            .map(Network::parse)
            .collect::<Option<_>>()?,
        created: time("created")??,
        expires: time("expires")?,
        revoked: time("revoked")?,
        secrets,
    })
}
