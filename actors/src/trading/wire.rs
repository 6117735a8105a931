//! Signed requests on connections that stay open. What is told apart here is what an order's fate
//! hangs on: whether a request without an answer can have reached the exchange.

use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::trading::venue::{Method, SignedRequest};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Longest time to reach a host.
const CONNECT: Duration = Duration::from_secs(3);
/// Idle connections are kept for so long; exchanges close them after a minute or more.
const IDLE: Duration = Duration::from_secs(50);
/// One to each host is used so often, so that it is there when an order comes.
pub(super) const WARM: Duration = Duration::from_secs(20);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: hyper::HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().ok()?.to_owned())
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Nothing was sent: the exchange can't know of it.
    NotSent(String),
    /// It was sent, at least in part: the exchange may have done it.
    Lost(String),
}

/// Sends. Clones share connections.
#[derive(Clone)]
pub(crate) struct Wire {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Wire {
    /// A client with no connections yet.
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_keepalive(Some(Duration::from_secs(20)));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config((*tls).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(8)
            // A request that was not written when its connection turned out to be closed goes on
            // another one; one that was written never does.
            .retry_canceled_requests(true)
            .build(https);
        Self { client }
    }

    /// Sends to the host at `base`, waits up to `limit`.
    pub async fn send(
        &self,
        base: &str,
        request: SignedRequest,
        limit: Duration,
    ) -> Result<Answer, NoAnswer> {
        let request = build(base, request).map_err(NoAnswer::NotSent)?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let text = causes(&error);
                match error.is_connect() {
                    true => NoAnswer::NotSent(text),
                    false => NoAnswer::Lost(text),
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX);
            let body = body.collect().await;
            let body = body.map_err(|error| NoAnswer::Lost(error.to_string()))?;
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer,
            // It may still be connecting, but that has a shorter limit of its own.
            Err(_) => Err(NoAnswer::Lost(format!(
                "no answer within {} ms",
                limit.as_millis()
            ))),
        }
    }

    /// Opens a connection to a host, where there is none, by a request that anybody may make; what came of it.
    pub async fn warm(&self, url: &str) -> Option<Answer> {
        let request = Request::get(url.parse::<Uri>().ok()?)
            .header("user-agent", AGENT)
            .body(Full::default())
            .ok()?;
        let asked = async {
            let (head, body) = self.client.request(request).await.ok()?.into_parts();
            // Read to its end, or the connection can't be used again.
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.ok()?;
            Some(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        tokio::time::timeout(CONNECT * 2, asked).await.ok()?
    }
}

const AGENT: &str = concat!("bookwire/", env!("CARGO_PKG_VERSION"));

/// The request; an error says which part can't be sent, without its value.
fn build(base: &str, request: SignedRequest) -> Result<Request<Full<Bytes>>, String> {
    let method = match request.method {
        Method::Get => hyper::Method::GET,
        Method::Post => hyper::Method::POST,
        Method::Put => hyper::Method::PUT,
        Method::Delete => hyper::Method::DELETE,
    };
    let uri: Uri = format!("{base}{}", request.target)
        .parse()
        .map_err(|_| "the request's path can't be sent".to_owned())?;
    let mut built = Request::builder()
        .method(method)
        .uri(uri)
        .header("user-agent", AGENT)
        .header("accept", "application/json");
    for (name, value) in request.headers {
        let name = HeaderName::from_lowercase(name.as_bytes())
            .map_err(|_| format!("the header {name} can't be sent"))?;
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| format!("the header {name} can't be sent"))?;
        value.set_sensitive(true);
        built = built.header(name, value);
    }
    let body = Full::new(Bytes::from(request.body));
    built
        .body(body)
        .map_err(|_| "the request can't be built".to_owned())
}

/// An error with all its causes. Hyper's never hold the request.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bookwire_engine::instrument::Market;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::rest_client::tls_config;

    /// A host whose connections stay open, and how many there have been.
    async fn host() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let opened = Arc::new(AtomicUsize::new(0));
        let count = opened.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut scratch = [0; 4096];
                    // A request is one read here: both are small.
                    while let Ok(1..) = socket.read(&mut scratch).await {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                        if socket.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (base, opened)
    }

    #[tokio::test]
    async fn an_order_goes_over_the_connection_that_was_opened_in_advance() {
        let (base, opened) = host().await;
        let wire = Wire::new(tls_config());
        let told = wire.warm(&format!("{base}/time")).await;
        assert_eq!(told.map(|told| told.status), Some(200));
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        for _ in 0..3 {
            let request = SignedRequest {
                method: Method::Post,
                market: Market::Spot,
                target: "/order".to_owned(),
                headers: Vec::new(),
                body: "{}".to_owned(),
            };
            let answer = wire.send(&base, request, Duration::from_secs(5)).await;
            assert_eq!(answer.unwrap().status, 200);
        }
        assert_eq!(opened.load(Ordering::SeqCst), 1);
    }
}
