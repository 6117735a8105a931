//! What the holder of a key may ask about it.

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::keys::{Permissions, Providers};
use bookwire_engine::time::TsNanos;
use serde_json::{Value, json};

use super::params::Params;
use crate::auth::{self, Auth, Bucket};
use crate::error::{ApiError, wall_clock};
use crate::net::client;
use crate::spec;

/// What is told of a key that is good.
struct Good {
    id: std::sync::Arc<str>,
    permissions: Permissions,
    providers: Providers,
    expires: Option<TsNanos>,
}

/// `GET /api/crypto/auth/validate`: is the key good, for `provider` where one is named, and for what.
/// The key alone is enough; with a secret or a signature the whole is looked at.
///
/// # Errors
/// `CRYPTO_UNAUTHORIZED` without a key, `CRYPTO_RATE_LIMIT_EXCEEDED` after too many wrong ones, a
/// parameter that is wrong.
pub async fn validate(
    request: HttpRequest,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let params = Params::parse(request.query_string(), spec::ops::VALIDATE.query)?;
    let provider = params.provider()?;
    let from = client::address(&request);
    let found = match (auth::bare(&request), auth::identified(&request)) {
        (Some(id), _) => auth.named(&id, from).map(|key| Good {
            id: key.id.as_str().into(),
            permissions: key.permissions,
            providers: key.providers.clone(),
            expires: key.expires,
        }),
        (None, Some(Ok(caller))) => {
            let identity = caller.identity();
            let ring = auth.ring();
            Ok(Good {
                id: identity.key_id.clone(),
                permissions: identity.permissions,
                providers: (*identity.providers).clone(),
                expires: ring.get(&identity.key_id).and_then(|key| key.expires),
            })
        }
        (None, Some(Err(error))) => Err(error),
        (None, None) => {
            let error = CryptoError::new(
                CryptoCode::Unauthorized,
                "there is no key that could be validated",
            );
            return Err(error.suggest("send `Authorization: Bearer api_key`").into());
        }
    };
    let answer = match found {
        Err(error) if error.code == CryptoCode::RateLimitExceeded => return Err(error.into()),
        Err(error) => invalid(&error.message),
        Ok(good) => match provider {
            Some(provider) if !good.providers.has(provider) => {
                invalid(&format!("the API key is not for {}", provider.name()))
            }
            _ => valid(&auth, &good),
        },
    };
    Ok(HttpResponse::Ok().json(answer))
}

fn invalid(reason: &str) -> Value {
    json!({
        "valid": false,
        "permissions": [],
        "rate_limits": null,
        "expires_at": null,
        "reason": reason,
    })
}

fn valid(auth: &Auth, good: &Good) -> Value {
    let limits = |bucket| {
        let allowance = auth.allowance(&good.id, bucket);
        let reset = i64::try_from(allowance.reset_in.as_nanos()).unwrap_or(i64::MAX);
        let reset = TsNanos(wall_clock().0.saturating_add(reset));
        json!({
            "limit": allowance.limit,
            "remaining": allowance.remaining,
            "reset_time": reset.to_rfc3339(),
        })
    };
    let mut rate_limits = limits(Bucket::Trading);
    rate_limits["cancels"] = limits(Bucket::Cancel);
    json!({
        "valid": true,
        "permissions": good.permissions.names(),
        "providers": good.providers.names(),
        "rate_limits": rate_limits,
        "expires_at": good.expires.map(TsNanos::to_rfc3339),
    })
}
