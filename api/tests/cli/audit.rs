//! `bookwire audit`: what was done on the command line is in the log, and who touches the log is found.

use std::path::Path;

use super::{bookwire, text};

#[track_caller]
fn says(dir: &Path, args: &[&str], code: i32, part: &str) -> String {
    let output = bookwire()
        .args(args)
        .arg("--data-dir")
        .arg(dir)
        .output()
        .unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.contains(part), "{args:?}: {said}");
    said
}

#[test]
fn changes_of_keys_are_recorded_and_every_touch_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    says(dir, &["audit", "verify"], 1, "no audit log");
    let output = bookwire()
        .args(["keys", "create", "--quiet", "--permissions", "admin"])
        .arg("--data-dir")
        .arg(dir)
        .output()
        .unwrap();
    let made = text(&output.stdout);
    let (id, secret) = made.trim().split_once('.').unwrap();
    says(dir, &["keys", "rotate", id, "--overlap", "0"], 0, "secret");
    says(dir, &["keys", "revoke", id], 0, "revoked");
    says(dir, &["audit", "verify"], 0, "4 entries in 1 files");
    let said = says(dir, &["audit", "verify"], 0, "4 of them sealed");
    assert!(!said.contains("note"), "{said}");
    let all = says(dir, &["audit", "show"], 0, "key.create");
    assert_eq!(all.lines().count(), 4, "{all}");
    assert!(all.contains(id) && !all.contains(secret), "{all}");
    let some = says(
        dir,
        &["audit", "show", "--action", "key.revoke"],
        0,
        "key.revoke",
    );
    assert_eq!(some.lines().count(), 1, "{some}");
    let some = says(dir, &["audit", "show", "--action", "key"], 0, "key.rotate");
    assert_eq!(some.lines().count(), 3, "{some}");
    let none = says(dir, &["audit", "show", "--since", "2250-01-01"], 0, "");
    assert_eq!(none, "");
    says(dir, &["audit", "show", "--since", "soon"], 2, "--since");
    let file = dir.join("audit/audit-000001.jsonl");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("key.rotate", "key.create")).unwrap();
    says(
        dir,
        &["audit", "verify"],
        1,
        "audit-000001.jsonl:3: the entry was changed",
    );
    let cut: Vec<&str> = good
        .lines()
        .filter(|line| !line.contains("key.rotate"))
        .collect();
    std::fs::write(&file, cut.join("\n") + "\n").unwrap();
    says(
        dir,
        &["audit", "verify"],
        1,
        "audit-000001.jsonl:3: entry 3 is missing",
    );
    std::fs::write(&file, &good).unwrap();
    // Without the master key nothing can be said.
    let key = dir.join("master.key");
    std::fs::rename(&key, dir.join("elsewhere")).unwrap();
    says(dir, &["audit", "verify"], 1, "not here");
}
