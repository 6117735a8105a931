//! Reading whole JSON texts: frames, and REST answers in their envelope.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exchange::DecodeError;

/// Reads a text; `field` is named when it is JSON of another shape.
pub(super) fn read<'a, T: Deserialize<'a>>(
    text: &'a [u8],
    field: &'static str,
) -> Result<T, DecodeError> {
    serde_json::from_slice(text).map_err(|error| fault(&error, text, field))
}

/// What serde_json's error means.
pub(super) fn fault(error: &serde_json::Error, text: &[u8], field: &'static str) -> DecodeError {
    if error.is_data() {
        return DecodeError::Field { field };
    }
    // Lines and columns count from 1.
    let starts = memchr::memchr_iter(b'\n', text).map(|at| at + 1);
    let mut starts = std::iter::once(0).chain(starts);
    let start = starts.nth(error.line().saturating_sub(1)).unwrap_or(0);
    let at = (start + error.column().saturating_sub(1)).min(text.len());
    DecodeError::Json { at }
}

/// `{"retCode":0,"retMsg":"OK","result":{…},"retExtInfo":{},"time":1671017382656}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    ret_code: i64,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// The `result` of an answer that tells a success.
///
/// What a failure means is asked before, see [`super::errors::body_failure`]; here it only must not
/// be mistaken for an empty result.
pub(super) fn result<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    field: &'static str,
) -> Result<T, DecodeError> {
    let envelope: Envelope<'a> = read(body, "result")?;
    if envelope.ret_code != 0 {
        return Err(DecodeError::Field { field: "retCode" });
    }
    read(envelope.result.get().as_bytes(), field)
}

/// `{"category":"spot","list":[…]}`, which nearly all results are.
#[derive(Deserialize)]
struct Listed<T> {
    list: Vec<T>,
}

/// The rows of an answer.
pub(super) fn rows<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    field: &'static str,
) -> Result<Vec<T>, DecodeError> {
    result::<Listed<T>>(body, field).map(|listed| listed.list)
}
