//! Requests over WebSocket: what needs no account. Everything else is refused by its method.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::server::Exchange;
use crate::venue::server::{Socket, stopped};

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    id: Value,
    method: String,
}

/// Serves a connection until it ends.
pub(crate) async fn run(mut socket: Socket, exchange: Arc<Exchange>) {
    let mut stop = exchange.stop.clone();
    loop {
        let message = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            message = socket.next() => message,
        };
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            Some(Ok(_)) => continue,
        };
        let now_ms = exchange.core.lock().clock.now_ms();
        if socket
            .send(Message::text(answer(&text, now_ms).to_string()))
            .await
            .is_err()
        {
            return;
        }
    }
}

fn answer(text: &str, now_ms: i64) -> Value {
    let refuse = |id: Value, code: i32, msg: &str| json!({"id": id, "status": 400, "error": {"code": code, "msg": msg}, "rateLimits": []});
    let Ok(request) = serde_json::from_str::<Request>(text) else {
        return refuse(Value::Null, -1135, "JSON Request is not valid.");
    };
    let result = match request.method.as_str() {
        "ping" => json!({}),
        "time" => json!({"serverTime": now_ms}),
        _ => return refuse(request.id, -1020, "This operation is not supported."),
    };
    json!({"id": request.id, "status": 200, "result": result, "rateLimits": []})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_what_it_knows_and_refuses_the_rest() {
        let check = |text: &str, status: i64, code: Option<i64>| {
            let reply = answer(text, 7);
            assert_eq!(reply["status"], status, "{text}");
            assert_eq!(reply["error"]["code"].as_i64(), code, "{text}");
        };
        check(r#"{"id":1,"method":"ping"}"#, 200, None);
        check(
            r#"{"id":"x","method":"order.place","params":{}}"#,
            400,
            Some(-1020),
        );
        check("nonsense", 400, Some(-1135));
        assert_eq!(
            answer(r#"{"id":2,"method":"time"}"#, 7)["result"]["serverTime"],
            7
        );
    }
}
