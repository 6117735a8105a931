//! The operator's key: who may command, not only ask.
//!
//! One key, `id.secret`, out of `BOOKWIRE_ADMIN_KEY` or the file that `server.admin_key_file` names.
//! It proves what an API key with the permission `admin` proves, needs no master key, and ends with the
//! configuration. With neither nobody commands. The secret is kept as a digest only, in a type that can be neither
//! printed nor serialised.

use std::future::{Ready, ready};
use std::path::Path;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::keys::Permission;
use bookwire_engine::vault::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::{self, Auth};
use crate::error::ApiError;
use crate::net::files;

/// The environment's name of the key.
pub const VARIABLE: &str = "BOOKWIRE_ADMIN_KEY";

/// Shortest secret.
const SECRET_LENGTH_MIN: usize = 16;
/// Longest id, and longest secret.
const LENGTH_MAX: usize = 128;

/// What a key looks like, for messages.
pub const FORM: &str = "id.secret: an id of letters, digits, - and _, a dot, and a secret of at \
                        least 16 letters, digits and - . _ ~ + / =";

/// A digest of the key, and its id for the log. No `Debug`, no `Serialize`: a secret can't slip out.
#[derive(Clone)]
pub struct OperatorKey {
    id: String,
    digest: [u8; 32],
}

fn digest(id: &str, secret: &[u8]) -> [u8; 32] {
    // An id holds no dot: the bytes can be made of one id and secret only.
    let digest = Sha256::new().chain_update(id).chain_update(b".");
    digest.chain_update(secret).finalize().into()
}

impl OperatorKey {
    /// Reads `id.secret`.
    ///
    /// # Errors
    /// Why it is none; the text itself is not in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{what}; accepted: {FORM}"));
        let Some((id, secret)) = text.trim().split_once('.') else {
            return wrong("an operator key has an id, a dot and a secret");
        };
        let is_id = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let is_secret = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if id.is_empty() || id.len() > LENGTH_MAX || !id.chars().all(is_id) {
            return wrong("the id of the operator key is not accepted");
        }
        if !(SECRET_LENGTH_MIN..=LENGTH_MAX).contains(&secret.len()) {
            return wrong("the secret of the operator key is too short or too long");
        }
        if !secret.chars().all(is_secret) {
            return wrong("the secret of the operator key has characters that are not accepted");
        }
        Ok(Self {
            id: id.to_owned(),
            digest: digest(id, secret.as_bytes()),
        })
    }

    /// The configured key: the environment's, else the file's; `None` when there is neither.
    ///
    /// # Errors
    /// Where it should be and why it is not one.
    pub fn configured(variable: Option<&str>, file: &Path) -> Result<Option<Self>, String> {
        if let Some(text) = variable.filter(|text| !text.trim().is_empty()) {
            let key = Self::parse(text);
            return key.map(Some).map_err(|why| format!("{VARIABLE}: {why}"));
        }
        if file.as_os_str().is_empty() {
            return Ok(None);
        }
        let place = format!("server.admin_key_file {}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| format!("{place}: {error}"))?;
        warn_if_readable(file);
        let key = Self::parse(&text);
        key.map(Some).map_err(|why| format!("{place}: {why}"))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether `secret` is this key's. Takes the same time however much of it is right.
    #[must_use]
    pub(crate) fn admits(&self, id: &str, secret: &Secret) -> bool {
        digest(id, secret.expose()).ct_eq(&self.digest).into()
    }
}

fn warn_if_readable(file: &Path) {
    if files::is_readable_for_others(file) {
        let file = file.display();
        tracing::warn!(%file, "others can read the operator key: chmod 600");
    }
}

/// Proof that a request bears the operator's key, or an API key with the permission `admin`: handlers
/// that command take it as an argument.
#[derive(Clone, PartialEq, Eq)]
pub struct Operator {
    /// The key's id, for the log.
    pub id: String,
}

impl Operator {
    fn of(request: &HttpRequest) -> Result<Self, CryptoError> {
        let auth = request.app_data::<web::Data<Auth>>();
        if !auth.is_some_and(|auth| auth.has_operator()) {
            let what = "operator commands are off: no operator key is configured";
            let mut error = CryptoError::new(CryptoCode::Forbidden, what);
            error.recovery_suggestions = vec![
                format!("set {VARIABLE}=id.secret, or server.admin_key_file, and restart"),
                "or make a key with `bookwire keys create --permissions admin`".to_owned(),
                format!("an operator's key is {FORM}"),
            ];
            return Err(error);
        }
        let Some(caller) = auth::identified(request) else {
            let error = CryptoError::new(
                CryptoCode::Unauthorized,
                "this command needs the operator's key",
            );
            return Err(error.suggest(auth::KEY_FORMS));
        };
        let caller = caller?;
        caller.require(Permission::Admin, None)?;
        Ok(Self {
            id: caller.id().to_owned(),
        })
    }
}

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).map_err(ApiError::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ops-1.0123456789abcdef";

    #[test]
    fn only_the_whole_key_is_admitted() {
        let key = OperatorKey::parse(KEY).ok().unwrap();
        let admits = |text: &str| {
            let (id, secret) = text.split_once('.').unwrap_or_default();
            key.admits(id, &Secret::new(secret))
        };
        assert!(admits(KEY));
        for text in [
            "",
            "ops-1",
            "ops-1.",
            "ops-1.0123456789abcdeF",
            "ops-1.0123456789abcde",
            "ops-1.0123456789abcdef0",
            "ops-2.0123456789abcdef",
            ".0123456789abcdef",
            "0123456789abcdef",
            "OPS-1.0123456789abcdef",
        ] {
            assert!(!admits(text), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_key() {
        for text in [
            "nodot-0123456789abcdef",
            ".0123456789abcdef",
            "a b.0123456789abcdef",
        ] {
            let why = OperatorKey::parse(text).err().unwrap();
            assert!(why.contains("accepted: id.secret"), "{why}");
            assert!(!why.contains("0123456789abcdef"), "{why}");
        }
        for secret in [
            "short-secret",
            &"x".repeat(129),
            "0123456789 abcdef",
            "0123456789abcdeä",
        ] {
            let why = OperatorKey::parse(&format!("ops.{secret}")).err().unwrap();
            assert!(!why.contains(secret), "{why}");
        }
    }

    #[test]
    fn the_environment_comes_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let read = |variable: Option<&str>, file: &Path| {
            let key = OperatorKey::configured(variable, file);
            key.map(|key| key.map(|key| key.id))
        };
        assert_eq!(read(None, Path::new("")), Ok(None));
        assert!(
            read(None, &file)
                .unwrap_err()
                .contains("server.admin_key_file")
        );
        std::fs::write(&file, "filed.0123456789abcdef\n").unwrap();
        assert_eq!(read(None, &file), Ok(Some("filed".to_owned())));
        assert_eq!(read(Some(KEY), &file), Ok(Some("ops-1".to_owned())));
        assert_eq!(read(Some(" "), &file), Ok(Some("filed".to_owned())));
        let why = read(Some("bad"), &file).unwrap_err();
        assert!(why.starts_with(VARIABLE), "{why}");
    }
}
