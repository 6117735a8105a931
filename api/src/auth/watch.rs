//! The files of keys and credentials, and the thread that takes their changes over.

use std::path::PathBuf;
use std::sync::Weak;
use std::time::Duration;

use bookwire_engine::keys::{KeyRing, KeyStore};
use bookwire_engine::vault::{MasterKey, MasterSources, VaultError};

use super::{Auth, Shared};

/// Pause between two looks at the files: the longest time that a revoked key lives on.
const LOOK: Duration = Duration::from_millis(200);

/// Looks between two clearances of old signatures.
const SWEEP: u32 = 50;

/// Where keys and credentials are.
#[derive(Clone)]
pub struct KeyFiles {
    /// Where the master key may be.
    pub sources: MasterSources,
    /// Where the sealed files are.
    pub data_dir: PathBuf,
}

/// What there was at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// A master key: live trading can be had.
    Open,
    /// None: no key or credential can be read, until there is one.
    NoMasterKey,
}

impl Auth {
    /// Reads the files, and follows them as long as this is used: a revoked key ends and a rotated
    /// credential is taken within a fifth of a second. Without a master key it looks out for one.
    ///
    /// # Errors
    /// A file that is there can't be used, or its master key can't.
    pub fn follow(&self, files: KeyFiles) -> Result<Started, VaultError> {
        let mut follower = Follower {
            files,
            store: None,
            ring: KeyRing::default(),
            told: None,
            is_readable: true,
        };
        match follower.open(self) {
            // Market data need no key: a server without its master key serves those.
            Err(error @ VaultError::NoMasterKey { .. }) => follower.tell(Err(error)),
            other => other?,
        }
        let started = match follower.store {
            Some(_) => Started::Open,
            None => Started::NoMasterKey,
        };
        let shared = std::sync::Arc::downgrade(&self.0);
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || follower.run(&shared))
            .map_err(|source| VaultError::Io {
                what: "start the thread that follows",
                path: PathBuf::from("keys"),
                source,
            })?;
        Ok(started)
    }
}

/// What the thread knows.
struct Follower {
    files: KeyFiles,
    /// `None`: no master key so far.
    store: Option<KeyStore>,
    /// As it was read last.
    ring: KeyRing,
    /// The trouble that was logged last.
    told: Option<String>,
    is_readable: bool,
}

impl Follower {
    /// Takes the master key and what is sealed with it, once there is one.
    fn open(&mut self, auth: &Auth) -> Result<(), VaultError> {
        let Some(master) = MasterKey::find(&self.files.sources)? else {
            // What is sealed and can't be opened is no empty vault.
            return self.files.sources.check_nothing_is_sealed();
        };
        let store = KeyStore::new(&self.files.data_dir, master.clone());
        let ring = store.load()?;
        auth.vault().unlock(&self.files.data_dir, master)?;
        self.ring = ring.clone();
        self.store = Some(store);
        auth.replace(Some(ring));
        Ok(())
    }

    fn run(mut self, shared: &Weak<Shared>) {
        for look in 1u32.. {
            std::thread::sleep(LOOK);
            let Some(auth) = shared.upgrade().map(Auth) else {
                return;
            };
            let keys = self.keys(&auth);
            let credentials = auth.vault().refresh().map(drop);
            self.tell(keys.and(credentials));
            if look.is_multiple_of(SWEEP) {
                auth.sweep();
            }
        }
    }

    fn keys(&mut self, auth: &Auth) -> Result<(), VaultError> {
        let Some(store) = &self.store else {
            return self.open(auth);
        };
        if self.is_readable && !store.has_changed(&self.ring)? {
            return Ok(());
        }
        match store.load() {
            Ok(ring) => {
                self.is_readable = true;
                self.ring = ring.clone();
                auth.replace(Some(ring));
                tracing::info!("the API keys were read anew");
                Ok(())
            }
            Err(error) => {
                // One of them may have been revoked: until they can be read again none is good.
                if std::mem::replace(&mut self.is_readable, false) {
                    auth.replace(None);
                }
                Err(error)
            }
        }
    }

    /// Logs a trouble once.
    fn tell(&mut self, result: Result<(), VaultError>) {
        let told = result.err().map(|error| error.to_string());
        if told != self.told {
            match &told {
                Some(error) => tracing::error!("keys or credentials can't be read: {error}"),
                None => tracing::info!("keys and credentials can be read again"),
            }
            self.told = told;
        }
    }
}
