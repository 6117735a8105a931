//! Who may ask: signatures, clocks, and the keys of test accounts.
//!
//! Written for the simulators on their own: a client's signature is checked by other code than the
//! one that made it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature as EdSignature, SigningKey as EdSigning, VerifyingKey as EdKey};
use hmac::{Hmac, KeyInit, Mac};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature as EcSignature, SigningKey as EcSigning, VerifyingKey as EcKey};
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use sha2::Sha256;

/// What proves that a request is its owner's.
#[derive(Clone)]
pub(crate) enum Proof {
    /// A shared secret, for HMAC-SHA256.
    Secret(String),
    /// A public key.
    Ed25519(EdKey),
    /// A public key on P-256, for ES256.
    P256(EcKey),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Ed25519(_) => "Ed25519",
            Self::P256(_) => "P256",
        })
    }
}

fn mac(secret: &str, payload: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(payload);
    Some(mac)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

/// HMAC-SHA256 in lower-case hexadecimal.
pub(crate) fn hmac_hex(secret: &str, payload: &[u8]) -> String {
    let tag = mac(secret, payload).map(|mac| mac.finalize().into_bytes());
    let bytes = tag.iter().flatten();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// HMAC-SHA256 in base64.
pub(crate) fn hmac_base64(secret: &str, payload: &[u8]) -> String {
    let tag = mac(secret, payload).map(|mac| mac.finalize().into_bytes());
    tag.map(|tag| STANDARD.encode(tag)).unwrap_or_default()
}

impl Proof {
    /// Whether a signature in hexadecimal (HMAC) or base64 (Ed25519) is that of the payload.
    pub(crate) fn proves(&self, payload: &[u8], signature: &str) -> bool {
        match self {
            Self::Secret(secret) => from_hex(signature)
                .zip(mac(secret, payload))
                .is_some_and(|(tag, mac)| mac.verify_slice(&tag).is_ok()),
            Self::Ed25519(_) | Self::P256(_) => self.proves_base64(payload, signature),
        }
    }

    /// Whether a signature in base64 is that of the payload.
    pub(crate) fn proves_base64(&self, payload: &[u8], signature: &str) -> bool {
        let bytes = STANDARD.decode(signature);
        bytes.is_ok_and(|bytes| self.proves_bytes(payload, &bytes))
    }

    /// As [`Proof::proves_base64`] in the form of JSON web tokens.
    pub(crate) fn proves_url_base64(&self, payload: &[u8], signature: &str) -> bool {
        let bytes = URL_SAFE_NO_PAD.decode(signature);
        bytes.is_ok_and(|bytes| self.proves_bytes(payload, &bytes))
    }

    fn proves_bytes(&self, payload: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(secret) => {
                mac(secret, payload).is_some_and(|mac| mac.verify_slice(signature).is_ok())
            }
            Self::Ed25519(key) => EdSignature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(payload, &signature).is_ok()),
            Self::P256(key) => EcSignature::from_slice(signature)
                .is_ok_and(|signature| key.verify(payload, &signature).is_ok()),
        }
    }
}

/// How far a client's clock may be off, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) behind_ms: i64,
    pub(crate) ahead_ms: i64,
}

/// A time outside the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skew {
    Behind,
    Ahead,
}

impl Window {
    /// Whether a request of `sent_ms` may be served at `now_ms`.
    pub(crate) const fn check(self, now_ms: i64, sent_ms: i64) -> Result<(), Skew> {
        if sent_ms.saturating_sub(now_ms) > self.ahead_ms {
            return Err(Skew::Ahead);
        }
        if now_ms.saturating_sub(sent_ms) > self.behind_ms {
            return Err(Skew::Behind);
        }
        Ok(())
    }
}

/// Makes the keys of test accounts, the same from the same seed.
pub(crate) struct Forge(StdRng);

impl Forge {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Letters and digits.
    pub(crate) fn text(&mut self, length: usize) -> String {
        Alphanumeric.sample_string(&mut self.0, length)
    }

    /// A random UUID.
    pub(crate) fn uuid(&mut self) -> String {
        uuid((u128::from(self.0.next_u64()) << 64) | u128::from(self.0.next_u64()))
    }

    /// An Ed25519 key: the public part, and the private one as PKCS#8 in PEM.
    pub(crate) fn ed25519(&mut self) -> (Proof, String) {
        let mut seed = [0_u8; 32];
        self.0.fill_bytes(&mut seed);
        // RFC 8410: the version, the algorithm's identifier, and the key in an octet string.
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        der.extend(seed);
        let proof = Proof::Ed25519(EdSigning::from_bytes(&seed).verifying_key());
        (proof, pem("PRIVATE KEY", &der))
    }

    /// A P-256 key: the public part, and the private one as SEC 1 in PEM.
    pub(crate) fn p256(&mut self) -> (Proof, String) {
        loop {
            let mut secret = [0_u8; 32];
            self.0.fill_bytes(&mut secret);
            // Nearly every number is a key.
            let Ok(key) = EcSigning::from_slice(&secret) else {
                continue;
            };
            let public = *key.verifying_key();
            let point = public.to_sec1_point(false);
            // RFC 5915: the version, the key, the curve's identifier, and the public point.
            let mut der = vec![0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
            der.extend(secret);
            der.extend([
                0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
            ]);
            der.extend([0xa1, 0x44, 0x03, 0x42, 0x00]);
            der.extend(point.as_bytes());
            return (Proof::P256(public), pem("EC PRIVATE KEY", &der));
        }
    }
}

/// A number in the form of a version 4 UUID.
pub(crate) fn uuid(number: u128) -> String {
    let number = (number & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

/// Numbers are below this power of two, so that they fit into an id's last bits.
const NUMBER_BITS: u32 = 62;

/// An id in the form of a UUID, with the number in its last bits.
pub(crate) fn numbered_uuid(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    uuid((u128::from(mixed) << 64) | u128::from(number))
}

/// The number of such an id; `None`: it is not one.
pub(crate) fn number_of_uuid(id: &str) -> Option<u64> {
    let bits = u128::from_str_radix(&id.replace('-', ""), 16).ok()?;
    let number = u64::try_from(bits & ((1 << NUMBER_BITS) - 1)).ok()?;
    (numbered_uuid(number) == id).then_some(number)
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for (at, letter) in body.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signer as _;
    use p256::ecdsa::signature::Signer as _;

    use super::*;

    #[test]
    fn hmac_is_checked_in_both_forms() {
        // Test case 2 of RFC 4231.
        let payload = b"what do ya want for nothing?";
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac_hex("Jefe", payload), expected);
        let proof = Proof::Secret("Jefe".to_owned());
        assert!(proof.proves(payload, expected));
        assert!(proof.proves(payload, &expected.to_uppercase()));
        assert!(proof.proves_base64(payload, &hmac_base64("Jefe", payload)));
        for bad in ["", "5b", "zz", &expected[2..], "é5"] {
            assert!(!proof.proves(payload, bad), "{bad}");
        }
        assert!(!proof.proves(b"what", expected));
        assert_eq!(format!("{proof:?}"), "Secret");
    }

    #[test]
    fn made_keys_sign_for_their_owner() {
        let mut forge = Forge::new(3);
        let (proof, text) = forge.ed25519();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI"));
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        let key = EdSigning::from_bytes(der[16..].try_into().unwrap());
        let signature = STANDARD.encode(key.sign(b"a=1").to_bytes());
        assert!(proof.proves(b"a=1", &signature));
        assert!(!proof.proves(b"a=2", &signature));

        let (proof, text) = forge.p256();
        assert!(text.starts_with("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI"));
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).unwrap();
        let key = EcSigning::from_slice(&der[7..39]).unwrap();
        let signature: EcSignature = key.sign(b"header.claims");
        let signature = URL_SAFE_NO_PAD.encode(signature.to_bytes());
        assert!(proof.proves_url_base64(b"header.claims", &signature));
        assert!(!proof.proves_url_base64(b"header.other", &signature));
        assert_eq!(Forge::new(3).ed25519().1, Forge::new(3).ed25519().1);
    }

    #[test]
    fn clocks_may_be_off_so_far() {
        let window = Window {
            behind_ms: 5_000,
            ahead_ms: 999,
        };
        for (sent, expected) in [
            (5_000, Ok(())),
            (4_999, Err(Skew::Behind)),
            (10_999, Ok(())),
            (11_000, Err(Skew::Ahead)),
            (i64::MAX, Err(Skew::Ahead)),
            (i64::MIN, Err(Skew::Behind)),
        ] {
            assert_eq!(window.check(10_000, sent), expected, "{sent}");
        }
    }

    #[test]
    fn uuids_have_their_form() {
        let text = Forge::new(1).uuid();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]));
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        let [one, other] = [numbered_uuid(7), numbered_uuid(8)];
        assert_eq!(number_of_uuid(&one), Some(7));
        let mixed = format!("{}{}", &one[..18], &other[18..]);
        assert_eq!(number_of_uuid(&mixed), None);
        assert_eq!(number_of_uuid("7"), None);
    }
}
