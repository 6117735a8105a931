//! Rules of the house that no compiler checks: which way dependencies point, how long a file may
//! be, that documents link to files that exist. They are ordinary tests, so that they can't decay.

// A test that can't go on should panic, helpers of tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod supply;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(
                name.as_str(),
                "target" | ".git" | ".venv" | "corpus" | "node_modules"
            ) {
                files(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources(rooms: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for room in rooms {
        files(&root().join(room), ".rs", &mut found);
    }
    assert!(!found.is_empty(), "no sources below {rooms:?}");
    found
}

/// Dependencies of a room's manifest, development dependencies aside.
fn dependencies(room: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(room).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest["dependencies"]
        .as_table()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let forbidden: &[(&str, &[&str])] = &[
        (
            "engine",
            &[
                "actix",
                "actix-web",
                "tokio",
                "tokio-tungstenite",
                "reqwest",
                "bookwire-",
            ],
        ),
        (
            "actors",
            &[
                "actix-web",
                "actix-web-actors",
                "simd-json",
                "bookwire-api",
                "bookwire-sim",
            ],
        ),
        ("sim", &["bookwire-", "actix"]),
        ("api", &["bookwire-bench", "bookwire-tests"]),
    ];
    for (room, banned) in forbidden {
        for name in dependencies(room) {
            let allowed = match *room {
                "actors" => name == "bookwire-engine",
                "api" => name.starts_with("bookwire-") && !banned.contains(&name.as_str()),
                _ => false,
            };
            let bad = banned
                .iter()
                .any(|b| name == *b || (b.ends_with('-') && name.starts_with(b)));
            assert!(allowed || !bad, "{room} must not depend on {name}");
        }
    }
}

/// What `docs/adding-an-exchange.md` marks as checked: whatever the engine lists has its folder, its
/// part of the configuration, its simulator and its fuzz target.
#[test]
fn every_exchange_is_registered_everywhere() {
    let configuration = fs::read_to_string(root().join("config/default.toml")).unwrap();
    let recordings = root().join("engine/tests/captures/streams.rs");
    let recordings = fs::read_to_string(recordings).unwrap();
    let mut simulated = 0;
    for id in bookwire_engine::exchange::ProviderId::all() {
        let name = id.name();
        // What is behind a bridge speaks to exchanges that others here simulate and have recorded.
        let is_bridge = id.exchange().bridge().is_some();
        let mut parts = vec![format!("engine/src/exchange/{name}/README.md")];
        if !is_bridge {
            parts.push(format!("engine/src/exchange/{name}/tests/captures.rs"));
            parts.push(format!("sim/src/{name}/mod.rs"));
        }
        for part in parts {
            assert!(root().join(&part).is_file(), "{name} lacks {part}");
        }
        for section in [
            format!("[providers.{name}]"),
            format!("[providers.{name}.hosts]"),
        ] {
            assert!(
                configuration.contains(&section),
                "no {section} in the configuration"
            );
        }
        if !is_bridge {
            let is_recorded = recordings.contains(&format!("provider: \"{name}\""));
            assert!(is_recorded, "{name} has no recording in the table");
            assert!(
                bookwire_sim::Exchange::parse(name).is_some(),
                "{name} has no simulator"
            );
            simulated += 1;
        }
        let mut targets = Vec::new();
        files(
            &root().join("tests/fuzz/targets/fuzz_targets"),
            ".rs",
            &mut targets,
        );
        targets.retain(|path| {
            let target = path.file_stem().unwrap().to_string_lossy();
            target.starts_with(&format!("{name}_stream"))
        });
        assert!(!targets.is_empty(), "the frames of {name} are not fuzzed");
        for target in targets {
            let mut seeds = Vec::new();
            let target = target.file_stem().unwrap().to_string_lossy().into_owned();
            files(
                &root().join("tests/fuzz/seeds").join(&target),
                "",
                &mut seeds,
            );
            assert!(!seeds.is_empty(), "{target} has no seeds");
        }
    }
    assert_eq!(simulated, bookwire_sim::Exchange::ALL.len());
}

#[test]
fn files_stay_readable() {
    let mut long = Vec::new();
    for path in sources(&["engine", "actors", "api", "sim", "bench", "tests"]) {
        let text = fs::read_to_string(&path).unwrap();
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
        let (code, all) = (product.lines().count(), text.lines().count());
        // About 500 is the aim; what is longer today may shrink, but nothing may outgrow it.
        if code > 760 || all > 900 {
            long.push(format!(
                "{}: {code} lines, {all} with tests",
                path.display()
            ));
        }
    }
    assert!(long.is_empty(), "split these files:\n{}", long.join("\n"));
}

#[test]
fn only_the_clock_reads_the_clock_in_the_engine() {
    let banned = [
        "SystemTime::now",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
    ];
    for path in sources(&["engine/src"]) {
        // Tests may measure themselves.
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains("test"))
        {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for call in banned {
            assert!(
                !text.contains(call),
                "{} calls {call}: take time as an argument",
                path.display()
            );
        }
    }
}

#[test]
fn documents_link_to_files_that_exist() {
    let mut documents = Vec::new();
    files(&root(), ".md", &mut documents);
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for part in text.split("](").skip(1) {
            let link = part.split([')', '#', ' ']).next().unwrap_or("");
            let outside = link.is_empty() || link.contains("://") || link.starts_with("mailto:");
            if !outside && !document.parent().unwrap().join(link).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn decision_records_are_numbered_without_holes() {
    let mut records = Vec::new();
    files(&root().join("docs/decisions"), ".md", &mut records);
    let mut numbers: Vec<usize> = records
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.get(..3)?.parse().ok())
        .filter(|number| *number > 0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}
