//! `bookwire keys` and `bookwire credentials`: what they say, and what they never say.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use super::{bookwire, text};

const CANARY: &str = "canary0123456789";

/// Runs a command on a data directory, with this on standard input.
fn on(dir: &Path, args: &[&str], input: &str) -> Output {
    let mut child = bookwire()
        .args(args)
        .arg("--data-dir")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn says(dir: &Path, args: &[&str], input: &str, code: i32, part: &str) -> String {
    let output = on(dir, args, input);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.contains(part), "{args:?}: {said}");
    assert!(!said.contains("canary"), "{args:?}: {said}");
    said
}

#[test]
fn keys_are_made_listed_rotated_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    says(dir, &["keys", "list"], "", 0, "there are no API keys");
    assert!(!dir.join("master.key").exists(), "to look makes nothing");
    says(dir, &["keys", "revoke", "bw-x"], "", 2, "keys create");
    let said = says(dir, &["keys", "create"], "", 0, "made the master key");
    assert!(said.contains("permissions data_access") && said.contains("shown this once"));
    #[cfg(unix)]
    for name in ["master.key", "keys.vault"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(dir.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let args = [
        "keys",
        "create",
        "--quiet",
        "--permissions",
        "spot_trading,admin",
        "--providers",
        "binance",
        "--ips",
        "10.0.0.0/8",
        "--expires",
        "90d",
    ];
    let output = on(dir, &args, "");
    assert_eq!(text(&output.stderr), "");
    let made = text(&output.stdout);
    let (id, secret) = made.trim().split_once('.').unwrap();
    assert_eq!(secret.len(), 43);
    let list = says(dir, &["keys", "list"], "", 0, id);
    let line = list.lines().find(|line| line.starts_with(id)).unwrap();
    for part in [
        "spot_trading,admin",
        "providers binance",
        "from 10.0.0.0/8",
        "expires 20",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let rotated = text(
        &on(
            dir,
            &["keys", "rotate", id, "--overlap", "0", "--quiet"],
            "",
        )
        .stdout,
    );
    assert!(rotated.starts_with(id) && rotated != made);
    says(dir, &["keys", "revoke", id], "", 0, "is revoked");
    let list = says(dir, &["keys", "list"], "", 0, "was revoked");
    assert!(!list.contains(secret) && !list.contains(rotated.trim()));
    says(dir, &["keys", "rotate", id], "", 2, "was revoked");
    says(dir, &["keys", "revoke", "bw-none"], "", 2, "bw-none");
    says(
        dir,
        &["keys", "create", "--permissions", "trade"],
        "",
        2,
        "spot_trading",
    );
    says(
        dir,
        &["keys", "create", "--providers", "mtgox"],
        "",
        2,
        "coinbase",
    );
    says(
        dir,
        &["keys", "create", "--ips", "10.0.0.1/8"],
        "",
        2,
        "10.0.0.0/8",
    );
    says(dir, &["keys", "create", "--expires", "soon"], "", 2, "90d");
    // A secret of one's own is no option.
    says(dir, &["keys", "create", "--secret", "x"], "", 2, "--secret");
    says(dir, &["keys", "init-master"], "", 0, "master.key");
}

#[test]
fn credentials_come_by_pipe_or_environment_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lines = format!("the-key-of-binance\n{CANARY}\n");
    says(
        dir,
        &["credentials", "list"],
        "",
        0,
        "there are no credentials",
    );
    says(
        dir,
        &["credentials", "set", "binance"],
        &lines,
        0,
        "binance/default  hmac  key the-…",
    );
    says(
        dir,
        &["credentials", "set", "binance"],
        &lines,
        2,
        "credentials rotate",
    );
    let json = format!(r#"{{"apiKey":"k","secret":"{CANARY}","password":"{CANARY}"}}"#);
    let set = ["credentials", "set", "okx", "--account", "hedge"];
    says(
        dir,
        &set,
        &json,
        0,
        "okx/hedge  hmac  key …  with passphrase",
    );
    says(
        dir,
        &["credentials", "rotate", "binance"],
        &lines,
        0,
        "revision 3",
    );
    says(
        dir,
        &["credentials", "rotate", "bybit"],
        &lines,
        2,
        "no account `default` of bybit",
    );
    says(
        dir,
        &["credentials", "set", "okx"],
        &lines,
        2,
        "`passphrase` is missing",
    );
    says(dir, &["credentials", "set", "mtgox"], &lines, 2, "coinbase");
    says(
        dir,
        &["credentials", "set", "coinbase"],
        &lines,
        2,
        "`kind`",
    );
    says(
        dir,
        &["credentials", "set", "bybit", "--kind", "rsa"],
        &lines,
        2,
        "ed25519",
    );
    says(
        dir,
        &["credentials", "set", "bybit", "--account", "A B"],
        &lines,
        2,
        "`account`",
    );
    says(
        dir,
        &["credentials", "set", "bybit"],
        "",
        2,
        "standard input holds no key",
    );
    says(
        dir,
        &["credentials", "set", "bybit"],
        &"x".repeat(70_000),
        2,
        "holds no key",
    );
    says(
        dir,
        &["credentials", "set", "bybit", "--secret", "x"],
        "",
        2,
        "--secret",
    );
    let output = bookwire()
        .args(["credentials", "set", "bybit", "--data-dir"])
        .arg(dir)
        .env("BOOKWIRE_API_KEY", "from-the-environment")
        .env("BOOKWIRE_API_SECRET", CANARY)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let list = says(dir, &["credentials", "list"], "", 0, "bybit/default");
    assert_eq!(list.lines().count(), 3, "{list}");
    says(dir, &["credentials", "remove", "bybit"], "", 0, "forgotten");
    says(
        dir,
        &["credentials", "remove", "bybit"],
        "",
        2,
        "no account",
    );
    for folder in [dir.to_owned(), dir.join("audit")] {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_file() {
                let content = std::fs::read(entry.path()).unwrap();
                assert!(!text(&content).contains("canary"), "{entry:?}");
            }
        }
    }
}

#[test]
fn without_its_master_key_nothing_opens_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    says(dir, &["keys", "create"], "", 0, "master.key");
    std::fs::remove_file(dir.join("master.key")).unwrap();
    for args in [
        ["keys", "list"],
        ["keys", "create"],
        ["credentials", "list"],
    ] {
        says(
            dir,
            &args,
            "",
            1,
            "is sealed with a master key that is not here",
        );
    }
    let with = |value: &str, args: &[&str]| {
        let output = bookwire()
            .args(args)
            .arg("--data-dir")
            .arg(dir)
            .env("BOOKWIRE_MASTER_KEY", value)
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = with(CANARY, &["config", "check"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("BOOKWIRE_MASTER_KEY") && !said.contains(CANARY),
        "{said}"
    );
    let other: String = (0..32).map(|n| format!("{n:02x}")).collect();
    let (code, said) = with(&other, &["keys", "list"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("another master key") && !said.contains(&other),
        "{said}"
    );
    assert_eq!(with(&other, &["config", "check"]).0, Some(0));
}

#[test]
fn everything_is_sealed_with_another_master_key() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let lines = format!("the-key-of-binance\n{CANARY}\n");
    let set = ["credentials", "set", "binance"];
    says(dir, &set, &lines, 0, "binance/default");
    says(dir, &["keys", "create"], "", 0, "data_access");
    let old = std::fs::read_to_string(dir.join("master.key")).unwrap();
    let rekey = ["credentials", "rekey"];
    says(dir, &rekey, "", 2, "BOOKWIRE_NEW_MASTER_KEY");
    let file = dir.join("new.key");
    std::fs::write(&file, "not a key\n").unwrap();
    let with_file = [
        "credentials",
        "rekey",
        "--new-key-file",
        file.to_str().unwrap(),
    ];
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        says(dir, &with_file, "", 1, "chmod 600");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, mode).unwrap();
    }
    says(dir, &with_file, "", 2, "accepted: 32 random bytes");
    says(dir, &["credentials", "list"], "", 0, "binance/default");
    let new = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    std::fs::write(&file, format!("{new}\n")).unwrap();
    let said = says(dir, &with_file, "", 0, "credentials.vault: is sealed with");
    assert!(said.contains("keys.vault: is sealed with"), "{said}");
    assert!(!said.contains(new) && !said.contains(old.trim()), "{said}");
    // The data directory's own key is replaced, and all opens.
    let installed = std::fs::read_to_string(dir.join("master.key")).unwrap();
    assert_eq!(installed.trim(), new);
    says(dir, &["credentials", "list"], "", 0, "binance/default");
    says(dir, &["keys", "list"], "", 0, "bw-");
    // Each log is as it was written, under its own key.
    says(dir, &["audit", "verify"], "", 0, "as they were written");
    says(dir, &["audit", "show"], "", 0, "master_key.change");
    let mut folders = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    let aside = folders.find(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("audit.") && path.is_dir()
    });
    let aside = aside.unwrap();
    let aside = aside.to_str().unwrap();
    let with = |key: &str, args: &[&str]| {
        let output = bookwire()
            .args(args)
            .arg("--data-dir")
            .arg(dir)
            .env("BOOKWIRE_MASTER_KEY", key)
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.code(), said)
    };
    let (code, said) = with(&old, &["audit", "verify", aside]);
    assert_eq!(code, Some(0), "{said}");
    // The old key opens nothing more.
    let (code, said) = with(&old, &["credentials", "list"]);
    assert!(
        code != Some(0) && said.contains("another master key"),
        "{said}"
    );
    says(dir, &with_file, "", 2, "is the old one");
}
