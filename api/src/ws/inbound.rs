//! Guards a socket's inbound bytes before actix's decoder sees them.
//!
//! That decoder looks at a frame's size only when all of the frame has arrived, so a client could
//! make it collect any amount. The guard follows the frame headers (RFC 6455 section 5.2) and lets
//! nothing of a frame over the limit through: the connection is closed with 1009, and what the
//! client still sends is read and thrown away, so that the close frame is not lost in a reset.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bookwire_actors::session::cell::OutboxCell;
use bookwire_actors::session::flow::Close;
use bytes::Bytes;
use futures_util::Stream;

/// Follows frame headers.
#[derive(Debug, Default)]
struct Scanner {
    header: [u8; 10],
    have: usize,
    /// Bytes of mask and payload until the next header.
    remaining: u64,
}

impl Scanner {
    /// Goes through a chunk. `Err` tells where in the chunk the frame begins whose payload is
    /// larger than `most`, and its size; 0 when it began in an earlier chunk.
    fn scan(&mut self, chunk: &[u8], most: u64) -> Result<(), (usize, u64)> {
        let mut at = 0;
        let mut start = 0;
        while at < chunk.len() {
            if self.remaining > 0 {
                let step = self.remaining.min((chunk.len() - at) as u64);
                self.remaining -= step;
                at += step as usize;
                continue;
            }
            if self.have == 0 {
                start = at;
            }
            self.header[self.have] = chunk[at];
            self.have += 1;
            at += 1;
            if let Some((payload, mask)) = self.length() {
                self.have = 0;
                if payload > most {
                    return Err((start, payload));
                }
                self.remaining = payload + mask;
            }
        }
        Ok(())
    }

    /// Sizes of payload and mask, once the header has told them.
    fn length(&self) -> Option<(u64, u64)> {
        let [_, second, rest @ ..] = &self.header;
        if self.have < 2 {
            return None;
        }
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let payload = match second & 0x7f {
            126 if self.have < 4 => return None,
            126 => u64::from(u16::from_be_bytes([rest[0], rest[1]])),
            127 if self.have < 10 => return None,
            127 => u64::from_be_bytes(*rest),
            short => u64::from(short),
        };
        Some((payload, mask))
    }
}

/// A payload stream that passes only frames within the limit.
pub struct FrameGuard<S> {
    inner: S,
    scanner: Scanner,
    frame_bytes_max: u64,
    cell: Rc<OutboxCell>,
    /// What comes is thrown away.
    is_draining: Rc<Cell<bool>>,
}

impl<S> FrameGuard<S> {
    /// Guards `inner` for the client of `cell`. Whoever sets `is_draining` wants nothing more.
    pub fn new(
        inner: S,
        frame_bytes_max: usize,
        cell: Rc<OutboxCell>,
        is_draining: Rc<Cell<bool>>,
    ) -> Self {
        Self {
            inner,
            scanner: Scanner::default(),
            frame_bytes_max: frame_bytes_max as u64,
            cell,
            is_draining,
        }
    }
}

impl<S, E> Stream for FrameGuard<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let chunk = match Pin::new(&mut this.inner).poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => chunk,
                other => return other,
            };
            if this.is_draining.get() {
                continue;
            }
            let most = this.frame_bytes_max;
            let Err((start, size)) = this.scanner.scan(&chunk, most) else {
                return Poll::Ready(Some(Ok(chunk)));
            };
            this.is_draining.set(true);
            this.cell.expel(Close::too_big(format!(
                "a frame of {size} bytes; at most {most} are accepted"
            )));
            if start > 0 {
                return Poll::Ready(Some(Ok(chunk.slice(..start))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(size: usize) -> Vec<u8> {
        let mut out = vec![0x81];
        match size {
            0..126 => out.push(0x80 | size as u8),
            126..65_536 => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(size as u16).to_be_bytes());
            }
            _ => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(size as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&[1, 2, 3, 4]);
        out.resize(out.len() + size, 0xff);
        out
    }

    /// Where the guard stops, as an offset in the whole stream, when it is cut in chunks.
    fn stop(bytes: &[u8], chunk: usize, most: u64) -> Option<usize> {
        let mut scanner = Scanner::default();
        for (index, part) in bytes.chunks(chunk).enumerate() {
            if let Err((start, _)) = scanner.scan(part, most) {
                return Some(index * chunk + start);
            }
        }
        None
    }

    #[test]
    fn sizes_are_seen_however_the_stream_is_cut() {
        let good: Vec<u8> = [0, 1, 125, 126, 1000, 65_535, 65_536]
            .iter()
            .flat_map(|size| frame(*size))
            .collect();
        let mut bad = good.clone();
        bad.extend(frame(65_537));
        for chunk in [1, 2, 3, 7, 64, 1000, 100_000, 1_000_000] {
            assert_eq!(stop(&good, chunk, 65_536), None, "{chunk}");
            let found = stop(&bad, chunk, 65_536).unwrap();
            assert!(
                found >= good.len() && found < good.len() + 14,
                "{chunk}: {found}"
            );
        }
        assert_eq!(stop(&bad, 1_000_000, 65_536), Some(good.len()));
    }

    #[test]
    fn a_claimed_size_is_enough() {
        let mut claim = vec![0x82, 0xff];
        claim.extend_from_slice(&(1u64 << 62).to_be_bytes());
        assert_eq!(stop(&claim, 100, 65_536), Some(0));
        assert_eq!(stop(&claim, 9, 65_536), Some(9));
    }
}
