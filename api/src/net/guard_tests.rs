//! A guarded connection without a server: what is too slow ends, what is not stays.

use std::cell::Cell;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(5);

struct Rig {
    server: Guarded<DuplexStream>,
    client: DuplexStream,
    link: Rc<Link>,
    refusals: Rc<Cell<u32>>,
}

fn rig(header: Duration, answer: Duration, buffer: usize) -> Rig {
    let (wire, client) = duplex(buffer);
    let link = Link::new(None, Instant::now());
    let refusals = Rc::new(Cell::new(0));
    let counted = refusals.clone();
    let refuse = move |refusal, _| {
        counted.set(counted.get() + 1);
        format!("<{refusal:?}>").into_bytes()
    };
    let options = GuardOptions {
        link: link.clone(),
        patience: Patience {
            header,
            keep_alive: 15 * header,
            answer,
            rate: 500,
            head_max: 10_000,
        },
        address: IpAddr::from([127, 0, 0, 1]),
        refuse: Rc::new(refuse),
        place: None,
    };
    Rig {
        server: Guarded::new(wire, options),
        client,
        link,
        refusals,
    }
}

impl Rig {
    /// Reads as the dispatcher does, until the stream ends or `within` is over.
    async fn read(&mut self, within: Duration) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let all = self.server.read_to_end(&mut out);
        timeout(within, all).await.ok()?.unwrap();
        Some(out)
    }

    async fn told(&mut self) -> String {
        let mut scratch = [0; 1024];
        let count = timeout(LONG, self.client.read(&mut scratch)).await;
        String::from_utf8_lossy(&scratch[..count.unwrap().unwrap()]).into_owned()
    }
}

#[tokio::test]
async fn a_request_that_comes_too_slowly_is_refused() {
    let mut rig = rig(SHORT, LONG, 4096);
    rig.client.write_all(b"GET / HT").await.unwrap();
    let since = Instant::now();
    assert_eq!(rig.read(LONG).await.unwrap(), b"GET / HT");
    assert!(since.elapsed() >= SHORT);
    assert_eq!(rig.told().await, "<TooSlow>");
}

#[tokio::test]
async fn bytes_that_keep_coming_are_no_request() {
    let mut rig = rig(SHORT, LONG, 4096);
    let mut client = std::mem::replace(&mut rig.client, duplex(1).0);
    let drip = tokio::spawn(async move { while client.write_all(b"x").await.is_ok() {} });
    assert!(rig.read(LONG).await.is_some(), "given up");
    drop(rig);
    drip.await.unwrap();
}

#[tokio::test]
async fn a_head_without_an_end_is_refused() {
    let mut rig = rig(LONG, LONG, 1 << 16);
    let head = b"x: y\r\n".repeat(2_000);
    rig.client.write_all(&head).await.unwrap();
    let read = rig.read(LONG).await.unwrap();
    assert!(read.len() <= 10_000, "{}", read.len());
    assert_eq!(rig.told().await, "<TooLarge>");
    assert!(!rig.link.is_serving());
}

#[tokio::test]
async fn a_request_under_way_and_a_websocket_have_time() {
    for is_upgraded in [false, true] {
        let mut rig = rig(SHORT, SHORT, 4096);
        let serving = rig.link.begin();
        if is_upgraded {
            rig.link.upgrade();
            drop(serving);
            assert!(rig.read(5 * SHORT).await.is_none());
            continue;
        }
        assert!(rig.read(5 * SHORT).await.is_none());
        // Once it is answered the next one has to come.
        drop(serving);
        assert!(rig.read(2 * SHORT).await.is_none());
        assert_eq!(rig.read(LONG).await.unwrap(), b"");
        assert_eq!(rig.refusals.get(), 0, "nobody asked for anything");
    }
}

#[tokio::test]
async fn the_dispatchers_own_refusals_get_our_form() {
    let bare = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut rig = rig(LONG, LONG, 4096);
    rig.server.write_all(bare).await.unwrap();
    assert_eq!(rig.told().await, "<Unreadable(400)>");
    for ours in [
        &b"HTTP/1.1 400 Bad Request\r\nX-Trace-Id: 1\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"a body with HTTP/1.1 400 in it\r\n\r\n",
    ] {
        rig.server.write_all(ours).await.unwrap();
        assert_eq!(rig.told().await.as_bytes(), ours);
    }
    let serving = rig.link.begin();
    rig.server.write_all(bare).await.unwrap();
    assert_eq!(rig.told().await.as_bytes(), bare);
    drop(serving);
    assert_eq!(rig.refusals.get(), 1);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let mut rig = rig(LONG, SHORT, 64);
    let serving = rig.link.begin();
    let write = rig.server.write_all(&[b'x'; 4096]);
    let error = timeout(LONG, write).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(serving);
}

#[tokio::test]
async fn a_client_that_takes_a_little_now_and_then_is_cut_off_one_that_reads_is_not() {
    // 500 bytes a second are asked for.
    for (bytes, is_served) in [(1, false), (1_000, true)] {
        let mut rig = rig(LONG, 2 * SHORT, 64);
        let mut client = std::mem::replace(&mut rig.client, duplex(1).0);
        let taking = tokio::spawn(async move {
            let mut scratch = vec![0; bytes];
            loop {
                tokio::time::sleep(SHORT / 3).await;
                if !matches!(client.read(&mut scratch).await, Ok(count) if count > 0) {
                    return;
                }
            }
        });
        let write = rig.server.write_all(&[b'x'; 1_000]);
        let wrote = timeout(LONG, write).await.unwrap();
        assert_eq!(wrote.is_ok(), is_served, "{bytes} bytes: {wrote:?}");
        drop(rig);
        taking.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_ends_at_once() {
    let mut rig = rig(LONG, LONG, 16);
    rig.link.upgrade();
    let link = rig.link.clone();
    let cut = async {
        tokio::time::sleep(SHORT).await;
        link.cut();
    };
    let (wrote, ()) = tokio::join!(rig.server.write_all(&[0; 64]), cut);
    assert_eq!(wrote.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    let read = rig.server.read(&mut [0; 8]).await;
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn the_end_waits_a_moment_for_the_client_and_no_longer() {
    let mut rig = rig(LONG, LONG, 1 << 16);
    rig.client.write_all(&[0; 5_000]).await.unwrap();
    let since = Instant::now();
    timeout(LONG, rig.server.shutdown()).await.unwrap().unwrap();
    assert!(since.elapsed() >= LINGER);
    let mut rig = self::rig(LONG, LONG, 64);
    drop(rig.client);
    let since = Instant::now();
    rig.server.shutdown().await.unwrap();
    assert!(since.elapsed() < LINGER);
}

#[tokio::test]
async fn a_request_that_is_whole_when_it_is_read_is_not_late() {
    let mut rig = rig(SHORT, LONG, 4096);
    rig.client
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    // The server is busy elsewhere for longer than the client has.
    std::thread::sleep(3 * SHORT);
    let mut scratch = [0; 64];
    let count = timeout(LONG, rig.server.read(&mut scratch)).await;
    assert_eq!(count.unwrap().unwrap(), 18);
    // The dispatcher reads on until nothing more is there, and only then begins the request.
    let more = timeout(SHORT / 2, rig.server.read(&mut scratch)).await;
    assert!(more.is_err(), "it was given up: {more:?}");
    // Blank lines over and over are no requests.
    rig.client.write_all(b"\r\n\r\n\r\n\r\n").await.unwrap();
    assert!(rig.read(LONG).await.is_some());
}

#[tokio::test]
async fn what_came_in_time_is_not_late_because_it_is_read_in_parts() {
    let mut rig = rig(SHORT, LONG, 4096);
    rig.client
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    std::thread::sleep(3 * SHORT);
    let mut scratch = [0; 9];
    for part in [b"GET / HTT", b"P/1.1\r\n\r\n"] {
        let count = timeout(LONG, rig.server.read(&mut scratch)).await;
        assert_eq!(&scratch[..count.unwrap().unwrap()], part);
    }
    assert_eq!(rig.refusals.get(), 0);
}
