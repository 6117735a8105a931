//! The middleware behind the gate: whatever changes something is recorded, whichever route it takes.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use bookwire_engine::audit::Outcome;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::Audit;
use super::record::{BODY_MAX, Record};
use crate::auth;
use crate::error::{ApiError, TraceId};
use crate::net::client;

/// What a handler wants to have told in the entry of its request: it puts it into the request's
/// extensions. Nothing secret.
#[derive(Clone, Default)]
pub struct Note(pub Map<String, Value>);

/// What a request commands; `None` for one that only asks.
fn action(method: &Method, path: &str) -> Option<&'static str> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    Some(match (method.as_str(), parts.as_slice()) {
        ("POST", ["api", "trading", "orders"]) => "order.place",
        ("DELETE", ["api", "trading", "orders"]) => "order.cancel_all",
        ("PATCH", ["api", "trading", "orders", _]) => "order.amend",
        ("DELETE", ["api", "trading", "orders", _]) => "order.cancel",
        ("POST", ["api", "trading", "leverage"]) => "leverage.set",
        ("POST", ["api", "trading", "kill_switch"]) => "kill_switch",
        ("POST", ["api", "trading", "paper", "reset"]) => "paper.reset",
        ("POST", ["api", "crypto", "providers", _, "reconnect"]) => "provider.reconnect",
        ("POST", ["api", "crypto", "providers", _, "resync"]) => "provider.resync",
        ("POST", ["api", "crypto", "validation", "quarantine", _, "release"]) => {
            "quarantine.release"
        }
        ("POST", ["api", "crypto", "history", "backfill"]) => "history.backfill",
        ("PUT", ["api", "crypto", "config", "exchanges", _]) => "config.change",
        ("PUT", ["api", "crypto", "log"]) => "log.change",
        // It only calculates.
        ("POST", ["api", "crypto", "validation", "price"]) => return None,
        (_, ["api", ..]) => "command",
        _ => return None,
    })
}

/// What can make an order: with `audit.required` it is written down before it is passed on.
fn is_risk(action: &str) -> bool {
    matches!(action, "order.place" | "order.amend" | "leverage.set")
}

/// The middleware. Without an [`Audit`] in the application's data nothing is recorded.
///
/// # Errors
/// Those of services further in.
pub async fn watch<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let audit = request.app_data::<web::Data<Audit>>().cloned();
    let Some(audit) = audit.filter(|audit| audit.0.is_some()) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let from = client::address(request.request());
    let trace = request.extensions().get::<TraceId>().cloned();
    let trace = trace.unwrap_or_default().as_str().to_owned();
    let identified = auth::identified(request.request());
    if let Some(Err(error)) = &identified
        && let Some(key) = auth::claimed(request.request())
    {
        audit.auth_failed("rest", &key, from, &trace, error);
    }
    let action = action(request.method(), request.path());
    let (Some(action), Some(Ok(caller))) = (action, identified) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let body = match auth::take_body(&mut request).await {
        Ok(body) => body,
        Err(error) => return Ok(request.error_response(error).map_into_boxed_body()),
    };
    let short = |bytes: Bytes| match bytes.len() {
        0..=BODY_MAX => bytes,
        // Longer than any command: of it only the length is told.
        _ => Bytes::from_static(b"too long"),
    };
    let mut record = Record {
        who: caller.id().to_owned(),
        from: from.to_string(),
        trace_id: trace,
        outcome: Outcome::Asked,
        path: request.path().to_owned(),
        query: request.query_string().to_owned(),
        request: short(body),
        ..Record::new(action)
    };
    if audit.is_required() && is_risk(action) {
        if let Err(error) = audit.prove(record.clone()).await {
            return Ok(request
                .error_response(ApiError::from(error))
                .map_into_boxed_body());
        }
        record.at = crate::error::wall_clock();
    }
    let (response, status, code) = match next.call(request).await {
        Ok(response) => {
            let response = response.map_into_boxed_body();
            let status = response.status();
            let code = response.response().error().and_then(code_of);
            (Ok(response), status, code)
        }
        Err(error) => {
            let status = error.as_response_error().status_code();
            let code = code_of(&error);
            (Err(error), status, code)
        }
    };
    record.status = Some(status.as_u16());
    record.outcome = Outcome::of_status(status.as_u16());
    record.code = code;
    let response = response.map(|response| {
        if let Some(note) = response.request().extensions().get::<Note>() {
            record.note = note.0.clone();
        }
        match status.is_success() {
            true => with_body(response, |bytes| record.answer = short(bytes)),
            false => response,
        }
    });
    audit.record(record);
    response
}

fn code_of(error: &Error) -> Option<&'static str> {
    error
        .as_error::<ApiError>()
        .map(|error| error.error.code.as_str())
}

/// Looks at the body of an answer, where it is there as a whole.
fn with_body(
    response: ServiceResponse<BoxBody>,
    look: impl FnOnce(Bytes),
) -> ServiceResponse<BoxBody> {
    response.map_body(|_, body| match body.try_into_bytes() {
        Ok(bytes) => {
            look(bytes.clone());
            BoxBody::new(bytes)
        }
        Err(body) => body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_has_a_name() {
        for (method, path, expected) in [
            (Method::GET, "/api/trading/orders", None),
            (Method::POST, "/api/trading/orders", Some("order.place")),
            (Method::POST, "/api/trading/orders/", Some("order.place")),
            (
                Method::DELETE,
                "/api/trading/orders",
                Some("order.cancel_all"),
            ),
            (
                Method::DELETE,
                "/api/trading/orders/7",
                Some("order.cancel"),
            ),
            (Method::PATCH, "/api/trading/orders/7", Some("order.amend")),
            (
                Method::PUT,
                "/api/crypto/config/exchanges/okx",
                Some("config.change"),
            ),
            (Method::PUT, "/api/crypto/log", Some("log.change")),
            (Method::POST, "/api/something/new", Some("command")),
            (Method::POST, "/api/crypto/validation/price", None),
            (Method::POST, "/elsewhere", None),
        ] {
            assert_eq!(action(&method, path), expected, "{method} {path}");
        }
    }
}
