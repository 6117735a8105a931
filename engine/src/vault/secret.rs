//! Bytes that must not be seen: no `Debug`, no `Display`, no `Serialize`, overwritten when they are
//! dropped.

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::VaultError;

/// A secret. What it is made from is moved in, so that no copy stays behind, and it is overwritten when
/// the last of it is dropped.
///
/// ```compile_fail
/// fn print<T: std::fmt::Debug>(_: &T) {}
/// print(&bookwire_engine::vault::Secret::new("hidden"));
/// ```
/// ```compile_fail
/// serde_json::to_string(&bookwire_engine::vault::Secret::new("hidden"));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// So many random bytes of the operating system, as text of base64's URL alphabet.
    ///
    /// # Errors
    /// The system gives none.
    pub fn random(bytes: usize) -> Result<Self, VaultError> {
        let mut raw = Zeroizing::new(vec![0; bytes]);
        fill(&mut raw)?;
        let text = data_encoding::BASE64URL_NOPAD.encode(&raw);
        Ok(Self::new(text))
    }

    /// The bytes. Whoever asks for them takes care of where they go.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text; empty for what is none.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `other` is the same. The time depends on their lengths alone.
    #[must_use]
    pub fn is(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }

    /// Whether `signature` is the HMAC-SHA256 of the parts, one after the other; takes the same time
    /// however much of it is right.
    #[must_use]
    pub fn has_signed(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        self.sign(parts).as_slice().ct_eq(signature).into()
    }

    /// HMAC-SHA256 of the parts, one after the other.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
}

/// Fills with random bytes of the operating system.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), VaultError> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| VaultError::NoRandomness)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_means_every_byte() {
        let secret = Secret::new("0123456789abcdef");
        assert!(secret.is(b"0123456789abcdef"));
        for other in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789abcdeF",
        ] {
            assert!(!secret.is(other.as_bytes()), "{other}");
        }
    }

    /// RFC 4231, test case 2.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let secret = Secret::new("Jefe");
        let made = secret.sign(&[b"what do ya want ", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(data_encoding::HEXLOWER.encode(&made), expected);
        let parts: &[&[u8]] = &[b"what do ya want for nothing?"];
        assert!(secret.has_signed(parts, &made));
        for at in 0..32 {
            let mut wrong = made;
            wrong[at] ^= 1;
            assert!(!secret.has_signed(parts, &wrong), "{at}");
        }
        assert!(!secret.has_signed(parts, &made[..31]) && !secret.has_signed(parts, &[]));
    }

    #[test]
    fn random_secrets_are_new_and_long() {
        let (one, other) = (
            Secret::random(32).ok().unwrap(),
            Secret::random(32).ok().unwrap(),
        );
        assert_eq!(one.len(), 43);
        assert!(!one.is(other.expose()) && one.expose_text().is_ascii());
    }
}
