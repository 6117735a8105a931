//! Who asks: the JSON web token of a request or of a subscription.
//!
//! `sub` is the key's name, `exp` at most 120 s after `nbf`, and a token for REST names what it is
//! for: `GET api.coinbase.com/api/v3/brokerage/accounts`, without the query. Clients of a local
//! address name that instead of the host.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::account::auth::Proof;
use crate::account::{AccountId, Accounts, Permissions};

/// Longest life of a token, in seconds.
const LIFE_S: i64 = 120;
/// How far a client's clock may be ahead, in seconds.
const AHEAD_S: i64 = 30;
/// The host that tokens name.
const HOST: &str = "api.coinbase.com";

/// Who asks, and what the key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) id: AccountId,
    pub(crate) may: Permissions,
}

/// What a token has to be for: method, host as the client has it, path.
pub(crate) type Purpose<'a> = (&'a str, &'a str, &'a str);

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Whether a claim names the purpose.
fn names(claims: &Value, (method, host, path): Purpose<'_>) -> bool {
    let one = claims["uri"].as_str();
    let more = claims["uris"].as_array().into_iter().flatten();
    let mut uris = one.into_iter().chain(more.filter_map(Value::as_str));
    uris.any(|uri| {
        let rest = uri.strip_prefix(method).and_then(|it| it.strip_prefix(' '));
        let rest = rest.map(|it| it.strip_prefix("http://").unwrap_or(it));
        let hosts = [HOST, host];
        rest.is_some_and(|rest| {
            let mut hosts = hosts.iter().filter_map(|host| rest.strip_prefix(host));
            hosts.any(|left| left == path)
        })
    })
}

/// Checks a token; `purpose`: of one for REST.
pub(crate) fn check(
    accounts: &Accounts,
    token: &str,
    purpose: Option<Purpose<'_>>,
    now_ms: i64,
) -> Option<Who> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let (header, claims) = (part(header)?, part(claims)?);
    let name = header["kid"].as_str()?;
    let (id, key) = accounts.key(name)?;
    let is_kind = match key.proof {
        Proof::P256(_) => header["alg"] == "ES256",
        Proof::Ed25519(_) => header["alg"] == "EdDSA",
        Proof::Secret(_) => false,
    };
    let is_issuer = matches!(claims["iss"].as_str(), Some("cdp" | "coinbase-cloud"));
    let (begins, ends) = (claims["nbf"].as_i64()?, claims["exp"].as_i64()?);
    let now_s = now_ms.div_euclid(1_000);
    let lives = begins <= now_s + AHEAD_S && now_s < ends && ends - begins <= LIFE_S;
    let fits = purpose.is_none_or(|purpose| names(&claims, purpose));
    let is_whole = is_kind && is_issuer && claims["sub"] == name && lives && fits;
    let is_signed = || key.proof.proves_url_base64(signed.as_bytes(), signature);
    (is_whole && is_signed()).then_some(Who { id, may: key.may })
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use ed25519_dalek::VerifyingKey as EdKey;
    use p256::ecdsa::{SigningKey, VerifyingKey as EcKey};

    use super::*;
    use crate::account::{Key, Rules};

    const EC: &str = "organizations/00000000-0000-0000-0000-000000000001/apiKeys/\
                      00000000-0000-0000-0000-000000000002";
    const ED: &str = "00000000-0000-0000-0000-000000000003";
    const EC_SIGN: &str =
        "NqK_N9LMhy-Sf0PC9lMWgYfX6tiEopqscaneFEI1aUPg78t6jGL2oKikelccj3VJb5RKv-6vBYwbjLYGLnIBeA";
    const ED_SIGN: &str =
        "eonBYMo_o2sfliI0pgCNgt760HGPHdyHq-kqkDhCCaLUZTObPwfQ5O0F1h9JBrCegtEby5TaqsU1S-9O_Hn6AA";
    const NOW_MS: i64 = 1_700_000_000_000;
    const PATH: &str = "/api/v3/brokerage/accounts";

    fn accounts() -> Accounts {
        let body = "MHcCAQEEIICGSfk4QyQTKsgfANYmEWJThNHtHFPj1SBQRDlbt0m0oAoGCCqGSM49\
                    AwEHoUQDQgAE74UKQFfApLOdmSRhvUwc+vfofphtswb4ICRj9xYpXrQkiOjGOEyS\
                    tPt41J3EcJrIAuxPSIR2fqmSvBkJE4DmhQ==";
        let der = STANDARD.decode(body).unwrap();
        let secret = SigningKey::from_slice(&der[7..39]).unwrap();
        let ec: EcKey = *secret.verifying_key();
        let public: Vec<u8> = (0..32)
            .map(|at| {
                let hex = "18219098ef0fe6e59d18917580fa835086280d739a5a833c8c32ea8b2ee8419d";
                u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()
            })
            .collect();
        let ed = EdKey::from_bytes(public.as_slice().try_into().unwrap()).unwrap();
        let key = |name: &str, proof| Key {
            name: name.to_owned(),
            proof,
            passphrase: None,
            may: Permissions::TRADE,
        };
        let mut accounts = Accounts::new(Rules::default());
        accounts.open(vec![key(EC, Proof::P256(ec)), key(ED, Proof::Ed25519(ed))]);
        accounts
    }

    fn token(kid: &str, alg: &str, sign: &str) -> String {
        let header = format!(
            "{{\"alg\":\"{alg}\",\"typ\":\"JWT\",\"kid\":\"{kid}\",\
             \"nonce\":\"00112233445566778899aabbccddeeff\"}}"
        );
        let claims = format!(
            "{{\"sub\":\"{kid}\",\"iss\":\"cdp\",\"nbf\":1700000000,\"exp\":1700000120,\
             \"uri\":\"GET api.coinbase.com{PATH}\"}}"
        );
        let [header, claims] = [header, claims].map(|it| URL_SAFE_NO_PAD.encode(it));
        format!("{header}.{claims}.{sign}")
    }

    #[test]
    fn known_tokens() {
        let accounts = accounts();
        let purpose = Some(("GET", "127.0.0.1:1", PATH));
        for (kid, alg, sign) in [(EC, "ES256", EC_SIGN), (ED, "EdDSA", ED_SIGN)] {
            let good = token(kid, alg, sign);
            let check = |purpose, now_ms| check(&accounts, &good, purpose, now_ms).is_some();
            assert!(check(purpose, NOW_MS), "{alg}");
            assert!(check(purpose, NOW_MS + 119_999));
            assert!(!check(purpose, NOW_MS + 120_000));
            assert!(!check(purpose, NOW_MS - 31_000));
            assert!(!check(Some(("POST", "127.0.0.1:1", PATH)), NOW_MS));
            assert!(!check(
                Some(("GET", "127.0.0.1:1", "/api/v3/brokerage/orders")),
                NOW_MS
            ));
            assert!(check(None, NOW_MS));
        }
        let swapped = token(EC, "ES256", ED_SIGN);
        assert_eq!(check(&accounts, &swapped, purpose, NOW_MS), None);
        let other = token(EC, "EdDSA", EC_SIGN);
        assert_eq!(check(&accounts, &other, purpose, NOW_MS), None);
        for bad in ["", "a.b.c", "..", &token("nobody", "ES256", EC_SIGN)] {
            assert_eq!(check(&accounts, bad, purpose, NOW_MS), None, "{bad}");
        }
    }

    #[test]
    fn tokens_name_what_they_are_for() {
        let purpose = ("GET", "127.0.0.1:41", PATH);
        let is = |claims: Value| names(&claims, purpose);
        let uri = |text: &str| serde_json::json!({ "uri": text });
        assert!(is(uri("GET api.coinbase.com/api/v3/brokerage/accounts")));
        assert!(is(uri("GET http://127.0.0.1:41/api/v3/brokerage/accounts")));
        assert!(is(serde_json::json!({
            "uris": ["GET 127.0.0.1:41/api/v3/brokerage/accounts"]
        })));
        assert!(!is(uri(
            "GET api.coinbase.com/api/v3/brokerage/accounts?limit=1"
        )));
        assert!(!is(uri("GET other.com/api/v3/brokerage/accounts")));
        assert!(!is(serde_json::json!({})));
    }
}
