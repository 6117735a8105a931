//! Whatever is done to a log is found, and a crash is not mistaken for it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;

const NOW: TsNanos = TsNanos(1_700_000_000_000_000_000);

fn entry(number: u64) -> Entry {
    Entry {
        at: TsNanos(NOW.0 + i64::try_from(number).unwrap()),
        who: "ops".to_owned(),
        via: "rest",
        from: "127.0.0.1".to_owned(),
        trace_id: format!("trace-{number}"),
        action: "order.place".to_owned(),
        outcome: Outcome::Done,
        status: Some(201),
        code: None,
        details: match json!({"quantity": "0.1", "number": number}) {
            Value::Object(details) => details,
            _ => Map::new(),
        },
    }
}

fn open(folder: &Path, sealer: &Sealer) -> (AuditLog, Opened) {
    AuditLog::open(folder, sealer.clone(), 1 << 20, NOW, || None).unwrap()
}

fn keyed(byte: u8) -> Sealer {
    let mut text = format!("{byte:02x}").repeat(31);
    text.push_str("7f");
    Sealer::keyed(&MasterKey::parse("test", &text).ok().unwrap())
        .ok()
        .unwrap()
}

/// A log with some entries, synced.
fn filled(folder: &Path, sealer: &Sealer, count: u64) {
    let (mut log, _) = open(folder, sealer);
    for number in 1..=count {
        log.append(&[entry(number)]).unwrap();
    }
    log.sync().unwrap();
}

fn broken(folder: &Path, sealer: &Sealer) -> Broken {
    let report = verify(folder, sealer, false).unwrap();
    match report.broken {
        Some(broken) => broken,
        None => panic!("nothing was found in {report:?}"),
    }
}

fn lines(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("audit-000001.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn put(folder: &Path, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("audit-000001.jsonl"), text).unwrap();
}

#[test]
fn every_byte_counts() {
    for (sealer, step) in [(keyed(1), 1), (Sealer::plain(), 11)] {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path(), &sealer, 1);
        let whole = verify(folder.path(), &sealer, false).unwrap();
        assert_eq!((whole.files, whole.entries, &whole.broken), (1, 2, &None));
        for name in ["audit-000001.jsonl", "audit.head"] {
            let path = folder.path().join(name);
            let good = fs::read(&path).unwrap();
            for at in (0..good.len()).step_by(step) {
                let mut bad = good.clone();
                bad[at] ^= [0x01, 0x20, 0x80][at % 3];
                fs::write(&path, &bad).unwrap();
                let found = broken(folder.path(), &sealer);
                if name == "audit.head" {
                    assert_eq!(found.file, name, "byte {at}");
                    continue;
                }
                let line = good[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
                // A line without its end runs into the next one.
                let last = line + u64::from(good[at] == b'\n');
                let is_there = (line..=last).contains(&found.line);
                assert!(is_there, "byte {at} of line {line}: {found:?}");
            }
            for cut in (0..good.len()).step_by(step * 7) {
                fs::write(&path, &good[..cut]).unwrap();
                broken(folder.path(), &sealer);
            }
            fs::write(&path, &good).unwrap();
        }
        assert_eq!(verify(folder.path(), &sealer, false).unwrap(), whole);
    }
}

#[test]
fn what_is_missing_or_moved_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let sealer = Sealer::plain();
    filled(folder.path(), &sealer, 5);
    let good = lines(folder.path());
    let mut bad = good.clone();
    bad.remove(2);
    put(folder.path(), &bad);
    let found = broken(folder.path(), &sealer);
    assert_eq!(
        (found.line, &*found.why),
        (3, "entry 3 is missing before it")
    );
    bad.remove(2);
    put(folder.path(), &bad);
    let why = broken(folder.path(), &sealer).why;
    assert_eq!(why, "entries 3 to 4 are missing before it");
    let mut bad = good.clone();
    bad.swap(3, 4);
    put(folder.path(), &bad);
    assert_eq!(broken(folder.path(), &sealer).line, 4);
    let mut bad = good.clone();
    bad.insert(2, good[1].clone());
    put(folder.path(), &bad);
    let found = broken(folder.path(), &sealer);
    assert_eq!(found.why, "entry 2 stands where entry 3 should");
    // A tail that is cut off at the end of a line.
    put(folder.path(), &good[..4]);
    let found = broken(folder.path(), &sealer);
    assert!(found.why.contains("2 entries are missing"), "{found:?}");
    // A start tells it, and from then on it stands in the log.
    let (_, opened) = open(folder.path(), &sealer);
    assert_eq!(opened.missing, Some(2));
    let found = broken(folder.path(), &sealer);
    assert_eq!(found.line, 5, "{found:?}");
    assert!(found.why.contains("2 entries"), "{found:?}");
}

/// Someone who can write to the folder, but has no master key.
#[test]
fn a_log_that_was_written_anew_is_found_by_its_key() {
    let sealer = keyed(1);
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &sealer, 3);
    for other in [Sealer::plain(), keyed(2)] {
        let forged = tempfile::tempdir().unwrap();
        filled(forged.path(), &other, 3);
        let text = fs::read_to_string(forged.path().join("audit-000001.jsonl")).unwrap();
        // It says that it is sealed with the right key.
        let claimed = format!("\"key\":\"{}\"", sealer.id());
        let text = text.replace(&format!("\"key\":\"{}\"", other.id()), &claimed);
        fs::write(folder.path().join("audit-000001.jsonl"), text).unwrap();
        assert_eq!(broken(folder.path(), &sealer).line, 1);
    }
    // The last entries taken out, and a head to match, made without the key.
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &sealer, 3);
    let all = lines(folder.path());
    put(folder.path(), &all[..3]);
    let body = format!("3 {}", hex(&read(all[2].as_bytes()).unwrap().hash));
    let mac = hex(&Sealer::plain().hash(body.as_bytes()));
    fs::write(folder.path().join("audit.head"), format!("{body} {mac}\n")).unwrap();
    assert_eq!(broken(folder.path(), &sealer).file, "audit.head");
    // Entries without a key behind some with one.
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &sealer, 1);
    let result = AuditLog::open(folder.path(), Sealer::plain(), 1 << 20, NOW, || None);
    assert!(matches!(result, Err(AuditError::Key(_))));
    // Another process made the key: it is looked for.
    let found = AuditLog::open(folder.path(), Sealer::plain(), 1 << 20, NOW, || {
        Some(keyed(1))
    });
    found.unwrap().0.append(&[entry(9)]).unwrap();
    let report = verify(folder.path(), &sealer, false).unwrap();
    assert_eq!((report.keyed, report.broken), (3, None));
    // Without the key nothing can be said.
    let why = broken(folder.path(), &Sealer::plain()).why;
    assert!(why.contains("not here"), "{why}");
}

#[test]
fn a_key_that_comes_later_begins_a_file() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &Sealer::plain(), 2);
    filled(folder.path(), &keyed(1), 2);
    let report = verify(folder.path(), &keyed(1), false).unwrap();
    assert_eq!((report.files, report.entries, report.keyed), (2, 6, 3));
    assert_eq!(report.broken, None);
}

#[test]
fn a_crash_in_the_middle_of_a_line_is_told_and_nothing_is_lost() {
    let sealer = Sealer::plain();
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &sealer, 2);
    let path = folder.path().join("audit-000001.jsonl");
    let good = fs::read(&path).unwrap();
    let all = lines(folder.path());
    let prev = read(all[2].as_bytes()).unwrap().hash;
    let (line, _) = sealer.line(&entry(3), 4, &prev);
    for cut in [1, 40, line.len() - 2] {
        let mut text = good.clone();
        text.extend_from_slice(&line[..cut]);
        fs::write(&path, &text).unwrap();
        let head = fs::read(folder.path().join("audit.head")).unwrap();
        assert!(broken(folder.path(), &sealer).why.contains("no end"));
        let (mut log, opened) = open(folder.path(), &sealer);
        assert_eq!(opened.incomplete_bytes, Some(cut as u64));
        log.append(&[entry(4)]).unwrap();
        log.sync().unwrap();
        let report = verify(folder.path(), &sealer, false).unwrap();
        assert_eq!((report.entries, report.broken), (5, None), "cut at {cut}");
        assert!(report.notes[0].contains("crash"), "{:?}", report.notes);
        // What the crash left is bound too.
        let mut text = fs::read(&path).unwrap();
        text[good.len()] ^= 1;
        fs::write(&path, &text).unwrap();
        assert_eq!(broken(folder.path(), &sealer).line, 4);
        fs::write(folder.path().join("audit.head"), head).unwrap();
    }
    // Nothing but the end of the line is missing: that is an entry.
    fs::write(&path, [&good, &line[..line.len() - 1]].concat()).unwrap();
    let (mut log, opened) = open(folder.path(), &sealer);
    assert_eq!((opened.entries, opened.incomplete_bytes), (4, None));
    log.append(&[entry(4)]).unwrap();
    log.sync().unwrap();
    let report = verify(folder.path(), &sealer, false).unwrap();
    assert_eq!((report.entries, report.broken), (5, None));
    // In front of the first line of a file.
    fs::write(&path, b"{\"seq\":1").unwrap();
    fs::remove_file(folder.path().join("audit.head")).unwrap();
    let (_, opened) = open(folder.path(), &sealer);
    assert_eq!(opened.incomplete_bytes, Some(8));
    assert_eq!(verify(folder.path(), &sealer, false).unwrap().broken, None);
}

#[test]
fn a_start_goes_on_behind_what_is_damaged_and_says_so() {
    let sealer = Sealer::plain();
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), &sealer, 2);
    let mut all = lines(folder.path());
    all[2] = "nonsense".to_owned();
    put(folder.path(), &all);
    let (mut log, opened) = open(folder.path(), &sealer);
    assert!(opened.is_damaged);
    log.append(&[entry(5)]).unwrap();
    let found = broken(folder.path(), &sealer);
    assert_eq!((&*found.file, found.line), ("audit-000001.jsonl", 3));
}

#[test]
fn files_are_changed_by_size_and_the_chain_goes_on() {
    let sealer = keyed(3);
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = AuditLog::open(folder.path(), sealer.clone(), 1, NOW, || None).unwrap();
    for number in 0..600 {
        log.append(&[entry(number)]).unwrap();
    }
    log.sync().unwrap();
    let report = verify(folder.path(), &sealer, false).unwrap();
    assert!(report.files > 2, "{report:?}");
    assert_eq!(
        (report.entries, &report.broken),
        (600 + report.files, &None)
    );
    // A file in the middle that is not there, then the first.
    let second = folder.path().join("audit-000002.jsonl");
    let kept = fs::read(&second).unwrap();
    fs::remove_file(&second).unwrap();
    let found = broken(folder.path(), &sealer);
    assert_eq!(&*found.why, "audit-000002.jsonl is not there");
    fs::write(&second, kept).unwrap();
    fs::remove_file(folder.path().join("audit-000001.jsonl")).unwrap();
    assert!(broken(folder.path(), &sealer).why.contains("before it"));
    let report = verify(folder.path(), &sealer, true).unwrap();
    assert_eq!(report.broken, None);
    assert!(report.notes[0].contains("elsewhere"), "{:?}", report.notes);
}

#[test]
fn two_writers_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let sealer = Sealer::plain();
    let (mut one, _) = open(folder.path(), &sealer);
    let (mut other, _) = open(folder.path(), &sealer);
    for number in 0..10 {
        one.append(&[entry(number), entry(number)]).unwrap();
        other.append(&[entry(number)]).unwrap();
    }
    one.sync().unwrap();
    let report = verify(folder.path(), &sealer, false).unwrap();
    assert_eq!((report.entries, report.broken), (31, None));
}

#[test]
fn nothing_can_be_smuggled_into_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let sealer = Sealer::plain();
    let (mut log, _) = open(folder.path(), &sealer);
    let evil = "x\"}\n{\"seq\":9,\u{2028}\u{1b}[2J\u{202e}\u{7f}ä🙂";
    let mut one = entry(1);
    one.who = evil.repeat(100);
    one.trace_id = evil.to_owned();
    one.action = evil.to_owned();
    one.code = Some(evil.to_owned());
    one.details.insert(evil.to_owned(), evil.into());
    log.append(&[one.clone()]).unwrap();
    one.details
        .insert("long".to_owned(), "y".repeat(100_000).into());
    log.append(&[one]).unwrap();
    log.sync().unwrap();
    let text = fs::read(folder.path().join("audit-000001.jsonl")).unwrap();
    assert!(text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    let all = lines(folder.path());
    assert_eq!(all.len(), 3);
    let read: Value = serde_json::from_str(&all[1]).unwrap();
    assert_eq!(read["details"][evil], evil);
    assert_eq!(read["who"].as_str().unwrap().chars().count(), TEXT_MAX);
    assert!(all[2].len() < 8192 && all[2].contains("left_out_bytes"));
    assert_eq!(verify(folder.path(), &sealer, false).unwrap().broken, None);
}
