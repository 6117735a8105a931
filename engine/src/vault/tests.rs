//! Credentials, and the master key.

use super::*;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const CANARY: &str = "canary0123456789abcdefghijklmnop";

fn master() -> MasterKey {
    MasterKey::parse("a test", HEX).ok().unwrap()
}

fn hmac(api_key: &str, secret: &str) -> NewCredential {
    NewCredential {
        kind: None,
        api_key: Secret::new(api_key),
        secret: Secret::new(secret),
        passphrase: None,
    }
}

fn sources(dir: &Path) -> MasterSources {
    MasterSources {
        variable: None,
        file: "".into(),
        credentials_dir: None,
        data_dir: dir.to_owned(),
    }
}

#[test]
fn accounts_are_set_rotated_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path(), master()).unwrap();
    let binance = ProviderId::BINANCE;
    assert!(vault.is_open() && vault.credential(binance, "default").is_none());
    vault
        .set(binance, "default", hmac("abcdefghijklmnopqr", CANARY))
        .unwrap();
    vault.set(binance, "hedge", hmac("short", "other")).unwrap();
    let found = vault.credential(binance, "default").unwrap();
    assert_eq!(found.secret.expose_text(), CANARY);
    assert_eq!(found.kind, SecretKind::Hmac);
    assert!(found.passphrase.is_none());
    let again = vault.set(binance, "default", hmac("a", "b"));
    assert!(matches!(again, Err(VaultError::Exists { .. })));
    let absent = vault.rotate(ProviderId::BYBIT, "default", hmac("a", "b"));
    assert!(matches!(absent, Err(VaultError::Missing { .. })));
    vault
        .rotate(binance, "default", hmac("zyxwvutsrqponmlkj", " newer\n"))
        .unwrap();
    let newer = vault.credential(binance, "default").unwrap();
    assert_eq!(
        newer.secret.expose_text(),
        "newer",
        "line ends are no part of it"
    );
    assert!(newer.revision > found.revision);
    let list = vault.list();
    let shown: Vec<&str> = list.iter().map(|view| view.api_key.as_str()).collect();
    assert_eq!(shown, ["zyxw…", "…"]);
    vault.remove(binance, "hedge").unwrap();
    assert!(matches!(
        vault.remove(binance, "hedge"),
        Err(VaultError::Missing { .. })
    ));
    assert_eq!(
        Vault::open(dir.path(), master()).unwrap().list(),
        vault.list()
    );
}

#[test]
fn another_process_changes_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let server = Vault::open(dir.path(), master()).unwrap();
    let shared = server.clone();
    let tool = Vault::open(dir.path(), master()).unwrap();
    assert!(!server.refresh().unwrap());
    let okx = NewCredential {
        passphrase: Some(Secret::new("phrase")),
        ..hmac("key", "one")
    };
    tool.set(ProviderId::OKX, "default", okx).unwrap();
    assert!(server.refresh().unwrap() && !server.refresh().unwrap());
    let found = shared.credential(ProviderId::OKX, "default").unwrap();
    assert_eq!(found.passphrase.unwrap().expose_text(), "phrase");
    // A file that can't be read leaves what there was, and is looked at again.
    let path = dir.path().join(CREDENTIALS_FILE);
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, b"nonsense").unwrap();
    assert!(server.refresh().is_err() && server.refresh().is_err());
    assert!(shared.credential(ProviderId::OKX, "default").is_some());
    std::fs::write(&path, good).unwrap();
    tool.remove(ProviderId::OKX, "default").unwrap();
    assert!(server.refresh().unwrap());
    assert!(shared.credential(ProviderId::OKX, "default").is_none());
}

#[test]
fn a_closed_vault_opens_for_all_who_share_it() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::closed();
    let shared = vault.clone();
    assert!(!vault.is_open() && !vault.refresh().unwrap());
    let told = vault
        .set(ProviderId::BINANCE, "default", hmac("a", "b"))
        .unwrap_err();
    assert!(told.to_string().contains("master key"), "{told}");
    let tool = Vault::open(dir.path(), master()).unwrap();
    tool.set(ProviderId::BINANCE, "default", hmac("a", "b"))
        .unwrap();
    vault.unlock(dir.path(), master()).unwrap();
    assert!(shared.is_open() && shared.credential(ProviderId::BINANCE, "default").is_some());
}

#[test]
fn values_are_checked_and_never_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path(), master()).unwrap();
    let phrase = |text: &str| Some(Secret::new(text));
    let big = "x".repeat(9000);
    let rows = [
        (ProviderId::BINANCE, "Main", hmac("key", CANARY), "account"),
        (ProviderId::BINANCE, "", hmac("key", CANARY), "account"),
        (ProviderId::BINANCE, "a/b", hmac("key", CANARY), "account"),
        (ProviderId::BINANCE, "a", hmac("", CANARY), "api_key"),
        (ProviderId::BINANCE, "a", hmac("ke\ny", CANARY), "api_key"),
        (ProviderId::BINANCE, "a", hmac("key", ""), "secret"),
        (ProviderId::BINANCE, "a", hmac("key", &big), "secret"),
        (
            ProviderId::BINANCE,
            "a",
            hmac("key", &format!("{CANARY} {CANARY}")),
            "secret",
        ),
        (ProviderId::OKX, "a", hmac("key", CANARY), "passphrase"),
        (ProviderId::COINBASE, "a", hmac("key", CANARY), "kind"),
        (
            ProviderId::BYBIT,
            "a",
            NewCredential {
                kind: Some(SecretKind::Ec),
                ..hmac("key", CANARY)
            },
            "kind",
        ),
        (
            ProviderId::BINANCE,
            "a",
            NewCredential {
                kind: Some(SecretKind::Ed25519),
                ..hmac("key", CANARY)
            },
            "secret",
        ),
        (
            ProviderId::BINANCE,
            "a",
            NewCredential {
                passphrase: phrase(CANARY),
                ..hmac("key", CANARY)
            },
            "passphrase",
        ),
    ];
    for (provider, account, new, field) in rows {
        let told = vault.set(provider, account, new).unwrap_err();
        let text = format!("{told} {told:?}");
        assert!(text.starts_with(&format!("`{field}` ")), "{field}: {text}");
        assert!(!text.contains(CANARY), "{text}");
    }
    assert!(vault.list().is_empty());
}

#[test]
fn nothing_shows_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::open(dir.path(), master()).unwrap();
    let new = NewCredential {
        passphrase: Some(Secret::new(format!("phrase-{CANARY}"))),
        ..hmac(&format!("id-{CANARY}"), CANARY)
    };
    vault.set(ProviderId::OKX, "default", new).unwrap();
    let credential = vault.credential(ProviderId::OKX, "default").unwrap();
    let mut shown = format!("{credential:?} {:?}", vault.list());
    let panic = std::panic::catch_unwind(|| {
        Err::<(), _>(vault.set(ProviderId::OKX, "default", hmac("a", CANARY))).unwrap()
    });
    let panic = panic.unwrap_err();
    shown.push_str(panic.downcast_ref::<String>().unwrap());
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        shown.push_str(&String::from_utf8_lossy(
            &std::fs::read(entry.path()).unwrap(),
        ));
    }
    assert!(shown.contains("Credential") && shown.contains("bookwire-vault"));
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn master_keys_have_two_spellings() {
    let url = "__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA";
    let same = [HEX.to_owned(), HEX.to_uppercase(), format!(" {HEX}\n")];
    let ids: Vec<String> = same
        .iter()
        .map(|text| MasterKey::parse("x", text).ok().unwrap().id())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 16));
    let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    assert_eq!(MasterKey::parse("x", base64).ok().unwrap().id(), ids[0]);
    assert_ne!(MasterKey::parse("x", url).ok().unwrap().id(), ids[0]);
    for text in [
        "",
        "canary",
        &HEX[..62],
        &format!("{HEX}00"),
        &"00".repeat(32),
        &"é".repeat(32),
    ] {
        let told = MasterKey::parse("BOOKWIRE_MASTER_KEY", text)
            .err()
            .unwrap()
            .to_string();
        assert!(
            told.contains("BOOKWIRE_MASTER_KEY") && told.contains("base64"),
            "{told}"
        );
        assert!(text.len() < 6 || !told.contains(text), "{told}");
    }
}

#[test]
fn the_master_key_is_looked_for_in_order_and_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(dir.path());
    assert!(MasterKey::find(&sources).unwrap().is_none());
    let (made, is_new) = MasterKey::find_or_make(&sources).unwrap();
    assert!(is_new && made.origin().ends_with(MASTER_KEY_FILE));
    let (again, is_new) = MasterKey::find_or_make(&sources).unwrap();
    assert!(!is_new && again.id() == made.id());
    let systemd = tempfile::tempdir().unwrap();
    sources.credentials_dir = Some(systemd.path().to_owned());
    assert_eq!(MasterKey::find(&sources).unwrap().unwrap().id(), made.id());
    let line = format!("{HEX}\n");
    std::fs::write(systemd.path().join(MASTER_KEY_CREDENTIAL), &line).unwrap();
    assert_eq!(
        MasterKey::find(&sources).unwrap().unwrap().id(),
        master().id()
    );
    sources.file = dir.path().join("own.key");
    assert!(
        MasterKey::find(&sources).is_err(),
        "what is configured has to be there"
    );
    let (own, is_new) = MasterKey::find_or_make(&sources).unwrap();
    assert!(is_new && own.id() != made.id());
    sources.variable = Some(Secret::new(HEX));
    assert_eq!(
        MasterKey::find(&sources).unwrap().unwrap().id(),
        master().id()
    );
    sources.variable = Some(Secret::new("no key"));
    assert!(MasterKey::find(&sources).is_err() && MasterKey::find_or_make(&sources).is_err());
}

#[cfg(unix)]
#[test]
fn a_master_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    MasterKey::find_or_make(&sources).unwrap();
    let path = dir.path().join(MASTER_KEY_FILE);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let told = MasterKey::find(&sources).err().unwrap().to_string();
    assert!(
        told.contains("0640") && told.contains("chmod 600"),
        "{told}"
    );
    assert!(
        MasterKey::find_or_make(&sources).is_err(),
        "nor is it replaced"
    );
}

#[test]
fn a_lost_master_key_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let sources = sources(dir.path());
    let (master, _) = MasterKey::find_or_make(&sources).unwrap();
    let vault = Vault::open(dir.path(), master).unwrap();
    vault
        .set(ProviderId::BINANCE, "default", hmac("a", "b"))
        .unwrap();
    std::fs::remove_file(dir.path().join(MASTER_KEY_FILE)).unwrap();
    let told = MasterKey::find_or_make(&sources).err().unwrap();
    assert!(matches!(told, VaultError::NoMasterKey { .. }), "{told}");
    assert!(!dir.path().join(MASTER_KEY_FILE).exists());
}

/// Compiles only while the types that hold secrets have no `Debug`, `Display` and `Serialize` of
/// their own: were there one, the method below would be ambiguous.
#[test]
fn secrets_can_not_be_printed_or_serialised() {
    trait Shown<A> {
        fn is_hidden() -> bool {
            true
        }
    }
    struct Debug;
    struct Display;
    struct Serialize;
    impl<T> Shown<()> for T {}
    impl<T: std::fmt::Debug> Shown<Debug> for T {}
    impl<T: std::fmt::Display> Shown<Display> for T {}
    impl<T: serde::Serialize> Shown<Serialize> for T {}
    assert!(<Secret as Shown<_>>::is_hidden());
    assert!(<MasterKey as Shown<_>>::is_hidden());
    assert!(<NewCredential as Shown<_>>::is_hidden());
    assert!(<Vault as Shown<_>>::is_hidden());
}
