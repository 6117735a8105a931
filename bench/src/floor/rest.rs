//! The floor of `rest`: what one writes in an afternoon with the same web framework. Structs in
//! memory, no store, no filters, no limits; serde_json for each answer.

use std::net::SocketAddr;

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Result;
use serde::Serialize;

/// A bar with the fields of the public answer.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    id: String,
    entity_id: String,
    timestamp: String,
    provider: String,
    code: String,
    name: String,
    level: String,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    turnover: f64,
    volume_base: f64,
    volume_quote: f64,
    trade_count: u64,
    vwap: f64,
    change_pct: f64,
    turnover_rate: Option<f64>,
}

#[derive(Serialize)]
struct Page<'a> {
    data: &'a [Bar],
    total: usize,
    page: usize,
    page_size: usize,
    has_more: bool,
}

impl Bar {
    /// The bar of a minute of 2024-08-01, as a day has them.
    #[must_use]
    pub fn of(minute: usize) -> Self {
        let time = format!("2024-08-01T{:02}:{:02}:00Z", minute / 60 % 24, minute % 60);
        let open = 60_000.0 + minute as f64 * 0.37;
        let volume = 10.0 + minute as f64 / 7.0;
        Self {
            id: format!("cryptopair_binance_btcusdt_{time}"),
            entity_id: "cryptopair_binance_btcusdt".to_owned(),
            timestamp: time,
            provider: "binance".to_owned(),
            code: "btcusdt".to_owned(),
            name: "BTC/USDT".to_owned(),
            level: "1m".to_owned(),
            open,
            high: open + 9.0,
            low: open - 8.0,
            close: open + 3.0,
            volume,
            turnover: volume * open,
            volume_base: volume,
            volume_quote: volume * open,
            trade_count: 1_000 + minute as u64,
            vwap: open + 1.5,
            change_pct: 0.000_04,
            turnover_rate: None,
        }
    }
}

async fn serve(bars: web::Data<Vec<Bar>>) -> HttpResponse {
    let page = Page {
        data: &bars,
        total: bars.len(),
        page: 1,
        page_size: bars.len(),
        has_more: false,
    };
    match serde_json::to_vec(&page) {
        Ok(body) => HttpResponse::Ok()
            .content_type("application/json")
            .body(body),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

pub(super) fn run(listen: SocketAddr, bars: usize) -> Result<()> {
    let bars = web::Data::new((0..bars).map(Bar::of).collect::<Vec<_>>());
    actix_web::rt::System::new().block_on(async move {
        let app = move || {
            App::new()
                .app_data(bars.clone())
                .default_service(web::to(serve))
        };
        HttpServer::new(app).bind(listen)?.run().await
    })?;
    Ok(())
}
