//! A sealed file: named entries, each encrypted, all of them authenticated together.
//!
//! ```text
//! bookwire-vault 1 credentials
//! key 9c1185a5c5e9fc54
//! generation 3
//! entry binance/default <base64 of nonce, ciphertext, tag>
//! mac <base64>
//! ```
//!
//! An entry is ChaCha20-Poly1305 under a key derived from the master key, with a random nonce; format,
//! kind of file and name are its associated data, so that it opens in its own place alone. `mac` is
//! HMAC-SHA256, under another derived key, of every byte before it: lines can't be left out, repeated
//! or brought in from an older file. An older file as a whole is not told from the newest.
//!
//! It is replaced whole: written beside itself, synced, renamed, under the lock of a file of its own.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::secret::fill;
use super::{MasterKey, Secret, VaultError};

/// First word and version of the format.
const FORMAT: &str = "bookwire-vault 1";

/// Largest file that is read.
const BYTES_MAX: u64 = 16 << 20;

/// Longest name of an entry.
const NAME_MAX: usize = 128;

/// How often a taken lock is tried again, and the pause between.
const LOCK_TRIES: (u32, Duration) = (100, Duration::from_millis(50));

/// What a file holds: kinds can't stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Exchanges' credentials.
    Credentials,
    /// Our own API keys.
    Keys,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Keys => "keys",
        }
    }
}

/// Tells whether a file is the one that was read: another inode, time or size is another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    modified: Option<SystemTime>,
    length: u64,
}

/// Where it is, what it is, and what opens it.
#[derive(Clone)]
pub(crate) struct SealedFile {
    path: PathBuf,
    kind: Kind,
    master: MasterKey,
}

/// A file's content, entries still sealed.
#[derive(Clone, Default)]
pub(crate) struct Entries {
    /// Counts the changes.
    pub(crate) generation: u64,
    /// Sealed, by name.
    sealed: BTreeMap<String, Vec<u8>>,
}

impl SealedFile {
    pub(crate) fn new(path: PathBuf, kind: Kind, master: MasterKey) -> Self {
        Self { path, kind, master }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file is now; `None`: there is none.
    pub(crate) fn stamp(&self) -> Result<Option<Stamp>, VaultError> {
        match std::fs::metadata(&self.path) {
            Ok(data) => Ok(Some(stamp_of(&data))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(VaultError::io("look at", &self.path, error)),
        }
    }

    /// Reads and authenticates it; no file is an empty one.
    pub(crate) fn read(&self) -> Result<(Entries, Option<Stamp>), VaultError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(VaultError::io("read", &self.path, error)),
        };
        super::master::check_mode(&file, &self.path)?;
        let io = |error| VaultError::io("read", &self.path, error);
        let stamp = stamp_of(&file.metadata().map_err(io)?);
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(self.damaged("it is larger than 16 MiB"));
        }
        Ok((self.parse(&bytes)?, Some(stamp)))
    }

    fn damaged(&self, why: &'static str) -> VaultError {
        VaultError::Damaged {
            path: self.path.clone(),
            why,
        }
    }

    fn mac(&self, bytes: &[u8]) -> Result<[u8; 32], VaultError> {
        let key = self.master.derive(&format!("mac {}", self.kind.as_str()))?;
        Ok(Secret::new(key.as_slice()).sign(&[bytes]))
    }

    pub(crate) fn parse(&self, bytes: &[u8]) -> Result<Entries, VaultError> {
        let not_ours = || self.damaged("it is not in the form of a vault");
        let text = std::str::from_utf8(bytes).map_err(|_| not_ours())?;
        let (head, rest) = text.split_once('\n').ok_or_else(not_ours)?;
        if head.strip_prefix(FORMAT).map(str::trim_start) != Some(self.kind.as_str()) {
            return Err(self.damaged("it is not a vault of this kind and version"));
        }
        let (key, _) = rest.split_once('\n').ok_or_else(not_ours)?;
        let key = key.strip_prefix("key ").ok_or_else(not_ours)?;
        let found = self.master.id();
        let is_id = key.len() == found.len() && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id {
            return Err(not_ours());
        }
        if key != found {
            return Err(VaultError::OtherMasterKey {
                path: self.path.clone(),
                expected: key.to_owned(),
                found,
                origin: self.master.origin().to_owned(),
            });
        }
        // The last line, with the end that it must have.
        let body = text.strip_suffix('\n').ok_or_else(not_ours)?;
        let at = body.rfind('\n').ok_or_else(not_ours)? + 1;
        let mac = body[at..].strip_prefix("mac ").ok_or_else(not_ours)?;
        let mac = decode(mac).ok_or_else(not_ours)?;
        if !Secret::new(self.mac(&bytes[..at])?).is(&mac) {
            return Err(self.damaged("its checksum is wrong"));
        }
        // From here on all is as it was written.
        let mut entries = Entries::default();
        for line in text[..at].lines().skip(2) {
            match line.split_once(' ') {
                Some(("generation", number)) => {
                    entries.generation = number.parse().map_err(|_| not_ours())?;
                }
                Some(("entry", rest)) => {
                    let (name, sealed) = rest.split_once(' ').ok_or_else(not_ours)?;
                    let sealed = decode(sealed).ok_or_else(not_ours)?;
                    entries.sealed.insert(name.to_owned(), sealed);
                }
                _ => return Err(not_ours()),
            }
        }
        Ok(entries)
    }

    pub(crate) fn render(&self, entries: &Entries) -> Result<Vec<u8>, VaultError> {
        use std::fmt::Write;
        let mut text = format!(
            "{FORMAT} {}\nkey {}\ngeneration {}\n",
            self.kind.as_str(),
            self.master.id(),
            entries.generation
        );
        for (name, sealed) in &entries.sealed {
            // Writing into a text does not fail.
            let _ = writeln!(
                text,
                "entry {name} {}",
                data_encoding::BASE64.encode(sealed)
            );
        }
        let mac = data_encoding::BASE64.encode(&self.mac(text.as_bytes())?);
        let _ = writeln!(text, "mac {mac}");
        Ok(text.into_bytes())
    }

    fn cipher(&self) -> Result<LessSafeKey, VaultError> {
        let key = self
            .master
            .derive(&format!("seal {}", self.kind.as_str()))?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice());
        key.map(LessSafeKey::new).map_err(|_| VaultError::Crypto)
    }

    fn bound_to(&self, name: &str) -> Aad<String> {
        Aad::from(format!("{FORMAT}\0{}\0{name}", self.kind.as_str()))
    }

    /// Names of all entries.
    pub(crate) fn names<'e>(&self, entries: &'e Entries) -> impl Iterator<Item = &'e str> {
        entries.sealed.keys().map(String::as_str)
    }

    /// The content of an entry; `None`: there is none.
    pub(crate) fn open(
        &self,
        entries: &Entries,
        name: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
        let Some(sealed) = entries.sealed.get(name) else {
            return Ok(None);
        };
        let wrong = || self.damaged("an entry does not open in its place");
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let length = self
            .cipher()?
            .open_in_place(nonce, self.bound_to(name), &mut bytes)
            .map_err(|_| wrong())?
            .len();
        bytes.truncate(length);
        Ok(Some(bytes))
    }

    /// Puts an entry in, or replaces it.
    pub(crate) fn seal(
        &self,
        entries: &mut Entries,
        name: &str,
        content: &[u8],
    ) -> Result<(), VaultError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_name) {
            let accepted = format!("1 to {NAME_MAX} letters, digits and - _ . /");
            return Err(VaultError::invalid("name", "is not accepted", accepted));
        }
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        // Room for the tag: growing would leave a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(content.len() + 64));
        bytes.extend_from_slice(content);
        self.cipher()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                self.bound_to(name),
                &mut *bytes,
            )
            .map_err(|_| VaultError::Crypto)?;
        let sealed = [nonce.as_slice(), &bytes].concat();
        entries.sealed.insert(name.to_owned(), sealed);
        Ok(())
    }

    /// Takes an entry out; false: there was none.
    pub(crate) fn remove(entries: &mut Entries, name: &str) -> bool {
        entries.sealed.remove(name).is_some()
    }

    /// Changes the file: whole or not at all, one writer at a time.
    pub(crate) fn update<R>(
        &self,
        change: impl FnOnce(&Self, &mut Entries) -> Result<R, VaultError>,
    ) -> Result<R, VaultError> {
        let dir = folder(&self.path);
        std::fs::create_dir_all(dir).map_err(|e| VaultError::io("create the folder", dir, e))?;
        let _lock = self.lock()?;
        let (mut entries, _) = self.read()?;
        let result = change(self, &mut entries)?;
        entries.generation += 1;
        self.replace(&entries)?;
        Ok(result)
    }

    /// Puts entries in the place of those there. Whoever calls it holds the lock.
    pub(super) fn replace(&self, entries: &Entries) -> Result<(), VaultError> {
        replace(&self.path, &self.render(entries)?)
    }

    /// The lock is on a file of its own, because the vault's is replaced.
    pub(super) fn lock(&self) -> Result<File, VaultError> {
        let path = with_ending(&self.path, "lock");
        let mut options = private();
        let file = options
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| VaultError::io("lock", &path, e))?;
        let (tries, pause) = LOCK_TRIES;
        for _ in 0..tries {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(pause),
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(VaultError::io("lock", &path, error));
                }
            }
        }
        Err(VaultError::Locked {
            path: self.path.clone(),
        })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    data_encoding::BASE64.decode(text.as_bytes()).ok()
}

fn stamp_of(data: &std::fs::Metadata) -> Stamp {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(data);
    #[cfg(not(unix))]
    let inode = 0;
    Stamp {
        inode,
        modified: data.modified().ok(),
        length: data.len(),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// A name in the same folder that nobody else takes.
pub(super) fn beside(path: &Path) -> Result<PathBuf, VaultError> {
    let mut random = [0; 8];
    fill(&mut random)?;
    let ending = format!("{}.tmp", data_encoding::HEXLOWER.encode(&random));
    Ok(with_ending(path, &ending))
}

/// Options that make a file for its owner alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Writes a new file that its owner alone can read, to the disk.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    private()
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|e| VaultError::io("write", path, e))
}

/// Puts a secret file in the place of the one there, whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    let beside = beside(path)?;
    let written = write_private(&beside, bytes).and_then(|()| {
        std::fs::rename(&beside, path).map_err(|e| VaultError::io("replace", path, e))
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written?;
    sync_folder(folder(path));
    Ok(())
}

/// Makes a rename last. Not every file system can; then it lasts a little later.
pub(crate) fn sync_folder(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
