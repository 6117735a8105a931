//! What a request brings to say whose it is.

use actix_web::http::header::{self, HeaderMap, HeaderName};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::vault::Secret;

use super::replay::Signature;

const KEY: HeaderName = HeaderName::from_static("x-api-key");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// Longest id of a key.
const ID_MAX: usize = 128;

/// How keys are sent, for messages.
pub const FORMS: &str = "send `Authorization: Bearer api_key.secret`, or X-API-Key, X-Timestamp and \
                         X-Signature";

/// A request's key and what proves it.
pub enum Sent {
    /// A key alone proves nothing; `auth/validate` takes it.
    Bare {
        /// The key's id.
        id: String,
    },
    /// The secret itself.
    Bearer {
        /// The key's id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
    /// A signature of the request.
    Signed {
        /// The key's id.
        id: String,
        /// As it was sent, which is what was signed.
        timestamp: Timestamp,
        /// What was signed with the secret.
        signature: Signature,
    },
}

/// Milliseconds since 1970, with their text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// As it was sent.
    pub text: String,
    /// What it says.
    pub ms: i64,
}

impl Timestamp {
    /// Reads digits and nothing else, so that there is one text for a time.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = (1..=15).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'));
        let ms = text.parse().ok().filter(|_| is_number)?;
        let text = text.to_owned();
        Some(Self { text, ms })
    }
}

/// Reads 64 hex digits.
#[must_use]
pub fn signature(text: &str) -> Option<Signature> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    bytes.ok()?.try_into().ok()
}

/// Whether a text can be a key's id: it goes into logs and answers.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=ID_MAX).contains(&text.len()) && text.bytes().all(is_part)
}

/// `CRYPTO_UNAUTHORIZED`. No message repeats what was sent.
pub(super) fn unauthorized(message: impl Into<String>) -> CryptoError {
    CryptoError::new(CryptoCode::Unauthorized, message).suggest(FORMS)
}

/// What the headers bring; `None`: nothing.
///
/// # Errors
/// `CRYPTO_UNAUTHORIZED` for what is half there or in another form.
pub fn read(headers: &HeaderMap) -> Result<Option<Sent>, CryptoError> {
    let one = |name: HeaderName| -> Result<Option<&str>, CryptoError> {
        let mut values = headers.get_all(&name);
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(unauthorized(format!("the header {name} is there twice")));
        }
        let text = value.to_str();
        let text = text.map_err(|_| unauthorized(format!("the header {name} is no text")))?;
        Ok(Some(text.trim()))
    };
    let signed = (one(KEY)?, one(TIMESTAMP)?, one(SIGNATURE)?);
    match (one(header::AUTHORIZATION)?, signed) {
        (None, (None, None, None)) => Ok(None),
        (Some(text), (None, None, None)) => bearer(text).map(Some),
        (None, (Some(id), Some(timestamp), Some(text))) => {
            let timestamp = Timestamp::parse(timestamp).ok_or_else(|| {
                unauthorized("X-Timestamp is no time; accepted: milliseconds since 1970")
            })?;
            let signature = signature(text).ok_or_else(|| {
                unauthorized("X-Signature is no signature; accepted: 64 hex digits")
            })?;
            if !is_id(id) {
                return Err(unauthorized("X-API-Key is no API key"));
            }
            let id = id.to_owned();
            Ok(Some(Sent::Signed {
                id,
                timestamp,
                signature,
            }))
        }
        (Some(_), _) => Err(unauthorized(
            "there is both an Authorization header and one of a signed request",
        )),
        (None, (id, timestamp, _)) => {
            let missing = match (id, timestamp) {
                (None, _) => KEY,
                (_, None) => TIMESTAMP,
                _ => SIGNATURE,
            };
            Err(unauthorized(format!("a signed request lacks {missing}")))
        }
    }
}

fn bearer(text: &str) -> Result<Sent, CryptoError> {
    // RFC 9110: the scheme's case does not matter.
    let bearer = text
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, sent)) = bearer else {
        return Err(unauthorized(
            "the Authorization header is not `Bearer api_key.secret`",
        ));
    };
    let (id, secret) = match sent.trim().split_once('.') {
        Some((id, secret)) => (id, Some(secret)),
        None => (sent.trim(), None),
    };
    if !is_id(id) {
        return Err(unauthorized("what was sent is no API key"));
    }
    let id = id.to_owned();
    Ok(match secret {
        None => Sent::Bare { id },
        Some(secret) => Sent::Bearer {
            id,
            secret: Secret::new(secret),
        },
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn what_is_half_there_is_refused_without_being_repeated() {
        let hex = "ab".repeat(32);
        let rows: &[&[(&str, &str)]] = &[
            &[("authorization", "Basic canary")],
            &[("authorization", "canary")],
            &[("authorization", "Bearer ca nary.secret")],
            &[("authorization", "Bearer .canary")],
            &[
                ("authorization", "Bearer one.canary"),
                ("authorization", "Bearer two.canary"),
            ],
            &[("authorization", "Bearer one.canary"), ("x-api-key", "one")],
            &[("x-api-key", "one")],
            &[("x-api-key", "one"), ("x-timestamp", "1")],
            &[("x-timestamp", "1"), ("x-signature", &hex)],
            &[
                ("x-api-key", "one"),
                ("x-timestamp", "1.5"),
                ("x-signature", &hex),
            ],
            &[
                ("x-api-key", "one"),
                ("x-timestamp", "+1"),
                ("x-signature", &hex),
            ],
            &[
                ("x-api-key", "one"),
                ("x-timestamp", "01"),
                ("x-signature", &hex),
            ],
            &[
                ("x-api-key", "one"),
                ("x-timestamp", "1"),
                ("x-signature", "canary"),
            ],
            &[
                ("x-api-key", "one"),
                ("x-timestamp", "1"),
                ("x-signature", &hex[..62]),
            ],
            &[
                ("x-api-key", "a.b"),
                ("x-timestamp", "1"),
                ("x-signature", &hex),
            ],
        ];
        for row in rows {
            let told = read(&headers(row)).err().unwrap();
            assert_eq!(told.code, CryptoCode::Unauthorized, "{row:?}");
            assert!(!format!("{told:?}").contains("canary"), "{told:?}");
        }
        assert!(read(&headers(&[])).unwrap().is_none());
    }

    #[test]
    fn the_three_forms_are_read() {
        let read = |pairs: &[(&'static str, &str)]| read(&headers(pairs)).unwrap().unwrap();
        assert!(
            matches!(read(&[("authorization", "bearer  bw-1")]), Sent::Bare { id } if id == "bw-1")
        );
        let whole = read(&[("authorization", "Bearer bw-1.a.b")]);
        assert!(matches!(whole, Sent::Bearer { secret, .. } if secret.is(b"a.b")));
        let hex = "AB".repeat(32);
        let signed = [
            ("x-api-key", "bw-1"),
            ("x-timestamp", "1700000000000"),
            ("x-signature", &hex),
        ];
        let Sent::Signed {
            timestamp,
            signature,
            ..
        } = read(&signed)
        else {
            panic!("not signed")
        };
        assert_eq!((timestamp.ms, signature), (1_700_000_000_000, [0xab; 32]));
    }
}
