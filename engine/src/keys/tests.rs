//! Keys: what proves them, how they end, what is kept of them.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::vault::{MasterKey, VaultError};

const SECOND: i64 = 1_000_000_000;

fn master() -> MasterKey {
    let hex: String = (0..32).map(|n| format!("{n:02x}")).collect();
    MasterKey::parse("a test", &hex).ok().unwrap()
}

fn store(dir: &Path) -> KeyStore {
    KeyStore::new(dir, master())
}

fn at(seconds: i64) -> TsNanos {
    TsNanos(seconds * SECOND)
}

fn key(store: &KeyStore, id: &str) -> Arc<ApiKey> {
    store.load().unwrap().get(id).unwrap().clone()
}

#[test]
fn a_key_is_kept_with_all_that_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert!(store.load().unwrap().list().is_empty());
    let spec = KeySpec {
        expires: Some(at(100)),
        ..KeySpec::parse(
            "spot_trading, data_access",
            "okx,binance",
            "10.0.0.0/8,2001:db8::/32,192.0.2.1",
        )
        .unwrap()
    };
    let (made, secret) = store.create(spec.clone(), at(1)).unwrap();
    let read = key(&store, &made.id);
    assert_eq!(read.permissions.names(), ["data_access", "spot_trading"]);
    assert_eq!(read.providers.names().unwrap(), ["okx", "binance"]);
    assert_eq!(read.networks, spec.networks);
    assert_eq!((read.created, read.expires), (at(1), Some(at(100))));
    assert!(made.id.starts_with("bw-") && !made.id.contains('.'));
    let identity = read.proven_by(secret.expose(), at(2)).unwrap();
    assert!(identity.may(Permission::SpotTrading, Some(ProviderId::OKX)));
    assert!(!identity.may(Permission::SpotTrading, Some(ProviderId::BYBIT)));
    assert!(!identity.may(Permission::FuturesTrading, Some(ProviderId::OKX)));
    assert!(!identity.may(Permission::Admin, None));
    for wrong in ["", "x", &secret.expose_text()[1..]] {
        assert!(read.proven_by(wrong.as_bytes(), at(2)).is_none());
    }
    let parts: &[&[u8]] = &[b"1", b"GET", b"/x"];
    let signature = secret.sign(parts);
    assert!(read.signed_by(parts, &signature, at(2)).is_some());
    assert!(
        read.signed_by(&[b"1", b"GET", b"/y"], &signature, at(2))
            .is_none()
    );
    assert_eq!(read.ended(at(99)), None);
    assert_eq!(read.ended(at(100)), Some(Ended::Expired(at(100))));
    let text = std::fs::read_to_string(dir.path().join("keys.vault")).unwrap();
    let shown = format!("{text}{made:?}{identity:?}");
    assert!(!shown.contains(secret.expose_text()));
}

#[test]
fn rotation_overlaps_for_as_long_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (made, first) = store.create(KeySpec::unlimited(), at(0)).unwrap();
    let old = made.proven_by(first.expose(), at(0)).unwrap();
    let second = store
        .rotate(&made.id, Duration::from_secs(60), at(10))
        .unwrap();
    let ring = store.load().unwrap();
    let now = key(&store, &made.id);
    assert!(now.proven_by(second.expose(), at(10)).is_some());
    assert!(now.proven_by(first.expose(), at(69)).is_some());
    assert_eq!(ring.ended(&old, at(69)), None);
    assert!(now.proven_by(first.expose(), at(70)).is_none());
    assert_eq!(ring.ended(&old, at(70)), Some(Ended::Rotated));
    // Of three secrets two are good at most.
    let third = store
        .rotate(&made.id, Duration::from_secs(60), at(20))
        .unwrap();
    let now = key(&store, &made.id);
    assert!(now.proven_by(first.expose(), at(21)).is_none());
    assert!(now.proven_by(second.expose(), at(21)).is_some());
    let middle = now.proven_by(second.expose(), at(21)).unwrap();
    // Without an overlap the old one ends with the rotation: it may have leaked.
    store.rotate(&made.id, Duration::ZERO, at(30)).unwrap();
    let now = key(&store, &made.id);
    assert!(now.proven_by(third.expose(), at(30)).is_none());
    let ring = store.load().unwrap();
    assert_eq!(ring.ended(&middle, at(30)), Some(Ended::Rotated));
    assert!(store.rotate("bw-none", Duration::ZERO, at(30)).is_err());
}

#[test]
fn revoked_is_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (made, secret) = store.create(KeySpec::unlimited(), at(0)).unwrap();
    let (other, _) = store.create(KeySpec::unlimited(), at(1)).unwrap();
    let before = store.load().unwrap();
    let identity = made.proven_by(secret.expose(), at(1)).unwrap();
    assert!(!store.has_changed(&before).unwrap());
    assert_eq!(before.ended(&identity, at(1)), None);
    store.revoke(&made.id, at(5)).unwrap();
    assert!(store.has_changed(&before).unwrap());
    let ring = store.load().unwrap();
    assert_eq!(ring.ended(&identity, at(5)), Some(Ended::Revoked));
    let kept = key(&store, &made.id);
    assert_eq!((kept.revoked, kept.secrets.len()), (Some(at(5)), 0));
    assert!(kept.proven_by(secret.expose(), at(5)).is_none());
    assert!(store.rotate(&made.id, Duration::ZERO, at(6)).is_err());
    assert_eq!(store.revoke(&made.id, at(9)).unwrap().revoked, Some(at(5)));
    let ids: Vec<String> = ring.list().iter().map(|key| key.id.clone()).collect();
    assert_eq!(ids, [made.id, other.id], "in the order of their making");
    let told = store.revoke("a\nb", at(1)).unwrap_err();
    assert!(matches!(told, VaultError::Missing { .. }));
    assert!(!told.to_string().contains('\n'), "{told}");
    std::fs::remove_file(dir.path().join("keys.vault")).unwrap();
    let empty = store.load().unwrap();
    assert_eq!(empty.ended(&identity, at(6)), Some(Ended::Gone));
}

#[test]
fn keys_of_memory_are_like_others() {
    let mut ring = KeyRing::default();
    let now = at(1);
    assert!(!ring.has(Permission::Admin, now));
    let secret = ring.add("demo", KeySpec::unlimited(), now).unwrap();
    assert!(ring.has(Permission::Admin, now));
    let identity = ring.get("demo").unwrap().proven_by(secret.expose(), now);
    let identity = identity.unwrap();
    assert_eq!(ring.ended(&identity, now), None);
    assert_eq!(ring.replaced_by(None).ended(&identity, now), None);
}

#[test]
fn networks_are_what_they_say() {
    let has = |network: &str, address: &str| {
        let network = Network::parse(network).unwrap_or_else(|| panic!("{network}"));
        network.has(address.parse().unwrap())
    };
    for (network, address, is_in) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.0", false),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.6", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true),
        ("::/0", "10.0.0.1", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::1", "::1", true),
        ("::ffff:10.0.0.0/104", "10.9.9.9", true),
    ] {
        assert_eq!(has(network, address), is_in, "{network} {address}");
    }
    for text in [
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0/8",
        "::1/129",
        "2001:db8::1/32",
        "localhost",
        "10.0.0.0/8/8",
        " 10.0.0.1",
        "::ffff:10.0.0.0/8",
    ] {
        assert!(Network::parse(text).is_none(), "{text}");
    }
}

#[test]
fn specifications_name_the_item_that_is_wrong() {
    for (permissions, providers, ips, names) in [
        ("", "", "", ["`permissions`", "spot_trading"]),
        ("spot", "", "", ["\"spot\"", "spot_trading"]),
        ("admin", "mtgox", "", ["\"mtgox\"", "coinbase"]),
        ("admin", "", "10.0.0.1/8", ["\"10.0.0.1/8\"", "10.0.0.0/8"]),
    ] {
        let told = KeySpec::parse(permissions, providers, ips)
            .unwrap_err()
            .to_string();
        assert!(names.iter().all(|name| told.contains(name)), "{told}");
    }
    let now = TsNanos::parse("2026-01-01").unwrap();
    for (text, then) in [
        ("90d", "2026-04-01"),
        ("12h", "2026-01-01T12:00:00Z"),
        ("30m", "2026-01-01T00:30:00Z"),
        ("2026-02-01", "2026-02-01"),
    ] {
        assert_eq!(
            expiry(text, now).unwrap(),
            TsNanos::parse(then).unwrap(),
            "{text}"
        );
    }
    for text in [
        "",
        "d",
        "0d",
        "90",
        "90x",
        "2025-01-01",
        "-1d",
        "4294967295d",
        "naïv",
    ] {
        let result = expiry(text, now);
        assert!(result.is_err(), "{text}: {result:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Against the definition: the first bits are the same.
    #[test]
    fn a_network_has_what_begins_alike(base: u32, bits in 0u32..=32, other: u32, is_near: bool) {
        let kept = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
        let base = base & kept;
        let other = if is_near { base | (other & !kept) } else { other };
        let text = format!("{}/{bits}", std::net::Ipv4Addr::from_bits(base));
        let network = Network::parse(&text).unwrap();
        let is_in = (0..bits).all(|bit| (base ^ other) & (1 << (31 - bit)) == 0);
        prop_assert_eq!(network.has(std::net::Ipv4Addr::from_bits(other).into()), is_in);
        prop_assert_eq!(Network::parse(&network.to_string()), Some(network));
    }
}
