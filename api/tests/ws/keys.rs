//! Sessions that prove API keys, and how they end with them.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bookwire_api::auth::{Auth, KeyFiles, Started};
use bookwire_engine::config::Config;
use bookwire_engine::keys::{KeySpec, KeyStore};
use bookwire_engine::time::TsNanos;
use bookwire_engine::vault::{MasterKey, MasterSources, Secret};
use serde_json::Value;

use crate::rig::{Client, Rig, until};

fn now() -> TsNanos {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    TsNanos(i64::try_from(since.as_nanos()).unwrap())
}

fn spec(providers: &str) -> KeySpec {
    KeySpec::parse("spot_trading", providers, "").unwrap()
}

/// Signs as the contract says: timestamp, key, provider.
fn frame(id: &str, secret: &Secret, provider: &str, ms: i64) -> String {
    let text = format!("{ms}{id}{provider}");
    let signature = secret.sign(&[text.as_bytes()]);
    let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        r#"{{"id":7,"method":"auth","params":{{"provider":"{provider}","api_key":"{id}","signature":"{signature}","timestamp":{ms}}}}}"#
    )
}

async fn prove(client: &mut Client, id: &str, secret: &Secret, provider: &str) -> Value {
    client
        .ask(&frame(id, secret, provider, now().as_ms()))
        .await
}

#[tokio::test]
async fn a_key_is_proven_once_for_each_provider() {
    let auth = Auth::new(&Config::default(), None);
    let secret = auth.add("bw-1", spec("binance,okx")).unwrap();
    let rig = Rig::start_with_keys(auth);
    let mut client = rig.client().await;
    let first = frame("bw-1", &secret, "binance", now().as_ms());
    let answer = client.ask(&first).await;
    assert_eq!(answer["status"], "authenticated", "{answer}");
    assert_eq!(
        (&answer["id"], &answer["method"]),
        (&7.into(), &"auth".into())
    );
    assert_eq!(answer["provider"], "binance");
    assert_eq!(answer["permissions"], serde_json::json!(["spot_trading"]));
    let answer = prove(&mut client, "bw-1", &secret, "okx").await;
    assert_eq!(answer["status"], "authenticated", "{answer}");
    let other = first.replace("\"provider\":\"binance\"", "\"provider\":\"okx\"");
    let stale = frame("bw-1", &secret, "binance", now().as_ms() - 6_000);
    let wrong = frame("bw-1", &Secret::new("wrong"), "binance", now().as_ms());
    let nobody = frame("bw-2", &secret, "binance", now().as_ms());
    for (frame, code) in [
        (first.clone(), "CRYPTO_UNAUTHORIZED"),
        (other, "CRYPTO_UNAUTHORIZED"),
        (stale, "CRYPTO_UNAUTHORIZED"),
        (wrong, "CRYPTO_UNAUTHORIZED"),
        (nobody, "CRYPTO_UNAUTHORIZED"),
        (
            frame("bw-1", &secret, "bybit", now().as_ms()),
            "CRYPTO_FORBIDDEN",
        ),
        (
            frame("bw-1", &secret, "mtgox", now().as_ms()),
            "CRYPTO_INVALID_PARAMETER",
        ),
    ] {
        let answer = client.ask(&frame).await;
        assert_eq!(answer["error"]["code"], code, "{frame}: {answer}");
    }
    // Neither on another connection.
    let mut second = rig.client().await;
    let answer = second.ask(&first).await;
    assert_eq!(answer["error"]["code"], "CRYPTO_UNAUTHORIZED", "{answer}");
    assert!(answer.to_string().contains("used before"), "{answer}");
    // What failed takes nothing away.
    assert_eq!(client.ask(r#"{"method":"ping"}"#).await["status"], "pong");
}

fn store(auth: &Auth, dir: &Path) -> KeyStore {
    let sources = MasterSources {
        variable: None,
        file: "".into(),
        credentials_dir: None,
        data_dir: dir.to_owned(),
    };
    let (master, _) = MasterKey::find_or_make(&sources).unwrap();
    let files = KeyFiles {
        sources,
        data_dir: dir.to_owned(),
    };
    assert_eq!(auth.follow(files).unwrap(), Started::Open);
    KeyStore::new(dir, master)
}

#[tokio::test]
async fn a_session_ends_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let auth = Auth::new(&Config::default(), None);
    let store = store(&auth, dir.path());
    let make = || store.create(spec(""), now()).unwrap();
    let (revoked, rotated, kept) = (make(), make(), make());
    let mut changes = auth.changes();
    while changes.borrow_and_update().list().len() < 3 {
        changes.changed().await.unwrap();
    }
    let keys = auth.clone();
    let rig = Rig::start_with_keys(auth);
    let mut anybody = rig.client().await;
    let mut clients = Vec::new();
    for (key, secret) in [&revoked, &rotated, &kept] {
        let mut client = rig.client().await;
        let answer = prove(&mut client, &key.id, secret, "binance").await;
        assert_eq!(answer["status"], "authenticated", "{answer}");
        clients.push(client);
    }
    let mut clients = clients.into_iter();
    let mut next = || clients.next().unwrap();
    let (mut of_revoked, mut of_rotated, mut of_kept) = (next(), next(), next());
    let since = Instant::now();
    store.revoke(&revoked.0.id, now()).unwrap();
    let (code, reason) = of_revoked.closed().await;
    assert_eq!((code, &*reason), (1008, "auth: the API key was revoked"));
    // A fifth of a second, and what a busy machine adds.
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    // While the old secret is good, so are those who have proven it.
    let newer = store
        .rotate(&rotated.0.id, Duration::from_secs(60), now())
        .unwrap();
    until("the rotation", || {
        let ring = keys.ring();
        let key = ring.get(&rotated.0.id).unwrap();
        key.proven_by(newer.expose(), now()).is_some()
    })
    .await;
    assert_eq!(
        of_rotated.ask(r#"{"method":"ping"}"#).await["status"],
        "pong"
    );
    store.rotate(&rotated.0.id, Duration::ZERO, now()).unwrap();
    assert_eq!(of_rotated.closed().await.0, 1008);
    for client in [&mut anybody, &mut of_kept] {
        assert_eq!(client.ask(r#"{"method":"ping"}"#).await["status"], "pong");
    }
}

#[tokio::test]
async fn a_session_ends_when_its_key_expires() {
    let auth = Auth::new(&Config::default(), None);
    let short = KeySpec {
        expires: Some(TsNanos(now().0 + 1_500_000_000)),
        ..spec("")
    };
    let secret = auth.add("bw-1", short).unwrap();
    let rig = Rig::start_with_keys(auth);
    let mut client = rig.client().await;
    let answer = prove(&mut client, "bw-1", &secret, "binance").await;
    assert_eq!(answer["status"], "authenticated", "{answer}");
    let (code, reason) = client.closed().await;
    assert!(
        code == 1008 && reason.starts_with("auth: the API key expired at"),
        "{code} {reason}"
    );
}

#[tokio::test]
async fn market_data_that_are_not_open_need_a_key_for_their_provider() {
    let auth = Auth::new(&Config::default(), None);
    let reads = |providers| KeySpec::parse("data_access", providers, "").unwrap();
    let reader = auth.add("bw-reader", reads("binance")).unwrap();
    let trader = auth.add("bw-trader", spec("")).unwrap();
    let elsewhere = auth.add("bw-okx", reads("okx")).unwrap();
    let rig = Rig::start_closed(auth);
    let trades = r#"{"method":"subscribe","params":{"stream":"crypto.trades","provider":"binance","symbols":["btcusdt"]}}"#;
    let mut client = rig.client().await;
    let answer = client.ask(trades).await;
    assert_eq!(answer["error"]["code"], "CRYPTO_UNAUTHORIZED", "{answer}");
    let told = answer["error"]["recovery_suggestions"].to_string();
    assert!(told.contains("data_access"), "{answer}");
    // Neither a key for something else, nor one for somebody else.
    let answer = prove(&mut client, "bw-okx", &elsewhere, "okx").await;
    assert_eq!(answer["status"], "authenticated", "{answer}");
    let answer = client.ask(trades).await;
    assert_eq!(answer["error"]["code"], "CRYPTO_UNAUTHORIZED", "{answer}");
    let answer = prove(&mut client, "bw-trader", &trader, "binance").await;
    assert_eq!(answer["status"], "authenticated", "{answer}");
    let answer = client.ask(trades).await;
    assert_eq!(answer["error"]["code"], "CRYPTO_FORBIDDEN", "{answer}");
    let answer = prove(&mut client, "bw-reader", &reader, "binance").await;
    assert_eq!(answer["status"], "authenticated", "{answer}");
    let answer = client.ask(trades).await;
    assert_eq!(answer["status"], "subscribed", "{answer}");
    // What is not there is told as before.
    let nowhere = trades.replace("binance", "mtgox");
    let answer = client.ask(&nowhere).await;
    assert_eq!(
        answer["error"]["code"], "CRYPTO_INVALID_PARAMETER",
        "{answer}"
    );
    assert_eq!(client.ask(r#"{"method":"ping"}"#).await["status"], "pong");
}
