//! The floor of the whole path and of fan-out: frames of one WebSocket are read, put together again,
//! and all that one read brought goes to each client in one write. It knows nothing of books, of
//! subscriptions, of clients that are slow.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ws::{self, Frames};

pub(super) fn run(
    from: SocketAddr,
    stream: &str,
    listen: SocketAddr,
    clients: usize,
) -> Result<()> {
    // Clients first: whoever subscribes must not miss a frame.
    let listener = std::net::TcpListener::bind(listen)?;
    let mut sockets = Vec::with_capacity(clients);
    for _ in 0..clients {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        ws::accept(&mut socket)?;
        sockets.push(socket);
    }
    let mut source = ws::connect(from, "/stream")?;
    let request = format!("{{\"method\":\"SUBSCRIBE\",\"params\":[\"{stream}\"],\"id\":1}}");
    ws::send_text(&mut source, &request)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let owned = |socket: std::net::TcpStream| -> Result<TcpStream> {
            socket.set_nonblocking(true)?;
            Ok(TcpStream::from_std(socket)?)
        };
        let mut source = owned(source)?;
        let mut sockets = sockets.into_iter().map(owned).collect::<Result<Vec<_>>>()?;
        let (mut frames, mut out, mut is_answered) = (Frames::default(), Vec::new(), false);
        loop {
            let read = source.read(frames.room()).await?;
            if read == 0 {
                bail!("the source is gone");
            }
            frames.filled(read);
            out.clear();
            while let Some((opcode, payload)) = frames.next_frame()? {
                // The first is the answer to the request.
                if opcode == ws::TEXT && is_answered {
                    ws::push_frame(&mut out, ws::TEXT, payload);
                }
                is_answered = true;
            }
            for socket in &mut sockets {
                socket.write_all(&out).await?;
            }
        }
    })
}
