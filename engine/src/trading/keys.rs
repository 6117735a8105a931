//! A key of an exchange, ready to sign: parsed and prepared once, used for every request.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::{CryptoCode, CryptoError};
use crate::instrument::Market;
use crate::vault::{Secret, signing};

/// What a key signs with.
enum Signing {
    /// HMAC-SHA256; the state after the key's block, copied for each text.
    Hmac(Box<Hmac<Sha256>>),
    /// Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
    /// ECDSA on P-256 with SHA-256.
    Es256(Box<EcdsaKeyPair>, SystemRandom),
    /// Nothing here: a bridge signs, and is handed the secret.
    Handed(Handed),
}

/// What a bridge is handed of a key.
pub struct Handed {
    /// Which of the bridge's exchanges the key is of.
    exchange: String,
    /// The markets that it is used for.
    markets: Vec<Market>,
    secret: Zeroizing<String>,
}

impl Handed {
    /// Which of the bridge's exchanges the key is of: `kraken`.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The markets that the key is used for.
    #[must_use]
    pub fn markets(&self) -> &[Market] {
        &self.markets
    }

    /// The secret, for the bridge alone.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

/// A key of an exchange. No `Debug`, no `Serialize`: nothing of it can slip out.
pub struct Keys {
    api_key: String,
    passphrase: Option<Zeroizing<String>>,
    signing: Signing,
}

/// The kind of a [`Keys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// HMAC-SHA256 with a shared secret.
    Hmac,
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Whatever the bridge that it is handed to makes of it.
    Handed,
}

fn wrong(what: &str) -> CryptoError {
    CryptoError::new(CryptoCode::Unauthorized, what)
        .with("accepted", ACCEPTED)
        .suggest("store the credential again, as the exchange has shown it")
}

const ACCEPTED: &str = "a shared secret as text; a PEM of an Ed25519 or EC (P-256) private key; \
                        an Ed25519 seed (32 bytes) or seed and public key (64 bytes) in base64";

fn check_name(api_key: &str) -> Result<(), CryptoError> {
    match !api_key.is_empty() && api_key.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(wrong(
            "the API key is empty or has characters that no key has",
        )),
    }
}

impl Keys {
    /// Reads a key. A PEM, or base64 of an Ed25519 key where `kind` says so, else a shared secret.
    ///
    /// # Errors
    /// `CRYPTO_UNAUTHORIZED` saying what is wrong; nothing of the secret is in it.
    pub fn new(
        kind: KeyKind,
        api_key: &str,
        secret: &str,
        passphrase: Option<&str>,
    ) -> Result<Self, CryptoError> {
        check_name(api_key)?;
        let tidy = |secret: &str| signing::tidy(&Secret::new(secret.as_bytes()));
        let signing = match kind {
            KeyKind::Hmac => {
                if secret.is_empty() {
                    return Err(wrong("the secret is empty"));
                }
                let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
                    .map_err(|_| wrong("the secret can't be used"))?;
                Signing::Hmac(Box::new(mac))
            }
            KeyKind::Ed25519 => {
                let pair = tidy(secret).and_then(|secret| signing::ed25519(&secret));
                let pair = pair.map_err(|_| wrong("the Ed25519 key can't be read"))?;
                Signing::Ed25519(Box::new(pair))
            }
            KeyKind::Es256 => {
                let pair = tidy(secret).and_then(|secret| signing::ec(&secret));
                let pair = pair.map_err(|_| {
                    wrong("the EC key is no PEM of a P-256 key with its public half")
                })?;
                Signing::Es256(Box::new(pair), SystemRandom::new())
            }
            KeyKind::Handed => return Err(wrong("a bridge's key needs its exchange")),
        };
        Ok(Self::made(api_key, passphrase, signing))
    }

    /// A key of one of a bridge's exchanges, which the bridge signs with.
    ///
    /// # Errors
    /// `CRYPTO_UNAUTHORIZED` saying what is wrong; nothing of the secret is in it.
    pub fn handed(
        exchange: &str,
        markets: &[Market],
        api_key: &str,
        secret: &str,
        passphrase: Option<&str>,
    ) -> Result<Self, CryptoError> {
        check_name(api_key)?;
        if secret.is_empty() {
            return Err(wrong("the secret is empty"));
        }
        let handed = Handed {
            exchange: exchange.to_owned(),
            markets: markets.to_vec(),
            secret: Zeroizing::new(secret.to_owned()),
        };
        Ok(Self::made(api_key, passphrase, Signing::Handed(handed)))
    }

    fn made(api_key: &str, passphrase: Option<&str>, signing: Signing) -> Self {
        Self {
            api_key: api_key.to_owned(),
            passphrase: passphrase.map(|text| Zeroizing::new(text.to_owned())),
            signing,
        }
    }

    /// What a bridge is handed; `None` for keys that sign here.
    #[must_use]
    pub const fn handed_on(&self) -> Option<&Handed> {
        match &self.signing {
            Signing::Handed(handed) => Some(handed),
            _ => None,
        }
    }

    /// The key's name, which travels with requests.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The passphrase that belongs to it (OKX).
    #[must_use]
    pub fn passphrase(&self) -> Option<&str> {
        self.passphrase.as_ref().map(|text| text.as_str())
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        match &self.signing {
            Signing::Hmac(_) => KeyKind::Hmac,
            Signing::Ed25519(_) => KeyKind::Ed25519,
            Signing::Es256(..) => KeyKind::Es256,
            Signing::Handed(_) => KeyKind::Handed,
        }
    }

    /// The raw signature of `text`: HMAC 32 bytes, Ed25519 64, ES256 r and s, 64.
    ///
    /// # Errors
    /// `CRYPTO_INTERNAL_ERROR`: the machine has no random numbers (ES256). `CRYPTO_UNAUTHORIZED`: it is
    /// a bridge's.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(match &self.signing {
            Signing::Hmac(prepared) => {
                let mut mac = (**prepared).clone();
                mac.update(text);
                mac.finalize().into_bytes().to_vec()
            }
            Signing::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Signing::Es256(pair, random) => {
                let signature = pair.sign(random, text).map_err(|_| {
                    CryptoError::new(
                        CryptoCode::InternalError,
                        "no random numbers for a signature",
                    )
                })?;
                signature.as_ref().to_vec()
            }
            Signing::Handed(_) => return Err(wrong("the key signs at a bridge alone")),
        })
    }

    /// The signature in lower-case hex.
    ///
    /// # Errors
    /// As [`Keys::sign`].
    pub fn sign_hex(&self, text: &[u8]) -> Result<String, CryptoError> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut out = String::with_capacity(64);
        for byte in self.sign(text)? {
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Ok(out)
    }

    /// The signature in base64 with padding.
    ///
    /// # Errors
    /// As [`Keys::sign`].
    pub fn sign_base64(&self, text: &[u8]) -> Result<String, CryptoError> {
        Ok(STANDARD.encode(self.sign(text)?))
    }

    /// A JSON Web Token (RFC 7515, compact form) of two JSON texts.
    ///
    /// # Errors
    /// As [`Keys::sign`].
    pub fn jwt(&self, header: &str, payload: &str) -> Result<String, CryptoError> {
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The public half, where there is one: Ed25519 32 bytes, P-256 an uncompressed point.
    #[must_use]
    pub fn public_key(&self) -> Option<&[u8]> {
        match &self.signing {
            Signing::Hmac(_) | Signing::Handed(_) => None,
            Signing::Ed25519(pair) => Some(pair.public_key().as_ref()),
            Signing::Es256(pair, _) => Some(pair.public_key().as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    // A key made for tests, in both forms; see `engine/src/exchange/coinbase`.
    const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----\n\
        MHcCAQEEIICGSfk4QyQTKsgfANYmEWJThNHtHFPj1SBQRDlbt0m0oAoGCCqGSM49\n\
        AwEHoUQDQgAE74UKQFfApLOdmSRhvUwc+vfofphtswb4ICRj9xYpXrQkiOjGOEyS\n\
        tPt41J3EcJrIAuxPSIR2fqmSvBkJE4DmhQ==\n-----END EC PRIVATE KEY-----\n";
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggIZJ+ThDJBMqyB8A\\n\
        1iYRYlOE0e0cU+PVIFBEOVu3SbShRANCAATvhQpAV8Cks52ZJGG9TBz69+h+mG2z\\n\
        BvggJGP3FiletCSI6MY4TJK0+3jUncRwmsgC7E9IhHZ+qZK8GQkTgOaF\\n-----END PRIVATE KEY-----\\n";
    const ED25519: &str =
        "XzUkNdGvqizCZ7uwxz2fN/bjNBMsRBjilox5ejvNFP0YIZCY7w/m5Z0YkXWA+oNQhigNc5pagzyMMuqLLuhBnQ==";

    #[test]
    fn hmac_is_that_of_the_rfc() {
        // RFC 4231, test case 2.
        let keys = Keys::new(KeyKind::Hmac, "k", "Jefe", None).ok().unwrap();
        let text = b"what do ya want for nothing?";
        let hex = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(keys.sign_hex(text).unwrap(), hex);
        // The prepared state is not used up.
        assert_eq!(keys.sign_hex(text).unwrap(), hex);
    }

    #[test]
    fn ec_keys_of_both_forms_are_the_same_key() {
        let forms =
            [SEC1, PKCS8].map(|text| Keys::new(KeyKind::Es256, "k", text, None).ok().unwrap());
        assert_eq!(forms[0].public_key(), forms[1].public_key());
        for keys in &forms {
            let signature = keys.sign(b"text").unwrap();
            let public =
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, keys.public_key().unwrap());
            public.verify(b"text", &signature).unwrap();
        }
    }

    #[test]
    fn ed25519_tokens_are_those_of_the_vector() {
        let keys = Keys::new(KeyKind::Ed25519, "k", ED25519, None)
            .ok()
            .unwrap();
        let kid = "00000000-0000-0000-0000-000000000003";
        let header = format!(
            r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}","nonce":"00112233445566778899aabbccddeeff"}}"#
        );
        let payload = format!(
            r#"{{"sub":"{kid}","iss":"cdp","nbf":1700000000,"exp":1700000120,"uri":"GET api.coinbase.com/api/v3/brokerage/accounts"}}"#
        );
        let token = keys.jwt(&header, &payload).unwrap();
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!(
            signature,
            "eonBYMo_o2sfliI0pgCNgt760HGPHdyHq-kqkDhCCaLUZTObPwfQ5O0F1h9JBrCegtEby5TaqsU1S-9O_Hn6AA"
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for (kind, key, secret) in [
            (KeyKind::Hmac, "", "canary-secret"),
            (KeyKind::Hmac, "two words", "canary-secret"),
            (KeyKind::Hmac, "k", ""),
            (KeyKind::Ed25519, "k", "canary-secret"),
            (KeyKind::Ed25519, "k", "Y2FuYXJ5LXNlY3JldA=="),
            (KeyKind::Es256, "k", "canary-secret"),
            (
                KeyKind::Es256,
                "k",
                "-----BEGIN EC PRIVATE KEY-----\nY2FuYXJ5\n-----END EC PRIVATE KEY-----",
            ),
        ] {
            let error = Keys::new(kind, key, secret, None).err().unwrap();
            let text = format!("{error:?}");
            assert!(
                !text.contains("canary") && !text.contains("Y2FuYXJ5"),
                "{text}"
            );
        }
    }
}
