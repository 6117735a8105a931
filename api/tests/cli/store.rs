//! `bookwire serve` on a store that can't be used: it ends at once and says what to do.

use std::path::Path;
use std::process::Command;

use super::{bookwire, providers_off, text, write};

/// What `serve` says, started through `wrapper`, which is given the program and its arguments.
fn refused(dir: &Path, data: &Path, wrapper: &[&str]) -> String {
    let config = write(dir, "config.toml", &providers_off(None));
    let program = bookwire();
    let mut words: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
    words.push(program.get_program().to_string_lossy().into_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BOOKWIRE_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            &config,
            "--data-dir",
        ])
        .arg(data)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(text(&output.stdout), "", "it did not serve");
    said
}

#[test]
fn a_damaged_file_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bookwire.db");
    std::fs::write(&file, [0xa5; 8192]).unwrap();
    let said = refused(dir.path(), dir.path(), &[]);
    assert!(
        said.contains("move it and its -wal and -shm files"),
        "{said}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), [0xa5; 8192]);
}

#[cfg(unix)]
#[test]
fn a_folder_without_write_permission_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&data, 0o555)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // Permissions don't hold root: it becomes somebody else for this.
    let is_root = std::fs::write(data.join("probe"), "").is_ok();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let wrapper: &[&str] = if is_root { &nobody } else { &[] };
    if is_root {
        let program = bookwire().get_program().to_owned();
        let can_run = Command::new(nobody[0])
            .args(&nobody[1..])
            .arg(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success());
        if !can_run {
            eprintln!("skipped: root is not bound by permissions, and setpriv can't run this");
            return;
        }
    }
    let said = refused(dir.path(), &data, wrapper);
    assert!(said.contains("write permission"), "{said}");
    assert!(said.contains("store.path or server.data_dir"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    // A file system of its own, in a name space that ends with the process.
    let script = "mount -t tmpfs -o size=64k none \"$0\" && exec \"$@\"";
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let place = data.to_str().unwrap();
    let wrapper = ["unshare", "-rm", "sh", "-c", script, place];
    let can_mount = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success());
    if !can_mount {
        eprintln!("skipped: no file system can be mounted here (unshare -rm mount -t tmpfs)");
        return;
    }
    let said = refused(dir.path(), &data, &wrapper);
    assert!(said.contains("no space left"), "{said}");
    assert!(said.contains("free space on that disk"), "{said}");
}
