use super::*;
use bookwire_actors::session::encode::Labels;
use bookwire_actors::session::request::Outcome;
use bookwire_engine::error::CryptoCode;
use bookwire_engine::exchange::ProviderId;

fn ok(frame: &str) -> ClientRequest {
    parse(frame.as_bytes()).unwrap_or_else(|bad| panic!("{frame}: {bad:?}"))
}

fn bad(frame: &[u8]) -> BadRequest {
    match parse(frame) {
        Ok(request) => panic!("{}: {request:?}", String::from_utf8_lossy(frame)),
        Err(bad) => *bad,
    }
}

fn streams(request: ClientRequest) -> (Option<String>, Vec<StreamEntry>) {
    match request.body {
        Request::Subscribe {
            channel, streams, ..
        }
        | Request::Unsubscribe {
            channel, streams, ..
        } => (channel, streams),
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_places_of_parameters_mean_the_same() {
    let beside = ok(
        r#"{"method":"subscribe","stream":"crypto.orderbook","provider":"binance",
        "symbols":["btcusdt"],"depth":50,"mode":"delta","timing":true}"#,
    );
    let inside = ok(
        r#"{"method":"subscribe","params":{"stream":"crypto.orderbook",
        "provider":"binance","symbols":["btcusdt"],"depth":50,"mode":"delta","timing":true}}"#,
    );
    assert_eq!(beside, inside);
    let (channel, entries) = streams(beside);
    let request = entries[0].request.clone().unwrap();
    assert_eq!(channel, None);
    assert_eq!(
        request.kind(),
        Some(StreamKind::OrderBook {
            depth: 50,
            mode: BookMode::Delta
        })
    );
    assert_eq!(request.timing, Some(true));
}

#[test]
fn a_list_keeps_what_is_right_and_says_what_is_wrong() {
    let request = ok(
        r#"{"id":"x","method":"subscribe","params":{"channel":"desk","streams":[
        {"stream":"crypto.trades","provider":"binance","symbols":["a","b"]},
        {"stream":"crypto.klines","provider":"binance","symbols":["a"]},
        {"stream":"crypto.account","provider":"binance","symbols":[],"account":"main"},
        {"stream":"crypto.orders","provider":"binance","symbols":"a"},
        7]}}"#,
    );
    assert_eq!(request.id.as_ref().map(|id| id.0.get()), Some("\"x\""));
    let Request::Subscribe { private, .. } = &request.body else {
        panic!("{request:?}")
    };
    let wanted = PrivateRequest {
        stream: PrivateStream::Account,
        provider: "binance".to_owned(),
        account: Some("main".to_owned()),
    };
    assert_eq!(private.len(), 1);
    assert_eq!(private[0].request, wanted);
    assert_eq!(private[0].echo["stream"], "crypto.account");
    let (channel, entries) = streams(request);
    assert_eq!(channel.as_deref(), Some("desk"));
    assert_eq!(entries[0].request.as_ref().unwrap().symbols, ["a", "b"]);
    let errors: Vec<_> = entries[1..]
        .iter()
        .map(|entry| entry.request.clone().unwrap_err())
        .collect();
    assert_eq!(errors[0].details["parameter"], "interval");
    assert_eq!(errors[1].details["parameter"], "symbols");
    assert_eq!(errors[2].details["parameter"], "streams");
    assert_eq!(entries[1].echo["stream"], "crypto.klines");
}

#[test]
fn unsubscribing_may_leave_out_what_does_not_matter() {
    let (_, entries) = streams(ok(
        r#"{"method":"unsubscribe","stream":"crypto.klines","provider":"binance","symbols":["a"]}"#,
    ));
    let request = entries[0].request.clone().unwrap();
    assert!(request.covers(StreamKind::Klines(Level::H4)));
    assert!(!request.covers(StreamKind::Ticker));
    let whole = streams(ok(
        r#"{"method":"unsubscribe","params":{"channel":"desk"}}"#,
    ));
    assert_eq!(whole, (Some("desk".to_owned()), Vec::new()));
}

#[test]
fn each_bad_frame_names_its_field() {
    let sub = |rest: &str| {
        format!(
            r#"{{"id":1,"method":"subscribe","params":{{"provider":"binance","symbols":["a"],{rest}}}}}"#
        )
    };
    let book = |rest: &str| sub(&format!(r#""stream":"crypto.orderbook",{rest}"#));
    let rows: Vec<(String, &str)> = vec![
        (String::new(), "frame"),
        ("hello".into(), "frame"),
        ("[1]".into(), "frame"),
        ("\"text\"".into(), "frame"),
        (r#"{"method":"ping"} x"#.into(), "frame"),
        (r#"{"method":"ping","method":"ping"}"#.into(), "frame"),
        (r#"{"method":"ping""#.into(), "frame"),
        ("{}".into(), "method"),
        (r#"{"method":7}"#.into(), "method"),
        (r#"{"method":"subscirbe"}"#.into(), "method"),
        (r#"{"method":"ping","id":{}}"#.into(), "id"),
        (r#"{"method":"ping","id":[1]}"#.into(), "id"),
        (
            format!(r#"{{"method":"ping","id":"{}"}}"#, "x".repeat(300)),
            "id",
        ),
        (r#"{"method":"ping","extra":1}"#.into(), "extra"),
        (r#"{"method":"ping","params":7}"#.into(), "params"),
        (r#"{"method":"ping","params":{},"x":1}"#.into(), "x"),
        (r#"{"method":"subscribe"}"#.into(), "stream"),
        (r#"{"method":"subscribe","streams":[]}"#.into(), "streams"),
        (r#"{"method":"subscribe","streams":{}}"#.into(), "streams"),
        (
            r#"{"method":"subscribe","streams":[{}],"stream":"x"}"#.into(),
            "stream",
        ),
        (
            r#"{"method":"subscribe","stream":"crypto.trades"}"#.into(),
            "provider",
        ),
        (
            r#"{"method":"subscribe","stream":"crypto.trades","provider":"binance"}"#.into(),
            "symbols",
        ),
        (sub(r#""stream":"crypto.tradez""#), "stream"),
        (sub(r#""stream":"crypto.trades","depth":5"#), "depth"),
        (sub(r#""stream":"crypto.trades","account":"a""#), "account"),
        (sub(r#""stream":"crypto.orders","account":7"#), "account"),
        (sub(r#""stream":"crypto.orders","timing":true"#), "timing"),
        (
            r#"{"method":"subscribe","stream":"crypto.account"}"#.into(),
            "provider",
        ),
        (sub(r#""stream":"crypto.trades","timing":1"#), "timing"),
        (sub(r#""stream":"crypto.trades","channel":"""#), "channel"),
        (sub(r#""stream":"crypto.klines""#), "interval"),
        (
            sub(r#""stream":"crypto.klines","interval":"3m""#),
            "interval",
        ),
        (sub(r#""stream":"crypto.klines","interval":1"#), "interval"),
        (book(r#""depth":0"#), "depth"),
        (book(r#""depth":1000000000"#), "depth"),
        (book(r#""depth":5001"#), "depth"),
        (book(r#""depth":-1"#), "depth"),
        (book(r#""depth":20.5"#), "depth"),
        (book(r#""depth":2e1"#), "depth"),
        (book(r#""depth":"20""#), "depth"),
        (book(r#""mode":"full""#), "mode"),
        (book(r#""depht":5"#), "depht"),
        (r#"{"method":"unsubscribe"}"#.into(), "stream"),
        (
            r#"{"method":"configure_flow","drop_policy":"none"}"#.into(),
            "drop_policy",
        ),
        (
            r#"{"method":"configure_flow","buffer_size":-5}"#.into(),
            "buffer_size",
        ),
        (
            r#"{"method":"configure_flow","max_messages_per_second":"many"}"#.into(),
            "max_messages_per_second",
        ),
        (
            r#"{"method":"auth","provider":"binance"}"#.into(),
            "api_key",
        ),
        (auth_frame(r#""signature":7,"timestamp":1"#), "signature"),
        (auth_frame(r#""signature":"canary""#), "timestamp"),
        (
            auth_frame(r#""signature":"canary","timestamp":"canary""#),
            "timestamp",
        ),
        (
            auth_frame(r#""signature":"canary","timestamp":-1"#),
            "timestamp",
        ),
        (
            auth_frame(r#""signature":"canary","timestamp":1,"secret":"canary""#),
            "secret",
        ),
        (
            auth_frame(&format!(
                r#""signature":"{}","timestamp":1"#,
                "canary".repeat(30)
            )),
            "signature",
        ),
    ];
    for (frame, field) in rows {
        let bad = bad(frame.as_bytes());
        assert_eq!(bad.error.code, CryptoCode::InvalidParameter, "{frame}");
        assert_eq!(bad.error.details["parameter"], field, "{frame}");
        let accepted = bad.error.details["accepted"].as_str().unwrap();
        assert!(!accepted.is_empty(), "{frame}");
        assert!(!format!("{bad:?}").contains("canary"), "{bad:?}");
        if frame.starts_with(r#"{"id":1,"#) {
            assert_eq!(bad.id.map(|id| id.0.get().to_owned()), Some("1".to_owned()));
            assert_eq!(bad.method, Some(Method::Subscribe));
        }
    }
}

fn auth_frame(rest: &str) -> String {
    format!(r#"{{"method":"auth","provider":"binance","api_key":"bw-1",{rest}}}"#)
}

#[test]
fn a_proof_is_read_as_it_was_signed_and_not_printed() {
    for timestamp in ["1700000000000", "\"1700000000000\""] {
        let frame = auth_frame(&format!(r#""signature":"canary","timestamp":{timestamp}"#));
        let request = parse(frame.as_bytes()).unwrap();
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
        let Request::Auth(proof) = request.body else {
            panic!("{frame}")
        };
        assert_eq!((&*proof.api_key, &*proof.provider), ("bw-1", "binance"));
        assert_eq!(
            (&*proof.timestamp, &*proof.signature),
            ("1700000000000", "canary")
        );
        assert_eq!(proof.cancel_on_disconnect, None);
    }
    let signed = r#""signature":"aa","timestamp":1700000000000"#;
    for (wish, read) in [
        ("true", Some(Some(true))),
        ("false", Some(Some(false))),
        ("null", Some(None)),
        (r#""canary""#, None),
        ("1", None),
    ] {
        let frame = auth_frame(&format!(r#"{signed},"cancel_on_disconnect":{wish}"#));
        match (parse(frame.as_bytes()), read) {
            (Ok(request), Some(read)) => {
                let Request::Auth(proof) = request.body else {
                    panic!("{frame}")
                };
                assert_eq!(proof.cancel_on_disconnect, read, "{frame}");
            }
            (Err(bad), None) => {
                assert_eq!(bad.error.details["parameter"], "cancel_on_disconnect");
                assert!(!format!("{bad:?}").contains("canary"), "{bad:?}");
            }
            (other, _) => panic!("{frame}: {other:?}"),
        }
    }
}

#[test]
fn no_bytes_make_it_panic_or_grow() {
    let deep = format!(r#"{{"method":"subscribe","streams":{}"#, "[".repeat(60_000));
    let many = format!(
        r#"{{"method":"subscribe","stream":"crypto.trades","provider":"binance","symbols":[{}"x"]}}"#,
        "\"x\",".repeat(2000)
    );
    let keys: String = (0..5000).map(|n| format!("\"k{n}\":1,")).collect();
    let wide = format!("{{{keys}\"method\":\"ping\"}}");
    let frames: [&[u8]; 6] = [
        deep.as_bytes(),
        many.as_bytes(),
        wide.as_bytes(),
        b"\xff\xfe{}",
        b"{\"id\":\"\\ud800\",\"method\":\"ping\"}",
        b"\0",
    ];
    for frame in frames {
        let answer = match parse(frame) {
            Ok(_) => continue,
            Err(bad) => Reply::failed(bad.id, bad.method, bad.error),
        };
        let text = encode(&answer, "t", TsNanos(0));
        assert!(text.len() < 4096, "{}", text.len());
        let _: Value = serde_json::from_slice(&text).unwrap();
    }
}

#[test]
fn answers_have_the_form_of_the_contract() {
    let id = ok(r#"{"id":12345678901234567890.50,"method":"ping"}"#).id;
    let print = |outcome| {
        let reply = Reply {
            id: id.clone(),
            method: Some(Method::Subscribe),
            outcome,
        };
        String::from_utf8(encode(&reply, "trace", TsNanos(0))).unwrap()
    };
    let kind = StreamKind::OrderBook {
        depth: 5,
        mode: BookMode::Delta,
    };
    let view = SubscriptionView {
        labels: Labels {
            stream: kind.name(),
            provider: "binance",
            symbol: "btcusdt".into(),
            entity_id: "cryptopair_binance_btcusdt".into(),
            interval: None,
            channel: None,
        },
        kind,
        timing: false,
    };
    let private = PrivateView {
        stream: PrivateStream::Orders,
        provider: ProviderId::OKX,
        account: "default".into(),
        channel: Some("desk".into()),
    };
    let error = CryptoError::invalid_parameter("depth", "0", "an integer from 1 to 5000");
    let rejected = vec![Rejected {
        echo: Map::from_iter([("symbol".to_owned(), Value::from("x"))]),
        error: error.clone(),
    }];
    let text = print(Outcome::Subscribed {
        subscriptions: vec![AnyView::Market(view), AnyView::Private(private)],
        rejected: rejected.clone(),
    });
    assert!(
        text.starts_with(r#"{"id":12345678901234567890.50,"#),
        "{text}"
    );
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["status"], "subscribed");
    assert_eq!(
        value["subscriptions"][0],
        json!({"stream": "crypto.orderbook", "provider": "binance", "symbol": "btcusdt",
            "entity_id": "cryptopair_binance_btcusdt", "depth": 5, "mode": "delta"})
    );
    assert_eq!(
        value["subscriptions"][1],
        json!({"stream": "crypto.orders", "provider": "okx", "account": "default",
            "channel": "desk"})
    );
    assert_eq!(value["rejected"][0]["symbol"], "x");
    assert_eq!(
        value["rejected"][0]["error"]["code"],
        "CRYPTO_INVALID_PARAMETER"
    );
    let text = print(Outcome::Failed { error, rejected });
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["status"], "error");
    let error = &value["error"];
    assert_eq!(error["trace_id"], "trace");
    assert_eq!(error["details"]["parameter"], "depth");
    assert!(!error["recovery_suggestions"].as_array().unwrap().is_empty());
}
