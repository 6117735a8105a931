//! What several tests need: an instrument table, an exchange's frames, a host that counts what reaches it.

use std::sync::Arc;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, InstrumentSpec, InstrumentTable, Market};
use parking_lot::Mutex;
use rust_decimal::Decimal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::options::{GatewayOptions, ProviderOptions};

/// Steps of 0.01 and 0.001.
pub(crate) fn spec(base: &str, market: Market) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: format!("{base}USDT"),
        base_symbol: base.to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| "USDT".to_owned()),
        price_step: Decimal::new(1, 2),
        qty_step: Decimal::new(1, 3),
        bar_levels: None,
        price_digits: 2,
        qty_digits: 3,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: true,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: Some(8),
        native_code: None,
    }
}

/// BTCUSDT (id 0) and ETHUSDT (id 1) of one market.
pub(crate) fn table(market: Market) -> Arc<InstrumentTable> {
    let specs = vec![spec("BTC", market), spec("ETH", market)];
    Arc::new(InstrumentTable::default().with_market(ProviderId::BINANCE, market, specs))
}

/// The instrument with this number.
pub(crate) fn row(table: &InstrumentTable, index: usize) -> Arc<Instrument> {
    table.iter().nth(index).unwrap().clone()
}

/// A spot depth frame.
pub(crate) fn depth(symbol: &str, first: u64, last: u64, bids: &str, asks: &str) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":1700000000000,"s":"{symbol}","U":{first},"u":{last},"b":{bids},"a":{asks}}}"#
    )
}

/// A spot trade frame.
pub(crate) fn trade(symbol: &str, id: u64) -> String {
    format!(
        r#"{{"e":"trade","E":1700000000001,"s":"{symbol}","t":{id},"p":"100.50","q":"0.250","T":{},"m":true,"M":true}}"#,
        1_700_000_000_000 + id
    )
}

/// A spot bar of the minute `minute` since the epoch.
pub(crate) fn kline(symbol: &str, minute: i64, close: &str, is_closed: bool) -> String {
    let open = minute * 60_000;
    format!(
        r#"{{"e":"kline","E":{},"s":"{symbol}","k":{{"t":{open},"T":{},"s":"{symbol}","i":"1m","f":1,"L":2,"o":"1.00","c":"{close}","h":"9.00","l":"1.00","v":"1.000","n":2,"x":{is_closed},"q":"1.00000","V":"0.500","Q":"0.50000","B":"0"}}}}"#,
        open + 59_000,
        open + 59_999
    )
}

/// A gateway of one provider, all of whose hosts are at this address.
pub(crate) fn gateway_at(provider: ProviderId, url: &str) -> GatewayOptions {
    let mut options = ProviderOptions::new(provider);
    for market in provider.exchange().markets() {
        let (name, _) = provider.exchange().rest_host(*market);
        options.hosts.insert(name.to_owned(), url.to_owned());
    }
    GatewayOptions {
        providers: vec![options],
        ..GatewayOptions::default()
    }
}

/// Status, further headers, body.
pub(crate) type Answer = (u16, &'static str, &'static str);

const FINE: Answer = (200, "", r#"{"code":"0","retCode":0,"data":[]}"#);

/// A host that gives the next of its answers, and `FINE` when there is none, to each request.
#[derive(Clone, Default)]
pub(crate) struct Host {
    answers: Arc<Mutex<Vec<Answer>>>,
    /// Answers to all requests of a path.
    always: Arc<Mutex<Vec<(&'static str, Answer)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Host {
    pub(crate) async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let host = self.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let host = host.clone();
                // Connections are opened in advance and say nothing; one that is given up halfway is
                // nobody's fault.
                tokio::spawn(async move { host.serve(socket).await });
            }
        });
        url
    }

    async fn serve(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|row| row.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |digits| digits.parse().unwrap())];
        socket.read_exact(&mut body).await?;
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let always = self
            .always
            .lock()
            .iter()
            .find_map(|(of, answer)| (path == *of).then_some(*answer));
        let next = || self.answers.lock().pop().unwrap_or(FINE);
        let (status, headers, body) = always.unwrap_or_else(next);
        self.asked.lock().push(path);
        let answer = format!(
            "HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(answer.as_bytes()).await
    }

    pub(crate) fn next_answers(&self, last_first: &[Answer]) {
        *self.answers.lock() = last_first.to_vec();
    }

    /// All requests of a path, in lower case, get this answer from now on.
    pub(crate) fn answer_always(&self, path: &'static str, answer: Answer) {
        let mut always = self.always.lock();
        always.retain(|(of, _)| *of != path);
        always.push((path, answer));
    }

    /// Paths of all requests.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    /// Requests of a path.
    pub(crate) fn count_of(&self, path: &str) -> usize {
        self.asked
            .lock()
            .iter()
            .filter(|asked| *asked == path)
            .count()
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().len()
    }
}
