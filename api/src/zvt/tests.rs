use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use bookwire_engine::error::CryptoCode;

use super::*;

fn upstream(base: &str, listen: &str) -> Upstream {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ZvtConfig {
        upstream: base.to_owned(),
        timeout_ms: 500,
    };
    let found = Upstream::new(&config, listen.parse().unwrap());
    found.unwrap().expect("it is configured")
}

/// A server that gives one answer, and then what it was asked.
fn serve(answer: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut part = [0; 4096];
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = socket.read(&mut part).unwrap();
            assert!(count > 0);
            head.extend_from_slice(&part[..count]);
        }
        socket.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    });
    (base, asked)
}

#[actix_web::test]
async fn keys_of_ours_and_headers_of_the_connection_stay_here() {
    let (base, asked) = serve(
        "HTTP/1.1 201 Created\r\ncontent-length: 2\r\nconnection: keep-alive\r\nset-cookie: a=1\r\n\
         set-cookie: b=2\r\naccess-control-allow-origin: *\r\nx-own: yes\r\n\r\nok",
    );
    let request = TestRequest::get()
        .uri("/api/work/a%20b?x=%2F&y")
        .insert_header(("host", "desk.example:8080"))
        .insert_header(("authorization", "bearer id.secret"))
        .insert_header(("x-api-key", "id"))
        .insert_header(("x-timestamp", "1"))
        .insert_header(("x-signature", "aa"))
        .insert_header(("connection", "close"))
        .insert_header(("x-mine", "kept"))
        .peer_addr("127.0.0.9:5".parse().unwrap())
        .to_http_request();
    let answer = upstream(&base, "127.0.0.1:80")
        .forward(&request, None)
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.headers().get_all("set-cookie").count(), 2);
    assert_eq!(answer.headers().get("x-own").unwrap(), "yes");
    for name in ["access-control-allow-origin", "connection"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let body = actix_web::body::to_bytes(answer.into_body()).await;
    assert_eq!(&body.unwrap()[..], b"ok");
    let asked = asked.join().unwrap();
    assert!(
        asked.starts_with("get /api/work/a%20b?x=%2f&y http/1.1\r\n"),
        "{asked}"
    );
    for part in [
        "x-mine: kept",
        "host: desk.example:8080",
        "x-forwarded-for: 127.0.0.9",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    for part in [
        "authorization",
        "secret",
        "x-api-key",
        "x-signature",
        "x-timestamp",
        "close",
    ] {
        assert!(!asked.contains(part), "{part}: {asked}");
    }
}

#[actix_web::test]
async fn a_server_that_is_away_or_silent_is_unavailable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", free.local_addr().unwrap());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let gone = format!("http://{}", gone.unwrap());
    for (base, what) in [(&silent, "in time"), (&gone, "reached")] {
        let request = TestRequest::get().uri("/api/work/a").to_http_request();
        let asked = upstream(base, "127.0.0.1:80");
        let error = asked.forward(&request, None).await.unwrap_err().error;
        assert_eq!(error.code, CryptoCode::ProviderUnavailable);
        assert!(error.message.contains(what), "{}", error.message);
        assert!(
            !format!("{error:?}").contains(base.as_str()),
            "the address is nobody's business"
        );
        let (lists, error) = asked.lists().await;
        assert_eq!(*lists, Lists::default());
        assert!(error.is_some());
    }
}

#[actix_web::test]
async fn a_path_that_leaves_what_is_passed_on_is_nobodys() {
    for base in ["http://127.0.0.1:1", "http://127.0.0.1:1/zvt"] {
        let asked = upstream(base, "127.0.0.1:80");
        for (path, code) in [
            ("/api/data/../../docs", CryptoCode::NotFound),
            ("/api/data/%2e%2e/%2E./docs", CryptoCode::NotFound),
            ("/api/x/../crypto/config", CryptoCode::NotFound),
            ("/api/../../other/api/x", CryptoCode::NotFound),
            // Nobody is there, but it was asked for.
            ("/api/x/../factor/a", CryptoCode::ProviderUnavailable),
        ] {
            let request = TestRequest::get().uri(path).to_http_request();
            let error = asked.forward(&request, None).await.unwrap_err().error;
            assert_eq!(error.code, code, "{base} {path}");
        }
    }
}

#[actix_web::test]
async fn strangers_need_a_key_where_others_can_reach_us() {
    let request = TestRequest::get().uri("/api/work/a").to_http_request();
    let asked = upstream("http://127.0.0.1:1", "0.0.0.0:80");
    let error = asked.forward(&request, None).await.unwrap_err().error;
    assert_eq!(error.code, CryptoCode::Unauthorized);
}

#[test]
fn what_is_theirs_is_told_by_schema_and_provider() {
    let is_theirs = |uri: &str| {
        let request = TestRequest::get()
            .uri(uri)
            .app_data(web::Data::new(upstream(
                "http://127.0.0.1:1",
                "127.0.0.1:80",
            )))
            .to_http_request();
        owner_of(&request).is_some()
    };
    for uri in [
        "/api/data/Stock1dKdata?provider=em",
        "/api/data/schemas?provider=em",
        "/api/data/query_data?provider=em&schema=Stock",
    ] {
        assert!(is_theirs(uri), "{uri}");
    }
    for uri in [
        "/api/data/CryptoPair1mKdata?provider=em",
        "/api/data/CryptoNothing?provider=em",
        "/api/data/schemas?provider=binance",
        "/api/data/schemas",
        "/api/data/query_data?provider=em&schema=CryptoPair",
        "/api/data/query_data?provider=binance",
    ] {
        assert!(!is_theirs(uri), "{uri}");
    }
    let request = TestRequest::get().uri("/api/data/Stock").to_http_request();
    assert!(owner_of(&request).is_none(), "there is nobody else");
}
