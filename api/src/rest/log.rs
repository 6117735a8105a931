//! `/api/crypto/log`: which log lines are written, while the server runs.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_engine::config::{FILTER_FORM, LogFilter};
use bookwire_engine::error::{CryptoCode, CryptoError};
use serde_json::{Value, json};

use super::body::Body;
use super::ops::no_parameters;
use crate::error::ApiError;
use crate::logs::{LogState, Logs, logs};
use crate::operator::Operator;
use crate::spec::ops::CHANGE_LOG;

type Answer = Result<HttpResponse, ApiError>;

fn found() -> Result<&'static Logs, CryptoError> {
    logs().ok_or_else(|| {
        let what = "the program that this server is part of does its own logging";
        CryptoError::new(CryptoCode::Unsupported, what)
    })
}

fn told(state: &LogState) -> Value {
    json!({
        "filter": state.filter.to_string(),
        "configured": state.configured.to_string(),
        "until": state.until.map(|until| until.to_rfc3339()),
    })
}

/// `GET /api/crypto/log`.
///
/// # Errors
/// Who asks is not the operator, or a parameter that is wrong.
pub async fn show(_: Operator, request: HttpRequest) -> Answer {
    no_parameters(&request)?;
    Ok(HttpResponse::Ok().json(told(&found()?.shown())))
}

/// What a body asks for: a filter, or `None` for the configured one; and for how long.
fn read(bytes: &[u8]) -> Result<(Option<LogFilter>, Option<Duration>), CryptoError> {
    let body = Body::parse(bytes, CHANGE_LOG.body)?;
    let text = match body.is_null("filter") {
        true => None,
        false => Some(body.text_required("filter", FILTER_FORM)?),
    };
    let wrong = |text: &str, why: &str| {
        CryptoError::invalid_parameter("filter", text, FILTER_FORM).with("reason", why)
    };
    let filter = text
        .map(|text| {
            let filter = text.parse::<LogFilter>();
            filter.map_err(|why| wrong(&text, &why))
        })
        .transpose()?;
    let seconds = body.count("for_seconds")?;
    let lasts = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    Ok((filter, lasts))
}

/// `PUT /api/crypto/log`.
///
/// # Errors
/// Who asks is not the operator, or a field that is wrong.
pub async fn change(operator: Operator, request: HttpRequest, bytes: web::Bytes) -> Answer {
    no_parameters(&request)?;
    let logs = found()?;
    let (filter, lasts) = read(&bytes)?;
    let changed = logs.change(filter, lasts).map_err(|error| {
        CryptoError::new(CryptoCode::InternalError, "the log can't be changed")
            .with("reason", error.to_string())
    })?;
    tracing::info!(operator = operator.id, filter = %changed.filter, "operator: log levels changed");
    Ok(HttpResponse::Ok().json(told(&changed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_and_what_is_wrong_is_named() {
        let text = |body: &str| {
            let (filter, lasts) = read(body.as_bytes())?;
            Ok::<_, CryptoError>((filter.map(|f| f.to_string()), lasts.map(|l| l.as_secs())))
        };
        let body = r#"{"filter":"warn,bookwire_api=debug","for_seconds":60}"#;
        let filter = "warn,bookwire_api=debug".to_owned();
        assert_eq!(text(body).unwrap(), (Some(filter), Some(60)));
        assert_eq!(text(r#"{"filter":null}"#).unwrap(), (None, None));
        for (body, parameter) in [
            ("{}", "filter"),
            (r#"{"filter":"loud"}"#, "filter"),
            (r#"{"filter":"tungstenite=trace"}"#, "filter"),
            (r#"{"filter":7}"#, "filter"),
            (r#"{"filter":"info","for_seconds":0}"#, "for_seconds"),
            (r#"{"filter":"info","for_seconds":86401}"#, "for_seconds"),
            (r#"{"filter":"info","for_seconds":-1}"#, "for_seconds"),
            (r#"{"filter":"info","level":"debug"}"#, "level"),
        ] {
            let error = text(body).unwrap_err();
            assert_eq!(error.code, CryptoCode::InvalidParameter, "{body}");
            let told = serde_json::to_value(&error.details).unwrap();
            assert_eq!(told["parameter"], parameter, "{body}: {told}");
        }
    }
}
