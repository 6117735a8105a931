//! What exchanges hand out as the secret part of a key, in all the forms in which users have it.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

use super::{Secret, VaultError};

/// How a credential signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// HMAC with a shared text.
    Hmac,
    /// Ed25519: PKCS#8 PEM, or base64 of the 32-byte seed or of seed and public key.
    Ed25519,
    /// ECDSA on P-256: SEC1 or PKCS#8 PEM.
    Ec,
}

/// Longest secret, bytes.
const LENGTH_MAX: usize = 8192;

/// OID 1.3.101.112, as DER.
const OID_ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// OID 1.2.840.10045.2.1 (RFC 5480), as DER.
const OID_EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `INTEGER 0, SEQUENCE { ecPublicKey, prime256v1 }`: what PKCS#8 puts before a SEC1 key.
const PKCS8_P256: &[u8] = &[
    0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
    0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

impl SecretKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hmac, Self::Ed25519, Self::Ec];

    /// Its name: `hmac`, `ed25519`, `ec`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
            Self::Ec => "ec",
        }
    }

    /// The kind of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What a secret looks like. Base64 of 32 or 64 bytes can be a text for HMAC as well, so that
    /// `is_key` has to say whether the exchange hands out keys in that form.
    ///
    /// # Errors
    /// A PEM that holds something else.
    pub fn of(secret: &Secret, is_key: bool) -> Result<Self, VaultError> {
        if let Some((label, der)) = pem(secret)? {
            if label == "EC PRIVATE KEY" {
                return Ok(Self::Ec);
            }
            return match () {
                () if has(&der, OID_ED25519) => Ok(Self::Ed25519),
                () if has(&der, OID_EC) => Ok(Self::Ec),
                () => Err(refused("is of an algorithm that is not supported")),
            };
        }
        if is_key && raw_ed25519(secret).is_some() {
            return Ok(Self::Ed25519);
        }
        Ok(Self::Hmac)
    }
}

fn refused(why: &str) -> VaultError {
    let accepted = "a text of an HMAC key, an Ed25519 key (PKCS#8 PEM or base64), \
                    or a P-256 key (SEC1 or PKCS#8 PEM), not encrypted";
    VaultError::invalid("secret", why, accepted)
}

fn has(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// Takes spaces around it away, and makes line ends of `\n` that somebody has escaped.
pub(crate) fn tidy(secret: &Secret) -> Result<Secret, VaultError> {
    let text = secret.expose_text().trim();
    if text.is_empty() {
        return Err(refused("is empty or is no text"));
    }
    if text.len() > LENGTH_MAX {
        return Err(refused("is longer than 8192 bytes"));
    }
    // One allocation: nothing is left behind by growing.
    let mut out = Zeroizing::new(String::with_capacity(text.len() + 1));
    if text.starts_with("-----BEGIN ") {
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("\\n") {
            out.push_str(before);
            out.push('\n');
            rest = after;
        }
        out.push_str(rest);
        if !out.ends_with('\n') {
            out.push('\n');
        }
    } else {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("holds spaces or characters that are not ASCII"));
        }
        out.push_str(text);
    }
    Ok(Secret::new(out.as_bytes()))
}

/// A PEM block's label and content.
type Block<'a> = (&'a str, Zeroizing<Vec<u8>>);

/// The PEM block of a secret; `None` for what is none.
fn pem(secret: &Secret) -> Result<Option<Block<'_>>, VaultError> {
    let text = secret.expose_text().trim();
    let Some(rest) = text.strip_prefix("-----BEGIN ") else {
        return Ok(None);
    };
    let broken = || refused("is a PEM block that can't be read");
    let (label, rest) = rest.split_once("-----").ok_or_else(broken)?;
    let end = rest.find("-----END ").ok_or_else(broken)?;
    if rest[end..].trim_end() != format!("-----END {label}-----") {
        return Err(broken());
    }
    if !["PRIVATE KEY", "EC PRIVATE KEY"].contains(&label) || rest[..end].contains(':') {
        return Err(refused("is a PEM block of something else, or is encrypted"));
    }
    let mut body = Zeroizing::new(Vec::with_capacity(end));
    body.extend(
        rest[..end]
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace()),
    );
    let der = data_encoding::BASE64.decode(&body).map_err(|_| broken())?;
    Ok(Some((label, Zeroizing::new(der))))
}

/// The seed of a key in base64.
fn raw_ed25519(secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let text = secret.expose_text().trim();
    let mut bytes = Zeroizing::new(data_encoding::BASE64.decode(text.as_bytes()).ok()?);
    match bytes.len() {
        32 => Some(bytes),
        64 => {
            let pair = Ed25519KeyPair::from_seed_and_public_key(&bytes[..32], &bytes[32..]);
            pair.ok()?;
            bytes.truncate(32);
            Some(bytes)
        }
        _ => None,
    }
}

/// The Ed25519 key of a credential's secret.
///
/// # Errors
/// It is none.
pub fn ed25519(secret: &Secret) -> Result<Ed25519KeyPair, VaultError> {
    let wrong = |_| refused("is no Ed25519 key");
    match pem(secret)? {
        Some((_, der)) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(wrong),
        None => {
            let seed = raw_ed25519(secret).ok_or_else(|| refused("is no Ed25519 key"))?;
            Ed25519KeyPair::from_seed_unchecked(&seed).map_err(wrong)
        }
    }
}

/// The P-256 key of a credential's secret; its signatures are `r || s` in 64 bytes.
///
/// # Errors
/// It is none.
pub fn ec(secret: &Secret) -> Result<EcdsaKeyPair, VaultError> {
    let Some((label, der)) = pem(secret)? else {
        return Err(refused("is no PEM block"));
    };
    let der = match label {
        "EC PRIVATE KEY" => {
            let mut inner = Zeroizing::new(Vec::with_capacity(der.len() + 64));
            inner.extend_from_slice(PKCS8_P256);
            inner.push(0x04);
            push_length(&mut inner, der.len());
            inner.extend_from_slice(&der);
            let mut outer = Zeroizing::new(Vec::with_capacity(inner.len() + 8));
            outer.push(0x30);
            push_length(&mut outer, inner.len());
            outer.extend_from_slice(&inner);
            outer
        }
        _ => der,
    };
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    EcdsaKeyPair::from_pkcs8(algorithm, &der, &SystemRandom::new())
        .map_err(|_| refused("is no P-256 key"))
}

/// A DER length; keys are far below 64 KiB.
fn push_length(out: &mut Vec<u8>, length: usize) {
    match length {
        0..128 => out.push(length as u8),
        128..256 => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
}

/// Refuses a secret that is not of this kind.
pub(super) fn check(kind: SecretKind, secret: &Secret) -> Result<(), VaultError> {
    match kind {
        SecretKind::Hmac if pem(secret)?.is_some() => {
            Err(refused("is a PEM block, and the kind is hmac"))
        }
        SecretKind::Hmac => Ok(()),
        SecretKind::Ed25519 => ed25519(secret).map(drop),
        SecretKind::Ec => ec(secret).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair, UnparsedPublicKey};

    use super::*;

    const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----\n\
        MHcCAQEEIICGSfk4QyQTKsgfANYmEWJThNHtHFPj1SBQRDlbt0m0oAoGCCqGSM49\n\
        AwEHoUQDQgAE74UKQFfApLOdmSRhvUwc+vfofphtswb4ICRj9xYpXrQkiOjGOEyS\n\
        tPt41J3EcJrIAuxPSIR2fqmSvBkJE4DmhQ==\n-----END EC PRIVATE KEY-----\n";
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggIZJ+ThDJBMqyB8A\n\
        1iYRYlOE0e0cU+PVIFBEOVu3SbShRANCAATvhQpAV8Cks52ZJGG9TBz69+h+mG2z\n\
        BvggJGP3FiletCSI6MY4TJK0+3jUncRwmsgC7E9IhHZ+qZK8GQkTgOaF\n\
        -----END PRIVATE KEY-----\n";
    const ED25519: &str =
        "XzUkNdGvqizCZ7uwxz2fN/bjNBMsRBjilox5ejvNFP0YIZCY7w/m5Z0YkXWA+oNQhigNc5pagzyMMuqLLuhBnQ==";

    fn tidied(text: &str) -> Secret {
        tidy(&Secret::new(text)).ok().unwrap()
    }

    fn why<T>(result: Result<T, VaultError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn all_forms_of_a_p256_key_are_one_key() {
        let escaped = format!("  {}  ", SEC1.trim().replace('\n', "\\n"));
        let mut public = Vec::new();
        for text in [SEC1, PKCS8, &escaped, SEC1.trim_end()] {
            let secret = tidied(text);
            assert_eq!(SecretKind::of(&secret, false).ok(), Some(SecretKind::Ec));
            let key = ec(&secret).ok().unwrap();
            let signature = key.sign(&SystemRandom::new(), b"message").ok().unwrap();
            let of_key = key.public_key().as_ref().to_vec();
            let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &of_key);
            assert!(verifier.verify(b"message", signature.as_ref()).is_ok());
            public.push(of_key);
        }
        public.dedup();
        assert_eq!(public.len(), 1);
    }

    #[test]
    fn all_forms_of_an_ed25519_key_are_one_key() {
        let whole = data_encoding::BASE64.decode(ED25519.as_bytes()).unwrap();
        let seed = data_encoding::BASE64.encode(&whole[..32]);
        let mut der = vec![
            0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 34, 4, 32,
        ];
        der.extend_from_slice(&whole[..32]);
        let pem = data_encoding::BASE64.encode(&der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----");
        for text in [ED25519, &seed, &pem] {
            let secret = tidied(text);
            assert_eq!(
                SecretKind::of(&secret, true).ok(),
                Some(SecretKind::Ed25519)
            );
            let key = ed25519(&secret).ok().unwrap();
            assert_eq!(key.public_key().as_ref(), &whole[32..], "{}", text.len());
        }
        assert_eq!(
            SecretKind::of(&tidied(ED25519), false).ok(),
            Some(SecretKind::Hmac),
            "an exchange whose secrets are texts"
        );
        let mut other = whole;
        other[40] ^= 1;
        let other = data_encoding::BASE64.encode(&other);
        assert!(ed25519(&tidied(&other)).is_err(), "halves of two keys");
    }

    #[test]
    fn what_can_not_sign_is_refused_without_being_shown() {
        let body = "TUlHSEFnRUFNQk1HQnlxR1NNNDlBZ0VH";
        let encrypted = format!(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----"
        );
        let cut = &SEC1[..120];
        let rsa = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----");
        for text in [&encrypted, cut, &rsa, "", "two words", "naïve"] {
            let result = tidy(&Secret::new(text)).and_then(|s| SecretKind::of(&s, false).map(drop));
            let told = why(result);
            assert!(told.starts_with("`secret` "), "{told}");
            assert!(
                text.is_empty() || !told.contains(text) && !told.contains(body),
                "{told}"
            );
        }
        for (kind, text) in [
            (SecretKind::Hmac, SEC1),
            (SecretKind::Ed25519, SEC1),
            (SecretKind::Ed25519, "hmac-text"),
            (SecretKind::Ec, ED25519),
        ] {
            assert!(check(kind, &tidied(text)).is_err(), "{kind:?}");
        }
    }
}
