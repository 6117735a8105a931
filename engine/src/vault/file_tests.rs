//! What a sealed file withstands.

use proptest::prelude::*;

use super::*;

fn master(byte: u8) -> MasterKey {
    let hex: String = (0..32).map(|n| format!("{:02x}", n ^ byte)).collect();
    MasterKey::parse("a test", &hex).ok().unwrap()
}

fn file(dir: &Path, kind: Kind, byte: u8) -> SealedFile {
    SealedFile::new(dir.join("some.vault"), kind, master(byte))
}

fn put(file: &SealedFile, name: &str, content: &[u8]) {
    file.update(|file, entries| file.seal(entries, name, content))
        .unwrap();
}

fn get(file: &SealedFile, name: &str) -> Option<Vec<u8>> {
    let (entries, _) = file.read().unwrap();
    file.open(&entries, name)
        .unwrap()
        .map(|bytes| bytes.to_vec())
}

/// What opening everything that `bytes` holds comes to.
fn open_all(file: &SealedFile, bytes: &[u8]) -> Result<Vec<Vec<u8>>, VaultError> {
    let entries = file.parse(bytes)?;
    let names: Vec<String> = file.names(&entries).map(str::to_owned).collect();
    let open = |name: &String| {
        file.open(&entries, name)
            .map(|found| found.unwrap().to_vec())
    };
    names.iter().map(open).collect()
}

#[test]
fn what_is_put_in_comes_out_and_is_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), Kind::Keys, 0);
    assert_eq!(get(&file, "a"), None, "no file is an empty one");
    put(&file, "a", b"canary-of-a");
    put(&file, "b/c", b"");
    put(&file, "a", b"canary-again");
    assert_eq!(get(&file, "a").unwrap(), b"canary-again");
    assert_eq!(get(&file, "b/c").unwrap(), b"");
    let bytes = std::fs::read(file.path()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("bookwire-vault 1 keys\n") && text.contains("generation 3\n"));
    assert!(!text.contains("canary"));
    let seen = data_encoding::BASE64.encode(b"canary-again");
    assert!(!text.contains(&seen[..12]));
}

#[test]
fn every_byte_of_the_file_is_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), Kind::Credentials, 0);
    put(&file, "binance/default", b"one");
    put(&file, "okx/default", b"two");
    let good = std::fs::read(file.path()).unwrap();
    assert_eq!(open_all(&file, &good).unwrap().len(), 2);
    for at in 0..good.len() {
        for flip in [1, 0x20, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(open_all(&file, &bad).is_err(), "byte {at} ^ {flip}");
        }
        assert!(open_all(&file, &good[..at]).is_err(), "cut at {at}");
        let mut more = good.clone();
        more.insert(at, b'\n');
        assert!(open_all(&file, &more).is_err(), "a line more at {at}");
    }
    for end in [b"\n".as_slice(), b"x", &good] {
        assert!(open_all(&file, &[&good, end].concat()).is_err());
    }
}

#[test]
fn lines_of_another_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), Kind::Credentials, 0);
    put(&file, "binance/default", b"one");
    let old = std::fs::read_to_string(file.path()).unwrap();
    put(&file, "binance/default", b"two");
    let new = std::fs::read_to_string(file.path()).unwrap();
    let line = |text: &str| text.lines().nth(3).unwrap().to_owned();
    let mixed = new.replace(&line(&new), &line(&old));
    assert!(matches!(
        file.parse(mixed.as_bytes()),
        Err(VaultError::Damaged { .. })
    ));
}

/// Whoever has the key of the checksum alone still can't let entries change their places.
#[test]
fn an_entry_opens_in_its_own_place_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), Kind::Credentials, 0);
    put(&file, "binance/default", b"one");
    put(&file, "okx/default", b"two");
    let (mut entries, _) = file.read().unwrap();
    let okx = entries.sealed.remove("okx/default").unwrap();
    let binance = entries
        .sealed
        .insert("binance/default".to_owned(), okx)
        .unwrap();
    entries.sealed.insert("okx/default".to_owned(), binance);
    let swapped = file.render(&entries).unwrap();
    let entries = file.parse(&swapped).unwrap();
    for name in ["binance/default", "okx/default"] {
        let told = file.open(&entries, name).err().unwrap().to_string();
        assert!(told.contains("does not open in its place"), "{told}");
    }
}

#[test]
fn kinds_do_not_stand_in_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    put(&file(dir.path(), Kind::Keys, 0), "a", b"one");
    let bytes = std::fs::read(dir.path().join("some.vault")).unwrap();
    let other = file(dir.path(), Kind::Credentials, 0);
    assert!(other.parse(&bytes).is_err());
    let renamed = String::from_utf8(bytes)
        .unwrap()
        .replace(" keys\n", " credentials\n");
    assert!(other.parse(renamed.as_bytes()).is_err());
}

#[test]
fn another_master_key_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    put(&file(dir.path(), Kind::Keys, 0), "a", b"one");
    let told = file(dir.path(), Kind::Keys, 1).read().err().unwrap();
    assert!(matches!(told, VaultError::OtherMasterKey { .. }), "{told}");
    assert!(told.to_string().contains("a test"), "{told}");
    // Nor does a vault that can't be read get written over.
    let before = std::fs::read(dir.path().join("some.vault")).unwrap();
    let other = file(dir.path(), Kind::Keys, 1);
    assert!(
        other
            .update(|file, entries| file.seal(entries, "b", b""))
            .is_err()
    );
    assert_eq!(
        std::fs::read(dir.path().join("some.vault")).unwrap(),
        before
    );
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_it_or_it_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), Kind::Keys, 0);
    put(&file, "a", b"one");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file.path()), 0o600);
    for bits in [0o644, 0o640, 0o604, 0o620, 0o660] {
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(bits)).unwrap();
        assert!(
            matches!(file.read(), Err(VaultError::Mode { .. })),
            "{bits:o}"
        );
    }
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o400)).unwrap();
    assert!(file.read().is_ok());
    put(&file, "b", b"two");
    assert_eq!(mode(file.path()), 0o600);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 2, "the vault and its lock: {left:?}");
}

#[test]
fn writers_take_turns_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let file = file(dir.path(), Kind::Keys, 0);
            scope.spawn(move || {
                for n in 0..5 {
                    put(&file, &format!("{writer}.{n}"), b"x");
                }
            });
        }
    });
    let (entries, _) = file(dir.path(), Kind::Keys, 0).read().unwrap();
    assert_eq!((entries.generation, entries.sealed.len()), (20, 20));
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), Kind::Keys, 0);
    put(&file, "a", b"one");
    let before = file.stamp().unwrap();
    for name in ["", "a b", "a\nb", "ä", &"x".repeat(129)] {
        let told = file.update(|file, entries| {
            file.seal(entries, "b", b"half")?;
            file.seal(entries, name, b"two")
        });
        assert!(matches!(told, Err(VaultError::Invalid { .. })), "{name:?}");
    }
    assert_eq!(file.stamp().unwrap(), before);
    assert_eq!(get(&file, "b"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_content_comes_back(contents in proptest::collection::btree_map("[a-z]{1,8}/[a-z0-9_-]{1,8}", proptest::collection::vec(any::<u8>(), 0..300), 0..8)) {
        let file = file(Path::new("/nowhere"), Kind::Credentials, 0);
        let mut entries = Entries::default();
        for (name, content) in &contents {
            file.seal(&mut entries, name, content).unwrap();
        }
        let bytes = file.render(&entries).unwrap();
        let entries = file.parse(&bytes).unwrap();
        for (name, content) in &contents {
            let found = file.open(&entries, name).unwrap().unwrap();
            prop_assert_eq!(&*found, content);
        }
    }

    #[test]
    fn nonsense_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), tail in ".{0,200}") {
        let file = file(Path::new("/nowhere"), Kind::Keys, 0);
        prop_assert!(file.parse(&bytes).is_err());
        let near = format!("bookwire-vault 1 keys\nkey {}\n{tail}\nmac AAAA\n", file.master.id());
        prop_assert!(file.parse(near.as_bytes()).is_err());
        // Fields come from authenticated entries, and still nothing may panic.
        let _ = crate::vault::fields::decode(&bytes);
    }
}
