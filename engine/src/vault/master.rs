//! The master key: what everything else is sealed with, and where it comes from.
//!
//! Looked for in this order: `BOOKWIRE_MASTER_KEY`, the file that `keys.master_key_file` names, the
//! service manager's credential `bookwire-master-key`, `master.key` in the data directory. The last is
//! made with the first key or credential when there is none anywhere.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use ring::hkdf;
use zeroize::Zeroizing;

use super::VaultError;
use super::secret::fill;

/// The environment's name of the master key.
pub const MASTER_KEY_VARIABLE: &str = "BOOKWIRE_MASTER_KEY";

/// Name of the systemd credential (`LoadCredential=bookwire-master-key:…`).
pub const MASTER_KEY_CREDENTIAL: &str = "bookwire-master-key";

/// Name of the file that is made in the data directory.
pub const MASTER_KEY_FILE: &str = "master.key";

/// Longest file that is read: a key is 64 characters at most.
const TEXT_MAX: usize = 1024;

/// Where a master key may be.
#[derive(Clone)]
pub struct MasterSources {
    /// The environment's value.
    pub variable: Option<super::Secret>,
    /// The configured file; empty: none.
    pub file: PathBuf,
    /// The directory of the service manager's credentials (`CREDENTIALS_DIRECTORY`).
    pub credentials_dir: Option<PathBuf>,
    /// Where `master.key` may be.
    pub data_dir: PathBuf,
}

impl MasterSources {
    /// Refuses to go on without a master key where there is something that needs one.
    ///
    /// # Errors
    /// [`VaultError::NoMasterKey`].
    pub fn check_nothing_is_sealed(&self) -> Result<(), VaultError> {
        for name in [super::CREDENTIALS_FILE, super::KEYS_FILE] {
            let path = self.data_dir.join(name);
            if path.exists() {
                return Err(VaultError::NoMasterKey { path });
            }
        }
        Ok(())
    }
}

/// The master key. Every use has a key of its own that is derived from it (HKDF-SHA256).
#[derive(Clone)]
pub struct MasterKey {
    bytes: Zeroizing<[u8; 32]>,
    origin: String,
}

impl MasterKey {
    /// Reads a key's text: 64 hex digits, or base64 of 32 bytes.
    ///
    /// # Errors
    /// What is wrong with it; the text is not in it.
    pub fn parse(place: &str, text: &str) -> Result<Self, VaultError> {
        let wrong = |why| {
            let place = place.to_owned();
            Err(VaultError::MasterKey { place, why })
        };
        let text = text.trim();
        let mut bytes = Zeroizing::new([0u8; 32]);
        let raw = if text.len() == 64 {
            data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes())
        } else {
            let text = text.trim_end_matches('=').as_bytes();
            data_encoding::BASE64_NOPAD
                .decode(text)
                .or_else(|_| data_encoding::BASE64URL_NOPAD.decode(text))
        };
        let Ok(raw) = raw.map(Zeroizing::new) else {
            return wrong("the text is no master key");
        };
        if raw.len() != bytes.len() {
            return wrong("the master key has not 32 bytes");
        }
        bytes.copy_from_slice(&raw);
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return wrong("all bytes of the master key are the same");
        }
        Ok(Self {
            bytes,
            origin: place.to_owned(),
        })
    }

    /// A new one, which is nowhere else.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn random() -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        fill(bytes.as_mut_slice())?;
        Ok(Self {
            bytes,
            origin: "memory".to_owned(),
        })
    }

    /// The key of the first source that has one; `None` when none has.
    ///
    /// # Errors
    /// A source that is there and has none that can be used, or that others can read.
    pub fn find(sources: &MasterSources) -> Result<Option<Self>, VaultError> {
        if let Some(text) = &sources.variable
            && !text.expose_text().trim().is_empty()
        {
            return Self::parse(MASTER_KEY_VARIABLE, text.expose_text()).map(Some);
        }
        if !sources.file.as_os_str().is_empty() {
            return Self::read(&sources.file, true).map(Some);
        }
        if let Some(dir) = &sources.credentials_dir {
            let path = dir.join(MASTER_KEY_CREDENTIAL);
            // The directory is the service's alone; the bits of its files show an access list.
            if path.exists() {
                return Self::read(&path, false).map(Some);
            }
        }
        let path = sources.data_dir.join(MASTER_KEY_FILE);
        match Self::read(&path, true) {
            Err(VaultError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// The key of the first source that has one, else a new one: in the configured file, or in
    /// `master.key`. True when it was made.
    ///
    /// # Errors
    /// As [`MasterKey::find`]; and [`VaultError::NoMasterKey`] when something is sealed already, because
    /// a new key could not open it.
    pub fn find_or_make(sources: &MasterSources) -> Result<(Self, bool), VaultError> {
        let is_absent = !sources.file.as_os_str().is_empty() && !sources.file.exists();
        let has_variable = sources
            .variable
            .as_ref()
            .is_some_and(|text| !text.expose_text().trim().is_empty());
        if (has_variable || !is_absent)
            && let Some(key) = Self::find(sources)?
        {
            return Ok((key, false));
        }
        sources.check_nothing_is_sealed()?;
        let path = match is_absent {
            true => sources.file.clone(),
            false => sources.data_dir.join(MASTER_KEY_FILE),
        };
        let is_made = Self::make(&path)?;
        Ok((Self::read(&path, true)?, is_made))
    }

    /// Writes a new key, whole or not at all; false when one is there.
    fn make(path: &Path) -> Result<bool, VaultError> {
        let dir = super::file::folder(path);
        std::fs::create_dir_all(dir).map_err(|e| VaultError::io("create the folder", dir, e))?;
        let text = Self::random()?.text();
        let beside = super::file::beside(path)?;
        let written = super::file::write_private(&beside, text.as_bytes())
            // A link, not a rename: what is there is never replaced.
            .and_then(|()| match std::fs::hard_link(&beside, path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                // Not every file system has links; then a crash could leave half a key, which is
                // refused as such.
                Err(_) => match super::file::write_private(path, text.as_bytes()) {
                    Ok(()) => Ok(true),
                    Err(VaultError::Io { source, .. })
                        if source.kind() == ErrorKind::AlreadyExists =>
                    {
                        Ok(false)
                    }
                    Err(error) => Err(error),
                },
            });
        let _ = std::fs::remove_file(&beside);
        super::file::sync_folder(dir);
        written
    }

    fn read(path: &Path, has_mode: bool) -> Result<Self, VaultError> {
        let file = File::open(path).map_err(|e| VaultError::io("read the master key", path, e))?;
        if has_mode {
            check_mode(&file, path)?;
        }
        let mut text = Zeroizing::new(Vec::with_capacity(TEXT_MAX));
        file.take(TEXT_MAX as u64)
            .read_to_end(&mut text)
            .map_err(|e| VaultError::io("read the master key", path, e))?;
        let place = path.display().to_string();
        Self::parse(&place, std::str::from_utf8(&text).unwrap_or_default())
    }

    /// Reads the key of a file that its owner alone can read.
    ///
    /// # Errors
    /// There is none that can be used, or others can read it.
    pub fn of_file(path: &Path) -> Result<Self, VaultError> {
        Self::read(path, true)
    }

    /// As it stands in a file.
    pub(super) fn text(&self) -> Zeroizing<String> {
        // One allocation: growing would leave a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(64));
        data_encoding::BASE64.encode_append(self.bytes.as_slice(), &mut text);
        text.push('\n');
        text
    }

    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Tells keys apart and says nothing about them.
    #[must_use]
    pub fn id(&self) -> String {
        let derived = self.derive("id");
        derived.map_or_else(
            |_| String::new(),
            |key| data_encoding::HEXLOWER.encode(&key[..8]),
        )
    }

    /// The key that the audit log is sealed with.
    ///
    /// # Errors
    /// [`VaultError::Crypto`].
    pub fn audit_key(&self) -> Result<super::Secret, VaultError> {
        let key = self.derive("audit")?;
        Ok(super::Secret::new(key.as_slice()))
    }

    /// The key for one use.
    pub(super) fn derive(&self, purpose: &str) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let mut out = Zeroizing::new([0u8; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"bookwire vault 1")
            .extract(self.bytes.as_slice())
            .expand(&[purpose.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(out.as_mut_slice()))
            .map_err(|_| VaultError::Crypto)?;
        Ok(out)
    }
}

/// Refuses a file that anybody else may read or write.
#[cfg(unix)]
pub(super) fn check_mode(file: &File, path: &Path) -> Result<(), VaultError> {
    use std::os::unix::fs::MetadataExt;
    let data = file
        .metadata()
        .map_err(|e| VaultError::io("read the mode of", path, e))?;
    let mode = data.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(VaultError::Mode {
        path: path.to_owned(),
        mode,
    })
}

#[cfg(not(unix))]
pub(super) fn check_mode(_: &File, _: &Path) -> Result<(), VaultError> {
    Ok(())
}
