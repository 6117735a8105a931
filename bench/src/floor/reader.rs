//! The floor of sustained input: the WebSocket library that bookwire reads with too, and nothing
//! behind it.

use std::net::SocketAddr;

use anyhow::Result;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

pub(super) fn run(from: SocketAddr, stream: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let socket = TcpStream::connect(from).await?;
        socket.set_nodelay(true)?;
        let url = format!("ws://{from}/stream");
        let (mut socket, _) = tokio_tungstenite::client_async(url, socket).await?;
        let request = format!("{{\"method\":\"SUBSCRIBE\",\"params\":[\"{stream}\"],\"id\":1}}");
        socket.send(Message::text(request)).await?;
        // The answer to the source's close frame tells it that all has been read.
        while let Some(message) = socket.next().await {
            std::hint::black_box(message?);
        }
        Ok(())
    })
}
