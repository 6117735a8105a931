//! The floor of `tick-to-client`: copies whatever arrives, at once. Nothing that sits between two
//! sockets can be faster by sleeping.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) fn run(from: SocketAddr, to: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let mut source = TcpStream::connect(from).await?;
        let mut sink = TcpStream::connect(to).await?;
        sink.set_nodelay(true)?;
        let mut buffer = vec![0u8; 65_536];
        loop {
            let read = source.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            sink.write_all(&buffer[..read]).await?;
        }
    })
}
