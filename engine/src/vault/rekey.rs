//! Another master key: everything that is sealed is opened with the old one and sealed with the new one.
//!
//! Each file is replaced whole or not at all, and none before all could be opened. A process that dies
//! between two of them leaves one file of each key; the same call again finds the one that is done and does
//! the other. Nothing is lost as long as both keys are there.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::file::{Entries, Kind, SealedFile};
use super::{CREDENTIALS_FILE, KEYS_FILE, MASTER_KEY_FILE, MasterKey, VaultError};

/// What became of a sealed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rekeyed {
    /// The file.
    pub path: PathBuf,
    /// Its entries.
    pub entries: usize,
    /// It was sealed with the new key before.
    pub was_done: bool,
}

/// Names and contents.
type Opened = Vec<(String, Zeroizing<Vec<u8>>)>;

/// A file that can be opened with one of the keys.
struct Found {
    new: SealedFile,
    /// What is to be sealed anew, opened; `None`: it is done.
    open: Option<(u64, Opened)>,
    entries: usize,
}

fn find(path: PathBuf, kind: Kind, old: &MasterKey, new: &MasterKey) -> Result<Found, VaultError> {
    let before = SealedFile::new(path.clone(), kind, old.clone());
    let after = SealedFile::new(path, kind, new.clone());
    let entries = match before.read() {
        Ok((entries, _)) => entries,
        Err(other @ VaultError::OtherMasterKey { .. }) => {
            // With neither it is the old key that is wrong: the new one is nobody's so far.
            let Ok((done, _)) = after.read() else {
                return Err(other);
            };
            let entries = after.names(&done).count();
            return Ok(Found {
                new: after,
                open: None,
                entries,
            });
        }
        Err(error) => return Err(error),
    };
    let mut open = Opened::new();
    for name in before.names(&entries) {
        let content = before.open(&entries, name)?;
        open.extend(content.map(|content| (name.to_owned(), content)));
    }
    Ok(Found {
        new: after,
        entries: open.len(),
        open: Some((entries.generation, open)),
    })
}

/// Seals what the data directory has with another key. Those who have the old one in memory can't open it any
/// more: servers have to be started again with the new one.
///
/// # Errors
/// The keys are the same; a file opens with neither, or is damaged; the system refuses. What was not
/// sealed anew is as it was.
pub fn rekey(
    data_dir: &Path,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<Vec<Rekeyed>, VaultError> {
    if old.id() == new.id() {
        return Err(VaultError::invalid(
            "new master key",
            "is the old one",
            "another key".to_owned(),
        ));
    }
    let files = [
        (CREDENTIALS_FILE, Kind::Credentials),
        (KEYS_FILE, Kind::Keys),
    ];
    let there = files
        .into_iter()
        .map(|(name, kind)| (data_dir.join(name), kind));
    let there: Vec<(PathBuf, Kind)> = there.filter(|(path, _)| path.exists()).collect();
    // Nobody changes them meanwhile.
    let mut locks = Vec::new();
    for (path, kind) in &there {
        locks.push(SealedFile::new(path.clone(), *kind, old.clone()).lock()?);
    }
    let mut found = Vec::new();
    for (path, kind) in there {
        found.push(find(path, kind, old, new)?);
    }
    let mut done = Vec::new();
    for file in found {
        let was_done = file.open.is_none();
        if let Some((generation, open)) = &file.open {
            let mut entries = Entries::default();
            entries.generation = generation + 1;
            for (name, content) in open {
                file.new.seal(&mut entries, name, content)?;
            }
            file.new.replace(&entries)?;
        }
        done.push(Rekeyed {
            path: file.new.path().to_owned(),
            entries: file.entries,
            was_done,
        });
    }
    Ok(done)
}

impl MasterKey {
    /// Puts this key into `master.key` of a data directory, in the place of the one there.
    ///
    /// # Errors
    /// The system refuses; then the one there is as it was.
    pub fn install(&self, data_dir: &Path) -> Result<PathBuf, VaultError> {
        let path = data_dir.join(MASTER_KEY_FILE);
        super::file::replace(&path, self.text().as_bytes())?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ProviderId;
    use crate::keys::{KeySpec, KeyStore};
    use crate::time::TsNanos;
    use crate::vault::{MasterSources, NewCredential, Secret, Vault};

    const NOW: TsNanos = TsNanos(1_700_000_000_000_000_000);

    fn credential() -> NewCredential {
        NewCredential {
            kind: None,
            api_key: Secret::new("the-key"),
            secret: Secret::new("the-secret-of-it"),
            passphrase: None,
        }
    }

    /// A data directory with a credential and a key of ours; the secret of the latter.
    fn filled(master: &MasterKey) -> (tempfile::TempDir, String, Secret) {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path(), master.clone()).unwrap();
        vault
            .set(ProviderId::BINANCE, "default", credential())
            .unwrap();
        let store = KeyStore::new(dir.path(), master.clone());
        let (key, secret) = store.create(KeySpec::unlimited(), NOW).unwrap();
        (dir, key.id.to_string(), secret)
    }

    fn opens(dir: &Path, master: &MasterKey, id: &str, secret: &Secret) -> (bool, bool) {
        let vault = Vault::open(dir, master.clone());
        let credential = vault.is_ok_and(|vault| {
            let found = vault.credential(ProviderId::BINANCE, "default");
            found.is_some_and(|found| found.secret.expose_text() == "the-secret-of-it")
        });
        let ring = KeyStore::new(dir, master.clone()).load();
        let key = ring.is_ok_and(|ring| {
            let key = ring.get(id).cloned();
            key.is_some_and(|key| key.proven_by(secret.expose(), NOW).is_some())
        });
        (credential, key)
    }

    #[test]
    fn everything_opens_with_the_new_key_and_nothing_with_the_old_one() {
        let (old, new) = (MasterKey::random().unwrap(), MasterKey::random().unwrap());
        let (dir, id, secret) = filled(&old);
        let done = rekey(dir.path(), &old, &new).unwrap();
        let told: Vec<(usize, bool)> = done.iter().map(|f| (f.entries, f.was_done)).collect();
        assert_eq!(told, [(1, false), (1, false)]);
        assert_eq!(opens(dir.path(), &new, &id, &secret), (true, true));
        assert_eq!(opens(dir.path(), &old, &id, &secret), (false, false));
        // Nothing of the old files is left beside the new ones.
        let left = std::fs::read_dir(dir.path()).unwrap();
        let left: Vec<String> = left
            .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".tmp"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        // Again: all is done.
        let again = rekey(dir.path(), &old, &new).unwrap();
        assert!(again.iter().all(|file| file.was_done));
        assert_eq!(opens(dir.path(), &new, &id, &secret), (true, true));
    }

    /// Whichever file was the first when the process died, and with what it had written half.
    #[test]
    fn what_died_half_way_is_finished_by_doing_it_again() {
        for first in [CREDENTIALS_FILE, KEYS_FILE] {
            let (old, new) = (MasterKey::random().unwrap(), MasterKey::random().unwrap());
            let (dir, id, secret) = filled(&old);
            let kept = dir.path().join("kept");
            std::fs::copy(dir.path().join(first), &kept).unwrap();
            rekey(dir.path(), &old, &new).unwrap();
            // The first one is as it was before, the other one is done.
            let other = match first {
                CREDENTIALS_FILE => KEYS_FILE,
                _ => CREDENTIALS_FILE,
            };
            std::fs::rename(&kept, dir.path().join(first)).unwrap();
            std::fs::write(dir.path().join(format!("{first}.0011.tmp")), "half a file").unwrap();
            let (credential, key) = opens(dir.path(), &old, &id, &secret);
            assert_eq!(credential, first == CREDENTIALS_FILE);
            assert_eq!(key, first == KEYS_FILE);
            let done = rekey(dir.path(), &old, &new).unwrap();
            for file in done {
                assert_eq!(file.was_done, file.path.ends_with(other), "{file:?}");
            }
            assert_eq!(opens(dir.path(), &new, &id, &secret), (true, true));
        }
    }

    #[test]
    fn nothing_changes_unless_all_can_be_opened() {
        let [old, new, third] = [(); 3].map(|()| MasterKey::random().unwrap());
        let (dir, id, secret) = filled(&old);
        let wrong = rekey(dir.path(), &third, &new).unwrap_err();
        assert!(
            matches!(wrong, VaultError::OtherMasterKey { .. }),
            "{wrong}"
        );
        assert!(rekey(dir.path(), &old, &old).is_err());
        let path = dir.path().join(KEYS_FILE);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let last = bad.len() - 5;
        bad[last] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert!(rekey(dir.path(), &old, &new).is_err());
        std::fs::write(&path, &good).unwrap();
        assert_eq!(opens(dir.path(), &old, &id, &secret), (true, true));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(rekey(empty.path(), &old, &new).unwrap(), []);
    }

    #[test]
    fn the_key_of_a_data_directory_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let sources = MasterSources {
            variable: None,
            file: PathBuf::new(),
            credentials_dir: None,
            data_dir: dir.path().to_owned(),
        };
        let (old, is_made) = MasterKey::find_or_make(&sources).unwrap();
        let new = MasterKey::random().unwrap();
        let path = new.install(dir.path()).unwrap();
        let found = MasterKey::find(&sources).unwrap().unwrap();
        assert!(is_made && found.id() == new.id() && found.id() != old.id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
