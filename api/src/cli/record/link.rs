//! One connection that is recorded, and the REST answers that belong to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bookwire_engine::exchange::{Exchange, RestRequest, Route};
use bookwire_engine::instrument::{Instrument, Market};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::file::{Recording, RestAnswer};
use crate::cli::signal::{self, StopSignal};
use crate::error::wall_clock;

/// Time allowed for a REST answer, and to connect.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often written lines are passed to the system.
const FLUSH: Duration = Duration::from_secs(2);

/// What ends a recording.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The file can't be written.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A request failed.
    #[error("GET {url}: {reason}")]
    Rest {
        /// Where it went.
        url: String,
        /// Why.
        reason: String,
    },
    /// The HTTP client can't be made.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The exchange's address is not a URL.
    #[error("{url}: {reason}")]
    Url {
        /// The address.
        url: String,
        /// Why not.
        reason: String,
    },
}

/// REST requests to one exchange, host names mapped as configured.
#[derive(Debug)]
pub struct Rest {
    client: reqwest::Client,
    hosts: BTreeMap<String, String>,
}

impl Rest {
    /// A client that finds `hosts` at other addresses.
    pub fn new(hosts: BTreeMap<String, String>) -> Result<Self, LinkError> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .gzip(true)
            .build()?;
        Ok(Self { client, hosts })
    }

    /// Where a host is, its default base URL when nothing else is configured.
    pub fn base(&self, host: &str, default: &str) -> String {
        let base = self.hosts.get(host).map_or(default, String::as_str);
        base.trim_end_matches('/').to_owned()
    }

    /// A successful answer, recorded under the exchange's own URL.
    pub async fn get(
        &self,
        exchange: &dyn Exchange,
        market: Market,
        request: &RestRequest,
    ) -> Result<RestAnswer, LinkError> {
        let (host, default) = exchange.rest_host(market);
        let url = format!("{}{}", self.base(host, default), request.path);
        let failed = |reason: String| LinkError::Rest {
            url: url.clone(),
            reason,
        };
        let answer = self.client.get(&url).send().await;
        let answer = answer.map_err(|error| failed(error.without_url().to_string()))?;
        let status = answer.status().as_u16();
        let body = answer
            .bytes()
            .await
            .map_err(|error| failed(error.without_url().to_string()))?;
        if status >= 300 {
            let failure = exchange.rest_failure(market, status, None, &body);
            return Err(failed(failure.error.to_string()));
        }
        Ok(RestAnswer {
            recv_ts: wall_clock(),
            url: format!("{}{}", default.trim_end_matches('/'), request.path),
            body: body.to_vec(),
        })
    }
}

/// A connection that is recorded until it is told to stop; a lost one is opened again, and its
/// books get new snapshots.
pub struct Link {
    /// Whose.
    pub exchange: &'static dyn Exchange,
    /// Product line.
    pub market: Market,
    /// Kind of connection.
    pub route: Route,
    /// Native stream names.
    pub streams: Vec<String>,
    /// Instruments whose book needs a snapshot after each connect.
    pub books: Vec<Arc<Instrument>>,
    /// Levels of those snapshots.
    pub depth: usize,
    /// For the snapshots.
    pub rest: Arc<Rest>,
    /// Where everything goes.
    pub file: Recording,
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

impl Link {
    /// Records; the report is a line for people.
    pub async fn run(
        mut self,
        stop: StopSignal,
        duration: Option<Duration>,
    ) -> Result<String, LinkError> {
        let end = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        let mut reconnects = 0u32;
        let result = tokio::select! {
            result = self.record(&mut reconnects) => result,
            () = signal::stopped(stop) => Ok(()),
            () = end => Ok(()),
        };
        let path = self.file.path().display().to_string();
        let (lines, bytes) = self.file.written();
        self.file.finish().map_err(|source| LinkError::File {
            path: path.clone(),
            source,
        })?;
        result?;
        Ok(format!(
            "{path}: {lines} lines, {bytes} bytes, {reconnects} reconnects"
        ))
    }

    async fn record(&mut self, reconnects: &mut u32) -> Result<(), LinkError> {
        let mut pause = Duration::from_millis(500);
        loop {
            let since = Instant::now();
            let reason = match self.connect().await? {
                Ok(socket) => self.read(socket).await?,
                Err(reason) => reason,
            };
            if since.elapsed() > PAUSE_MAX {
                pause = Duration::from_millis(500);
            }
            tracing::warn!(
                route = self.route.name,
                reason,
                "connection lost, connecting again"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            *reconnects += 1;
        }
    }

    async fn connect(&self) -> Result<Result<Socket, String>, LinkError> {
        let base = self.rest.base(self.route.host, self.route.base_url);
        let url = format!("{base}{}", self.route.path);
        let request = url
            .as_str()
            .into_client_request()
            .map_err(|error| LinkError::Url {
                url: url.clone(),
                reason: error.to_string(),
            })?;
        let dial = tokio_tungstenite::connect_async(request);
        Ok(match tokio::time::timeout(PATIENCE, dial).await {
            Err(_) => Err(format!("no answer from {url} within {PATIENCE:?}")),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok((socket, _))) => Ok(socket),
        })
    }

    /// Reads until the connection is lost; the answer says why it was.
    async fn read(&mut self, socket: Socket) -> Result<String, LinkError> {
        let (mut tx, mut rx) = socket.split();
        let limits = self.exchange.limits(self.market);
        let mut requests: VecDeque<String> = self
            .streams
            .chunks(limits.streams_per_request.max(1))
            .scan(1, |next_id, chunk| {
                let names: Vec<&str> = chunk.iter().map(String::as_str).collect();
                let requests = self
                    .exchange
                    .subscribe_requests(self.market, &names, *next_id);
                *next_id += requests.len() as u64;
                Some(requests)
            })
            .flatten()
            .map(|request| request.text)
            .collect();
        let route = self
            .exchange
            .routes(self.market)
            .iter()
            .position(|route| *route == self.route);
        for text in self.exchange.on_open(self.market, route.unwrap_or(0)) {
            requests.push_front(text);
        }
        let gap = Duration::from_secs(1) / limits.messages_per_second.clamp(1, 5);
        let mut send = tokio::time::interval(gap);
        let mut flush = tokio::time::interval(FLUSH);
        let silence = Duration::from_secs(limits.silence_secs.max(1));
        let (snapshot_tx, mut snapshots) = tokio::sync::mpsc::channel(4);
        let fetching = tokio::spawn(fetch_snapshots(
            self.exchange,
            self.market,
            Arc::clone(&self.rest),
            self.books.clone(),
            self.depth,
            snapshot_tx,
        ));
        let reason = loop {
            tokio::select! {
                frame = tokio::time::timeout(silence, rx.next()) => match frame {
                    Err(_) => break format!("silent for {silence:?}"),
                    Ok(None) => break "closed".to_owned(),
                    Ok(Some(Err(error))) => break error.to_string(),
                    Ok(Some(Ok(message))) => {
                        if let Some(reason) = self.frame(&message)? {
                            break reason;
                        }
                    }
                },
                Some(answer) = snapshots.recv() => {
                    let written = self.file.rest(&answer);
                    self.checked(written)?;
                }
                _ = send.tick(), if !requests.is_empty() => {
                    if let Some(request) = requests.pop_front()
                        && let Err(error) = tx.send(Message::text(request)).await
                    {
                        break error.to_string();
                    }
                }
                _ = flush.tick() => {
                    let flushed = self.file.flush();
                    self.checked(flushed)?;
                }
            }
        };
        fetching.abort();
        Ok(reason)
    }

    fn frame(&mut self, message: &Message) -> Result<Option<String>, LinkError> {
        match message {
            Message::Text(text) => {
                let written = self.file.message(wall_clock(), text);
                self.checked(written)?;
                Ok(None)
            }
            Message::Close(frame) => Ok(Some(match frame {
                Some(frame) => format!("closed: {} {}", frame.code, frame.reason),
                None => "closed".to_owned(),
            })),
            // Pings are answered by the protocol's own code.
            _ => Ok(None),
        }
    }

    fn checked(&self, result: std::io::Result<()>) -> Result<(), LinkError> {
        result.map_err(|source| LinkError::File {
            path: self.file.path().display().to_string(),
            source,
        })
    }
}

/// Fetches a snapshot of each book after the streams have had time to begin: changes that come
/// before the snapshot are what bridges it to the stream.
async fn fetch_snapshots(
    exchange: &'static dyn Exchange,
    market: Market,
    rest: Arc<Rest>,
    books: Vec<Arc<Instrument>>,
    depth: usize,
    out: tokio::sync::mpsc::Sender<RestAnswer>,
) {
    tokio::time::sleep(Duration::from_secs(2)).await;
    for instrument in books {
        let request = exchange.snapshot_request(&instrument, depth);
        loop {
            match rest.get(exchange, market, &request).await {
                Ok(answer) => {
                    if out.send(answer).await.is_err() {
                        return;
                    }
                    break;
                }
                Err(error) => {
                    tracing::warn!(symbol = instrument.code, %error, "no book snapshot, trying again");
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        }
        // A snapshot of 5000 levels costs 250 of 6000 weight a minute at Binance.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
