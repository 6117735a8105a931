//! The floor of order entry: a proxy that passes each request on and its answer back, on connections
//! that stay open. The same HTTP library on both sides as bookwire has towards the exchange, one
//! thread, and nothing in between: nobody is asked who he is, nothing is looked at, written down or
//! signed.

use std::net::SocketAddr;

use anyhow::Result;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Onward = Client<HttpConnector, Full<Bytes>>;

async fn pass(
    onward: Onward,
    to: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>> {
    let (mut head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    head.uri = format!("http://{to}{target}").parse::<Uri>()?;
    head.headers.remove(hyper::header::HOST);
    let request = Request::from_parts(head, Full::new(body));
    let (head, body) = onward.request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, Full::new(body)))
}

pub(super) fn run(listen: SocketAddr, to: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let onward: Onward = Client::builder(TokioExecutor::new()).build(tcp);
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let onward = onward.clone();
            let service = service_fn(move |request| pass(onward.clone(), to, request));
            tokio::spawn(async move {
                let io = TokioIo::new(socket);
                // A connection that breaks is its client's affair.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(io, service)
                    .await;
            });
        }
    })
}
