//! Journals: read back, cut off, damaged, locked, written anew.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::order::{OrderStatus, OrderTerms, OrderType, TimeInForce, TradingMode};
use super::*;
use crate::event::Side;
use crate::exchange::ProviderId;
use crate::instrument::Market;

fn order(number: u128, status: OrderStatus) -> Order {
    let terms = OrderTerms {
        provider: ProviderId::OKX,
        account: "default".to_owned(),
        entity_id: "cryptopair_okx_btcusdt".to_owned(),
        market: Market::Spot,
        symbol: "btcusdt".to_owned(),
        native_symbol: "BTC-USDT".to_owned(),
        side: Side::Sell,
        order_type: OrderType::Limit,
        quantity: Decimal::new(15, 1),
        price: Some(Decimal::new(1_000_001, 2)),
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        post_only: true,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: Some(format!("mine-{number}")),
    };
    let id = OrderId(number);
    let mut order = Order::new(id, terms, id.to_string(), TradingMode::Live, TsNanos(7));
    order.status = status;
    order
}

fn entry(number: u128, status: OrderStatus) -> Entry {
    Entry::Order(Box::new(order(number, status)))
}

const ROOMY: Limits = Limits {
    compact_bytes: u64::MAX,
    final_max: 1_000,
};

fn open(path: &Path) -> (Journal, Replayed) {
    Journal::open(path, ROOMY).unwrap()
}

#[test]
fn the_last_state_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trading").join("okx.journal");
    let (mut journal, first) = open(&path);
    assert_eq!(first, Replayed::default());
    journal.append(&entry(1, OrderStatus::Pending)).unwrap();
    journal.append(&entry(2, OrderStatus::Pending)).unwrap();
    journal.append(&entry(1, OrderStatus::Open)).unwrap();
    let cancel = Entry::Cancel {
        order_id: OrderId(1),
        at: 9,
    };
    journal.append(&cancel).unwrap();
    let halt = Entry::Halt {
        is_engaged: true,
        by: "ops".to_owned(),
        at: 9,
    };
    journal.append(&halt).unwrap();
    drop(journal);
    let (_, read) = open(&path);
    assert_eq!(read.orders[&OrderId(1)].status, OrderStatus::Open);
    assert!(read.orders[&OrderId(1)].is_cancel_asked);
    assert_eq!(read.orders[&OrderId(2)], order(2, OrderStatus::Pending));
    assert_eq!(read.halted_by.as_deref(), Some("ops"));
    assert_eq!(read.cut_off, 0);
}

#[test]
fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    let (_journal, _) = open(&path);
    let error = Journal::open(&path, ROOMY).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
}

/// A process may be killed at any byte of a write: what was written before is there, what was being
/// written is not, and the next one goes on.
#[test]
fn a_file_that_ends_anywhere_is_read_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    let (mut journal, _) = open(&path);
    let mut ends = vec![journal.length()];
    for number in 1..=3 {
        journal.append(&entry(number, OrderStatus::Open)).unwrap();
        ends.push(journal.length());
    }
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    // Each open syncs: some bytes, and all those around the ends of entries.
    let near = |length: &usize| ends.iter().any(|end| end.abs_diff(*length as u64) < 10);
    for length in (0..=whole.len()).filter(|length| length % 41 == 0 || near(length)) {
        let cut = folder.path().join("cut.journal");
        std::fs::write(&cut, &whole[..length]).unwrap();
        let (mut journal, read) = open(&cut);
        let there = ends.iter().filter(|end| **end <= length as u64).count();
        assert_eq!(read.orders.len(), there.saturating_sub(1), "{length}");
        journal.append(&entry(9, OrderStatus::Open)).unwrap();
        drop(journal);
        let (_, read) = open(&cut);
        assert!(read.orders.contains_key(&OrderId(9)), "{length}");
        assert_eq!(read.cut_off, 0);
    }
}

#[test]
fn damage_before_the_end_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    let (mut journal, _) = open(&path);
    journal.append(&entry(1, OrderStatus::Open)).unwrap();
    let first = journal.length() as usize;
    journal.append(&entry(2, OrderStatus::Open)).unwrap();
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for at in [MAGIC.len() + 4, MAGIC.len() + HEAD + 3, first - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Journal::open(&path, ROOMY).unwrap_err();
        assert!(
            matches!(error, JournalError::Damaged { at: 8, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("moved away"));
    }
    std::fs::write(&path, b"something else").unwrap();
    let error = Journal::open(&path, ROOMY).unwrap_err();
    assert!(matches!(error, JournalError::NotOurs { .. }));
}

const TIGHT: Limits = Limits {
    compact_bytes: 100,
    final_max: 5,
};

/// Where a process dies while its journal is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Death {
    Begun,
    Written,
    Joined,
    Named,
    Finished,
}

#[test]
fn a_journal_that_is_written_anew_is_whole_at_each_moment() {
    use Death::{Begun, Finished, Joined, Named, Written};
    for death in [Begun, Written, Joined, Named, Finished] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let limits = Limits {
            compact_bytes: 5_000,
            ..TIGHT
        };
        let (mut journal, _) = Journal::open(&path, limits).unwrap();
        // One that another death has left.
        std::fs::write(path.with_extension("new"), "half a journal").unwrap();
        assert!(journal.begin_compaction().is_none(), "it is short");
        for number in 1..=20 {
            journal.append(&entry(number, OrderStatus::Filled)).unwrap();
        }
        let long = journal.length();
        let compaction = journal.begin_compaction().unwrap();
        assert!(journal.begin_compaction().is_none(), "one at a time");
        // What comes meanwhile.
        journal.append(&entry(21, OrderStatus::Pending)).unwrap();
        let mut last = 21;
        let mut more = |journal: &mut Journal| {
            last += 1;
            journal.append(&entry(last, OrderStatus::Open)).unwrap();
            journal.handle().unwrap().sync().unwrap();
        };
        if death >= Written {
            let fresh = compaction.run().unwrap();
            more(&mut journal);
            if death >= Joined {
                let joined = journal.join(fresh).unwrap();
                more(&mut journal);
                if death >= Named {
                    joined.run().unwrap();
                    more(&mut journal);
                }
                if death >= Finished {
                    journal.finish(Ok(())).unwrap();
                    more(&mut journal);
                    assert!(journal.length() < long, "{}", journal.length());
                    assert!(journal.begin_compaction().is_none());
                    let error = Journal::open(&path, ROOMY).unwrap_err();
                    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
                }
            }
        }
        drop(journal);
        let (mut journal, read) = open(&path);
        assert_eq!(read.cut_off, 0, "{death:?}");
        for number in 21..=last {
            assert!(
                read.orders.contains_key(&OrderId(number)),
                "{death:?} {number}"
            );
        }
        // What is over is there, or its id is.
        for number in 1..=20 {
            let is_kept = read.orders.contains_key(&OrderId(number));
            let is_used = read.used.contains_key(&format!("mine-{number}"));
            assert!(is_kept != is_used, "{death:?} {number}");
            assert_eq!(
                is_used,
                death >= Named && number <= 15,
                "{death:?} {number}"
            );
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{death:?}");
        }
        journal.append(&entry(99, OrderStatus::Open)).unwrap();
        drop(journal);
        assert!(open(&path).1.orders.contains_key(&OrderId(99)));
    }
}

#[test]
fn a_journal_that_could_not_be_written_anew_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    let (mut journal, _) = Journal::open(&path, TIGHT).unwrap();
    for number in 1..=9 {
        journal.append(&entry(number, OrderStatus::Filled)).unwrap();
    }
    // It is not named at all.
    let fresh = journal.begin_compaction().unwrap().run().unwrap();
    let _joined = journal.join(fresh).unwrap();
    journal.append(&entry(10, OrderStatus::Open)).unwrap();
    let refused = io::Error::other("no room");
    assert!(journal.finish(Err(refused)).is_err());
    journal.append(&entry(11, OrderStatus::Open)).unwrap();
    assert!(journal.begin_compaction().is_none(), "not at once again");
    for number in 12..=30 {
        journal.append(&entry(number, OrderStatus::Filled)).unwrap();
    }
    // It has the name, and the folder could not be synced.
    let fresh = journal.begin_compaction().unwrap().run().unwrap();
    let joined = journal.join(fresh).unwrap();
    joined.run().unwrap();
    let refused = io::Error::other("the folder can't be synced");
    assert!(journal.finish(Err(refused)).is_err());
    journal.append(&entry(31, OrderStatus::Open)).unwrap();
    // Both have the file open, and its lock.
    drop(joined);
    drop(journal);
    let (_, read) = open(&path);
    for number in [10, 11, 31] {
        assert!(read.orders.contains_key(&OrderId(number)), "{number}");
    }
    assert_eq!(read.used.len() + read.orders.len(), 31);
}

#[test]
fn a_full_disk_leaves_both_files_alike() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    let (mut journal, _) = Journal::open(&path, TIGHT).unwrap();
    journal.append(&entry(1, OrderStatus::Open)).unwrap();
    let fresh = journal.begin_compaction().unwrap().run().unwrap();
    let _joined = journal.join(fresh).unwrap();
    let next = journal.next.as_mut().unwrap();
    next.file = OpenOptions::new().write(true).open(full).unwrap();
    assert!(journal.append(&entry(2, OrderStatus::Open)).is_err());
    drop(journal);
    assert_eq!(open(&path).1.orders.len(), 1, "it is in none of them");
}

#[test]
fn old_orders_are_forgotten_and_their_ids_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    let (mut journal, _) = open(&path);
    for number in 1..=20 {
        let status = match number {
            1 => OrderStatus::Open,
            _ => OrderStatus::Filled,
        };
        journal.append(&entry(number, status)).unwrap();
    }
    let before = journal.length();
    drop(journal);
    let (mut journal, read) = Journal::open(&path, TIGHT).unwrap();
    assert!(journal.length() < before);
    assert_eq!(read.orders.len(), 6);
    assert!(read.orders.contains_key(&OrderId(1)), "what is open stays");
    assert_eq!(read.used["mine-2"], OrderId(2));
    journal.append(&entry(21, OrderStatus::Open)).unwrap();
    drop(journal);
    let (_, again) = open(&path);
    assert_eq!(again.orders.len(), 7);
    assert_eq!(again.used, read.used);
}

#[test]
fn a_full_disk_leaves_whole_entries() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.journal");
    let (mut journal, _) = open(&path);
    journal.append(&entry(1, OrderStatus::Open)).unwrap();
    let file = std::mem::replace(
        &mut journal.file.file,
        OpenOptions::new().write(true).open(full).unwrap(),
    );
    assert!(journal.append(&entry(2, OrderStatus::Open)).is_err());
    // A device can't be cut: from now on nothing is taken, rather than written behind half an entry.
    assert!(matches!(
        journal.append(&entry(3, OrderStatus::Open)),
        Err(JournalError::Broken { .. } | JournalError::Io { .. })
    ));
    drop((journal, file));
    let (_, read) = open(&path);
    assert_eq!(read.orders.len(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200), is_ours: bool) {
        if is_ours {
            bytes.splice(0..0, MAGIC.iter().copied());
        }
        let _ = read(Path::new("x"), &bytes);
    }
}
