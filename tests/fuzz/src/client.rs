//! Text frames of WebSocket clients.

use bookwire_actors::session::request::{Reply, Request};
use bookwire_api::ws::protocol::{encode, parse};
use bookwire_engine::time::TsNanos;
use serde_json::Value;

/// Longest answer to a frame that is no request: whatever a client sends, it is not given back
/// many times over.
const ANSWER_PER_FRAME_MAX: usize = 8;
/// What an answer's fixed parts may take.
const ANSWER_BASE_MAX: usize = 4096;

/// A frame is a request or gets an error that is valid JSON, names the matter and echoes the id.
pub fn check(frame: &[u8]) {
    let sent: Option<Value> = serde_json::from_slice(frame).ok();
    let bad = match parse(frame) {
        Ok(request) => {
            let sent = sent.expect("only JSON is a request");
            assert!(sent.is_object());
            if let Request::Subscribe { streams, .. } | Request::Unsubscribe { streams, .. } =
                &request.body
            {
                let symbols: usize = streams
                    .iter()
                    .filter_map(|entry| entry.request.as_ref().ok())
                    .map(|stream| stream.symbols.len())
                    .sum();
                assert!(symbols <= frame.len(), "symbols out of nothing");
            }
            // The same bytes mean the same.
            assert_eq!(parse(frame), Ok(request));
            return;
        }
        Err(bad) => *bad,
    };
    assert!(!bad.error.message.is_empty());
    let id = bad.id.as_ref().map(|id| id.0.get().to_owned());
    let reply = Reply::failed(bad.id, bad.method, bad.error);
    let answer = encode(
        &reply,
        "0123456789abcdef",
        TsNanos(1_700_000_000_000_000_000),
    );
    assert!(
        answer.len() <= ANSWER_BASE_MAX + ANSWER_PER_FRAME_MAX * frame.len(),
        "{} bytes answer {}",
        answer.len(),
        frame.len()
    );
    let answer: Value = serde_json::from_slice(&answer).expect("answers are JSON");
    assert_eq!(answer["status"], "error");
    assert!(answer["error"].is_object());
    if let Some(id) = id {
        let id: Value = serde_json::from_str(&id).expect("an id is JSON");
        assert_eq!(answer["id"], id);
    }
}
